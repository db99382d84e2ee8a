"""Which capabilities a program makes use of by its system calls.

A call is looked at before it is carried out, with who makes it and what it is about: the owner of the file
whose mode is changed, the users of the processes that get a signal. The answer is what the kernel would ask
for (capabilities(7)); where that cannot be known, as of a file that is gone by now, it is rather one too many
than one too few. Of CAP_DAC_OVERRIDE the calls tell nothing (see `modes`).
"""
# ruff: noqa: PTH115, PTH116

from __future__ import annotations

import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

from ramekin.slim.sandbox import kernel, lookups, status
from ramekin.slim.sandbox.calls import AT_FDCWD, PATH_CALLS
from ramekin.slim.sandbox.memory import Memory

_WORD = 0xFFFFFFFF
"""The bits of an argument that is an int."""
_SAME = _WORD
"""As a user or group: that which it is."""
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


def needed(pid: int, name: str, arguments: list[int], memory: Memory) -> frozenset[str]:
    """The capabilities that a call of a process that has them makes use of."""
    wanted = _wanted(pid, name, arguments, memory)
    if not wanted:
        return frozenset()
    has = status.mask(pid, "CapEff")
    return frozenset(right for right in wanted if has >> kernel.CAPABILITIES[right] & 1)


def _wanted(pid: int, name: str, arguments: list[int], memory: Memory) -> set[str]:
    if name in _SET_USERS or name in _SET_GROUPS:
        kind = "Uid" if name in _SET_USERS else "Gid"
        count = _SET_USERS.get(name) or _SET_GROUPS[name]
        asked = {value & _WORD for value in arguments[:count]} - {_SAME}
        other = asked - set(status.numbers(pid, kind)[:3])
        return {"CAP_SETUID" if kind == "Uid" else "CAP_SETGID"} if other else set()
    if name in _CHOWNS:
        owner, group = (value & _WORD for value in arguments[_CHOWNS[name] :][:2])
        return _of_chown(pid, owner, group, _file(pid, name, arguments, memory))
    if name in _CHMODS:
        return _of_chmod(pid, arguments[_CHMODS[name]], _file(pid, name, arguments, memory))
    if name == "utimensat":
        # without times, whoever may write may do it
        return (
            {"CAP_FOWNER"} if arguments[2] and not _owns(pid, _file(pid, name, arguments, memory)) else set()
        )
    if name in _ATTRIBUTES:
        attribute = memory.text(pid, arguments[1])
        return _of_attribute(attribute, _owns(pid, _file(pid, name, arguments, memory)))
    if name == "bind":
        port = _port(memory.block(pid, arguments[1], 4))
        return {"CAP_NET_BIND_SERVICE"} if 0 < port <= _LAST_PRIVILEGED_PORT else set()
    if name in _KILLS:
        return set() if _may_signal(pid, _targets(pid, name, arguments)) else {"CAP_KILL"}
    if name == "capset":
        return {"CAP_SETPCAP"} if _inherits_more(pid, memory.block(pid, arguments[1], 24)) else set()
    if name == "prctl":
        return {"CAP_SETPCAP"} if arguments[0] & _WORD in (_DROPS, _SECURES) else set()
    return {right for right, names in _ALWAYS.items() if name in names}


_ALWAYS = {"CAP_SETGID": ("setgroups",), "CAP_SYS_CHROOT": ("chroot",)}
"""Capabilities that calls need whoever makes them."""


# -- files


def _file(pid: int, name: str, arguments: list[int], memory: Memory) -> os.stat_result | None:
    """The file that a call is about; None when that is not known."""
    with suppress(OSError):
        if name in _OF_DESCRIPTORS:
            return os.stat(f"/proc/{pid}/fd/{arguments[0] & _WORD}")
        call = PATH_CALLS[name]
        folder = arguments[call.folder] & _WORD if call.folder >= 0 else AT_FDCWD
        place = f"/proc/{pid}/cwd" if folder == AT_FDCWD else f"/proc/{pid}/fd/{folder}"
        path = os.fsdecode(memory.text(pid, arguments[call.path]))
        if not path:
            return os.stat(place)
        base = "" if path.startswith("/") else os.readlink(place)
        follow = not (call.never or (call.flags >= 0 and arguments[call.flags] & call.stops))
        root = f"/proc/{pid}/root"
        found = lookups.walk(root, lookups.absolute(path, base), follow=follow)
        if found.exists:
            return os.lstat(root + found.end)
    return None


def _owns(pid: int, file: os.stat_result | None) -> bool:
    return file is not None and status.numbers(pid, "Uid")[3:] == [file.st_uid]


def _of_chown(pid: int, owner: int, group: int, file: os.stat_result | None) -> set[str]:
    if file is None:
        return {"CAP_CHOWN", "CAP_FSETID"}
    own = _owns(pid, file)
    owner_stays = owner == _SAME or (own and owner == file.st_uid)
    group_may = group == _SAME or (own and group in {file.st_gid, *_groups(pid)})
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


# -- processes


def _port(address: bytes) -> int:
    """The port of a socket address of the internet, 0 of others."""
    if len(address) < 4 or struct.unpack("=H", address[:2])[0] not in (socket.AF_INET, socket.AF_INET6):
        return 0
    return int(struct.unpack("!H", address[2:4])[0])


def _targets(pid: int, name: str, arguments: list[int]) -> list[int]:
    """The processes, as numbered here, that a signal may be for."""
    if name == "pidfd_send_signal":
        told = status.words_in(f"/proc/{pid}/fdinfo/{arguments[0] & _WORD}", "Pid")
        # -1 is one that has ended, 0 one that has no number here
        return [int(word) for word in told if int(word) > 0]
    inside = status.numbers(pid, "NSpid")
    target = arguments[0] & _WORD
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        numbers = status.numbers(int(path.name), "NSpid")
        # those of the same namespace are numbered as often
        if len(numbers) == len(inside) and (target == numbers[-1] or not 0 < target < 1 << 31):
            found.append(int(path.name))
    return found


def _may_signal(pid: int, targets: list[int]) -> bool:
    """Whether a process may send signals to others by who they are (kill(2)); to none, there is no need."""
    own = set(status.numbers(pid, "Uid")[:2])
    return bool(own) and all(own & {*status.numbers(one, "Uid")[:3:2]} for one in targets if one != pid)


def _inherits_more(pid: int, data: bytes) -> bool:
    """Whether the sets of capset(2) have an inheritable capability that the process has in no way."""
    if len(data) < 24:
        return True
    words = struct.unpack("=6I", data)
    wanted = words[2] | words[5] << 32
    return bool(wanted & ~(status.mask(pid, "CapInh") | status.mask(pid, "CapPrm")))


def _groups(pid: int) -> set[int]:
    return {*status.numbers(pid, "Gid")[3:], *status.numbers(pid, "Groups")}
