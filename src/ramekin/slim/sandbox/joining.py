"""A process of ours becoming one of a container's: its namespaces, user and rights, and then the program.

The functions here run in a child that was forked for it. Nothing may be imported once the file system is the
container's, or the image would run its code in ours.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from ramekin.slim.sandbox import kernel
from ramekin.slim.sandbox.plan import Process

_NAMESPACES = ("ipc", "uts", "cgroup", "net", "pid", "mnt", "user")
"""In the order in which they are entered; the user namespace takes away the right to the others."""


def enter(pid: int, process: Process) -> bool:
    """Enter the namespaces of a process, for the children made from then on.

    Gives whether its user namespace was another than ours.
    """
    # or a program of the container could get at ours by /proc
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    doors = {}
    for name in _NAMESPACES:
        path = f"/proc/{pid}/ns/{name}"
        if os.stat(path).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:  # noqa: PTH116
            doors[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with suppress(PermissionError):
        # not possible from within a user namespace, where all groups but one are nobody's
        os.setgroups(process.groups)
    for door in doors.values():
        kernel.setns(door)
    return "user" in doors


def become(process: Process, *, mapped: bool) -> None:
    """Take the user, groups and rights of a process; `mapped` says that a user namespace keeps the groups."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if not mapped:
        with suppress(PermissionError):
            os.setgroups(process.groups)
    kernel.keep_capabilities(frozenset(process.capabilities) | {"CAP_SETUID", "CAP_SETGID"})
    os.setresgid(process.gid, process.gid, process.gid)
    os.setresuid(process.uid, process.uid, process.uid)
    if process.uid == 0:
        kernel.keep_capabilities(frozenset(process.capabilities))


def execute(process: Process) -> None:
    """Start the program in place of this one; comes back by `OSError` only."""
    os.execvpe(process.argv[0], process.argv, process.env)


def run(
    inside: int, process: Process, descriptors: list[int], tells: int, submit: Callable[[], None]
) -> None:
    """Run a program in the container of the process `inside`, standing for it outside: end as it does.

    `descriptors` begin with its standard input, output and error; its number is written to `tells`. `submit`
    is what the program's process does last, to come under the filters.
    """
    os.setsid()
    mapped = enter(inside, process)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(tells)
        for number in range(3):
            os.dup2(descriptors[number], number)
        become(process, mapped=mapped)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(process.workdir)
        submit()
        execute(process)
    os.write(tells, str(pid).encode())
    os.close(tells)
    # what is read from the program has to end when the program does
    for number in (0, 1, 2, *descriptors[:3]):
        os.close(number)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        os._exit(128 + os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))
