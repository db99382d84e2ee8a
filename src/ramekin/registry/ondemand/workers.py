"""Worker processes as the server sees them.

Images are made by one process each, `builds` at once and the others waiting their turn; one more process
answers questions (previews, search), many side by side. Processes are started when they are first needed and
kept, for what they have read of the indexes is worth keeping. One that takes too long is killed: nothing that
it leaves is visible in the store.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

import msgspec

from ramekin.errors import RamekinError
from ramekin.registry.ondemand.orders import Event, Failure, Order
from ramekin.registry.ondemand.worker import Call, Reply, carry_out
from ramekin.store.store import Store

LOOKS = 4
"""Questions that are worked on at once."""

_LINE = 64 << 20
"""Bytes of the longest line that a worker may write."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Reply)


class BusyError(RamekinError):
    """Too many images wait to be made."""


class FailedError(RamekinError):
    """A worker says why it did not do what was asked."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, hint=failure.hint or None)
        self.kind = failure.kind


class Worker:
    """One process, or threads of this one for a store that no other process sees."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, tuple[asyncio.Future[Reply], Callable[[Event], None]]] = {}
        self._kitchen: object = None
        self._calls = 0

    async def ask(
        self,
        order: Order,
        work: str,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        build: bool = True,
        architecture: str = "",
        words: tuple[str, ...] = (),
        limit: int = 20,
    ) -> Reply:
        """Have something done; `FailedError` when it cannot be."""
        self._calls += 1
        call = Call(
            id=self._calls,
            work=work,
            order=order,
            build=build,
            architecture=architecture,
            words=words,
            limit=limit,
        )
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[call.id] = (answer, on_event)
        try:
            await self._send(call)
            reply = await answer
        finally:
            self._waiting.pop(call.id, None)
        if reply.failure is not None:
            raise FailedError(reply.failure)
        return reply

    async def prepare(self) -> None:
        """Have a process ready before there is something to do."""
        if not self._store.location.startswith("memory:") and self._process is None:
            await self._start()

    async def _send(self, call: Call) -> None:
        if self._store.location.startswith("memory:"):
            self._in_threads(call)
            return
        if self._process is None or self._process.returncode is not None:
            await self._start()
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(_ENCODER.encode(call) + b"\n")
        with suppress(ConnectionError):
            await self._process.stdin.drain()

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ramekin.registry.ondemand.worker",
            self._store.location,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
            # a signal to the server's group ends the server, which ends its workers when their work is done
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                self._reply(_DECODER.decode(line))
        except (ValueError, msgspec.DecodeError):
            process.kill()
        code = await process.wait()
        for number, (answer, _) in list(self._waiting.items()):
            if not answer.done():
                gone = Failure(kind="bug", message=f"the process that worked on it ended (exit code {code})")
                answer.set_result(Reply(id=number, failure=gone))

    def _reply(self, reply: Reply) -> None:
        found = self._waiting.get(reply.id)
        if found is None:
            return
        answer, on_event = found
        if reply.event is not None:
            on_event(reply.event)
        elif not answer.done():
            answer.set_result(reply)

    def _in_threads(self, call: Call) -> None:
        from threading import Thread

        from ramekin.registry.ondemand.kitchen import Kitchen

        if self._kitchen is None:
            self._kitchen = Kitchen(self._store)
        loop = asyncio.get_running_loop()

        def say(reply: Reply) -> None:
            with suppress(RuntimeError):  # the server has stopped
                loop.call_soon_threadsafe(self._reply, reply)

        Thread(target=carry_out, args=(self._kitchen, call, say), daemon=True).start()

    async def end(self) -> None:
        """End the process, in the middle of its work too."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader])


class Workers:
    """All workers of one server process."""

    def __init__(self, store: Store, *, builds: int, queue: int, seconds: float) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(builds)
        self._queue, self._seconds = queue, seconds
        self._waiting = 0
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._asked = Worker(store)
        self._looks = asyncio.Semaphore(LOOKS)
        self._looking = 0

    async def make(
        self,
        order: Order,
        on_event: Callable[[Event], None],
        on_turn: Callable[[], None] = lambda: None,
        *,
        build: bool = True,
    ) -> Reply:
        """Make an image when its turn has come; `BusyError`, `FailedError`, or `TimeoutError`."""
        if self._turns.locked() and self._waiting >= self._queue:
            raise BusyError("too many images wait to be made", hint="try again in a while")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            on_turn()
            worker = self._idle.pop() if self._idle else Worker(self._store)
            self._busy.add(worker)
            try:
                reply = await asyncio.wait_for(
                    worker.ask(order, "make", on_event=on_event, build=build), self._seconds
                )
            except FailedError:
                self._idle.append(worker)
                raise
            except BaseException:
                await worker.end()
                raise
            finally:
                self._busy.discard(worker)
            self._idle.append(worker)
            return reply
        finally:
            self._turns.release()

    async def prepare(self) -> None:
        """Have a process ready for the first image."""
        worker = Worker(self._store)
        await worker.prepare()
        self._idle.append(worker)

    async def ask(self, order: Order, work: str, seconds: float = 60.0, **more: object) -> Reply:
        """A question that nothing is made for; raises as `make` does."""
        if self._looking >= self._queue + LOOKS:
            raise BusyError("too many questions are asked at once", hint="try again in a while")
        self._looking += 1
        try:
            async with self._looks:
                asked = self._asked
                try:
                    return await asyncio.wait_for(asked.ask(order, work, **more), seconds)  # type: ignore[arg-type]
                except TimeoutError:
                    # nothing else ends what one thread of it does
                    if self._asked is asked:
                        self._asked = Worker(self._store)
                        await asked.end()
                    raise
        finally:
            self._looking -= 1

    async def end(self) -> None:
        """End all processes."""
        for worker in [*self._idle, *self._busy, self._asked]:
            await worker.end()
        self._idle.clear()
