"""Seccomp filters that hand system calls to a listener (seccomp(2), seccomp_unotify(2)).

What a filter says of a call depends on its number alone, but for a few calls of which only some uses are of
interest. So the kernel remembers which numbers it need not ask about, and calls that are not noted cost
nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Mapping

from ramekin.slim.sandbox import syscalls

_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_LOAD, _RETURN, _AND = 0x20, 0x06, 0x54
_JUMP_EQUAL, _JUMP_ABOVE, _JUMP_FROM, _JUMP_ANY_BIT = 0x15, 0x25, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_X32 = 0x40000000
"""Numbers from here on are of x86-64's x32."""

_REFUSE = 0x00050000
"""SECCOMP_RET_ERRNO, with the error's number in it."""

_SET_MODE_FILTER, _SPEC_ALLOW, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 2, 1 << 3, 1 << 5

NEW_NAMESPACES = 0x7E020000
"""The flags of clone(2) that make namespaces."""

COMMON_SOCKETS = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""

_AF_VSOCK = 40
_SYS_SOCKET = 1
"""The first argument of socketcall(2) by which it makes a socket."""

_PRIVILEGED_PRCTLS = (24, 28, 47)
"""PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_CAP_AMBIENT."""

_OF_DESCRIPTORS = {"newfstatat": 3, "statx": 2}
"""Calls by which C libraries ask about descriptors as well, and where their flags are."""

_EMPTY_PATH = 0x1000
"""AT_EMPTY_PATH: the call is of a descriptor, which was opened before. There is one for every file that is
opened."""

_Instruction = tuple[int, int, int, int]


def noted(*, paths: Iterable[str], unusual: bool, table: Mapping[str, int]) -> bytes:
    """A filter's program: it notes calls of `paths` and, with `unusual`, all that are not for every day.

    `table` has the numbers of this machine's system calls.
    """
    names = {name for name in paths if name in table}
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, syscalls.AUDIT_ARCHITECTURES[os.uname().machine]),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_FROM, 0, 1, _X32),
        (_RETURN, 0, 0, _ALLOW),
    ]
    if unusual:
        followers = {name for names in syscalls.FAMILIES.values() for name in names}
        names |= table.keys() - syscalls.EVERYDAY - followers
        program += _if_first_argument(table["clone"], [(_JUMP_ANY_BIT, 0, 1, NEW_NAMESPACES)])
        program += _if_first_argument(
            table["prctl"], [(_JUMP_EQUAL, 0, 1, option) for option in _PRIVILEGED_PRCTLS]
        )
        program += _unless_first_argument(table["socket"], COMMON_SOCKETS)
    for name, place in _OF_DESCRIPTORS.items():
        if name in names:
            names.remove(name)
            program += _unless_flag(table[name], place, _EMPTY_PATH)
    for first, last in _ranges(sorted(table[name] for name in names)):
        if first == last:
            program += [(_JUMP_EQUAL, 0, 1, first)]
        else:
            program += [(_JUMP_FROM, 0, 2, first), (_JUMP_ABOVE, 1, 0, last)]
        program += [(_RETURN, 0, 0, _NOTIFY)]
    program += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def confining(table: Mapping[str, int]) -> bytes:
    """The program of a filter that closes the ways out that no network namespace closes.

    Sockets of AF_VSOCK lead to the machine's own host, and to virtual machines on this one. What would get
    around that is refused too: rings (io_uring(7)), which make sockets without a call, as engines do it; and
    sockets by socketcall(2) of 32-bit programs, whose family no filter can see.
    """
    machine = os.uname().machine
    program: list[_Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for architecture, numbers in (
        (syscalls.AUDIT_ARCHITECTURES[machine], table),
        syscalls.COMPATIBLE[machine],
    ):
        body = _closed(numbers)
        program += [(_JUMP_EQUAL, 0, len(body), architecture), *body]
    program += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _closed(table: Mapping[str, int]) -> list[_Instruction]:
    body: list[_Instruction] = [
        (_LOAD, 0, 0, _NUMBER),
        (_AND, 0, 0, ~_X32 & 0xFFFFFFFF),
        (_JUMP_EQUAL, 0, 1, table["io_uring_setup"]),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
    ]
    body += _if_first_argument(
        table["socket"], [(_JUMP_EQUAL, 0, 1, _AF_VSOCK)], _REFUSE | errno.EAFNOSUPPORT
    )
    if "socketcall" in table:
        body += _if_first_argument(
            table["socketcall"], [(_JUMP_EQUAL, 0, 1, _SYS_SOCKET)], _REFUSE | errno.ENOSYS
        )
    return [*body, (_RETURN, 0, 0, _ALLOW)]


def _if_first_argument(number: int, tests: list[_Instruction], then: int = _NOTIFY) -> list[_Instruction]:
    """Note the call, or do otherwise with it, when one of `tests` of its first argument holds."""
    body: list[_Instruction] = [(_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for test in tests:
        body += [test, (_RETURN, 0, 0, then)]
    body += [(_RETURN, 0, 0, _ALLOW)]
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _unless_first_argument(number: int, known: tuple[int, ...]) -> list[_Instruction]:
    """Note the call when its first argument is none of `known`."""
    body: list[_Instruction] = [(_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for value in known:
        body += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    body += [(_RETURN, 0, 0, _NOTIFY)]
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _unless_flag(number: int, place: int, flag: int) -> list[_Instruction]:
    """Note the call unless its argument at `place` has a flag."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * place),
        (_JUMP_ANY_BIT, 0, 1, flag),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _NOTIFY),
    ]


def _ranges(numbers: list[int]) -> Iterable[tuple[int, int]]:
    first = last = -2
    for number in numbers:
        if number != last + 1:
            if first >= 0:
                yield first, last
            first = number
        last = number
    if first >= 0:
        yield first, last


def confine(program: bytes, number: int) -> None:
    """Have this process and its children under a filter that hears of nothing, as `install`."""
    _put(program, number, (_SPEC_ALLOW,))


def install(program: bytes, number: int) -> int:
    """Have this process and its children under a filter from now on; the listener's descriptor.

    `number` is that of seccomp(2). The process must have given up new privileges, or be root in its user
    namespace. `OSError` where the kernel refuses.
    """
    # a program of many signals would else be interrupted before it was heard; older kernels do not know that
    listening = _NEW_LISTENER | _SPEC_ALLOW
    return _put(program, number, (listening | _WAIT_KILLABLE, listening))


def _put(program: bytes, number: int, ways: Iterable[int]) -> int:
    """seccomp(2) with the first flags of `ways` that the kernel takes.

    Filters do not have the processor slowed down: they watch, and hide nothing from a program.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program)
    pointer = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(code)))
    for flags in ways:
        result = int(libc.syscall(number, _SET_MODE_FILTER, flags, pointer))
        if result >= 0:
            return result
    error = ctypes.get_errno()
    raise OSError(error, os.strerror(error), "seccomp")
