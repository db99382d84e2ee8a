"""The keeper of a sandbox: process 1 of the PID namespace in which a container lives and dies.

It lays the container out, starts it, watches it, and answers who asks about it, over a socket.
"""
# ruff: noqa: PTH116, PTH123

from __future__ import annotations

import errno
import os
import re
import selectors
import shutil
import signal
import socket
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from ramekin.slim.sandbox import (
    filters,
    joining,
    kernel,
    modes,
    mounts,
    network,
    recorded,
    status,
    syscalls,
    upper,
    wire,
)
from ramekin.slim.sandbox.calls import PATH_CALLS
from ramekin.slim.sandbox.fanotify import FileEvents
from ramekin.slim.sandbox.mounts import FOLDER, MERGED
from ramekin.slim.sandbox.notified import Calls, runs_program
from ramekin.slim.sandbox.plan import Plan, Record, Reply, Request, State, Watching

_CHILD = re.compile(rb'"child-pid": *([0-9]+)[^0-9]')
ORPHANED = 3
"""How the keeper ends when who asks is gone without having said so."""

_PULSE = 0.1
"""Seconds between two looks at how full the container's file system is."""

_SPARE = 128 << 10
"""Bytes below which the tmpfs counts as full: what runtimes keep there goes when the program ends."""


