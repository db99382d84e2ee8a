"""Reading tar; the package's text says what is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NoReturn
from zlib import adler32

from ramekin.errors import FormatError, RamekinError
from ramekin.image.tar.spool import Spool
from ramekin.image.tree import Content, Entry, Inline, Kind, Span, Tree, clean_path, to_text

_CHUNK = 1 << 20
_ZERO = bytes(512)
_EMPTY = Inline(b"")
_BROKEN = "the archive is broken or hostile"
_NO_ID = 0xFFFFFFFF
"""chown takes this for "leave it as it is"."""
_WORTH_SKIPPING = 1 << 14
"""Bytes of a skipped file from which leaving them out of the spool is worth a system call."""

_KINDS = {
    0x00: Kind.FILE,
    0x30: Kind.FILE,
    0x31: Kind.HARDLINK,
    0x32: Kind.SYMLINK,
    0x33: Kind.CHARACTER,
    0x34: Kind.BLOCK,
    0x35: Kind.DIRECTORY,
    0x36: Kind.FIFO,
    0x37: Kind.FILE,
}
_REFUSED = {
    0x53: "sparse",
    0x4D: "the continuation of another volume",
    0x56: "a volume label",
    0x44: "a dump",
}
_XATTR = b"SCHILY.xattr."
_USED = {b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"}
_Fields = tuple[str, str, int, int, int, int, int, tuple[tuple[str, bytes], ...]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader takes from one stream.

    `total` bytes of the stream, `entries` of it, bytes of one `extended` header, of one `name` or link text,
    and of all `metadata` (names, link texts and extended attributes) together.
    """

    total: int = 64 << 30
    entries: int = 2_000_000
    extended: int = 1 << 20
    name: int = 4096
    metadata: int = 256 << 20


LIMITS = Limits()


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
    headers = _Headers(source, limits)
    names = _Names(source, where, closed=closed, keep=keep)
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
            if not header[0] and header == _ZERO:
                break
            headers.check(header)
            kind = _KINDS.get(header[156])
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
                    f"{where}: entry {path!r} lies below {parent!r}, which is a {above.kind}", hint=_BROKEN
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
        raise FormatError(f"{self._where}: {what}", hint=_BROKEN)

    def _count(self, size: int) -> None:
        self._taken += size
        if self._taken > self._limits.total:
            self.refuse(f"more than {self._limits.total} bytes of tar")


class _Headers:
    """What headers say, with the extended ones before them, counted."""

    def __init__(self, source: _Source, limits: Limits) -> None:
        self._source, self._limits = source, limits
        self._shared: dict[bytes, bytes] = {}
        self.pending: dict[bytes, bytes] = {}
        # most headers repeat a few owners and times
        self._owners: dict[bytes, tuple[int, int, int]] = {}
        self._times: dict[bytes, int] = {}
        self._entries = self._metadata = 0

    def check(self, header: bytes) -> None:
        """Refuse a header whose checksum is wrong, or that is one too many."""
        stated = header[148:156]
        # adler32's lower half is one more than the sum of the bytes, as long as that is below 65521; and
        # the checksum counts its own field as eight spaces, whose sum is 256
        total = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF) - 2
        total += 257 - (adler32(stated) & 0xFFFF)
        checksum = _checksum(stated)
        if total != checksum and not _signed_sum_agrees(header, checksum):
            self._source.refuse("a header has a wrong checksum" if self._entries else "not a tar archive")
        self._entries += 1
        if self._entries > self._limits.entries:
            self._source.refuse(f"more than {self._limits.entries} entries")

    def extend(self, header: bytes) -> None:
        """Take an extended header, for the next entry or for all; refuse any other special one."""
        form = header[156:157]
        if form not in (b"x", b"X", b"g", b"L", b"K"):
            what = _REFUSED.get(header[156], f"of unknown type {chr(header[156])!r}")
            self._source.refuse(f"entry {to_text(_text(header[:100]))!r} is {what}")
        size = _number(header[124:136], self._source, "size")
        if size > (self._limits.name + 1 if form in b"LK" else self._limits.extended):
            self._source.refuse(f"an extended header has {size} bytes, more than is taken")
        body = self._source.body(size)
        self._keep(size)
        if form == b"L":
            self.pending.setdefault(b"path", _text(body))
        elif form == b"K":
            self.pending.setdefault(b"linkpath", _text(body))
        elif form == b"g":
            self._shared.update(_records(body, self._source))
        else:
            self.pending.update(_records(body, self._source))

    def fields(self, header: bytes) -> _Fields:
        """Name, link text, size, mode, owner, group, mtime and attributes of an entry."""
        source = self._source
        rights, date = header[100:124], header[136:148]
        owner = self._owners.get(rights)
        if owner is None:
            owner = self._owners[rights] = (
                _number(rights[:8], source, "mode") & 0o7777,
                _number(rights[8:16], source, "uid"),
                _number(rights[16:], source, "gid"),
            )
        mode, uid, gid = owner
        mtime = self._times.get(date)
        if mtime is None:
            mtime = self._times[date] = _number(date, source, "mtime", signed=True)
        size = _number(header[124:136], source, "size")
        name = _text(header[:100])
        if header[345] and header[257:263] == b"ustar\0":
            name = _text(header[345:500]) + b"/" + name
        target = _text(header[157:257]) if header[157] else b""
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if self.pending or self._shared:
            records = {**self._shared, **self.pending}
            self.pending.clear()
            name = records.get(b"path") or name
            target = records.get(b"linkpath") or target
            size = _decimal(records, b"size", size, source)
            uid = _decimal(records, b"uid", uid, source)
            gid = _decimal(records, b"gid", gid, source)
            mtime = _seconds(records, mtime, source)
            xattrs = _xattrs(records)
            self._keep(sum(len(key) + len(value) for key, value in xattrs))
        self._keep(len(name) + len(target))
        if len(name) > self._limits.name or len(target) > self._limits.name:
            most = self._limits.name
            source.refuse(f"an entry has a name or link text of more than {most} bytes: {name[:60]!r}…")
        if uid >= _NO_ID or gid >= _NO_ID:
            source.refuse(f"entry {to_text(name)!r} has the owner {uid}:{gid}, which no system has")
        return to_text(name), to_text(target), size, mode, uid, gid, mtime, xattrs

    def device(self, header: bytes) -> tuple[int, int]:
        """Major and minor number."""
        major = _number(header[329:337], self._source, "device number")
        return major, _number(header[337:345], self._source, "device number")

    def _keep(self, size: int) -> None:
        self._metadata += size
        if self._metadata > self._limits.metadata:
            self._source.refuse(f"more than {self._limits.metadata} bytes of names and attributes")


