"""A trial run of an image: its files on a throw-away copy, in a sandbox of bubblewrap or runc.

What is run follows image-spec config.md as Docker reads it: Entrypoint then Cmd, arguments in place of Cmd,
an entrypoint of the user's in place of both. The sandbox has its own processes, IPC and host name; the
network is the machine's unless it is shut off. Without root, and under bubblewrap for users other than root,
the container lives in a user namespace that holds its one user.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ramekin.build import configure, fields, request
from ramekin.errors import NotFoundError, RamekinError, UsageError
from ramekin.image.image import Image
from ramekin.image.oci import Runtime
from ramekin.image.removal import remove
from ramekin.progress import Progress, Task

RUNTIMES = ("bwrap", "runc")
NETWORKS = ("host", "none")

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""What root may do inside, where the sandbox is made by root."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder or file of the machine that is seen at `inside`."""

    host: Path
    inside: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user has other than the image says. None leaves it to the image."""

    arguments: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    workdir: str | None = None
    volumes: tuple[Volume, ...] = ()
    network: str = "host"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user inside the image."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Everything that a sandbox is made from."""

    root: Path
    command: tuple[str, ...]
    env: Mapping[str, str]
    user: Identity
    workdir: str
    volumes: tuple[Volume, ...] = ()
    network: str = "host"
    terminal: bool = False
    binds: tuple[Path, ...] = field(default=())


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


def choose_runtime(name: str | None) -> str:
    """The runtime called `name`, or the better one of those that are installed: runc for root, else bwrap."""
    if name is not None and name not in RUNTIMES:
        raise UsageError(f"--runtime: there is no {name!r}", hint="choose bwrap or runc")
    wanted = (name,) if name else RUNTIMES[::-1] if os.geteuid() == 0 else RUNTIMES
    for candidate in wanted:
        if shutil.which(candidate):
            return candidate
    raise RamekinError(
        f"{' and '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} not installed",
        hint="install bubblewrap or runc",
    )


def identity(root: Path, user: str) -> Identity:
    """What a `User` of a config means by the passwd and group files below `root` (config.md, User)."""
    name, _, group = user.partition(":")
    passwd = list(_rows(root / "etc/passwd", 7))
    groups = list(_rows(root / "etc/group", 4))
    row = next((row for row in passwd if (name or "0") in (row[0], row[2])), None)
    if row is None and name and not name.isdecimal():
        raise UsageError(
            f"the image has no user {name!r}",
            hint=fields.near(name, [known[0] for known in passwd], "it has "),
        )
    uid = int(row[2]) if row else int(name or 0)
    gid = int(row[3]) if row else 0
    more: tuple[int, ...] = ()
    if group:
        found = next((known for known in groups if group in (known[0], known[2])), None)
        if found is None and not group.isdecimal():
            raise UsageError(
                f"the image has no group {group!r}",
                hint=fields.near(group, [known[0] for known in groups], "it has "),
            )
        gid = int(found[2]) if found else int(group)
    elif row is not None:
        more = tuple(sorted(int(known[2]) for known in groups if row[0] in known[3].split(",")))
    return Identity(uid, gid, more, row[5] if row else "/")


def _rows(path: Path, width: int) -> Iterator[list[str]]:
    """The well-formed rows of an account file; a link that leaves the image is not followed."""
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        return
    for line in path.read_text(errors="replace").splitlines():
        row = line.split(":")
        if len(row) == width and row[2].isdecimal() and (width != 7 or row[3].isdecimal()):
            yield row


def container(root: Path, settings: Runtime, wishes: Wishes, *, terminal: bool) -> Container:
    """Lay the user's wishes over what the image says; `UsageError` when there is nothing to run."""
    entrypoint, default = settings.entrypoint or (), settings.cmd or ()
    if wishes.entrypoint is not None:
        entrypoint, default = wishes.entrypoint, ()
    command = (*entrypoint, *(wishes.arguments or default))
    if not command:
        raise UsageError("the image does not say what to run", hint="give a command after --")
    who = identity(root, settings.user if wishes.user is None else wishes.user)
    own = dict(entry.partition("=")[::2] for entry in settings.env or ())
    start = {"PATH": configure.PATH, "HOME": who.home}
    if terminal:
        start["TERM"] = os.environ.get("TERM", "xterm")
    return Container(
        root=root,
        command=command,
        env={**start, **own, **dict(wishes.env)},
        user=who,
        workdir=wishes.workdir or settings.working_dir or "/",
        volumes=wishes.volumes,
        network=wishes.network,
        terminal=terminal,
        binds=_names(wishes.network),
    )


def _names(network: str) -> tuple[Path, ...]:
    """The machine's files by which names are looked up on its network."""
    if network == "none":
        return ()
    files = (Path("/etc/resolv.conf"), Path("/etc/hosts"))
    return tuple(path for path in files if path.is_file())