class Keeper:
    """One container under watch, and the answers to who asks about it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._control = socket.socket(fileno=plan.control)
        self._waiting = selectors.DefaultSelector()
        self._events: FileEvents | None = None
        self._program = 0
        self._runtime = 0
        self._information = b""
        self._up = False
        self._runtimes = _runtimes(plan.runtime)
        self._ended: int | None = None
        self._full = False
        self._trouble = ""
        self._statuses: dict[int, int] = {}
        """Pipes on which somebody waits for the wait status of a child of ours."""
        self._running: dict[int, int] = {}
        """The process in the container that a child of ours stands for."""
        self._calls: Calls | None = None
        self._filter = b""
        self._deaf = False
        self._numbers = syscalls.numbers(os.uname().machine)
        self._listening: set[str] = set()
        watched = plan.syscalls and plan.program.uid == 0
        self._modes = modes.Modes(MERGED) if watched else None
        self._question = 0
        """The number of what we are asked; 0 is whether we have started."""

    def start(self) -> None:
        """Lay the sandbox out and start the container in it."""
        os.umask(0o022)
        # of forking beside threads: children touch nothing that a thread of ours may hold
        warnings.simplefilter("ignore", DeprecationWarning)
        mounts.lay_out(self._plan)
        network.raise_loopback()
        if self._plan.watching in (Watching.FANOTIFY, Watching.SECCOMP):
            self._watch_files()
        self._prepare_filter()
        wakes, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._on(wakes, lambda: self._reap(wakes))
        self._on(self._control.fileno(), self._answer)
        self._launch()
        self._reply(Reply())

    def serve(self) -> None:
        """Watch and answer until who asks is gone."""
        while self._waiting.get_map():
            for key, _ in self._waiting.select(_PULSE):
                key.data()
            self._look_for_room()

    def _look_for_room(self) -> None:
        """End a program that has written all that it may."""
        if not self._full:
            left = os.statvfs(FOLDER)
            self._full = left.f_bavail * left.f_frsize <= _SPARE or left.f_favail == 0
            if self._full:
                self._kill_all()

    def _watch_files(self) -> None:
        """Have the kernel report files, also beside system calls: not everything is opened by one."""
        try:
            self._events = FileEvents(MERGED, self._modes)
        except OSError as error:
            if self._plan.watching == Watching.SECCOMP:
                # without root, calls have to do
                return
            raise OSError(error.errno, f"files cannot be watched by fanotify ({error.strerror})") from None
        self._on(self._events.fileno(), self._events.take)

    def _on(self, descriptor: int, call: Callable[[], None]) -> None:
        self._waiting.register(descriptor, selectors.EVENT_READ, call)

    def _prepare_filter(self) -> None:
        """Make ready to note system calls, where that is asked for and this machine's are known."""
        watching = Watching(self._plan.watching)
        by_calls = watching in (Watching.SECCOMP, Watching.LOOKUPS)
        if not by_calls and not (self._plan.syscalls and self._numbers):
            return
        if not self._numbers:
            raise OSError(errno.ENOSYS, f"system calls of {os.uname().machine} are not known")
        paths = PATH_CALLS if by_calls else ()
        self._filter = filters.noted(paths=paths, unusual=self._plan.syscalls, table=self._numbers)
        removed: frozenset[str] = frozenset()
        if self._plan.removed >= 0:
            with open(self._plan.removed, "rb") as file:
                removed = frozenset("/" + os.fsdecode(path) for path in file.read().split(b"\0") if path)
        self._calls = Calls(MERGED, watching, removed, self._runtimes)

    def _listen(self) -> int:
        """The end of a pair of sockets to which a child of ours sends the listener of its filter, or -1."""
        if not self._filter:
            return -1
        ours, theirs = socket.socketpair()

        def take() -> None:
            _, descriptors = wire.receive(ours, 1)
            self._waiting.unregister(ours.fileno())
            ours.close()
            for listener in descriptors:
                if self._calls is not None:
                    threading.Thread(target=self._calls.serve, args=(listener,), daemon=True).start()
            if not descriptors:
                # the kernel has refused the filter, or the child came to nothing before
                self._deaf = True

        self._on(ours.fileno(), take)
        return theirs.detach()

    def _submit(self, sends: int) -> None:
        """In a child: be under the filters from now on, after everything else that we do ourselves."""
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        if self._numbers:
            with suppress(OSError):
                # without filters in the kernel, there is nothing to be done about it
                filters.confine(filters.confining(self._numbers), self._numbers["seccomp"])
        if sends < 0:
            return
        try:
            listener = filters.install(self._filter, self._numbers["seccomp"])
        except OSError:
            if self._plan.watching in (Watching.FANOTIFY, Watching.NONE):
                # what is lost is only what the profile would have been made from
                return
            raise
        with socket.socket(fileno=sends) as channel:
            wire.send(channel, b"f", [listener])

    def _launch(self) -> None:
        plan = self._plan
        sends = self._listen()
        command = list(plan.command)
        told = tells = -1
        if plan.runtime == "bwrap":
            told, tells = os.pipe()
            command[1:1] = ["--info-fd", str(tells)]
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                nothing = os.open("/dev/null", os.O_RDONLY)
                os.dup2(nothing, 0)
                os.dup2(plan.log, 1)
                os.dup2(plan.log, 2)
                if tells >= 0:
                    os.set_inheritable(tells, True)
                _unblocked()
                if plan.become is not None:
                    os.setgroups(plan.become.groups)
                    os.setresgid(*[plan.become.gid] * 3)
                    os.setresuid(*[plan.become.uid] * 3)
                self._submit(sends)
                os.execvp(command[0], command)
            except OSError as error:
                os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
            finally:
                os._exit(127)
        os.close(plan.log)
        if sends >= 0:
            os.close(sends)
        self._runtime = pid
        if tells >= 0:
            os.close(tells)
            self._on(told, lambda: self._told(told))

    def _told(self, told: int) -> None:
        """Learn from bubblewrap, which tells it bit by bit, which process the program is."""
        data = os.read(told, 1 << 12)
        self._information += data
        if (found := _CHILD.search(self._information)) is not None:
            self._program = int(found[1])
        if not data:
            self._waiting.unregister(told)
            os.close(told)

    def _inside(self) -> int:
        """The container's first process; `OSError` when it has ended, or is not there yet."""
        if self._ended is not None or not self._is_up():
            raise ProcessLookupError("the program is not running")
        return self._program

    def _is_up(self) -> bool:
        """Whether the container is complete, and the program in it was started.

        Before that, its first process is the runtime's.
        """
        if self._ended is not None:
            return True
        if not self._program and self._plan.runtime == "runc":
            with suppress(OSError, ValueError):
                self._program = int(Path(f"{FOLDER}/pid").read_text())
        if self._program and not self._up:
            self._up = runs_program(self._program, self._runtimes)
        return self._up

    def _reap(self, wakes: int) -> None:
        with suppress(BlockingIOError):
            while os.read(wakes, 1 << 12):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._runtime:
                self._ended = status
            self._running.pop(pid, None)
            pipe = self._statuses.pop(pid, -1)
            if pipe >= 0:
                with suppress(OSError):
                    os.write(pipe, str(status).encode())
                os.close(pipe)

    def _kill_all(self) -> None:
        """End everything that is in the container; the kernel does it when its first process dies."""
        for pid in (*self._running.values(), self._program, self._runtime):
            if pid:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def _answer(self) -> None:
        data, descriptors = wire.receive(self._control, 8)
        if not data:
            os._exit(ORPHANED)
        request = msgspec.json.decode(data, type=Request)
        self._question = request.question
        try:
            self._reply(*getattr(self, f"_do_{request.do}")(request, descriptors))
        except (OSError, ValueError, OverflowError) as error:
            self._reply(Reply(error=str(getattr(error, "strerror", None) or error)))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _reply(self, reply: Reply, descriptor: int = -1) -> None:
        reply = msgspec.structs.replace(reply, question=self._question)
        wire.send(self._control, msgspec.json.encode(reply), [descriptor] if descriptor >= 0 else [])
        if descriptor >= 0:
            os.close(descriptor)

    def _do_state(self, request: Request, descriptors: list[int]) -> tuple[Reply]:
        # one that has ended meanwhile, for want of room, has not been seen to be full yet
        self._look_for_room()
        there = self._look()
        up = self._is_up()
        own = bool(there) and self._ended is None and network.has(self._program, there.values())
        return (Reply(state=State(up, self._ended, self._full, tuple(there), self._trouble, own)),)

    def _look(self) -> dict[str, set[str]]:
        """What the container listens on now, with its sockets."""
        found = network.listening()
        self._listening.update(found)
        return found

    def _do_signal(self, request: Request, descriptors: list[int]) -> tuple[Reply]:
        self._look()
        if self._ended is not None:
            return (Reply(),)
        inside = self._inside()
        os.kill(inside, request.number)
        return (Reply(number=int(_hears(inside, request.number))),)

    def _do_kill(self, request: Request, descriptors: list[int]) -> tuple[Reply]:
        pid = self._running.get(request.number, 0)
        with suppress(ProcessLookupError):
            if pid:
                os.killpg(pid, signal.SIGKILL)
        return (Reply(),)

    def _do_forward(self, request: Request, descriptors: list[int]) -> tuple[Reply]:
        if os.fork() == 0:
            try:
                self._forget()
                root = f"/proc/{self._program}/root"
                network.forward(socket.socket(fileno=descriptors[0]), request.target, root)
            finally:
                os._exit(0)
        return (Reply(),)

    def _do_exec(self, request: Request, descriptors: list[int]) -> tuple[Reply]:
        process = request.process
        if process is None or len(descriptors) != 4:
            raise ValueError("exec needs a process and four descriptors")
        inside = self._inside()
        if self._calls is not None:
            self._calls.started(process)
        told, tells = os.pipe()
        sends = self._listen()
        child = os.fork()
        if child == 0:
            try:
                self._forget()
                os.close(told)
                joining.run(inside, process, descriptors, tells, lambda: self._submit(sends))
            except BaseException as error:
                os.write(descriptors[2], f"{process.argv[0]}: {_words(error)}\n".encode())
            finally:
                os._exit(127)
        os.close(tells)
        if sends >= 0:
            os.close(sends)
        with open(told, "rb") as told_file:
            number = told_file.read()
        self._statuses[child] = os.dup(descriptors[3])
        if number:
            self._running[child] = int(number)
        return (Reply(number=child),)

    def _do_leave(self, request: Request, descriptors: list[int]) -> NoReturn:
        os._exit(0)

    def _do_finish(self, request: Request, descriptors: list[int]) -> tuple[Reply, int]:
        self._look()
        record = Record(trouble=self._trouble, listening=sorted(self._listening))
        if self._events is not None:
            self._events.drain()
            record.opened = sorted(self._events.opened)
            record.executed = sorted(self._events.executed)
            if self._events.lost:
                record.trouble = "the kernel's queue of file events overflowed"
        record.written = sorted(upper.written(f"{FOLDER}/upper", f"{FOLDER}/lower"))
        if (calls := self._calls) is not None:
            record.trouble = record.trouble or calls.trouble
            record.opened = sorted(calls.opened.union(record.opened))
            record.executed = sorted(calls.executed.union(record.executed))
            record.asked, record.absent = sorted(calls.asked), sorted(calls.absent)
            record.misses, record.listings = sorted(calls.misses), sorted(calls.listings)
            record.syscalls = sorted(calls.unusual)
            record.calls_noted = self._plan.syscalls and not self._deaf
            if self._overrides(record):
                calls.capabilities.add(modes.OVERRIDE)
            record.capabilities = sorted(calls.capabilities)
        return Reply(), wire.memory(recorded.write(record))

    def _overrides(self, record: Record) -> bool:
        """Whether root made use of its right to files that their modes keep from it."""
        if self._modes is None:
            return False
        if self._events is None:
            # who opened what is known of calls to nobody
            return modes.others(MERGED, {*record.opened, *record.executed, *record.written})
        made = {place.path for place in self._plan.places}
        written = (path for path in record.written if path not in made)
        chowns = self._calls is not None and "CAP_CHOWN" in self._calls.capabilities
        upper, lower = f"{FOLDER}/upper", f"{FOLDER}/lower"
        return self._modes.overridden or self._modes.wrote(written, upper, lower, chowns=chowns)

    def _forget(self) -> None:
        """In a child: have nothing to do with the keeper's work."""
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        _unblocked()
        self._control.close()
        self._waiting.close()
        for pipe in self._statuses.values():
            os.close(pipe)
        if self._events is not None:
            os.close(self._events.fileno())


def _runtimes(name: str) -> frozenset[tuple[int, int]]:
    """The programs (device and inode) that processes run before they are the container's."""
    found = [os.stat(program) for program in (shutil.which(name), "/proc/self/exe") if program]
    return frozenset((one.st_dev, one.st_ino) for one in found)


def _hears(pid: int, number: int) -> bool:
    """Whether a signal reaches a process: the first one of a PID namespace gets only those that it has
    asked for.

    It asks for a signal by a handler, or by holding it up until it takes it (sigwait(3)).
    """
    asked = status.mask(pid, "SigCgt") | status.mask(pid, "SigBlk")
    return bool(asked >> (number - 1) & 1)


def _words(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)


def _unblocked() -> None:
    """In a child: signals as every program finds them."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