class _Names:
    """The paths that were met, to tell what hard links lead to."""

    def __init__(
        self, source: _Source, where: str, *, closed: bool, keep: Callable[[str], bool] | None
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


def _text(field: bytes) -> bytes:
    """A text field, which ends at its first NUL."""
    return field.split(b"\0", 1)[0]


def _number(raw: bytes, source: _Source, what: str, *, signed: bool = False) -> int:
    """A number in octal digits, or in the base 256 of GNU tar and star when its first bit is set."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big", signed=True)
        if raw[0] != 0xFF:
            value = int.from_bytes(raw, "big") & ~(0x80 << 8 * (len(raw) - 1))
        if not (-(1 << 63) if signed else 0) <= value < 1 << 63:
            source.refuse(f"a header has the {what} {value}")
        return value
    text = _text(raw).strip(b" ")
    if not text:
        return 0
    try:
        # int() alone would take signs and underscores
        return int(text if text.isdigit() else b"x", 8)
    except ValueError:
        source.refuse(f"a header has the {what} {text!r}, which is not an octal number")


def _decimal(records: dict[bytes, bytes], keyword: bytes, usual: int, source: _Source) -> int:
    raw = records.get(keyword)
    if not raw:
        # an empty value takes the record back
        return usual
    if not raw.isdigit() or len(raw) > 19 or (value := int(raw)) >= 1 << 63:
        source.refuse(f"an extended header has the {keyword.decode()} {raw[:40]!r}")
    return value


def _seconds(records: dict[bytes, bytes], usual: int, source: _Source) -> int:
    """Whole seconds of a time with a fraction, rounded down."""
    raw = records.get(b"mtime")
    if not raw:
        return usual
    digits, _, fraction = raw.removeprefix(b"-").partition(b".")
    if not digits.isdigit() or len(digits) > 18 or (fraction and not fraction.isdigit()):
        source.refuse(f"an extended header has the mtime {raw[:40]!r}")
    if not raw.startswith(b"-"):
        return int(digits)
    return -int(digits) - (1 if fraction.strip(b"0") else 0)


def _checksum(raw: bytes) -> int:
    """The number in a checksum field, or -1."""
    text = _text(raw).strip(b" ")
    try:
        return int(text, 8) if text.isdigit() else -1
    except ValueError:
        return -1


def _signed_sum_agrees(header: bytes, stated: int) -> bool:
    """Some tar programs of the past summed signed bytes."""
    counted = header[:148] + b" " * 8 + header[156:]
    return sum(byte - 256 if byte > 127 else byte for byte in counted) == stated


def _records(body: bytes, source: _Source) -> dict[bytes, bytes]:
    """The records of an extended header: `LENGTH KEYWORD=VALUE\\n` each."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(body):
        space = body.find(b" ", position, position + 8)
        digits = body[position:space]
        end = position + int(digits) if space > 0 and digits.isdigit() else 0
        keyword, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or end > len(body) or body[end - 1] != 0x0A or not equals:
            source.refuse(f"an extended header has the malformed record {body[position : position + 40]!r}")
        if keyword.startswith(b"GNU.sparse."):
            source.refuse(f"entry {records.get(b'path', b'?')!r} is sparse, in the form of GNU tar")
        if keyword in _USED or keyword.startswith(_XATTR):
            records[keyword] = value
        position = end
    return records


def _xattrs(records: dict[bytes, bytes]) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        sorted(
            (to_text(keyword[len(_XATTR) :]), value)
            for keyword, value in records.items()
            if keyword.startswith(_XATTR) and len(keyword) > len(_XATTR)
        )
    )


def clean(name: str, *, where: str) -> str:
    """`clean_path`, faster for the names that need no more than their ends cut."""
    if name.startswith("./"):
        name = name[2:]
    if name.endswith("/"):
        name = name[:-1]
    if name and name[0] not in "./" and "/." not in name and "//" not in name and "\0" not in name:
        return name
    return clean_path(name, where=where)
