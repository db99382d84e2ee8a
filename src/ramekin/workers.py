"""Work on many things at once, of which the first failure or an interruption stops the rest soon."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)
R = TypeVar("R")

GRACE = 0.5
"""Seconds that work under way has to notice an interruption before it is left behind."""

Check = Callable[[], None]
"""What long work calls between its parts; it raises when there is no use in going on."""


class StoppedError(Exception):
    """Something else failed, so this is given up. Never leaves this module."""


def usual() -> int:
    """How many jobs at once: one more than processors, for one always waits for disk or interpreter."""
    return len(os.sched_getaffinity(0)) + 1


def each(work: Callable[[T, Check], R], items: Sequence[T], *, jobs: int) -> list[R]:
    """`work(item, check)` of all items on at most `jobs` threads, the results in the order of `items`.

    Items are begun in their order. After a failure no more are begun, and the first one, in the order of
    `items`, is raised when those under way have ended. An interruption waits `GRACE` seconds for them: a
    thread that hangs in a server's silence is left behind, and ends with the process at the latest.
    """
    if jobs <= 1 or len(items) <= 1:
        return [work(item, _go_on) for item in items]
    stop = threading.Event()
    places = iter(range(len(items)))
    guard = threading.Lock()
    results: dict[int, R] = {}
    errors: dict[int, BaseException] = {}

    def check() -> None:
        if stop.is_set():
            raise StoppedError

    def run() -> None:
        while not stop.is_set():
            with guard:
                place = next(places, None)
            if place is None:
                return
            try:
                results[place] = work(items[place], check)
            except BaseException as error:
                errors[place] = error
                stop.set()

    # what a daemon waits for does not hold up the end of the process
    threads = [
        threading.Thread(target=run, name=f"worker-{number}", daemon=True)
        for number in range(min(jobs, len(items)))
    ]
    begun: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            begun.append(thread)
        for thread in begun:
            thread.join()
    except BaseException:
        stop.set()
        deadline = time.monotonic() + GRACE
        for thread in begun:
            thread.join(max(deadline - time.monotonic(), 0))
        raise
    real = [place for place in sorted(errors) if not isinstance(errors[place], StoppedError)]
    for place in real or sorted(errors):
        raise errors[place]
    return [results[place] for place in range(len(items))]


def each_fed(
    work: Callable[[H], R], items: Sequence[H], feed: Callable[[Callable[[H], None]], None], *, jobs: int
) -> list[R]:
    """`work(item)` of all items on `jobs` threads, each begun when `feed` has handed its item over.

    `feed(hand_over)` runs beside them, in a thread of its own; what it has not handed over when it ends is
    there then. Results are in the order of `items`. A failure of `feed` is raised before one of `work`.
    """
    places = {item: place for place, item in enumerate(items)}
    ready: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    consumers = min(max(jobs, 1), len(items))
    results: dict[int, R] = {}

    def feeder(check: Check) -> None:
        left = dict(places)

        def hand_over(item: H) -> None:
            check()
            ready.put(left.pop(item))

        try:
            feed(hand_over)
            for place in left.values():
                ready.put(place)
        finally:
            for _ in range(consumers):
                ready.put(None)

    def consumer(check: Check) -> None:
        while (place := ready.get()) is not None:
            check()
            results[place] = work(items[place])

    parts: list[Callable[[Check], None]] = [feeder, *[consumer] * consumers]
    each(lambda part, check: part(check), parts, jobs=len(parts))
    return [results[place] for place in range(len(items))]


def _go_on() -> None: ...
