"""Answers at hand, one build for all who wait for it, and failures remembered for a short time.

    asked ──▶ at hand and fresh? ─────────────▶ answer
                │ no
                ▼
              failed just now? ───────────────▶ the same refusal
                │ no
                ▼
              at hand but stale? ─────────────▶ old answer; a build begins without anybody waiting
                │ no
                ▼
              being made? ── no ──▶ rate, turn ──▶ build ──▶ answer or refusal for all who wait

Everything here is of one process's event loop. That no image is made twice by several processes is what
`kitchen` sees to.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ramekin.registry.ondemand.limits import Rate
from ramekin.registry.ondemand.orders import Answer, Event, Order
from ramekin.registry.ondemand.workers import BusyError, FailedError, Workers
from ramekin.registry.ondemand_config import OnDemand
from ramekin.registry.provider import Asker, Refusal

ANSWERS = 4096
"""Answers that are kept at hand."""

_FOREVER = 86400.0
_PAUSE = 0.1
"""Seconds between two signs of progress for one who watches."""

_NETWORK_FAILURE = 5.0
"""Seconds for which it is remembered that a mirror could not be asked."""


@dataclass(frozen=True, slots=True)
class Held:
    """An answer at hand: fresh until one time, given while another is made until a second (monotonic)."""

    answer: Answer
    fresh: float
    stale: float


Outcome = Held | Refusal
Told = Callable[[str, float | None, int], None]
"""Hears what came of an image (`given`, `made`, `failed`, `refused` or nothing yet), how many seconds that
took, and how many are under way."""


@dataclass(slots=True)
class Step:
    """A step of a build, and how much of it is done, in `unit`s."""

    label: str
    total: int | None
    unit: str
    done: int = 0
    ended: bool = False


@dataclass(eq=False)
class Build:
    """An image that is being made: its steps by number, and lines to read (warnings and notes)."""

    order: Order
    started: bool = False
    steps: dict[int, Step] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    outcome: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, event: Event) -> None:
        """Take a sign of progress."""
        if event.note or event.warn:
            self.lines.append(event.note or event.warn)
        elif event.label:
            self.steps[event.step] = Step(event.label, event.total, event.unit)
        elif event.step in self.steps:
            step = self.steps[event.step]
            step.done = step.done if event.done is None else event.done
            step.ended = event.ended
        self._wake()

    def begin(self) -> None:
        """Its turn has come."""
        self.started = True
        self._wake()

    def end(self, outcome: Outcome) -> None:
        """Answer all who wait."""
        self.outcome.set_result(outcome)
        self._wake()

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()

    async def changes(self) -> AsyncIterator[Build]:
        """The build itself, now and each time that something has changed, until it ends."""
        while not self.outcome.done():
            changed = self._changed
            yield self
            await changed.wait()
            # many signs within a moment are one change
            await asyncio.wait([self.outcome], timeout=_PAUSE)


class Builds:
    """What one server process knows of images made on demand."""

    def __init__(self, workers: Workers, config: OnDemand) -> None:
        self._workers, self._config = workers, config
        self._held: OrderedDict[bytes, Held] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[Refusal, float]] = OrderedDict()
        self._running: dict[bytes, Build] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rate = Rate(config.rate)
        self.counts = {"given": 0, "made": 0, "failed": 0, "refused": 0}
        self.told: Told = lambda outcome, seconds, running: None

    def _count(self, outcome: str, seconds: float | None = None) -> None:
        if outcome:
            self.counts[outcome] += 1
        self.told(outcome, seconds, len(self._running))

    @property
    def running(self) -> tuple[Build, ...]:
        """All images that are being made or wait for their turn."""
        return tuple(self._running.values())

    def under_way(self, key: bytes) -> Build | None:
        """The build of an image, when there is one now."""
        return self._running.get(key)

    def at_hand(self, key: bytes) -> Held | None:
        """An answer that needs no look at anything."""
        held = self._held.get(key)
        if held is None or time.monotonic() >= held.fresh:
            return None
        self._held.move_to_end(key)
        return held

    def known(self, key: bytes) -> Outcome | None:
        """The last outcome, as long as it is remembered."""
        return self._held.get(key) or self._refusal(key)

    def _refusal(self, key: bytes) -> Refusal | None:
        found = self._refused.get(key)
        return found[0] if found is not None and time.monotonic() < found[1] else None

    def drop(self, key: bytes) -> None:
        """Forget an answer: something of it has gone."""
        self._held.pop(key, None)

    async def get(self, order: Order, key: bytes, asker: Asker) -> Outcome:
        """The answer to an order, waited for; cancelling this does not end a build."""
        now = time.monotonic()
        if (held := self.at_hand(key)) is not None:
            self._count("given")
            return held
        if (refused := self._refusal(key)) is not None:
            return refused
        old = self._held.get(key)
        if old is not None and now < old.stale:
            self.begin(order, key, build=asker.may_build)
            self._count("given")
            return old
        begun = self.start(order, key, asker)
        outcome = begun if isinstance(begun, Refusal) else await asyncio.shield(begun.outcome)
        if old is not None and not asker.may_build and isinstance(outcome, Refusal):
            # who may have nothing made gets what was made last
            return old
        return outcome

    def start(self, order: Order, key: bytes, asker: Asker) -> Build | Refusal:
        """Have an image made for a client, or refuse; one build for all."""
        running = self._running.get(key)
        if running is not None and asker.may_build:
            return running
        if asker.may_build and (wait := self._rate.take(asker.user or asker.address)):
            self._count("refused")
            return Refusal(
                "you have had too many images made; wait a while",
                "TOOMANYREQUESTS",
                429,
                {"images a minute": self._config.rate},
                retry_after=wait,
            )
        return self.begin(order, key, build=asker.may_build)

    def begin(self, order: Order, key: bytes, *, build: bool = True) -> Build:
        """Make an image, unless that is under way. Without `build`, only look whether it was made."""
        name = key if build else key + b"?"
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = Build(order)
            self._count("")
            task = asyncio.create_task(self._run(running, name, key, build))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return running

    async def _run(self, running: Build, name: bytes, key: bytes, build: bool) -> None:
        began = time.monotonic()
        try:
            outcome = await self._outcome(running, build)
        except asyncio.CancelledError:
            outcome = Refusal("the registry is stopping", "UNAVAILABLE", 503, retry_after=5)
        finally:
            self._running.pop(name, None)
        if isinstance(outcome, Held):
            self._held[key] = outcome
            self._held.move_to_end(key)
            while len(self._held) > ANSWERS:
                self._held.popitem(last=False)
            self._refused.pop(key, None)
            self._count("made", time.monotonic() - began)
        elif build and outcome.status == 404:
            network = isinstance(outcome.detail, dict) and outcome.detail.get("kind") == "network"
            seconds = min(_NETWORK_FAILURE, self._config.failures) if network else self._config.failures
            self._refused[key] = (outcome, time.monotonic() + seconds)
            while len(self._refused) > ANSWERS:
                self._refused.popitem(last=False)
            self._count("failed", time.monotonic() - began)
        else:
            self._count("")
        running.end(outcome)

    async def _outcome(self, running: Build, build: bool) -> Outcome:
        order = running.order
        try:
            reply = await self._workers.make(order, running.say, running.begin, build=build)
        except FailedError as error:
            if error.kind == "missing":
                return Refusal(
                    f"{error.message}, and you may not have it made", "DENIED", 403, {"image": order.image}
                )
            return refuse(error.message, error.hint, kind=error.kind)
        except BusyError as error:
            return busy(error)
        except TimeoutError:
            return refuse(
                f"{order.image} was not made within {self._config.time:.0f} seconds", None, kind="time"
            )
        assert reply.answer is not None
        now = time.monotonic()
        fresh = _FOREVER if order.fixed else self._config.fresh
        return Held(reply.answer, now + fresh, now + fresh + self._config.stale)

    async def end(self) -> None:
        """End what still runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._workers.end()


def refuse(message: str, hint: str | None, *, kind: str) -> Refusal:
    """There is no such image, and why; clients show the message only, so the way out is part of it."""
    text = f"{message}; {hint}" if hint else message
    return Refusal(text, detail={"reason": message, "hint": hint or "", "kind": kind})


def busy(error: BusyError) -> Refusal:
    """Not now."""
    return Refusal(f"{error.message}; {error.hint}", "TOOMANYREQUESTS", 429, retry_after=10)
