"""Many transfers at once, of which the first failure or Ctrl-C stops the others soon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """Another transfer failed; this one is given up. Never leaves this module."""


def each(work: Callable[[T, Callable[[], None]], None], items: Sequence[T], *, jobs: int) -> None:
    """Run `work(item, check)` for all items on at most `jobs` threads; the first error is raised.

    `work` calls `check` between its parts, which raises when there is no use in going on. Items are begun
    in their order.
    """
    if jobs <= 1 or len(items) <= 1:
        for item in items:
            work(item, _go_on)
        return
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise StoppedError

    def run(item: T) -> None:
        try:
            check()
            work(item, check)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(min(jobs, len(items)), thread_name_prefix="transfer") as pool:
        futures = [pool.submit(run, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # also for Ctrl-C here: leaving the block waits for what is running
            if any(not future.done() for future in futures):
                stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
    real = [error for error in errors if not isinstance(error, StoppedError)]
    for error in real or errors:
        raise error


def _go_on() -> None: ...
