"""Which capabilities a system call makes use of, by its arguments and who makes it.

An answer may be one too many, where the kernel would have found another reason to allow the call, and never
one too few for the calls that are looked at here. Reading and writing of files that belong to others
(CAP_DAC_OVERRIDE) shows in no call; `recorded` concludes on it.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ramekin.slim.sandbox import kernel

Read = Callable[[int, int, int], bytes]
"""Bytes of a process, by its number, an address and how many."""

_NOBODY = 0xFFFFFFFF
_SET_GROUP = 0o2000
_CHOWNS = {"chown": 1, "lchown": 1, "fchown": 1, "fchownat": 2}
"""The argument that has the new owner; the one after it has the group."""
_CHMODS = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2}
_SET_USERS = {"setuid": 1, "setreuid": 2, "setresuid": 3, "setfsuid": 1}
_SET_GROUPS = {"setgid": 1, "setregid": 2, "setresgid": 3, "setfsgid": 1}
"""How many identities a call sets."""
_TIMES = ("utimensat",)
_LAST_PRIVILEGED_PORT = 1023


def needed(pid: int, name: str, arguments: list[int], read: Read) -> frozenset[str]:
    """The capabilities that a call of a process that has them makes use of."""
    wanted = _wanted(pid, name, arguments, read)
    if not wanted:
        return frozenset()
    has = _effective(pid)
    return frozenset(right for right in wanted if has >> kernel.CAPABILITIES[right] & 1)


def _wanted(pid: int, name: str, arguments: list[int], read: Read) -> frozenset[str]:
    wanted: set[str] = set()
    if name in _SET_USERS or name in _SET_GROUPS:
        kind = "Uid" if name in _SET_USERS else "Gid"
        count = _SET_USERS.get(name) or _SET_GROUPS[name]
        asked = {value & _NOBODY for value in arguments[:count]} - {_NOBODY}
        if asked - _identities(pid, kind):
            wanted.add("CAP_SETUID" if kind == "Uid" else "CAP_SETGID")
    elif name == "setgroups":
        wanted.add("CAP_SETGID")
    elif name in _CHOWNS:
        wanted |= {"CAP_CHOWN", "CAP_FSETID"}
    elif name in _CHMODS:
        wanted.add("CAP_FOWNER")
        if arguments[_CHMODS[name]] & _SET_GROUP:
            wanted.add("CAP_FSETID")
    elif name in _TIMES:
        wanted.add("CAP_FOWNER")
    elif name == "bind":
        if 0 < _port(read(pid, arguments[1], 4)) <= _LAST_PRIVILEGED_PORT:
            wanted.add("CAP_NET_BIND_SERVICE")
    elif name == "chroot":
        wanted.add("CAP_SYS_CHROOT")
    elif name in ("kill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"):
        wanted.add("CAP_KILL")
    elif name in ("capset", "prctl"):
        wanted.add("CAP_SETPCAP")
    elif name in ("setxattr", "lsetxattr", "fsetxattr"):
        wanted |= {"CAP_SETFCAP", "CAP_FOWNER"}
    return frozenset(wanted)


def _port(address: bytes) -> int:
    """The port of a socket address of the internet, 0 of others."""
    if len(address) < 4 or struct.unpack("=H", address[:2])[0] not in (socket.AF_INET, socket.AF_INET6):
        return 0
    return int(struct.unpack("!H", address[2:4])[0])


def _identities(pid: int, kind: str) -> set[int]:
    return {int(word) for word in _status(pid, kind)[:3]}


def _effective(pid: int) -> int:
    words = _status(pid, "CapEff")
    return int(words[0], 16) if words else 0


def _status(pid: int, field: str) -> list[str]:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
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
