"""A running container and what can be asked of it.

    with sandbox(rootfs, settings, watch=Watch()) as running:
        running.wait_ready(Readiness(port=8080))
        requests.get(f"http://{running.address(8080)}/")
        running.exec(["redis-cli", "ping"])
        running.stop()
        observation = running.observation()

The container's network has nothing but its own loopback, so that an address on this machine is a way in:
connections to it are carried to the port inside.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from ramekin.errors import RamekinError
from ramekin.image.oci import Runtime
from ramekin.image.running import runtimes
from ramekin.image.running.container import (
    Container,
    Volume,
    Wishes,
    identity,
)
from ramekin.slim.observation import Observation
from ramekin.slim.sandbox import reasons, recorded, starting, wire
from ramekin.slim.sandbox.commands import communicate
from ramekin.slim.sandbox.log import Log, tail
from ramekin.slim.sandbox.mounts import FOLDER, MERGED
from ramekin.slim.sandbox.plan import (
    Bind,
    Finished,
    Limits,
    Miss,
    Place,
    Plan,
    Process,
    Readiness,
    Record,
    Reply,
    Request,
    State,
    Watch,
    Watching,
)
from ramekin.slim.sandbox.rootfs import Rootfs

STOP_PATIENCE = 10.0
"""Seconds that a program may take to end once it was told to, as engines have it."""

_PAUSE = 0.005
_AS_IT_SAYS, _WATCHED, _BOUNDED, _LISTENING = Wishes(), Watch(), Limits(), Readiness()


@contextmanager
def sandbox(
    root: Rootfs,
    settings: Runtime,
    *,
    wishes: Wishes = _AS_IT_SAYS,
    watch: Watch = _WATCHED,
    limits: Limits = _BOUNDED,
    runtime: str | None = None,
) -> Iterator[Running]:
    """Start an image's program in a sandbox; when the context ends, all of it is gone.

    `RamekinError` when the sandbox cannot be made, `UsageError` or `NotFoundError` when nothing can be run.
    """
    with ExitStack() as stack:
        running = Running(root, settings, wishes, watch, limits, runtime or _runtime(), stack)
        yield running


def _runtime() -> str:
    return runtimes.choose_runtime(None)


class Running:
    """See the module."""

    def __init__(
        self,
        root: Rootfs,
        settings: Runtime,
        wishes: Wishes,
        watch: Watch,
        limits: Limits,
        runtime: str,
        stack: ExitStack,
    ) -> None:
        made = starting.container_of(root, settings, wishes)
        self._root = root
        self._made = made
        self._limits = limits
        self._stop_signal = starting.stop_signal(settings)
        self._guard = threading.Lock()
        self._questions = 0
        self._addresses: dict[str, str] = {}
        self._record: Record | None = None
        self._watch = watch
        self._own_places: tuple[Place, ...] = ()
        self._start(runtime, stack)

    def _start(self, runtime: str, stack: ExitStack) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reads, writes = os.pipe()
        passed: list[int] = [writes]
        stack.callback(ours.close)
        try:
            removed = -1
            if self._watch.by is Watching.LOOKUPS:
                removed = wire.memory(
                    b"".join(os.fsencode(path) + b"\0" for path in sorted(self._watch.removed))
                )
                passed.append(removed)
            binds, volumes = [], []
            for number, volume in enumerate(self._made.volumes):
                binds.append(Bind(str(volume.host), str(number)))
                volumes.append(replace(volume, host=Path(f"{FOLDER}/binds/{number}")))
            self._own_places = starting.places(self._made)
            inner = replace(
                self._made,
                root=Path(MERGED),
                binds=(),
                network="host",
                volumes=(
                    *(Volume(Path(f"{FOLDER}/own/{name}"), f"/etc/{name}") for name in starting.OWN_FILES),
                    *volumes,
                ),
            )
            plan = self._plan(inner, runtime, theirs.fileno(), writes, removed, tuple(binds))
            described = wire.memory(msgspec.json.encode(plan))
            passed.append(described)
            keeper = subprocess.Popen(
                [sys.executable, "-P", "-m", "ramekin.slim.sandbox.warden", str(described)],
                stdin=subprocess.DEVNULL,
                stdout=writes,
                stderr=writes,
                pass_fds=[*passed, theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            os.close(reads)
            raise RamekinError(f"the sandbox cannot be made: {error}") from None
        finally:
            theirs.close()
            for descriptor in passed:
                os.close(descriptor)
        self._control = ours
        self._log = Log(reads, self._limits.log)
        stack.callback(self._close, keeper)
        try:
            self._receive()
        except RamekinError as error:
            raise RamekinError(error.message, hint=reasons.no_rights()) from None
        while not self.state().started:
            time.sleep(_PAUSE)

    def _plan(
        self,
        inner: Container,
        runtime: str,
        control: int,
        log: int,
        removed: int,
        binds: tuple[Bind, ...],
    ) -> Plan:
        rootless = os.geteuid() != 0
        program = self._process(self._made.command, {}, None, None)
        become = program if runtime == "bwrap" and not rootless and self._made.user.uid != 0 else None
        return Plan(
            parent=os.getpid(),
            control=control,
            log=log,
            lower=str(self._root.path.absolute()),
            room=self._limits.room,
            rootless=rootless,
            runtime=runtime,
            command=starting.command(inner, runtime, rootless),
            bundle=msgspec.json.encode(runtimes.bundle(inner)).decode() if runtime == "runc" else "",
            become=become,
            program=program,
            places=self._own_places,
            binds=binds,
            watching=self._watch.by,
            syscalls=self._watch.syscalls,
            removed=removed,
            debris=(str(self._root.scratch),),
        )

    def _close(self, keeper: subprocess.Popen[bytes]) -> None:
        with suppress(OSError):
            wire.send(self._control, msgspec.json.encode(Request("leave")))
        self._control.close()
        try:
            keeper.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            # with the warden, all of the sandbox goes
            keeper.kill()
            keeper.wait()
        self._log.finish()

    def _ask(self, request: Request, descriptors: Sequence[int] = ()) -> tuple[Reply, int]:
        with self._guard:
            self._questions += 1
            data = msgspec.json.encode(msgspec.structs.replace(request, question=self._questions))
            try:
                wire.send(self._control, data, descriptors)
            except OSError as error:
                raise self._lost() from error
            return self._receive()

    def _receive(self) -> tuple[Reply, int]:
        while True:
            try:
                data, descriptors = wire.receive(self._control, 1)
            except OSError as error:
                raise self._lost() from error
            if not data:
                raise self._lost()
            reply = msgspec.json.decode(data, type=Reply)
            if reply.question == self._questions:
                break
            # to a question whose asker was interrupted before the answer came
            for descriptor in descriptors:
                os.close(descriptor)
        if reply.error:
            raise RamekinError(f"the sandbox: {reply.error}")
        return reply, descriptors[0] if descriptors else -1

    def _lost(self) -> RamekinError:
        return RamekinError(f"the sandbox has ended by itself{self._shown_log()}")

    def state(self) -> State:
        """How the container is now."""
        state = self._ask(Request("state"))[0].state
        assert state is not None
        return state

    def alive(self) -> bool:
        """Whether the program still runs."""
        return self.state().ended is None

    def listening(self) -> tuple[str, ...]:
        """What the container listens on now: `tcp:8080`, `udp:53`, `unix:/run/x.sock`."""
        return self.state().listening

    def log(self) -> bytes:
        """What the container has printed so far, both streams, within the bound."""
        return self._log.text()

    def address(self, port: int | str) -> str:
        """`127.0.0.1:PORT` on this machine, by which a `port` inside (or `unix:/run/x.sock`) is reached."""
        target = f"tcp:{port}" if isinstance(port, int) else port
        if target not in self._addresses:
            with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
                self._ask(Request("forward", target=target), [listener.fileno()])
                self._addresses[target] = f"127.0.0.1:{listener.getsockname()[1]}"
        return self._addresses[target]

    def wait_ready(self, readiness: Readiness = _LISTENING) -> tuple[str, ...]:
        """Wait until the program is ready; what it listens on then.

        `RamekinError` with the end of its log when it ends before, writes too much, or takes too long.
        """
        deadline = time.monotonic() + readiness.patience
        pause = _PAUSE
        while True:
            state = self.state()
            self._require_running(state)
            if self._is_ready(readiness, state, deadline):
                return state.listening
            if time.monotonic() >= deadline:
                raise self.late(readiness, state)
            time.sleep(pause)
            pause = min(0.05, pause * 1.3)

    def late(self, readiness: Readiness, state: State) -> RamekinError:
        """The error that a program was not ready in the time that it had."""
        return RamekinError(
            f"{self._name} was not ready after {readiness.patience:g} s{self._shown_log()}",
            hint=reasons.not_ready(readiness, state),
        )

    def _is_ready(self, readiness: Readiness, state: State, deadline: float) -> bool:
        there = set(state.listening)
        if readiness.port is not None and f"tcp:{readiness.port}" not in there:
            return False
        if readiness.socket is not None and f"unix:{readiness.socket}" not in there:
            return False
        if readiness.command:
            left = max(0.1, deadline - time.monotonic())
            try:
                return self.exec(readiness.command, timeout=left).code == 0
            except RamekinError:
                # it ended meanwhile, which the next look says better
                return False
        return bool(there) or readiness.port is not None or readiness.socket is not None

    def check(self) -> None:
        """`RamekinError` when the program has ended by itself, or has written all that it may."""
        self._require_running(self.state())

    def _require_running(self, state: State) -> None:
        if state.full:
            raise RamekinError(
                f"{self._name} wrote more than {self._limits.room >> 20} MiB to files{self._shown_log()}",
                hint="give it a volume to write to, or a higher limit",
            )
        if state.ended is not None:
            code = os.waitstatus_to_exitcode(state.ended)
            ended = f"ended with {code}" if code >= 0 else f"was ended by signal {-code}"
            raise RamekinError(
                f"{self._name} {ended} before it was asked to{self._shown_log()}",
                hint=reasons.ended(code, self.log()),
            )

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 60.0,
        user: str | None = None,
        workdir: str | None = None,
    ) -> Finished:
        """Run a command in the container, under the same watch, as the image's user unless it is said.

        `RamekinError` when the container has ended.
        """
        process = self._process(tuple(argv), env or {}, user, workdir)
        ours: list[int] = []
        given: list[int] = []
        try:
            for writing in (True, False, False, False):
                reads, writes = os.pipe()
                ours.append(writes if writing else reads)
                given.append(reads if writing else writes)
            number = self._ask(Request("exec", process=process), given)[0].number
        except BaseException:
            for descriptor in ours:
                os.close(descriptor)
            raise
        finally:
            for descriptor in given:
                os.close(descriptor)
        status, out, err = communicate(ours[0], stdin, (ours[1], ours[2]), ours[3], timeout)
        if status is None:
            with suppress(RamekinError):
                self._ask(Request("kill", number=number))
            return Finished(124, out, err, timed_out=True)
        return Finished(os.waitstatus_to_exitcode(status), out, err)

    def _process(
        self, argv: tuple[str, ...], env: Mapping[str, str], user: str | None, workdir: str | None
    ) -> Process:
        who = self._made.user if user is None else identity(self._root.path, user)
        return Process(
            argv=argv,
            env={**self._made.env, **env},
            uid=who.uid,
            gid=who.gid,
            groups=who.groups,
            workdir=workdir or self._made.workdir,
            capabilities=runtimes.CAPABILITIES if who.uid == 0 else (),
        )

    def stop(self, patience: float = STOP_PATIENCE) -> int:
        """End the program by its stop signal, or by force after `patience` seconds; its exit code.

        128 + N is the code of a program that signal N ended.
        """
        state = self.state()
        if state.ended is None and not state.full:
            with suppress(RamekinError):
                heard = self._ask(Request("signal", number=self._stop_signal))[0].number
                deadline = time.monotonic() + (patience if heard else 0)
                while (state := self.state()).ended is None and time.monotonic() < deadline:
                    time.sleep(0.005)
        if state.ended is None:
            with suppress(RamekinError):
                self._ask(Request("signal", number=signal.SIGKILL))
            deadline = time.monotonic() + STOP_PATIENCE
            while (state := self.state()).ended is None and time.monotonic() < deadline:
                time.sleep(0.002)
        if state.ended is None:
            raise RamekinError(f"{self._name} cannot be ended")
        code = os.waitstatus_to_exitcode(state.ended)
        return 128 - code if code < 0 else code

    def record(self) -> Record:
        """All that was seen until now, as the container names it.

        `RamekinError` when something was lost, for what is not known to be used would be left out.
        """
        _, descriptor = self._ask(Request("finish"))
        with open(descriptor, "rb") as file:  # noqa: PTH123
            record = recorded.read(file.read())
        if record.trouble:
            raise RamekinError(f"the observation is not complete: {record.trouble}", hint="observe again")
        return record

    def observation(self) -> Observation:
        """All that was seen until now; the image and the probes are to be named by who knows them."""
        return recorded.made(self.record(), self._root.path, self._watch.by, self._own_places)

    def misses(self) -> tuple[Miss, ...]:
        """Look-ups of paths that are gone, until now (with `Watching.LOOKUPS`)."""
        return _misses(self.record().misses)

    def listings(self) -> tuple[Miss, ...]:
        """Folders that were listed, and of whose entries some are gone: programs that look for what is there
        before they open it (Python does) never ask for what is not.
        """
        return _misses(self.record().listings)

    @property
    def _name(self) -> str:
        return self._made.command[0]

    def _shown_log(self) -> str:
        lines = tail(self._log.text().decode(errors="replace"))
        return f"; it printed{lines}" if lines else ", and printed nothing"


def _misses(found: list[tuple[str, str, str]]) -> tuple[Miss, ...]:
    return tuple(sorted(Miss(path.strip("/"), call, program) for path, call, program in found))
