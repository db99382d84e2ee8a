"""Reading tar; the package's text says what is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from ramekin.errors import FormatError, RamekinError
from ramekin.image.tar.headers import BROKEN, KINDS, LIMITS, ZERO, Headers, Limits, clean
from ramekin.image.tar.spool import Spool
from ramekin.image.tree import Content, Entry, Inline, Kind, Span, Tree

_CHUNK = 1 << 20
_EMPTY = Inline(b"")
_WORTH_SKIPPING = 1 << 14
"""Bytes of a skipped file from which leaving them out of the spool is worth a system call."""


class SkippedError(RamekinError):
    """The bytes of a file are needed that the reader was told to skip; read the stream without `keep`."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The content of a file whose bytes were not kept: only its size is known."""

    size: int

    def open(self) -> BinaryIO:
        raise SkippedError("the bytes of this file were skipped when its archive was read")


def read(
    stream: BinaryIO,
    *,
    where: str,
    spool: Path,
    keep: Callable[[str], bool] | None = None,
    closed: bool = True,
    limits: Limits = LIMITS,
) -> Iterator[Entry]:
    """The entries of an uncompressed tar, in its order.

    Contents are `Span`s of one file in the folder `spool`, which is removed when the last of them is gone.
    With `keep`, a file for whose path it is false has `Skipped` content and costs no disk; `SkippedError`
    when a later hard link that is kept names such a file. `closed` refuses hard links to what is not in the
    stream; a layer, which may link to a file of a lower one, is read without it.

    `FormatError` names `where` and the entry at fault.
    """
    source = _Source(stream, where, spool, limits)
    headers = Headers(source, limits)
    names = Names(source, where, closed=closed, keep=keep)
    # entries of one chunk, given out when it is in the spool and their contents can be read
    batch: list[Entry] = []
    try:
        while True:
            if source.position == source.end:
                unfinished = [batch.pop()] if source.left else []
                goes_on = source.refill()
                yield from batch
                batch = unfinished
                if goes_on:
                    continue
                if source.left:
                    source.refuse(f"truncated within entry {batch[0].path!r}")
                if headers.pending or source.ragged:
                    source.refuse("truncated within a header")
                break
            header = source.block()
            if not header[0] and header == ZERO:
                break
            headers.check(header)
            kind = KINDS.get(header[156])
            if kind is None:
                headers.extend(header)
                continue
            name, target, size, mode, uid, gid, mtime, xattrs = headers.fields(header)
            if kind is Kind.FILE and name.endswith("/") and header[156] != 0x37:
                # how archives older than POSIX say that it is a folder
                kind = Kind.DIRECTORY
            path = names.path(kind, name, target)
            content: Content | None = None
            device = (0, 0)
            if kind is Kind.FILE:
                content = source.content(path, size, keep is None or keep(path))
            elif kind is Kind.SYMLINK:
                if not target or "\0" in target:
                    source.refuse(f"entry {path!r} is a symbolic link without a target")
            elif kind is Kind.HARDLINK:
                target = clean(target, where=where)
            else:
                target = ""
                if kind is Kind.CHARACTER or kind is Kind.BLOCK:
                    device = headers.device(header)
            entry = Entry(
                path=path,
                kind=kind,
                mode=mode,
                uid=uid,
                gid=gid,
                mtime=mtime,
                content=content,
                target=target if content is None else "",
                device=device,
                xattrs=xattrs,
            )
            found = names.resolve(entry) if kind is Kind.HARDLINK else entry
            if found is not None:
                names.add(found)
                batch.append(found)
        source.flush()
        yield from batch
        source.drain()
    finally:
        source.close()


def read_tree(
    stream: BinaryIO,
    *,
    where: str,
    spool: Path,
    keep: Callable[[str], bool] | None = None,
    closed: bool = True,
    limits: Limits = LIMITS,
) -> Tree:
    """All of a tar as one tree: `extract` of `read`."""
    return extract(
        read(stream, where=where, spool=spool, keep=keep, closed=closed, limits=limits), where=where
    )


def extract(entries: Iterable[Entry], *, where: str) -> Tree:
    """The tree that entries in archive order make: of several for a path the last.

    `FormatError` when something lies below what is not a folder.
    """
    found = Tree(entries)
    good: set[str] = set()
    for path in found:
        parent = path.rpartition("/")[0]
        while parent and parent not in good:
            above = found.get(parent)
            if above is not None and above.kind is not Kind.DIRECTORY:
                raise FormatError(
                    f"{where}: entry {path!r} lies below {parent!r}, which is a {above.kind}", hint=BROKEN
                )
            good.add(parent)
            parent = parent.rpartition("/")[0]
    return found


