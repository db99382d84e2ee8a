"""Files of a layer or an image as values in memory. Layers are only ever made from trees.

A tree holds no bytes of big files: an entry refers to its content, and the content is opened only by
the one who writes it out. Paths are relative to the root, without a leading or trailing `/`, with no
empty, `.` or `..` component; bytes that are not UTF-8 are carried as surrogate escapes, whatever the locale
is (`to_bytes`, `to_text`). The root folder itself is the path "" and need not be present.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from ramekin.errors import FormatError


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"


class Content(Protocol):
    """Where a file's bytes are. `size` is in bytes and agrees with what `open` yields."""

    @property
    def size(self) -> int: ...

    def open(self) -> BinaryIO:
        """A new stream of the bytes, to be closed by the caller; may be called from any thread."""


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes kept in memory: for generated files."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


@dataclass(frozen=True, slots=True)
class Span:
    """A run of bytes in a local file, such as one member of an unpacked tar stream.

    `owner` keeps a temporary file alive for as long as a tree refers to it.
    """

    path: Path
    offset: int
    size: int
    owner: object = field(default=None, compare=False, repr=False)

    def open(self) -> BinaryIO:
        return io.BufferedReader(_Window(self.path.open("rb", buffering=0), self.offset, self.size), 1 << 17)


class _Window(io.RawIOBase):
    def __init__(self, raw: io.FileIO, offset: int, size: int) -> None:
        self._raw, self._left = raw, size
        raw.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)[: self._left]
        count = self._raw.readinto(view) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of a tree.

    `mode` holds the permission bits only (0o7777), `mtime` whole seconds since 1970, `target` the text of
    a symbolic link or, for a hard link, the tree path of the file that it is another name of. `xattrs`
    are sorted by name.
    """

    path: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    content: Content | None = None
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of content; 0 for all that is not a file."""
        return self.content.size if self.content is not None else 0

    def at(self, path: str) -> Entry:
        """The same entry under another path."""
        return replace(self, path=path)

    def read(self) -> bytes:
        """All bytes of a file (of at most what the caller knows to be small)."""
        if self.content is None:
            return b""
        with self.content.open() as stream:
            return stream.read()


def file(path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: int = 0) -> Entry:
    """A generated file."""
    return Entry(path=path, kind=Kind.FILE, mode=mode, uid=uid, gid=gid, mtime=mtime, content=Inline(data))


def directory(path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0, mtime: int = 0) -> Entry:
    """A folder."""
    return Entry(path=path, kind=Kind.DIRECTORY, mode=mode, uid=uid, gid=gid, mtime=mtime)


def symlink(path: str, target: str, *, mtime: int = 0) -> Entry:
    """A symbolic link with the text `target`."""
    return Entry(path=path, kind=Kind.SYMLINK, mode=0o777, target=target, mtime=mtime)


def clean_path(name: str, *, where: str) -> str:
    """The tree path for a name found in an archive; `FormatError` naming `where` when it would escape.

    A leading `./` or `/` and a trailing `/` are dropped; `..` is refused wherever it stands.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise FormatError(
            f"{where}: entry {name!r} leads out of the tree", hint="the archive is broken or hostile"
        )
    return "/".join(parts)


def to_bytes(path: str) -> bytes:
    """The bytes of a path or of a link's text, for archives and system calls."""
    return path.encode("utf-8", "surrogateescape")


def to_text(path: bytes) -> str:
    """A path or a link's text from its bytes."""
    return path.decode("utf-8", "surrogateescape")


def sort_key(path: str) -> bytes:
    """Canonical order: by the bytes of the path, so that a folder stands before what it holds."""
    return path.encode("utf-8", "surrogateescape")


class Tree(Mapping[str, Entry]):
    """An immutable set of entries by path, iterated in canonical order."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Take `entries`; of several for one path the last stands."""
        by_path = {entry.path: entry for entry in entries}
        self._entries = {path: by_path[path] for path in sorted(by_path, key=sort_key)}

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Tree({len(self)} entries, {self.size} bytes)"

    @property
    def size(self) -> int:
        """Bytes of all files, each hard-linked file once."""
        return sum(entry.size for entry in self._entries.values())

    @property
    def newest(self) -> int:
        """The latest mtime of any entry that is not a folder, or of any at all, or 0."""
        files = [e.mtime for e in self._entries.values() if e.kind is not Kind.DIRECTORY]
        return max(files or [e.mtime for e in self._entries.values()], default=0)

    def entries(self) -> Iterator[Entry]:
        """All entries in canonical order."""
        return iter(self._entries.values())

    def plus(self, other: Iterable[Entry]) -> Tree:
        """This tree with `other`'s entries over it (another tree's `entries()`, or single ones)."""
        return Tree([*self._entries.values(), *other])

    def without(self, drop: Callable[[Entry], bool]) -> Tree:
        """The entries for which `drop` is false.

        A hard link whose file is dropped becomes the file, and further links then name it.
        """
        gone = {path for path, entry in self._entries.items() if drop(entry)}
        if not gone:
            return self
        heirs: dict[str, str] = {}
        kept: list[Entry] = []
        for path, entry in self._entries.items():
            if path in gone:
                continue
            if entry.kind is Kind.HARDLINK and entry.target in gone:
                first = entry.target
                if first in heirs:
                    entry = replace(entry, target=heirs[first])
                else:
                    heirs[first] = path
                    entry = self._entries[first].at(path)
            kept.append(entry)
        return Tree(kept)

    def map(self, change: Callable[[Entry], Entry]) -> Tree:
        """Every entry passed through `change`."""
        return Tree(change(entry) for entry in self._entries.values())

    def with_parents(self, *, mtime: int = 0) -> Tree:
        """This tree with a root-owned 0755 folder for every parent that has no entry."""
        missing: dict[str, Entry] = {}
        for path in self._entries:
            parent = path.rpartition("/")[0]
            while parent and parent not in self._entries and parent not in missing:
                missing[parent] = directory(parent, mtime=mtime)
                parent = parent.rpartition("/")[0]
        return self.plus(missing.values()) if missing else self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and list(self.entries()) == list(other.entries())

    __hash__ = None  # type: ignore[assignment]
