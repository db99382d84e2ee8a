"""Reading tar as a stream that leaves nothing behind: what analysis of foreign layers needs.

Unlike `read`, nothing is spooled: the content of a file passes by once, and whoever wants it takes it when
it comes. Sparse members in all forms of GNU tar (old GNU, pax 0.0, 0.1, 1.0) are filled up with their
zeros. Several entries for one path and hard links to anything are passed on as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, NoReturn

import msgspec

from ramekin.errors import FormatError
from ramekin.image.tar.headers import (
    BROKEN,
    KINDS,
    LIMITS,
    ZERO,
    Headers,
    Limits,
    clean,
    number,
    until_nul,
)
from ramekin.image.tree import Kind

_CHUNK = 1 << 20
_OLD_SPARSE = 0x53
_NOTHING = memoryview(bytes(1 << 18))

Take = Callable[[memoryview], object]


class Member(msgspec.Struct, frozen=True, gc=False):
    """One entry of a tar, as `tree.Entry` without its content. `size` counts holes of sparse files."""

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]


class Passing:
    """The content of the file that the scan is at; good until the next entry is asked for."""

    __slots__ = ("_pieces", "_size", "_stored", "_stream")

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._size = self._stored = 0
        self._pieces: list[tuple[int, int]] | None = None

    def begin(self, size: int, stored: int, pieces: list[tuple[int, int]] | None) -> None:
        self._size, self._stored, self._pieces = size, stored, pieces

    def head(self, size: int) -> bytes:
        """The first bytes, at most `size` and 512; fewer where a hole or the chunk ends. Takes nothing."""
        if self._pieces is not None:
            return b""
        return self._stream.peek(min(size, self._stored, 512))

    def take(self, sink: Take, holes: Callable[[int], object] | None = None) -> None:
        """Pass all bytes to `sink`, in pieces that are valid only during the call.

        `holes` is told the sizes of holes instead, if it is given.
        """
        empty = holes or (lambda size: _zeros(size, sink))
        stored, self._stored = self._stored, 0
        if self._pieces is None:
            self._stream.pass_on(stored, sink)
            self._stream.pad(stored)
            return
        place = 0
        for offset, length in self._pieces:
            if offset > place:
                empty(offset - place)
            self._stream.pass_on(length, sink)
            place = offset + length
        if self._size > place:
            empty(self._size - place)
        self._stream.pad(stored)

    def skip(self) -> None:
        """Go past what was not taken."""
        if self._stored:
            self._stream.pass_on(self._stored, None)
            self._stream.pad(self._stored)
            self._stored = 0


def scan(stream: BinaryIO, *, where: str, limits: Limits = LIMITS) -> Iterator[tuple[Member, Passing]]:
    """The entries of an uncompressed tar in its order, each with its content (empty unless it is a file).

    Memory is one chunk of the stream, whatever the archive. `FormatError` names `where` and the entry.
    """
    source = _Stream(stream, where, limits)
    headers = Headers(source, limits, sparse=True)
    passing = Passing(source)
    spent = 0
    while (header := source.block()) is not None:
        if not header[0] and header == ZERO:
            break
        headers.check(header)
        kind = KINDS.get(header[156])
        old_sparse = header[156] == _OLD_SPARSE
        if kind is None and not old_sparse:
            headers.extend(header)
            continue
        kind = kind or Kind.FILE
        name, target, stored, mode, uid, gid, mtime, xattrs = headers.fields(header)
        if kind is Kind.FILE and name.endswith("/") and header[156] != 0x37 and not old_sparse:
            kind = Kind.DIRECTORY
        path = clean(name, where=where)
        if not path and kind is not Kind.DIRECTORY:
            source.refuse(f"the root is a {kind}")
        size, device = 0, (0, 0)
        pieces: list[tuple[int, int]] | None = None
        if kind is Kind.FILE:
            if stored > limits.total:
                source.refuse(f"entry {path!r} has {stored} bytes, more than is taken")
            size, target = stored, ""
            if old_sparse or headers.holes:
                size, stored, pieces = _sparse(source, headers, header, path, stored, limits)
                spent += size - stored
                if spent > limits.holes:
                    source.refuse(f"entry {path!r} and sparse files before it have {spent} bytes of holes")
        elif kind is Kind.SYMLINK:
            if not target or "\0" in target:
                source.refuse(f"entry {path!r} is a symbolic link without a target")
        elif kind is Kind.HARDLINK:
            target = clean(target, where=where)
        else:
            target = ""
            if kind is Kind.CHARACTER or kind is Kind.BLOCK:
                device = headers.device(header)
        source.entry = path
        passing.begin(size, stored if kind is Kind.FILE else 0, pieces)
        yield Member(path, kind, mode, uid, gid, mtime, size, target, device, xattrs), passing
        passing.skip()
    else:
        if headers.pending:
            source.refuse("truncated within a header")
    source.drain()


class _Stream:
    """The stream, one chunk of whole blocks at a time."""

    def __init__(self, stream: BinaryIO, where: str, limits: Limits) -> None:
        self._stream, self._where, self._limits = stream, where, limits
        self._taken = self._position = self._end = 0
        self._buffer = b""
        self._view = memoryview(b"")
        self.entry = ""

    def block(self) -> bytes | None:
        """The next 512 bytes; None at the end of the stream."""
        if self._position == self._end and not self._refill():
            return None
        start = self._position
        self._position = start + 512
        if self._position > self._end:
            self.refuse("truncated within a header")
        return self._buffer[start : start + 512]

    def peek(self, size: int) -> bytes:
        """Bytes that come next, without going past them."""
        if self._position == self._end:
            self._refill()
        return self._buffer[self._position : self._position + size]

    def pass_on(self, size: int, sink: Take | None) -> None:
        """Give the next `size` bytes to `sink`, if any."""
        while size:
            if self._position == self._end and not self._refill():
                self.refuse(f"truncated within entry {self.entry!r}")
            count = min(size, self._end - self._position)
            if sink is not None:
                sink(self._view[self._position : self._position + count])
            self._position += count
            size -= count

    def pad(self, size: int) -> None:
        """Go past the padding of a content of `size` bytes."""
        if rest := -size & 511:
            self.pass_on(rest, None)

    def body(self, size: int) -> bytes:
        """The next `size` bytes, of an extended header."""
        parts: list[bytes] = []
        self.entry = "of an extended header"
        self.pass_on(size, lambda piece: parts.append(bytes(piece)))
        self.pad(size)
        return b"".join(parts)

    def drain(self) -> None:
        """Read what is left: whoever verifies the stream, or its compression, does so at its end."""
        while more := self._stream.read(_CHUNK):
            self._count(len(more))

    def refuse(self, what: str) -> NoReturn:
        raise FormatError(f"{self._where}: {what}", hint=BROKEN)

    def _refill(self) -> bool:
        parts, size = [], 0
        while size < _CHUNK and (more := self._stream.read(_CHUNK - size)):
            parts.append(more)
            size += len(more)
        self._count(size)
        self._buffer = parts[0] if len(parts) == 1 else b"".join(parts)
        self._view = memoryview(self._buffer)
        self._position, self._end = 0, size
        return size > 0

    def _count(self, size: int) -> None:
        self._taken += size
        if self._taken > self._limits.total:
            self.refuse(f"more than {self._limits.total} bytes of tar")


def _zeros(size: int, sink: Take) -> None:
    while size > 0:
        sink(_NOTHING[:size])
        size -= len(_NOTHING)


def _sparse(
    source: _Stream, headers: Headers, header: bytes, path: str, stored: int, limits: Limits
) -> tuple[int, int, list[tuple[int, int]]]:
    """Size with holes, bytes of data, and where in the file each run of data goes (offset, length)."""
    records = headers.holes
    if header[156] == _OLD_SPARSE:
        size = number(header[483:495], source, "size")
        numbers = _old_map(source, header, path, limits)
    else:
        size = _decimal(source, records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size"), path)
        if records.get(b"GNU.sparse.major", b"0") == b"1":
            source.entry = path
            numbers, spent = _map_before_data(source, path, stored, limits)
            stored -= spent
        else:
            listed = [part for part in records.get(b"GNU.sparse.map", b"").split(b",") if part]
            numbers = [_decimal(source, part, path) for part in listed]
    pieces = list(zip(numbers[::2], numbers[1::2], strict=False))
    place = 0
    for offset, length in pieces:
        if offset < place or offset + length > size:
            source.refuse(f"entry {path!r} is sparse, and its pieces do not fit")
        place = offset + length
    if len(pieces) > limits.pieces or len(numbers) % 2 or sum(length for _, length in pieces) != stored:
        source.refuse(f"entry {path!r} is sparse, and its pieces are not those that it has")
    return size, stored, pieces


def _old_map(source: _Stream, header: bytes, path: str, limits: Limits) -> list[int]:
    """The map of an old GNU member: four pieces in the header, 21 in each block after it."""
    fields, more = header[386:482], header[482]
    numbers: list[int] = []
    while True:
        for start in range(0, len(fields), 24):
            if not until_nul(fields[start : start + 12]):
                break
            numbers.append(number(fields[start : start + 12], source, "offset"))
            numbers.append(number(fields[start + 12 : start + 24], source, "size"))
        if not more:
            return numbers
        block = source.block()
        if block is None or len(numbers) > 2 * limits.pieces:
            source.refuse(f"entry {path!r} is sparse, and its map does not end")
        fields, more = block[:504], block[504]


def _map_before_data(source: _Stream, path: str, stored: int, limits: Limits) -> tuple[list[int], int]:
    """The map of pax form 1.0: decimal lines in whole blocks before the data, first the number of pieces."""
    data, spent = b"", 0
    lines: list[bytes] = []
    while True:
        *complete, data = data.split(b"\n")
        lines += complete
        if lines:
            count = _decimal(source, lines[0], path)
            if count > limits.pieces:
                source.refuse(f"entry {path!r} is sparse, in {count} pieces")
            if len(lines) > 2 * count:
                return [_decimal(source, line, path) for line in lines[1 : 1 + 2 * count]], spent
        spent += 512
        block = source.block() if spent <= stored else None
        if block is None:
            source.refuse(f"entry {path!r} is sparse, and its map does not end")
        data += block


def _decimal(source: _Stream, raw: bytes | None, path: str) -> int:
    if not raw or not raw.isdigit() or len(raw) > 18:
        source.refuse(f"entry {path!r} is sparse, and its map has the number {(raw or b'')[:40]!r}")
    return int(raw)
