"""Which capabilities a program makes use of: by system calls, and by the files that it opens and writes.

A call is looked at before it is carried out, with who makes it and what it is about: the owner of the file
whose mode is changed, the users of the processes that get a signal. The answer is what the kernel would ask
for (capabilities(7)); where that cannot be known, as of a file that is gone by now, it is rather one too many
than one too few. Of files, root needs CAP_DAC_OVERRIDE for those that their modes would keep from it.
"""
# ruff: noqa: PTH115, PTH116

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ramekin.slim.sandbox import kernel, lookups
from ramekin.slim.sandbox.calls import AT_FDCWD, PATH_CALLS

Read = Callable[[int, int, int], bytes]
"""Bytes of a process, by its number, an address and how many."""

OVERRIDE = "CAP_DAC_OVERRIDE"

_NOBODY = 0xFFFFFFFF
_SET_GROUP = 0o2000
_CHOWNS = {"chown": 1, "lchown": 1, "fchown": 1, "fchownat": 2}
"""The argument that has the new owner; the one after it has the group."""
_CHMODS = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2}
_ATTRIBUTES = ("setxattr", "lsetxattr", "fsetxattr")
_OF_DESCRIPTORS = ("fchown", "fchmod", "fsetxattr")
_SET_USERS = {"setuid": 1, "setreuid": 2, "setresuid": 3, "setfsuid": 1}
_SET_GROUPS = {"setgid": 1, "setregid": 2, "setresgid": 3, "setfsgid": 1}
"""How many identities a call sets."""
_KILLS = ("kill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
_DROPS, _SECURES = 24, 28
"""PR_CAPBSET_DROP, PR_SET_SECUREBITS."""
_LAST_PRIVILEGED_PORT = 1023
_PAGE = 4096


def needed(pid: int, name: str, arguments: list[int], read: Read) -> frozenset[str]:
    """The capabilities that a call of a process that has them makes use of."""
    wanted = _wanted(pid, name, arguments, read)
    if not wanted:
        return frozenset()
    has = _effective(pid)
    return frozenset(right for right in wanted if has >> kernel.CAPABILITIES[right] & 1)


def _wanted(pid: int, name: str, arguments: list[int], read: Read) -> set[str]:
    if name in _SET_USERS or name in _SET_GROUPS:
        kind = "Uid" if name in _SET_USERS else "Gid"
        count = _SET_USERS.get(name) or _SET_GROUPS[name]
        asked = {value & _NOBODY for value in arguments[:count]} - {_NOBODY}
        other = asked - set(_numbers(pid, kind)[:3])
        return {"CAP_SETUID" if kind == "Uid" else "CAP_SETGID"} if other else set()
    if name in _CHOWNS:
        owner, group = (value & _NOBODY for value in arguments[_CHOWNS[name] :][:2])
        return _of_chown(pid, owner, group, _file(pid, name, arguments, read))
    if name in _CHMODS:
        return _of_chmod(pid, arguments[_CHMODS[name]], _file(pid, name, arguments, read))
    if name == "utimensat":
        # without times, whoever may write may do it
        return {"CAP_FOWNER"} if arguments[2] and not _owns(pid, _file(pid, name, arguments, read)) else set()
    if name in _ATTRIBUTES:
        attribute = _text(pid, arguments[1], read)
        return _of_attribute(attribute, _owns(pid, _file(pid, name, arguments, read)))
    if name == "bind":
        port = _port(read(pid, arguments[1], 4))
        return {"CAP_NET_BIND_SERVICE"} if 0 < port <= _LAST_PRIVILEGED_PORT else set()
    if name in _KILLS:
        return set() if _may_signal(pid, _targets(pid, name, arguments)) else {"CAP_KILL"}
    if name == "capset":
        return {"CAP_SETPCAP"} if _inherits_more(pid, read(pid, arguments[1], 24)) else set()
    if name == "prctl":
        return {"CAP_SETPCAP"} if arguments[0] & _NOBODY in (_DROPS, _SECURES) else set()
    return {right for right, names in _ALWAYS.items() if name in names}


_ALWAYS = {"CAP_SETGID": ("setgroups",), "CAP_SYS_CHROOT": ("chroot",)}
"""Capabilities that calls need whoever makes them."""


# -- files


def _file(pid: int, name: str, arguments: list[int], read: Read) -> os.stat_result | None:
    """The file that a call is about; None when that is not known."""
    with suppress(OSError):
        if name in _OF_DESCRIPTORS:
            return os.stat(f"/proc/{pid}/fd/{arguments[0] & _NOBODY}")
        call = PATH_CALLS[name]
        folder = arguments[call.folder] & _NOBODY if call.folder >= 0 else AT_FDCWD
        place = f"/proc/{pid}/cwd" if folder == AT_FDCWD else f"/proc/{pid}/fd/{folder}"
        path = os.fsdecode(_text(pid, arguments[call.path], read))
        if not path:
            return os.stat(place)
        base = "" if path.startswith("/") else os.readlink(place)
        follow = not (call.never or (call.flags >= 0 and arguments[call.flags] & call.stops))
        root = f"/proc/{pid}/root"
        found = lookups.walk(root, lookups.absolute(path, base), follow=follow)
        if found.exists:
            return os.lstat(root + found.end)
    return None


def _text(pid: int, address: int, read: Read) -> bytes:
    """The zero-ended bytes at an address, which may be in two pages; nothing when they cannot be read."""
    text = b""
    while len(text) < _PAGE:
        place = address + len(text)
        if not (block := read(pid, place, _PAGE - place % _PAGE)):
            return b""
        text += block
        if b"\0" in block:
            break
    return text.partition(b"\0")[0]


def _owns(pid: int, file: os.stat_result | None) -> bool:
    return file is not None and _numbers(pid, "Uid")[3:] == [file.st_uid]


def _of_chown(pid: int, owner: int, group: int, file: os.stat_result | None) -> set[str]:
    if file is None:
        return {"CAP_CHOWN", "CAP_FSETID"}
    own = _owns(pid, file)
    owner_stays = owner == _NOBODY or (own and owner == file.st_uid)
    group_may = group == _NOBODY or (own and group in {file.st_gid, *_groups(pid)})
    wanted = set() if owner_stays and group_may else {"CAP_CHOWN"}
    # of those whose group may not execute them, the kernel takes the bit away from who is not in the group
    locked = stat.S_ISREG(file.st_mode) and file.st_mode & (_SET_GROUP | stat.S_IXGRP) == _SET_GROUP
    if locked and file.st_gid not in _groups(pid):
        wanted.add("CAP_FSETID")
    return wanted


def _of_chmod(pid: int, mode: int, file: os.stat_result | None) -> set[str]:
    wanted = set() if _owns(pid, file) else {"CAP_FOWNER"}
    if mode & _SET_GROUP and (file is None or file.st_gid not in _groups(pid)):
        wanted.add("CAP_FSETID")
    return wanted


def _of_attribute(name: bytes, own: bool) -> set[str]:
    if name == b"security.capability":
        return {"CAP_SETFCAP"}
    if name.startswith((b"user.", b"system.")):
        return set() if own else {"CAP_FOWNER"}
    return set() if name else {"CAP_SETFCAP", "CAP_FOWNER"}


def closed(file: os.stat_result, rights: int) -> bool:
    """Whether a file's mode keeps `rights` (4 to read, 2 to write, 1 to execute) from root, and its group."""
    shift = 6 if file.st_uid == 0 else 3 if file.st_gid == 0 else 0
    return file.st_mode >> shift & rights != rights


class Modes:
    """What root opens of the files below `root`, and could not without CAP_DAC_OVERRIDE."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._doors: dict[str, bool] = {}
        self._others: set[int] = set()
        self.overridden = False
        """Whether root has opened what is closed to it."""
        self.by_root: set[str] = set()
        """Files of others that root has opened, and that it may only read."""

    def opened(self, path: str, descriptor: int, pid: int, *, executed: bool) -> None:
        """Note that a process has opened or executed what a descriptor of ours is of."""
        if self.overridden:
            return
        file = os.fstat(descriptor)
        if not closed(file, 6) and not self._behind(path):
            return
        barred = closed(file, 1 if executed else 4) or self._behind(path)
        if (barred or (closed(file, 2) and path not in self.by_root)) and self._is_root(pid):
            self.overridden = barred
            self.by_root.add(path)

    def _behind(self, path: str) -> bool:
        """Whether a folder on the way is closed to root."""
        folder = path.rpartition("/")[0]
        if not folder:
            return False
        known = self._doors.get(folder)
        if known is None:
            known = self._behind(folder)
            with suppress(OSError):
                known = known or closed(os.lstat(self._root + folder), 1)
            self._doors[folder] = known
        return known

    def _is_root(self, pid: int) -> bool:
        """Whether a process is root's; one that has ended may have been. Who is not will never be again."""
        if pid in self._others:
            return False
        identities = _numbers(pid, "Uid")
        if not identities or identities[3] == 0:
            return True
        self._others.add(pid)
        return False

    def wrote(self, paths: Iterable[str], upper: str, lower: str, *, chowns: bool) -> bool:
        """Whether root has written what is closed to it, or it cannot be ruled out.

        `paths` are those that were made, changed or removed; `upper` and `lower` the folders of the overlay's
        layers. When root `chowns`, files of others may have been made by it.
        """
        return any(self._wrote(path, upper, lower, chowns) for path in paths)

    def _wrote(self, path: str, upper: str, lower: str, chowns: bool) -> bool:
        before, after = _at(lower + path), _at(upper + path)
        if before is not None and after is not None and not stat.S_ISCHR(after.st_mode):
            # changed in its place, by those who opened it; or in its mode alone, which cannot be told apart
            return closed(before, 2) and not stat.S_ISLNK(before.st_mode) and path in self.by_root
        folder = path.rpartition("/")[0]
        there = _at(lower + folder) or _at(upper + folder)
        if there is None or not closed(there, 3):
            return False
        # a new file is whose it is; who removed one is not known
        if after is None or stat.S_ISCHR(after.st_mode):
            return True
        return chowns or after.st_uid == 0 or path in self.by_root


def _at(path: str) -> os.stat_result | None:
    with suppress(OSError):
        return os.lstat(path)
    return None


# -- processes


def _port(address: bytes) -> int:
    """The port of a socket address of the internet, 0 of others."""
    if len(address) < 4 or struct.unpack("=H", address[:2])[0] not in (socket.AF_INET, socket.AF_INET6):
        return 0
    return int(struct.unpack("!H", address[2:4])[0])


def _targets(pid: int, name: str, arguments: list[int]) -> list[int]:
    """The processes, as numbered here, that a signal may be for."""
    if name == "pidfd_send_signal":
        return [
            number for number in _fields(f"/proc/{pid}/fdinfo/{arguments[0] & _NOBODY}", "Pid") if number > 0
        ]
    inside = _numbers(pid, "NSpid")
    target = arguments[0] & _NOBODY
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        numbers = _fields(str(path / "status"), "NSpid")
        # those of the same namespace are numbered as often
        if len(numbers) == len(inside) and (target == numbers[-1] or not 0 < target < 1 << 31):
            found.append(int(path.name))
    return found


def _may_signal(pid: int, targets: list[int]) -> bool:
    """Whether a process may send signals to others by who they are (kill(2)); to none, there is no need."""
    own = set(_numbers(pid, "Uid")[:2])
    return bool(own) and all(own & {*_numbers(one, "Uid")[:3:2]} for one in targets if one != pid)


def _inherits_more(pid: int, data: bytes) -> bool:
    """Whether the sets of capset(2) have an inheritable capability that the process has in no way."""
    if len(data) < 24:
        return True
    words = struct.unpack("=6I", data)
    wanted = words[2] | words[5] << 32
    has = 0
    for kind in ("CapInh", "CapPrm"):
        has |= int((_status(pid, kind) or ["0"])[0], 16)
    return bool(wanted & ~has)


def _groups(pid: int) -> set[int]:
    return {*_numbers(pid, "Gid")[3:], *_numbers(pid, "Groups")}


def _numbers(pid: int, field: str) -> list[int]:
    return _fields(f"/proc/{pid}/status", field)


def _fields(path: str, field: str) -> list[int]:
    return [int(word) for word in _line(path, field)]


def _effective(pid: int) -> int:
    words = _status(pid, "CapEff")
    return int(words[0], 16) if words else 0


def _status(pid: int, field: str) -> list[str]:
    return _line(f"/proc/{pid}/status", field)


def _line(path: str, field: str) -> list[str]:
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(f"{field}:"):
                return line.split()[1:]
    return []


def others(root: str, paths: set[str]) -> bool:
    """Whether one of the files at `paths`, or a folder that one is in, is another user's than root's."""
    for path in paths:
        for place in (path, path.rpartition("/")[0]):
            with suppress(OSError):
                if os.lstat(root + place).st_uid != 0:
                    return True
    return False
