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
    source = _Source(stream, where, limits)
    seen: dict[str, Entry] = {}
    linked: set[str] = set()
    # most headers repeat a few owners and times
    owners: dict[bytes, tuple[int, int, int]] = {}
    times: dict[bytes, int] = {}
    shared: dict[bytes, bytes] = {}
    local: dict[bytes, bytes] = {}
    file: Spool | None = None
    batch: list[Entry] = []
    buffer = b""
    position = end = 0
    # buffer[run:] goes to the spool, where its first byte will have the offset `base`
    run = base = 0
    wanted = False
    # bytes of the last entry's content that are in chunks to come, and whether they are kept
    left, keeping = 0, False
    count = metadata = 0
    try:
        while True:
            if position == end:
                if wanted:
                    file = file or Spool(spool)
                    file.write(memoryview(buffer)[run:end])
                    base = file.size
                    wanted = False
                held = batch.pop() if left and batch else None
                yield from batch
                batch = [held] if held is not None else []
                buffer = source.chunk()
                position, end = 0, len(buffer)
                if not buffer:
                    if left:
                        source.refuse(f"truncated within entry {batch[-1].path!r}")
                    if local or source.ragged:
                        source.refuse("truncated within a header")
                    break
                run = 0
                if left:
                    position = min(left, end)
                    left -= position
                    if keeping:
                        wanted = True
                    else:
                        run = position
                    continue
            header = buffer[position : position + 512]
            if not header[0] and header == _ZERO:
                break
            position += 512
            # adler32's lower half is one more than the sum of the bytes, as long as that is below 65521
            total = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF) - 2
            stated = header[148:156]
            # the checksum counts its own field as eight spaces
            total += 257 - (adler32(stated) & 0xFFFF)
            checksum = _checksum(stated)
            if total != checksum and not _signed_sum_agrees(header, checksum):
                source.refuse("a header has a wrong checksum" if count else "not a tar archive")
            count += 1
            if count > limits.entries:
                source.refuse(f"more than {limits.entries} entries")
            size = _number(header[124:136], source, "size")
            kind_byte = header[156]
            kind = _KINDS.get(kind_byte)

            if kind is None:
                if kind_byte not in b"xgXLK":
                    what = _REFUSED.get(kind_byte, f"of unknown type {chr(kind_byte)!r}")
                    source.refuse(f"entry {to_text(_field(header))!r} is {what}")
                if size > (limits.extended if kind_byte in b"xgX" else limits.name + 1):
                    source.refuse(f"an extended header has {size} bytes, more than is taken")
                padded = (size + 511) & ~511
                body = buffer[position : position + padded]
                position += len(body)
                while len(body) < padded:
                    # the rest of the header is in the next chunk, and this chunk may hold contents
                    if wanted:
                        file = file or Spool(spool)
                        file.write(memoryview(buffer)[run:end])
                        base = file.size
                        wanted = False
                    buffer = source.chunk()
                    if not buffer:
                        source.refuse("truncated within an extended header")
                    end = len(buffer)
                    more = buffer[: padded - len(body)]
                    position = run = len(more)
                    body += more
                body = body[:size]
                if kind_byte == 0x4C:
                    local.setdefault(b"path", body.split(b"\0", 1)[0])
                elif kind_byte == 0x4B:
                    local.setdefault(b"linkpath", body.split(b"\0", 1)[0])
                elif kind_byte == 0x67:
                    shared.update(_records(body, source))
                else:
                    local.update(_records(body, source))
                continue

            rights = header[100:124]
            owner = owners.get(rights)
            if owner is None:
                owner = (
                    _number(rights[:8], source, "mode") & 0o7777,
                    _number(rights[8:16], source, "uid"),
                    _number(rights[16:], source, "gid"),
                )
                owners[rights] = owner
            mode, uid, gid = owner
            date = header[136:148]
            mtime = times.get(date)
            if mtime is None:
                mtime = times[date] = _number(date, source, "mtime", signed=True)
            raw = _field(header)
            if header[257:263] == b"ustar\0" and header[345]:
                raw = header[345:500].split(b"\0", 1)[0] + b"/" + raw
            target_raw = header[157:257].split(b"\0", 1)[0] if header[157] else b""
            xattrs: tuple[tuple[str, bytes], ...] = ()
            if local or shared:
                records = {**shared, **local} if shared else local
                if local:
                    local = {}
                raw = records.get(b"path") or raw
                target_raw = records.get(b"linkpath") or target_raw
                if records.get(b"size"):
                    size = _decimal(records[b"size"], source, "size")
                if records.get(b"uid"):
                    uid = _decimal(records[b"uid"], source, "uid")
                if records.get(b"gid"):
                    gid = _decimal(records[b"gid"], source, "gid")
                if records.get(b"mtime"):
                    mtime = _seconds(records[b"mtime"], source)
                xattrs = _xattrs(records)
                metadata += sum(len(key) + len(value) for key, value in xattrs)
            if len(raw) > limits.name or len(target_raw) > limits.name:
                source.refuse(
                    f"an entry has a name or link text of more than {limits.name} bytes: {raw[:60]!r}…"
                )
            metadata += len(raw) + len(target_raw)
            if metadata > limits.metadata:
                source.refuse(f"more than {limits.metadata} bytes of names and attributes")

            name = to_text(raw)
            if kind is Kind.FILE and name.endswith("/") and kind_byte in (0, 0x30):
                # how archives older than POSIX say that it is a folder
                kind = Kind.DIRECTORY
            path = _clean(name, where)
            if not path and kind is not Kind.DIRECTORY:
                source.refuse(f"the root is a {kind}")
            if not 0 <= uid < _NO_ID or not 0 <= gid < _NO_ID:
                source.refuse(f"entry {path!r} has the owner {uid}:{gid}, which no system has")
            if path in linked and not (kind is Kind.HARDLINK and _clean(to_text(target_raw), where) == path):
                source.refuse(f"entry {path!r} replaces a file that a hard link names already")

            if kind is Kind.FILE:
                padded = (size + 511) & ~511
                if size > limits.total:
                    source.refuse(f"entry {path!r} has {size} bytes, more than is taken")
                content: Content
                keeping = keep is None or keep(path)
                if not keeping:
                    content = Skipped(size)
                    if padded >= _WORTH_SKIPPING:
                        if wanted:
                            file = file or Spool(spool)
                            file.write(memoryview(buffer)[run:position])
                            base = file.size
                            wanted = False
                        run = min(position + padded, end)
                elif size:
                    file = file or Spool(spool)
                    content = Span(file.path, base + position - run, size, file.owner)
                    wanted = True
                else:
                    content = _EMPTY
                entry = Entry(
                    path=path,
                    kind=kind,
                    mode=mode,
                    uid=uid,
                    gid=gid,
                    mtime=mtime,
                    content=content,
                    xattrs=xattrs,
                )
                seen[path] = entry
                position += padded
                if position > end:
                    left = position - end
                    position = end
                batch.append(entry)
                continue

            if kind is Kind.DIRECTORY:
                entry = Entry(path=path, kind=kind, mode=mode, uid=uid, gid=gid, mtime=mtime, xattrs=xattrs)
                seen.pop(path, None)
            elif kind is Kind.HARDLINK:
                made = _hardlink(path, _clean(to_text(target_raw), where), seen, closed, source)
                if made is None:
                    continue
                entry = made
                if entry.kind is Kind.HARDLINK:
                    file_entry = seen.get(entry.target)
                    if (
                        file_entry is not None
                        and isinstance(file_entry.content, Skipped)
                        and keep
                        and keep(path)
                    ):
                        raise SkippedError(
                            f"{where}: entry {path!r} is a hard link to a file that was skipped"
                        )
                    entry = replace(entry, mode=mode, uid=uid, gid=gid, mtime=mtime)
                    linked.add(entry.target)
                seen[path] = entry
            else:
                device = (0, 0)
                target = ""
                if kind is Kind.SYMLINK:
                    target = to_text(target_raw)
                    if not target or "\0" in target:
                        source.refuse(f"entry {path!r} is a symbolic link without a target")
                elif kind is not Kind.FIFO:
                    device = (
                        _number(header[329:337], source, "device"),
                        _number(header[337:345], source, "device"),
                    )
                entry = Entry(
                    path=path,
                    kind=kind,
                    mode=mode,
                    uid=uid,
                    gid=gid,
                    mtime=mtime,
                    target=target,
                    device=device,
                    xattrs=xattrs,
                )
                seen[path] = entry
            batch.append(entry)

        if wanted:
            file = file or Spool(spool)
            file.write(memoryview(buffer)[run:position])
        yield from batch
        source.drain()
    finally:
        if file is not None:
            file.close()


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
    """The stream in chunks of whole blocks, counted."""

    def __init__(self, stream: BinaryIO, where: str, limits: Limits) -> None:
        self._stream, self._where, self._limits = stream, where, limits
        self._read = 0
        self.ragged = False

    def chunk(self) -> bytes:
        """The next whole blocks; empty at the end of the stream, which is `ragged` if it was within one."""
        parts, size = [], 0
        while size < _CHUNK and (more := self._stream.read(_CHUNK - size)):
            parts.append(more)
            size += len(more)
        self._read += size
        if self._read > self._limits.total:
            self.refuse(f"more than {self._limits.total} bytes of tar")
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if size & 511:
            self.ragged = True
            data = data[: size & ~511]
        return data

    def drain(self) -> None:
        """Read what is left: whoever verifies the stream, or its compression, does so at its end."""
        while more := self._stream.read(_CHUNK):
            self._read += len(more)
            if self._read > self._limits.total:
                self.refuse(f"more than {self._limits.total} bytes of tar")

    def refuse(self, what: str) -> NoReturn:
        raise FormatError(f"{self._where}: {what}", hint=_BROKEN)


