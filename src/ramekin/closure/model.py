"""What is known of a package once it is ready to be a layer, as values that go through JSON.

`PackageFacts` is what the rest of the image must know about one package: it is stored as the result of
preparing it, so that a warm build reads facts and no files. Long lists of paths are kept as one string of
lines each, because decoding one long string is a hundred times cheaper than decoding its lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ramekin.image.tree import Tree


@dataclass(frozen=True, slots=True)
class SliceChoice:
    """Where a request differs from the default slices; `slices.choose` makes and checks it.

    `keep` names slices that are left out by default and now stay, `drop` those that now go.
    """

    keep: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()

    @property
    def identity(self) -> str:
        """A text that is equal for equal choices; goes into action keys."""
        return " ".join(
            [*("+" + name for name in sorted(self.keep)), *("-" + name for name in sorted(self.drop))]
        )


class User(msgspec.Struct, frozen=True, array_like=True):
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    comment: str
    home: str
    shell: str


class Group(msgspec.Struct, frozen=True, array_like=True):
    """A line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...] = ()


class Slave(msgspec.Struct, frozen=True, array_like=True):
    """A link that follows its master alternative; absolute paths, as update-alternatives(1) takes them."""

    name: str
    link: str
    path: str


class Alternative(msgspec.Struct, frozen=True, array_like=True):
    """One candidate for a generic name: `link` leads over `/etc/alternatives/NAME` to `path`."""

    name: str
    link: str
    path: str
    priority: int
    slaves: tuple[Slave, ...] = ()


class Library(msgspec.Struct, frozen=True, array_like=True):
    """A shared object in a folder where the dynamic loader may look, or a link there.

    `path` is a tree path. For an ELF file `soname` is its DT_SONAME (or its file name) and `flags` the type
    word of ld.so.cache. For a link `target` is the tree path that it leads to and the rest is empty.
    """

    path: str
    soname: str = ""
    flags: int = 0
    target: str = ""


class Diversion(msgspec.Struct, frozen=True, array_like=True):
    """Other packages' file at the tree path `path` is renamed to `to` (dpkg-divert(1))."""

    path: str
    to: str


class DeferredLink(msgspec.Struct, frozen=True, array_like=True):
    """A symbolic link that is made only in an image that also holds the package `when`."""

    path: str
    target: str
    when: str


class Folder(msgspec.Struct, frozen=True, array_like=True):
    """A folder that got an owner or mode by more than the package's files; a tree path."""

    path: str
    mode: int
    uid: int
    gid: int


class Hints(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a package's recipe says about running it; every field may be empty.

    `user` is numeric, `uid:gid`, because orchestrators can check only numbers to be other than root.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""


class Unknown(msgspec.Struct, frozen=True, array_like=True):
    """A command of a maintainer script that nothing covers: `line` counts from 1."""

    script: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.script} line {self.line}: {self.text}"


class SliceTally(msgspec.Struct, frozen=True, array_like=True):
    """What a slice took out of a package: files (links counted, folders not) and their bytes."""

    name: str
    count: int
    size: int


class PackageFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that the image must know of a prepared package besides its layer.

    `newest` is the latest mtime of its files, in seconds since 1970. `claims` and `dropped_paths` are
    read through `claimed` and `left_out`. `certificates` is the CA bundle if this package brings one.
    `unknown` are commands of its scripts that no recipe covers; `handled` says in a line each what was done
    in place of a script, or why it needs not be done.
    """

    name: str
    version: str
    architecture: str
    newest: int = 0
    claims: str = ""
    dropped: tuple[SliceTally, ...] = ()
    dropped_paths: str = ""
    users: tuple[User, ...] = ()
    groups: tuple[Group, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    libraries: tuple[Library, ...] = ()
    library_paths: tuple[tuple[str, str], ...] = ()
    diversions: tuple[Diversion, ...] = ()
    links: tuple[DeferredLink, ...] = ()
    folders: tuple[Folder, ...] = ()
    certificates: bytes = b""
    java_keystore: bool = False
    hints: Hints = Hints()
    unknown: tuple[Unknown, ...] = ()
    handled: tuple[str, ...] = ()

    def claimed(self) -> Iterator[tuple[str, str]]:
        """Each path that the package owns, folders aside, and a text that is equal for equal files."""
        for line in self.claims.splitlines():
            identity, _, path = line.partition(" ")
            yield path, identity

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Each path that was left out, and the slice or reason."""
        for line in self.dropped_paths.splitlines():
            reason, _, path = line.partition(" ")
            yield path, reason


@dataclass(frozen=True, slots=True)
class Prepared:
    """A package as a layer's tree, and its facts."""

    tree: Tree
    facts: PackageFacts


def encode(facts: PackageFacts) -> bytes:
    """The JSON of `facts`; the same bytes for equal facts.

    Scripts and names in bytes that are no UTF-8 are told with escapes.
    """
    try:
        return msgspec.json.encode(facts)
    except UnicodeEncodeError:
        return msgspec.json.encode(_readable(msgspec.to_builtins(facts)))


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [_readable(part) for part in value]
    if isinstance(value, dict):
        return {name: _readable(part) for name, part in value.items()}
    return value


def decode(data: bytes) -> PackageFacts:
    """`facts` from what `encode` made."""
    return _FACTS.decode(data)


# made here, as two threads that make msgspec learn a type at the same time crash the process
_FACTS = msgspec.json.Decoder(PackageFacts)
