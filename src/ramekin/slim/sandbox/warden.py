"""The warden of a sandbox: the process between ramekin and the namespaces in which a container lives.

    ramekin ── warden ── keeper (process 1 of its PID namespace) ── bwrap or runc ── the program
                              └── forwarders, commands run in the container

All mounts are in the keeper's own mount namespace, files that the container writes are in a tmpfs there, and
all processes are in its PID namespace. When the keeper ends, however it ends, the kernel takes all of it
away. The keeper dies with the warden. The warden ends when ramekin does, removing the folders that ramekin
did not come to remove.

Run as `python -m ramekin.slim.sandbox.warden DESCRIPTOR`, the descriptor being that of the plan.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import msgspec

from ramekin.image.removal import remove
from ramekin.slim.sandbox import kernel
from ramekin.slim.sandbox.keeper import ORPHANED, Keeper
from ramekin.slim.sandbox.plan import Plan, Reply

_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
"""The keeper's own; the warden, who has to see all folders, shares but the user and PID namespaces with
it."""


def main(descriptor: int) -> int:
    """Be the warden; the keeper is a child. The exit status is of no use."""
    with open(descriptor, "rb") as file:
        plan = msgspec.json.decode(file.read(), type=Plan)
    for given in (plan.control, plan.log, plan.removed):
        if given >= 0:
            # ours, and not for the programs that we start
            os.set_inheritable(given, False)
    ramekin = os.pidfd_open(plan.parent)
    if os.getppid() != plan.parent:
        return 1
    try:
        _unshare(plan)
    except OSError as error:
        _complain(plan, f"the kernel gives no namespaces of our own ({error.strerror})")
        return 1
    child = os.fork()
    if child == 0:
        _keep(plan)
    os.close(plan.control)
    os.close(plan.log)
    ended = os.pidfd_open(child)
    # a signal to a job does not end its sandboxes before their user has asked them for what they saw
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ready, _, _ = select.select([ramekin, ended], [], [])
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    # a process that dies closes its sockets before it counts as dead, so that the keeper may be first to know
    if ramekin in ready or os.waitstatus_to_exitcode(status) == ORPHANED:
        for folder in plan.debris:
            remove(Path(folder))
    return 0


def _unshare(plan: Plan) -> None:
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWPID | (kernel.CLONE_NEWUSER if plan.rootless else 0))
    if plan.rootless:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _complain(plan: Plan, text: str) -> None:
    with socket.socket(fileno=plan.control) as control:
        control.send(msgspec.json.encode(Reply(error=text)))


def _keep(plan: Plan) -> None:
    """Be the keeper; does not come back."""
    code = 1
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        keeper: Keeper | None = None
        try:
            kernel.unshare(_NAMESPACES)
            keeper = Keeper(plan)
            keeper.start()
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            _complain(plan, f"{what}{error.strerror}")
        else:
            keeper.serve()
            code = 0
    except BaseException:
        # into the container's log, which is shown when a sandbox ends by itself
        traceback.print_exc()
    finally:
        # nothing of the parent's is to be cleaned up here
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
