"""What a container is made from: the image's configuration as Docker reads it, and what the user has else.

What is run follows image-spec config.md: Entrypoint then Cmd, arguments in place of Cmd, an entrypoint of the
user's in place of both. Users are looked up in the image's own account files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ramekin.errors import NotFoundError, UsageError
from ramekin.image.oci import Runtime

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for when an image does not say."""

_MOST = (1 << 32) - 2
"""The highest number of a user or group."""


class NothingToRunError(UsageError):
    """Neither the image nor the user says what to run."""


class NoProgramError(NotFoundError):
    """What is to be run is at none of the paths of `tried`."""

    def __init__(self, message: str, tried: Sequence[str], *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.tried = tuple(tried)


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


def identity(root: Path, user: str) -> Identity:
    """What a `User` of a config means by the passwd and group files below `root` (config.md, User)."""
    name, _, group = user.partition(":")
    passwd = list(_rows(resolved(root, "/etc/passwd"), 7))
    groups = list(_rows(resolved(root, "/etc/group"), 4))
    row = next((row for row in passwd if (name or "0") in (row[0], row[2])), None)
    if row is None and name and not name.isdecimal():
        raise UsageError(
            f"the image has no user {name!r}",
            hint=_near(name, [known[0] for known in passwd], "it has "),
        )
    for number in (name, group):
        if number.isdecimal() and int(number) > _MOST:
            raise UsageError(f"the image's user {user!r} is none", hint="numbers of users end at 4294967294")
    uid = int(row[2]) if row else int(name or 0)
    gid = int(row[3]) if row else 0
    more: tuple[int, ...] = ()
    if group:
        found = next((known for known in groups if group in (known[0], known[2])), None)
        if found is None and not group.isdecimal():
            raise UsageError(
                f"the image has no group {group!r}",
                hint=_near(group, [known[0] for known in groups], "it has "),
            )
        gid = int(found[2]) if found else int(group)
    elif row is not None:
        more = tuple(sorted(int(known[2]) for known in groups if row[0] in known[3].split(",")))
    return Identity(uid, gid, more, row[5] if row else "/")


def _near(word: str, known: Iterable[str], otherwise: str) -> str | None:
    from difflib import get_close_matches

    candidates = list(known)
    if found := get_close_matches(word, candidates, 1):
        return f"did you mean {found[0]}?"
    return f"{otherwise}{', '.join(candidates)}" if candidates else None


def _rows(path: Path | None, width: int) -> Iterator[list[str]]:
    """The well-formed rows of an account file, if there is one."""
    if path is None:
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
        raise NothingToRunError("the image does not say what to run", hint="give a command after --")
    who = identity(root, settings.user if wishes.user is None else wishes.user)
    own = dict(entry.partition("=")[::2] for entry in settings.env or ())
    start = {"PATH": PATH, "HOME": who.home}
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


def furnish(made: Container) -> None:
    """Make the places that the sandbox mounts things on, and the folder that the program starts in.

    A sandbox made by another user than the one who owns the files could not.
    """
    for inside in ("/proc", "/dev", "/sys"):
        make_place(made.root, inside)
    for path in made.binds:
        link = made.root / str(path).lstrip("/")
        if link.is_symlink() and not link.parent.is_symlink():
            link.unlink()
        make_place(made.root, str(path), folder=False)
    for item in made.volumes:
        make_place(made.root, item.inside, folder=item.host.is_dir())
    make_place(made.root, made.workdir, owner=made.user)


def make_place(root: Path, inside: str, *, folder: bool = True, owner: Identity | None = None) -> None:
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


def tried(name: str, env: Mapping[str, str], workdir: str) -> list[str]:
    """The paths at which a program of this name is looked for, in order (execvp(3))."""
    if "/" in name:
        return [name if name.startswith("/") else f"{workdir}/{name}"]
    return [f"{folder}/{name}" for folder in env.get("PATH", "").split(":") if folder]


def require_program(made: Container) -> None:
    """`NoProgramError` when what is to be run is not in the image; runtimes say so in words of their own."""
    name = made.command[0]
    paths = tried(name, made.env, made.workdir)
    for path in paths:
        inside = [item for item in made.volumes if path.startswith(f"{item.inside}/")]
        if inside or resolved(made.root, path) is not None:
            return
    raise NoProgramError(
        f"the image has no program {name}",
        paths,
        hint="--entrypoint runs another one; words after -- are arguments",
    )


def resolved(root: Path, inside: str) -> Path | None:
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
