"""A process that carries out orders: `python -m ramekin.registry.ondemand.worker STORE`.

Standard input has a call a line, standard output what comes of it, both JSON:

    → {"id": 1, "work": "make", "order": {…}, "build": true}
    ← {"id": 1, "event": {"step": 1, "label": "packages", "total": 12000}}
    ← {"id": 1, "answer": …}        or    {"id": 1, "failure": {…}}

Calls are worked on side by side. The process ends with its standard input, in the middle of work too: what a
build leaves unfinished is nothing that the store shows.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from ramekin.errors import NetworkError, RamekinError
from ramekin.registry.ondemand.orders import Answer, Event, Failure, Order, Suggestion, View

if TYPE_CHECKING:
    from ramekin.progress import Progress, Task
    from ramekin.registry.ondemand.kitchen import Kitchen

_PAUSE = 0.1
"""Seconds between two signs of progress of one step."""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker is asked; which fields count depends on `work`."""

    id: int
    work: str
    order: Order
    build: bool = True
    architecture: str = ""
    words: tuple[str, ...] = ()
    limit: int = 20


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of what comes of a call; the last one has an answer or a failure."""

    id: int
    event: Event | None = None
    failure: Failure | None = None
    answer: Answer | None = None
    view: View | None = None
    found: tuple[Suggestion, ...] | None = None
    texts: tuple[str, ...] | None = None

    @property
    def last(self) -> bool:
        return self.event is None


_CALL = msgspec.json.Decoder(Call)
msgspec.json.Decoder(Reply)


class Reporter:
    """A `Progress` that says everything as events."""

    def __init__(self, say: Callable[[Event], None]) -> None:
        self._say = say
        self._steps = 0
        self._lock = threading.Lock()

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> AbstractContextManager[Task]:
        with self._lock:
            self._steps += 1
            step = self._steps
        self._say(Event(step, label=label, total=total, unit=unit))
        return _Step(step, self._say)

    def note(self, text: str) -> None:
        self._say(Event(note=text))

    def warn(self, text: str) -> None:
        self._say(Event(warn=text))


class _Step:
    def __init__(self, step: int, say: Callable[[Event], None]) -> None:
        self._step, self._say = step, say
        self._done, self._said = 0, 0.0
        self._lock = threading.Lock()

    def advance(self, amount: int) -> None:
        with self._lock:
            self._done += amount
            now = time.monotonic()
            if now - self._said < _PAUSE:
                return
            self._said = now
            done = self._done
        self._say(Event(self._step, done=done))

    def __enter__(self) -> Task:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._say(Event(self._step, done=self._done, ended=True))


def carry_out(kitchen: Kitchen, call: Call, say: Callable[[Reply], None]) -> None:
    """Do what is asked and say what comes of it; never raises."""
    progress: Progress = Reporter(lambda event: say(Reply(id=call.id, event=event)))
    try:
        say(_done(kitchen, call, progress))
    except Exception as error:
        say(Reply(id=call.id, failure=_failure(error)))


def _done(kitchen: Kitchen, call: Call, progress: Progress) -> Reply:
    order = call.order
    match call.work:
        case "make":
            return Reply(id=call.id, answer=kitchen.make(order, progress, build=call.build))
        case "view":
            return Reply(id=call.id, view=kitchen.view(order, call.architecture))
        case "search":
            return Reply(id=call.id, found=kitchen.search(call.words, order.request, call.limit))
        case "tags":
            return Reply(id=call.id, texts=kitchen.tags(order))
        case "graph":
            return Reply(id=call.id, texts=(kitchen.graph(order, call.architecture),))
    raise RamekinError(f"a worker does not know how to {call.work}")


def _failure(error: Exception) -> Failure:
    from ramekin.registry.ondemand.kitchen import NotMadeError

    if not isinstance(error, RamekinError):
        traceback.print_exception(error)
        return Failure(kind="bug", message=f"this is a bug in Ramekin: {type(error).__name__}: {error}")
    kind = "error"
    if isinstance(error, NetworkError):
        kind = "network"
    elif isinstance(error, NotMadeError):
        kind = "missing"
    return Failure(kind=kind, message=error.message, hint=error.hint or "")


def main() -> None:
    """Work until standard input ends."""
    from ramekin.registry.ondemand.kitchen import Kitchen
    from ramekin.store.store import Store

    # what is printed by mistake must not look like an answer
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # the server's own work comes first
    os.nice(2)
    # one image makes little garbage that only a collection would find
    gc.set_threshold(100_000)
    kitchen = Kitchen(Store.at(sys.argv[1]))
    lock = threading.Lock()

    def say(reply: Reply) -> None:
        line = msgspec.json.encode(reply) + b"\n"
        with lock:
            try:
                out.write(line)
            except BrokenPipeError:
                os._exit(0)

    for line in sys.stdin.buffer:
        call = _CALL.decode(line)
        threading.Thread(target=carry_out, args=(kitchen, call, say), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
