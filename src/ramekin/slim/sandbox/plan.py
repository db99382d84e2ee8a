"""What is asked of a sandbox, by its user and in the words that its keeper understands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

DEFAULT_ROOM = 1 << 30


class Watching(StrEnum):
    """How a container is watched."""

    FANOTIFY = "fanotify"
    """The kernel reports every file that is opened or executed. Needs root."""

    SECCOMP = "seccomp"
    """System calls that name files are held up until they are noted, those too that only ask whether a file
    is there. Needs no root, and takes longer. As root, files are reported by fanotify too."""

    LOOKUPS = "lookups"
    """As seccomp, but only look-ups of given paths that are gone are noted."""

    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """`removed` are the paths (of image trees) whose look-ups are caught under LOOKUPS.

    With `syscalls`, system calls out of the ordinary are noted too, by name; and what they tell of
    capabilities.
    """

    by: Watching = Watching.FANOTIFY
    removed: frozenset[str] = frozenset()
    syscalls: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`room` is the bytes that a container may write to files, `log` those of what it prints that are kept.

    Of a longer log, the beginning and the end are kept.
    """

    room: int = DEFAULT_ROOM
    log: int = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """When a program counts as ready: it listens on a TCP `port` or Unix `socket`, or `command` ends with 0.

    All that is said has to be so; with nothing said, it has to listen on anything. `patience` is in seconds.
    """

    port: int | None = None
    socket: str | None = None
    command: tuple[str, ...] = ()
    patience: float = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended: `code` is 128 + N when signal N ended it, 124 when it took too long."""

    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Miss:
    """A look-up of a path that is gone: the path (of image trees), the system call, the program's name."""

    path: str
    syscall: str
    program: str


class Process(msgspec.Struct, frozen=True):
    """A program to run in a container and as whom. `capabilities` is what it may have as root."""

    argv: tuple[str, ...]
    env: dict[str, str]
    uid: int
    gid: int
    groups: tuple[int, ...]
    workdir: str
    capabilities: tuple[str, ...]


class Bind(msgspec.Struct, frozen=True):
    """A file or folder of the machine, to be seen at a name in the keeper's own folder."""

    host: str
    name: str


class Place(msgspec.Struct, frozen=True):
    """Something that has to stand in the image for the runtime, made where it is not there."""

    path: str
    folder: bool = True
    uid: int = 0
    gid: int = 0


class Plan(msgspec.Struct, frozen=True):
    """All that a keeper is told.

    `parent` is the process whose end is the sandbox's end. `lower` is the folder of the image's files.
    `command` starts the container, and `bundle` is what runc is told, empty for bubblewrap; both name
    paths below `mounts.FOLDER`. `become` is whom the command is started as. `removed` is the descriptor of a
    file of paths, each ended by a zero byte, or -1. `debris` are folders to remove should the parent die.
    """

    parent: int
    control: int
    log: int
    lower: str
    room: int
    rootless: bool
    runtime: str
    command: tuple[str, ...]
    bundle: str
    become: Process | None
    program: Process
    places: tuple[Place, ...]
    binds: tuple[Bind, ...]
    watching: str
    syscalls: bool
    removed: int
    debris: tuple[str, ...]


class Record(msgspec.Struct):
    """What a keeper has seen, paths as the container has them (`/usr/bin/tool`).

    `asked` are names that were looked up, `absent` those that led nowhere. `misses` and `listings` are of
    path, system call and program.
    """

    opened: list[str] = []
    executed: list[str] = []
    asked: list[str] = []
    absent: list[str] = []
    written: list[str] = []
    listening: list[str] = []
    calls_noted: bool = False
    syscalls: list[str] = []
    capabilities: list[str] = []
    misses: list[tuple[str, str, str]] = []
    listings: list[tuple[str, str, str]] = []
    trouble: str = ""


class State(msgspec.Struct, frozen=True):
    """How a container is. `started` says that its program runs, or has run; `ended` is its wait status once
    it has ended; `full` that it wrote all it may; `own` that the program itself has something open of what is
    listening, and not only others that it started."""

    started: bool
    ended: int | None
    full: bool
    listening: tuple[str, ...]
    trouble: str = ""
    own: bool = False


class Request(msgspec.Struct, frozen=True):
    """What is asked of a running keeper; descriptors go beside it. `question` numbers what is asked.

    `exec` (with standard input, output, error, and a pipe for the wait status), `kill` (what `exec` started
    with that `number`), `signal` (the container's first process), `forward` (a listening socket), `state`,
    `finish`, and at last `leave`, to which there is no answer.
    """

    do: str
    process: Process | None = None
    number: int = 0
    target: str = ""
    question: int = 0


class Reply(msgspec.Struct, frozen=True):
    """The answer to a `question`, 0 being whether the sandbox stands. `error` is for people."""

    question: int = 0
    error: str = ""
    number: int = 0
    state: State | None = None