class _Source:
    """The stream, one chunk of whole blocks at a time, and what of it goes to the spool.

    `buffer[position:end]` is still to be read. `left` bytes of the last content are in chunks to come.
    What is wanted of the chunk is written at its end in one piece, headers and all: that costs less than
    a system call for each content.
    """

    def __init__(self, stream: BinaryIO, where: str, folder: Path, limits: Limits) -> None:
        self._stream, self._where, self._folder, self._limits = stream, where, folder, limits
        self._taken = 0
        self._buffer = b""
        self.position = self.end = self.left = 0
        self.ragged = False
        self._spool: Spool | None = None
        # buffer[run:] goes to the spool if it is wanted, where it will begin at `base`
        self._run = self._base = 0
        self._wanted = self._keeping = False

    def refill(self) -> bool:
        """Go on to the next chunk, past what is left of the last content; False at the end of the stream.

        There, `ragged` says whether the stream ended within a block.
        """
        self.flush()
        parts, size = [], 0
        while size < _CHUNK and (more := self._stream.read(_CHUNK - size)):
            parts.append(more)
            size += len(more)
        self._count(size)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if size & 511:
            self.ragged = True
            data = data[: size & ~511]
        self._buffer = data
        self.end = len(self._buffer)
        self.position = min(self.left, self.end)
        self.left -= self.position
        self._wanted = self._keeping and self.position > 0
        self._run = 0 if self._wanted else self.position
        return self.end > 0

    def block(self) -> bytes:
        """The next 512 bytes."""
        start = self.position
        self.position = start + 512
        return self._buffer[start : start + 512]

    def content(self, path: str, size: int, kept: bool) -> Content:
        """The content of `size` bytes that comes next."""
        if size > self._limits.total:
            self.refuse(f"entry {path!r} has {size} bytes, more than is taken")
        start, padded = self.position, (size + 511) & ~511
        self.position = min(start + padded, self.end)
        self.left = start + padded - self.position
        self._keeping = kept
        if not kept:
            if padded >= _WORTH_SKIPPING:
                self.flush(start)
                self._run = self.position
            return Skipped(size)
        if not size:
            return _EMPTY
        self._spool = self._spool or Spool(self._folder)
        self._wanted = True
        return Span(self._spool.path, self._base + start - self._run, size, self._spool.owner)

    def body(self, size: int) -> bytes:
        """The next `size` bytes, of an extended header."""
        padded = (size + 511) & ~511
        found = self._buffer[self.position : self.position + padded]
        self.position += len(found)
        self._keeping = False
        while rest := padded - len(found):
            self.left = rest
            if not self.refill():
                self.refuse("truncated within an extended header")
            found += self._buffer[: self.position]
        return found[:size]

    def flush(self, end: int | None = None) -> None:
        """Have what is wanted of the chunk, up to `end`, in the spool."""
        if self._wanted and self._spool is not None:
            self._spool.write(memoryview(self._buffer)[self._run : self.end if end is None else end])
            self._base = self._spool.size
            self._run = self.end if end is None else end
            self._wanted = False

    def drain(self) -> None:
        """Read what is left: whoever verifies the stream, or its compression, does so at its end."""
        while more := self._stream.read(_CHUNK):
            self._count(len(more))

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def refuse(self, what: str) -> NoReturn:
        raise FormatError(f"{self._where}: {what}", hint=BROKEN)

    def _count(self, size: int) -> None:
        self._taken += size
        if self._taken > self._limits.total:
            self.refuse(f"more than {self._limits.total} bytes of tar")


class Refuses(Protocol):
    """Whoever reads an archive."""

    def refuse(self, what: str) -> NoReturn:
        """Raise `FormatError`, naming the archive."""


class Names:
    """The paths that were met, to tell what hard links lead to."""

    def __init__(
        self, source: Refuses, where: str, *, closed: bool, keep: Callable[[str], bool] | None
    ) -> None:
        self._source, self._where, self._closed, self._keep = source, where, closed, keep
        self._seen: dict[str, Entry] = {}
        self._linked: set[str] = set()

    def path(self, kind: Kind, name: str, target: str) -> str:
        """The path for a name, unless nothing of this kind may stand there."""
        path = clean(name, where=self._where)
        if not path and kind is not Kind.DIRECTORY:
            self._source.refuse(f"the root is a {kind}")
        if path in self._linked and (kind is not Kind.HARDLINK or clean(target, where=self._where) != path):
            self._source.refuse(f"entry {path!r} replaces a file that a hard link names already")
        return path

    def resolve(self, link: Entry) -> Entry | None:
        """What a hard link amounts to; None when it changes nothing."""
        path, target = link.path, link.target
        found = self._seen.get(target)
        if found is None:
            if self._closed or not target or target == path:
                self._source.refuse(
                    f"entry {path!r} is a hard link to {target!r}, which is no file before it"
                )
            return link
        if path in (target, found.target if found.kind is Kind.HARDLINK else target):
            return None
        if found.kind is Kind.HARDLINK:
            link = replace(link, target=found.target)
            found = self._seen.get(found.target, found)
        elif found.kind is not Kind.FILE:
            return found.at(path)
        if isinstance(found.content, Skipped) and self._keep is not None and self._keep(path):
            raise SkippedError(f"{self._where}: entry {path!r} is a hard link to a file that was skipped")
        return link

    def add(self, entry: Entry) -> None:
        if entry.kind is Kind.DIRECTORY:
            self._seen.pop(entry.path, None)
            return
        self._seen[entry.path] = entry
        if entry.kind is Kind.HARDLINK:
            self._linked.add(entry.target)