def bwrap(run: Container, *, rooted: bool) -> list[str]:
    """The command line of bubblewrap; `rooted` says that it is started by root."""
    command = ["bwrap", "--die-with-parent", "--unshare-ipc", "--unshare-pid", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--hostname", "ramekin"]
    if run.network == "none":
        command.append("--unshare-net")
    if rooted and run.user.uid == 0:
        for capability in CAPABILITIES:
            command += ["--cap-add", capability]
    else:
        command += ["--unshare-user", "--uid", str(run.user.uid), "--gid", str(run.user.gid)]
    command += ["--bind", str(run.root), "/", "--proc", "/proc", "--dev", "/dev"]
    command += ["--ro-bind-try", "/sys", "/sys"]
    for path in run.binds:
        command += ["--ro-bind", str(path.resolve()), str(path)]
    for item in run.volumes:
        command += ["--ro-bind" if item.read_only else "--bind", str(item.host), item.inside]
    command += ["--clearenv"]
    for name, value in run.env.items():
        command += ["--setenv", name, value]
    return [*command, "--chdir", run.workdir, "--", *run.command]


def bundle(run: Container) -> dict[str, Any]:
    """The config.json of a bundle for runc (OCI runtime-spec, config.md)."""
    private = ["nosuid", "noexec", "nodev"]
    rootless = os.geteuid() != 0
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*private, "mode=1777", "size=65536k"],
        },
        {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", *private, "ro"]},
    ]
    mounts += [
        {
            "destination": str(path),
            "type": "bind",
            "source": str(path.resolve()),
            "options": ["bind", *private, "ro"],
        }
        for path in run.binds
    ]
    mounts += [
        {
            "destination": item.inside,
            "type": "bind",
            "source": str(item.host),
            "options": ["rbind", "ro" if item.read_only else "rw"],
        }
        for item in run.volumes
    ]
    kinds = ["pid", "ipc", "uts", "mount", *(["network"] if run.network == "none" else [])]
    linux: dict[str, Any] = {"namespaces": [{"type": kind} for kind in kinds + ["user"] * rootless]}
    if rootless:
        linux["uidMappings"] = [{"containerID": run.user.uid, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": run.user.gid, "hostID": os.getegid(), "size": 1}]
    rights = {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "hostname": "ramekin",
        "root": {"path": str(run.root)},
        "process": {
            "terminal": run.terminal,
            "user": {
                "uid": run.user.uid,
                "gid": run.user.gid,
                "additionalGids": [] if rootless else list(run.user.groups),
            },
            "args": list(run.command),
            "env": [f"{name}={value}" for name, value in run.env.items()],
            "cwd": run.workdir,
            "noNewPrivileges": True,
            "capabilities": rights if run.user.uid == 0 else {"bounding": list(CAPABILITIES)},
        },
        "mounts": mounts,
        "linux": linux,
    }


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
        _furnish(made)
        _require_program(made)
        yield made


def _require_program(made: Container) -> None:
    """`NotFoundError` when what is to be run is not in the image; runtimes say so in words of their own."""
    name = made.command[0]
    if "/" in name:
        tried = [name if name.startswith("/") else f"{made.workdir}/{name}"]
    else:
        tried = [f"{folder}/{name}" for folder in made.env.get("PATH", "").split(":") if folder]
    for path in tried:
        inside = [item for item in made.volumes if path.startswith(f"{item.inside}/")]
        if inside or _resolved(made.root, path) is not None:
            return
    raise NotFoundError(
        f"the image has no program {name}", hint="--entrypoint runs another one; words after -- are arguments"
    )


def _resolved(root: Path, inside: str) -> Path | None:
    """The file at a path inside the image, links followed as they are there; None when there is none."""
    todo = [part for part in reversed(inside.split("/")) if part]
    found = root
    for _ in range(256):
        if not todo:
            return found if found.is_file() else None
        part = todo.pop()
        if part in (".", ".."):
            found = found.parent if part == ".." and found != root else found
            continue
        path = found / part
        if path.is_symlink():
            target = str(path.readlink())
            found = root if target.startswith("/") else found
            todo += [part for part in reversed(target.split("/")) if part]
        elif path.exists():
            found = path
        else:
            return None
    return None


def run(made: Container, *, runtime: str) -> int:
    """Run a container to its end and give the exit code of its program (128 + N for signal N).

    `RamekinError` when the runtime cannot be started.
    """
    return _run_runc(made) if runtime == "runc" else _run_bwrap(made)


@contextmanager
def _unpacked(image: Image, progress: Progress) -> Iterator[Path]:
    """The image's files in a folder that every user of this machine may enter, removed at the end."""
    from ramekin.image import transports
    from ramekin.image.reference import Reference

    folder = Path(tempfile.mkdtemp(prefix="ramekin-run-"))
    try:
        folder.chmod(0o711)
        root = folder / "rootfs"
        transports.write(image, Reference("rootfs", str(root)), progress=_WithoutNotes(progress))
        yield root
    finally:
        remove(folder)


class _WithoutNotes:
    """Progress without notes: whose files a throw-away copy has is nobody's concern."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> AbstractContextManager[Task]:
        return self._progress.task("laying out files", total=total, unit=unit)

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self._progress.warn(text)


def _furnish(made: Container) -> None:
    """Make the places that the sandbox mounts things on, and the folder that the program starts in.

    A sandbox made by another user than the one who owns the files could not.
    """
    for inside in ("/proc", "/dev", "/sys"):
        _make_place(made.root, inside)
    for path in made.binds:
        link = made.root / str(path).lstrip("/")
        if link.is_symlink() and not link.parent.is_symlink():
            link.unlink()
        _make_place(made.root, str(path), folder=False)
    for item in made.volumes:
        _make_place(made.root, item.inside, folder=item.host.is_dir())
    _make_place(made.root, made.workdir, owner=made.user)


def _make_place(root: Path, inside: str, *, folder: bool = True, owner: Identity | None = None) -> None:
    """Make a folder or an empty file where the image has it not; never through a link of the image's."""
    parts = [part for part in inside.split("/") if part]
    path = root
    for number, part in enumerate(parts, 1):
        path = path / part
        if path.is_symlink():
            return
        if path.exists():
            continue
        if number == len(parts) and not folder:
            path.touch()
        else:
            path.mkdir()
        if owner is not None and os.geteuid() == 0:
            os.chown(path, owner.uid, owner.gid)


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
