"""System calls of a container, held up until they were noted, and then carried out as if nothing had been.

The kernel hands each call over as numbers (seccomp_unotify(2)). A path is read from the memory of the process
that makes the call; a process that ended meanwhile may have left its number to another, so what was read
counts only if the call still waits afterwards. What a call results in is not known here: whether a path leads
somewhere is looked at from outside, at the time of the call.

A call that was noted before with the same path is let go at once, so that the cost is that of the way here
and back.
"""
# ruff: noqa: PTH115, PTH116

from __future__ import annotations

import fcntl
import os
import select
import struct
from contextlib import suppress

from ramekin.image.running.container import tried
from ramekin.slim.sandbox import lookups, rights, syscalls
from ramekin.slim.sandbox.calls import AT_FDCWD, PATH_CALLS, PathCall, Use
from ramekin.slim.sandbox.memory import Memory
from ramekin.slim.sandbox.plan import Process, Watching

_RECEIVE, _SEND, _STILL_VALID = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_NOTHING = bytes(_NOTIFICATION.size)


class Calls:
    """What was seen of the calls of a container whose root is the folder `root`, as seen from here.

    `runtimes` are the programs (device and inode) that make containers: what those do is not noted.
    """

    def __init__(
        self, root: str, watching: Watching, removed: frozenset[str], runtimes: frozenset[tuple[int, int]]
    ) -> None:
        self._root = root
        self._device = os.stat(root).st_dev
        self._watching = watching
        self._removed = removed
        self._holders = {path.rpartition("/")[0] or "/" for path in removed}
        self._runtimes = runtimes
        numbers = syscalls.numbers(os.uname().machine)
        self._names = {number: name for name, number in numbers.items()}
        self._paths = {
            numbers[name]: call
            for name, call in PATH_CALLS.items()
            if name in numbers and watching in (Watching.SECCOMP, Watching.LOOKUPS)
        }
        self._seen: set[tuple[str, Use, bool]] = set()
        self._roots: dict[int, str | None] = {}
        self._changing: set[int] = set()
        self._inside: set[int] = set()
        self.opened: set[str] = set()
        self.executed: set[str] = set()
        self.asked: set[str] = set()
        self.absent: set[str] = set()
        self.misses: set[tuple[str, str, str]] = set()
        self.listings: set[tuple[str, str, str]] = set()
        self.unusual: set[str] = set()
        self.capabilities: set[str] = set()
        self.trouble = ""

    def serve(self, listener: int) -> None:
        """Note and let go all calls that come to a listener, until nobody is under its filter any more.

        To be called in a thread of its own, which waits in the kernel for the next call: on the way through a
        selector, each would take twice as long.
        """
        buffer = bytearray(_NOTIFICATION.size)
        memory = Memory()
        try:
            while True:
                buffer[:] = _NOTHING
                try:
                    fcntl.ioctl(listener, _RECEIVE, buffer)
                except OSError:
                    if _abandoned(listener):
                        return
                    # the process was killed before we came
                    continue
                number, pid, _, call, _, _, *arguments = _NOTIFICATION.unpack(buffer)
                with suppress(OSError):
                    # the process may end at any time, and what it asked for with it
                    self._note(memory, listener, number, pid, call, arguments)
                with suppress(OSError):
                    fcntl.ioctl(listener, _SEND, _RESPONSE.pack(number, 0, 0, _CONTINUE))
        except BaseException as error:
            self.trouble = f"a system call could not be noted ({error!r})"
        finally:
            # calls that still come fail, rather than wait for ever
            os.close(listener)

    def started(self, process: Process) -> None:
        """Note that a process is about to be started from outside, for what we do ourselves is not noted."""
        if self._watching not in (Watching.SECCOMP, Watching.LOOKUPS):
            return
        for path in tried(process.argv[0], process.env, process.workdir):
            found = lookups.walk(self._root, path, follow=True)
            if found.exists:
                self.executed.update((*found.links, found.end))
                return
            if (gone := found.among(self._removed)) is not None:
                self.misses.add((gone, "execve", ""))

    def _note(
        self, memory: Memory, listener: int, number: int, pid: int, call: int, arguments: list[int]
    ) -> None:
        known = self._paths.get(call)
        name = self._names[call]
        if known is not None:
            root = self._root_of(pid)
            if root is not None:
                self._note_path(memory, listener, number, pid, name, known, arguments, root)
        if name not in syscalls.EVERYDAY or known is None:
            # an everyday call without a path is here for one of its unusual uses
            self._note_unusual(memory, listener, number, pid, name, arguments)
        if name in ("chroot", "pivot_root", "setns", "unshare"):
            self._changing.add(pid)

    # what is unusual

    def _note_unusual(
        self, memory: Memory, listener: int, number: int, pid: int, name: str, arguments: list[int]
    ) -> None:
        if pid not in self._inside:
            if not runs_program(pid, self._runtimes):
                return
            self._inside.add(pid)
        needed = rights.needed(pid, name, arguments, memory)
        if _still(listener, number):
            self.unusual.add(_told(name, arguments))
            self.capabilities |= needed

    # paths

    def _root_of(self, pid: int) -> str | None:
        """A process's root as the container names it (nothing for its own), None outside of it."""
        if pid in self._roots and pid not in self._changing:
            return self._roots[pid]
        try:
            link = f"/proc/{pid}/root"
            if os.stat(link).st_dev != self._device:
                return None
            root = os.readlink(link).rstrip("/")
        except OSError:
            return None
        self._roots[pid] = root
        return root

    def _note_path(
        self,
        memory: Memory,
        listener: int,
        number: int,
        pid: int,
        name: str,
        call: PathCall,
        arguments: list[int],
        root: str,
    ) -> None:
        raw = memory.text(pid, arguments[call.path])
        if not raw:
            # the file that a descriptor stands for, which was opened before
            return
        path = os.fsdecode(raw)
        if not path.startswith("/"):
            folder = arguments[call.folder] & 0xFFFFFFFF if call.folder >= 0 else AT_FDCWD
            place = "cwd" if folder == AT_FDCWD else f"fd/{folder}"
            try:
                base = os.readlink(f"/proc/{pid}/{place}")
            except OSError:
                return
            if not base.startswith("/"):
                return
            path = f"{base}/{path}"
        else:
            path = root + path
        flags = arguments[call.flags] if call.flags >= 0 else 0
        if name == "openat2":
            flags = int.from_bytes(memory.block(pid, arguments[2], 8), "little")
        follow = not (call.never or flags & call.stops)
        key = (path, call.use, follow)
        if key in self._seen:
            return
        if not _still(listener, number):
            return
        self._seen.add(key)
        found = lookups.walk(self._root, path, follow=follow)
        if self._watching is Watching.LOOKUPS:
            self._note_lookup(pid, name, call, flags, found)
        else:
            self._note_use(call, flags, found)

    def _note_lookup(self, pid: int, name: str, call: PathCall, flags: int, found: lookups.Found) -> None:
        if (gone := found.among(self._removed)) is not None:
            self.misses.add((gone, name, _program(pid)))
        elif found.folder and call.use is Use.OPEN and found.end in self._holders:
            self.listings.add((found.end, name, _program(pid)))

    def _note_use(self, call: PathCall, flags: int, found: lookups.Found) -> None:
        if not found.exists:
            if not (call.use is Use.ALTER or flags & os.O_CREAT):
                self.absent.add(found.end)
            self.asked.update(found.links)
            return
        noted = {Use.OPEN: self.opened, Use.EXECUTE: self.executed}.get(call.use, self.asked)
        noted.update(found.links)
        noted.add(found.end)


def runs_program(pid: int, runtimes: frozenset[tuple[int, int]]) -> bool:
    """Whether a process runs a program of the image: none of `runtimes` (device and inode)."""
    try:
        found = os.stat(f"/proc/{pid}/exe")
        name = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False
    # runc starts containers from a copy of itself that is in memory only
    return (found.st_dev, found.st_ino) not in runtimes and not name.startswith("/memfd:runc_")


def _abandoned(listener: int) -> bool:
    """Whether nobody is under the filter of a listener any more."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return any(mask & select.POLLHUP for _, mask in poll.poll(0))


def _still(listener: int, number: int) -> bool:
    """Whether a call still waits, so that what was read of its process was its own."""
    try:
        fcntl.ioctl(listener, _STILL_VALID, struct.pack("=Q", number))
    except OSError:
        return False
    return True


def _told(name: str, arguments: list[int]) -> str:
    """A call by its name, and for sockets the family by its number: `socket:17`."""
    return f"socket:{arguments[0] & 0xFFFFFFFF}" if name == "socket" else name


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