def _field(header: bytes) -> bytes:
    """The name field."""
    return header[:100].split(b"\0", 1)[0]


def _number(raw: bytes, source: _Source, what: str, *, signed: bool = False) -> int:
    """A number in octal digits, or in the base 256 of GNU tar and star when its first bit is set."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big", signed=True)
        if raw[0] != 0xFF:
            value = int.from_bytes(raw, "big") & ~(0x80 << 8 * (len(raw) - 1))
        if not (-(1 << 63) if signed else 0) <= value < 1 << 63:
            source.refuse(f"a header has the {what} {value}")
        return value
    text = raw.split(b"\0", 1)[0].strip(b" ")
    if not text:
        return 0
    try:
        # int() alone would take signs and underscores
        return int(text if text.isdigit() else b"x", 8)
    except ValueError:
        source.refuse(f"a header has the {what} {text!r}, which is not an octal number")


def _decimal(raw: bytes, source: _Source, what: str) -> int:
    if not raw.isdigit() or len(raw) > 19 or (value := int(raw)) >= 1 << 63:
        source.refuse(f"an extended header has the {what} {raw[:40]!r}")
    return value


def _seconds(raw: bytes, source: _Source) -> int:
    """Whole seconds of a time with a fraction, rounded down."""
    digits, dot, fraction = raw.removeprefix(b"-").partition(b".")
    if not digits.isdigit() or len(digits) > 18 or (dot and fraction and not fraction.isdigit()):
        source.refuse(f"an extended header has the mtime {raw[:40]!r}")
    if not raw.startswith(b"-"):
        return int(digits)
    return -int(digits) - (1 if fraction.strip(b"0") else 0)


def _checksum(raw: bytes) -> int:
    """The number in a checksum field, or -1."""
    text = raw.split(b"\0", 1)[0].strip(b" ")
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


def _clean(name: str, where: str) -> str:
    """`clean_path`, faster for the names that need no more than their ends cut."""
    if name.startswith("./"):
        name = name[2:]
    if name.endswith("/"):
        name = name[:-1]
    if name and name[0] not in "./" and "/." not in name and "//" not in name and "\0" not in name:
        return name
    return clean_path(name, where=where)


def _hardlink(path: str, target: str, seen: dict[str, Entry], closed: bool, source: _Source) -> Entry | None:
    """The entry for a hard link from `path` to `target`; None when it changes nothing."""
    if path == target and target in seen:
        return None
    found = seen.get(target)
    if found is None:
        if closed or not target or target == path:
            source.refuse(f"entry {path!r} is a hard link to {target!r}, which is no file before it")
        return Entry(path=path, kind=Kind.HARDLINK, target=target)
    if found.kind is Kind.HARDLINK:
        if found.target == path:
            return None
        return Entry(path=path, kind=Kind.HARDLINK, target=found.target)
    if found.kind is Kind.FILE:
        return Entry(path=path, kind=Kind.HARDLINK, target=target)
    return found.at(path)
