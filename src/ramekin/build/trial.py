"""A trial run of an image: its files on a throw-away copy, in a sandbox of bubblewrap or runc.

The sandbox has its own processes, IPC and host name; the network is the machine's unless it is shut off.
Without root, and under bubblewrap for users other than root, the container lives in a user namespace that
holds its one user.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ramekin.build import configure, fields, request
from ramekin.errors import RamekinError, UsageError
from ramekin.image.image import Image
from ramekin.image.oci import Runtime
from ramekin.image.removal import remove
from ramekin.image.running.container import (
    Container,
    Identity,
    Volume,
    Wishes,
    container,
    furnish,
    require_program,
)
from ramekin.image.running.files import lay_out
from ramekin.image.running.runtimes import bundle, bwrap
from ramekin.progress import Progress

NETWORKS = ("host", "none")


def volume(text: str, *, where: str) -> Volume:
    """`HOST:DIR[:ro]`; `UsageError` when it is something else or HOST is not there."""
    host, _, rest = text.partition(":")
    inside, colon, mode = rest.partition(":")
    if not host or not inside or (colon and mode not in ("ro", "rw")):
        raise UsageError(
            f"{where}: {text!r} is not HOST:DIR", hint="write it as ./data:/data or ./data:/data:ro"
        )
    path = Path(host).expanduser().absolute()
    if not path.exists():
        raise UsageError(f"{where}: there is no {path}")
    return Volume(path, fields.folder(inside, where=where), mode == "ro")


@contextmanager
def prepared(image: Image, wishes: Wishes, *, progress: Progress) -> Iterator[Container]:
    """A container of an image, its files laid out for as long as the context lasts.

    Raises what reading the image raises, `NotFoundError` when it is for other machines only, `UsageError` for
    wishes that it cannot fulfil.
    """
    here = configure.platform(request.host_architecture())
    chosen = image.choose(here)
    config = chosen.config(chosen.manifest())
    settings = config.config or Runtime()
    if config.architecture != here.architecture:
        progress.warn(f"the image is for {config.architecture}, and this machine is {here.architecture}")
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with _unpacked(chosen, progress) as root:
        made = container(root, settings, wishes, terminal=terminal)
        furnish(made)
        require_program(made)
        yield made


def run(made: Container, *, runtime: str) -> int:
    """Run a container to its end and give the exit code of its program (128 + N for signal N).

    `RamekinError` when the runtime cannot be started.
    """
    return _run_runc(made) if runtime == "runc" else _run_bwrap(made)


@contextmanager
def _unpacked(image: Image, progress: Progress) -> Iterator[Path]:
    """The image's files in a folder that every user of this machine may enter, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ramekin-run-"))
    try:
        folder.chmod(0o711)
        root = folder / "rootfs"
        lay_out(image, root, progress=progress)
        yield root
    finally:
        remove(folder)


def _run_bwrap(made: Container) -> int:
    rooted = os.geteuid() == 0
    command = bwrap(made, rooted=rooted)
    who = made.user if rooted and made.user.uid != 0 else None
    if made.terminal:
        from ramekin.build import pseudoterminal

        return pseudoterminal.call(command, lambda: _become(who))
    told, tells = os.pipe()
    try:
        # a session of its own, or the program could type into the terminal that started it
        command[1:1] = ["--new-session", "--info-fd", str(tells)]
        return _call(command, who, told=told, tells=tells)
    finally:
        os.close(told)


def _become(who: Identity | None) -> None:
    """Become a user for good; in a child process."""
    if who is not None:
        os.setgroups(who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)


def _run_runc(made: Container) -> int:
    import msgspec

    if os.geteuid() != 0 and made.user.uid != 0:
        raise RamekinError(
            "runc without root can be no other user than root inside",
            hint="take --runtime bwrap, or --user root",
        )
    folder = made.root.parent
    (folder / "config.json").write_bytes(msgspec.json.encode(bundle(made)))
    name = folder.name
    start = ["runc", "--root", str(folder / "runc")]
    try:
        return _call([*start, "run", "--bundle", str(folder), name], None, terminal=made.terminal)
    finally:
        subprocess.run([*start, "delete", "--force", name], capture_output=True, check=False)


def _call(
    command: Sequence[str],
    who: Identity | None,
    *,
    terminal: bool = False,
    told: int = -1,
    tells: int = -1,
) -> int:
    """Run a command to its end, handing on the signals that end programs.

    Unless it has the `terminal`, it is in a session of its own, so that a signal to all of a job reaches it
    but once, through here. `tells` is a pipe's end that bubblewrap reports on, closed here, and `told` its
    other end.
    """
    switch: dict[str, Any] = {}
    if who is not None:
        switch = {"user": who.uid, "group": who.gid, "extra_groups": list(who.groups)}
    try:
        process = subprocess.Popen(
            command, pass_fds=[tells] if tells >= 0 else [], start_new_session=not terminal, **switch
        )
    except OSError as error:
        raise RamekinError(f"{command[0]} cannot be started: {error.strerror}") from None
    finally:
        if tells >= 0:
            os.close(tells)
    with _handing_on(process, told):
        status = process.wait()
    return 128 - status if status < 0 else status


@contextmanager
def _handing_on(process: subprocess.Popen[bytes], told: int) -> Iterator[None]:
    """While it lasts, signals that end programs go to the program that was started.

    runc hands them on itself. bubblewrap does not, and its first process inside only waits for the program:
    that is its child.
    """
    inside: list[int] = []

    def hand_on(number: int, frame: object) -> None:
        if told >= 0 and not inside:
            inside.extend(_inside(told))
        for pid in inside:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if not inside:
            process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _inside(told: int) -> list[int]:
    """The program's process by what bubblewrap reported, or nothing when it is not running yet."""
    if not select.select([told], [], [], 0)[0]:
        return []
    found = re.search(rb'"child-pid": *([0-9]+)', os.read(told, 1 << 12))
    if found is None:
        return []
    with suppress(OSError, ValueError):
        children = Path(f"/proc/{int(found[1])}/task/{int(found[1])}/children")
        return [int(pid) for pid in children.read_text().split()]
    return []
