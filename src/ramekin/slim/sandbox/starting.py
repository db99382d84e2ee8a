"""How an image's program is started in a sandbox: from its configuration to what its keeper is told."""

from __future__ import annotations

import re
import signal
from contextlib import suppress

from ramekin.errors import UsageError
from ramekin.image.oci import Runtime
from ramekin.image.running import runtimes
from ramekin.image.running.container import (
    Container,
    NoProgramError,
    NothingToRunError,
    Wishes,
    container,
    require_program,
)
from ramekin.slim.sandbox.mounts import FOLDER
from ramekin.slim.sandbox.plan import Place
from ramekin.slim.sandbox.rootfs import Rootfs

OWN_FILES = ("hosts", "hostname", "resolv.conf")
"""Files of /etc that a sandbox brings, as engines do."""

_SHM = str(64 << 20)
_SIGNAL = re.compile(r"(?:SIG)?(.*?)(?:([+-])([0-9]{1,2}))?", re.DOTALL)


def container_of(root: Rootfs, settings: Runtime, wishes: Wishes) -> Container:
    """What is to be run; errors tell how it is said here what that is."""
    try:
        made = container(root.path, settings, wishes, terminal=False)
        require_program(made)
    except NothingToRunError as error:
        raise UsageError(error.message, hint="--cmd says what to run; --run puts commands to it") from None
    except NoProgramError as error:
        hint = (
            None if wishes.entrypoint else "--cmd (`args:`) gives what stands in place of the image's own Cmd"
        )
        raise NoProgramError(error.message, error.tried, hint=hint) from None
    return made


def places(made: Container) -> tuple[Place, ...]:
    """What has to stand in the image for a sandbox to be mounted on it, and to start in."""
    files = tuple(Place(f"/etc/{name}", folder=False) for name in OWN_FILES)
    volumes = tuple(Place(item.inside, folder=item.host.is_dir()) for item in made.volumes)
    folders = tuple(Place(path) for path in ("/proc", "/dev", "/sys"))
    return (*folders, *files, *volumes, Place(made.workdir, True, made.user.uid, made.user.gid))


def command(inner: Container, runtime: str, rootless: bool) -> tuple[str, ...]:
    """The command line by which a keeper starts a container; its paths are the keeper's."""
    if runtime == "runc":
        start = ["runc", "--root", f"{FOLDER}/runc", "--rootless", "true"]
        return (*start, "run", "--pid-file", f"{FOLDER}/pid", "--bundle", f"{FOLDER}/bundle", "ramekin")
    words = runtimes.bwrap(inner, rooted=not rootless)
    words.insert(1, "--as-pid-1")
    # what is written to memory is bounded, and nobody needs new devices
    memory = ["--perms", "1777", "--size", _SHM, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    at = words.index("--clearenv")
    words[at:at] = memory
    return tuple(words)


def stop_signal(settings: Runtime) -> int:
    """The number of an image's `StopSignal` (config.md), SIGTERM when it says none."""
    text = settings.stop_signal
    if not text:
        return signal.SIGTERM
    if text.isdecimal() and 0 < int(text) < signal.NSIG:
        return int(text)
    found = _SIGNAL.fullmatch(text.upper())
    assert found is not None
    name, sign, more = found.groups()
    with suppress(KeyError):
        # real-time signals are counted from either end, as in SIGRTMIN+3
        number = signal.Signals[f"SIG{name}"] + int(f"{sign or ''}{more or 0}")
        if not sign or signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    raise UsageError(f"the image's stop signal {text!r} is none", hint="correct the image's StopSignal")
