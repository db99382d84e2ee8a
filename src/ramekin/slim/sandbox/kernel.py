"""System calls that Python's standard library has no function for, by ctypes. Linux only.

Every function raises `OSError` with the number that the kernel gave.
"""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

FAN_CLOEXEC = 0x1
FAN_NONBLOCK = 0x2
FAN_UNLIMITED_QUEUE = 0x10
FAN_UNLIMITED_MARKS = 0x20
FAN_OPEN = 0x20
FAN_OPEN_EXEC = 0x1000
FAN_Q_OVERFLOW = 0x4000
FAN_ONDIR = 0x40000000
FAN_MARK_ADD = 0x1
FAN_MARK_FILESYSTEM = 0x100

AT_FDCWD = -100

_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE"
    " NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT"
    " SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE"
    " AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
    " PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITIES = {f"CAP_{name}": number for number, name in enumerate(_CAPABILITIES.split())}
"""Numbers of capabilities (capabilities(7))."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = [
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
]
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_libc.fanotify_mark.argtypes = [
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
]


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, kind: int = 0) -> None:
    """setns(2)."""
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2); the error names `target`."""
    _checked(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            flags,
            os.fsencode(options) or None,
        ),
        target,
    )


def prctl(option: int, first: int = 0, second: int = 0, third: int = 0, fourth: int = 0) -> None:
    """prctl(2)."""
    _checked(_libc.prctl(option, first, second, third, fourth), "prctl")


def fanotify_init(flags: int, event_flags: int) -> int:
    """fanotify_init(2)."""
    return _checked(_libc.fanotify_init(ctypes.c_uint(flags), ctypes.c_uint(event_flags)), "fanotify_init")


def fanotify_mark(group: int, flags: int, mask: int, path: str) -> None:
    """fanotify_mark(2); the error names `path`."""
    _checked(_libc.fanotify_mark(group, flags, mask, AT_FDCWD, os.fsencode(path)), path)


def keep_capabilities(names: frozenset[str]) -> None:
    """Have no capability but those of `names`, now and after execve (capset(2)).

    To be called by root before it becomes another user, who then has none at all.
    """
    for name, number in CAPABILITIES.items():
        if name not in names:
            try:
                prctl(PR_CAPBSET_DROP, number)
            except OSError:
                # a capability that this kernel does not know, or that we may not drop as we have it not
                continue
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    bits = sum(1 << CAPABILITIES[name] for name in names)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    # version 3: two rows of effective, permitted and inheritable bits
    head = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    data = ctypes.create_string_buffer(struct.pack("=6I", low, low, 0, high, high, 0))
    _checked(_libc.capset(head, data), "capset")
