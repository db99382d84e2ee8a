"""Writing tar, in one canonical form; the package's text says which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from zlib import adler32

from ramekin.errors import FormatError, RamekinError
from ramekin.image.spans import Spans
from ramekin.image.tree import Entry, Inline, Kind, Span, Tree, to_bytes

_BATCH = 1 << 18
"""Bytes that are gathered before they are given out; larger files go in pieces of four times this."""

_TYPES = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}
_ID_LIMIT = 0o7777777
_NUMBER_LIMIT = 0o77777777777
_PADDING = [bytes(-size & 511) for size in range(512)]


def write(tree: Tree, out: Callable[[bytes], object]) -> None:
    """Give the bytes of `tree`'s tar to `out`, a few hundred KiB at a time.

    `FormatError` when a hard link does not name a file of the tree; `RamekinError` when a content does not
    have the size that it said.
    """
    parts: list[bytes] = []
    gathered = 0
    pieces = _Pieces()
    files = Spans()
    try:
        for entry in canonical(tree).entries():
            head = pieces.head(entry)
            parts.append(head)
            gathered += len(head)
            content = entry.content
            if content is not None and entry.kind is Kind.FILE and (size := content.size):
                if isinstance(content, Inline):
                    parts.append(content.data)
                elif size <= _BATCH:
                    if isinstance(content, Span):
                        data = files.read(content, 0, size)
                    else:
                        with content.open() as stream:
                            data = stream.read(size + 1)
                    if len(data) != size:
                        raise _wrong_size(entry, len(data))
                    parts.append(data)
                else:
                    out(b"".join(parts))
                    parts, gathered = [], 0
                    _stream(entry, files, out)
                    size &= 511
                parts.append(_PADDING[size & 511])
                gathered += size
            if gathered >= _BATCH:
                out(b"".join(parts))
                parts, gathered = [], 0
        parts.append(bytes(1024))
        out(b"".join(parts))
    finally:
        files.close()


def canonical(tree: Tree) -> Tree:
    """The tree in which the first of a file's names, in order, is the file and the others are links to it.

    A link's mode, owner, mtime and attributes are those of its file. `FormatError` when a link does not lead
    to a file of the tree.
    """
    links = [entry for entry in tree.entries() if entry.kind is Kind.HARDLINK]
    if not links:
        return tree
    names: dict[str, list[str]] = {}
    for entry in links:
        target, steps = entry, 0
        while target.kind is Kind.HARDLINK:
            found = tree.get(target.target)
            steps += 1
            if found is None or steps > len(links):
                raise FormatError(
                    f"entry {entry.path!r} is a hard link to {target.target!r}, which is no file"
                )
            target = found
        if target.kind is not Kind.FILE:
            raise FormatError(f"entry {entry.path!r} is a hard link to {target.path!r}, a {target.kind}")
        names.setdefault(target.path, [target.path]).append(entry.path)
    changed: list[Entry] = []
    for path, group in names.items():
        file = tree[path]
        first = min(group, key=to_bytes)
        changed.append(file.at(first))
        link = replace(file, kind=Kind.HARDLINK, content=None, target=first, xattrs=())
        changed += [link.at(other) for other in group if other != first]
    return tree.plus(changed)


class _Pieces:
    """Headers, put together from pieces whose bytes and sums are kept, for most repeat."""

    def __init__(self) -> None:
        self._rights: dict[tuple[int, int, int], tuple[bytes, int]] = {}
        self._times: dict[int, tuple[bytes, int]] = {}
        self._tails: dict[bytes, tuple[bytes, int]] = {}

    def head(self, entry: Entry) -> bytes:
        """The header of an entry, with an extended one before it if needed."""
        name = to_bytes(entry.path)
        kind = entry.kind
        if kind is Kind.DIRECTORY:
            name = name + b"/" if name else b"./"
        target = to_bytes(entry.target) if entry.target else b""
        size = entry.content.size if kind is Kind.FILE and entry.content is not None else 0
        simple = (
            len(name) <= 100
            and len(target) <= 100
            and size <= _NUMBER_LIMIT
            and 0 <= entry.mtime <= _NUMBER_LIMIT
            and entry.uid <= _ID_LIMIT
            and entry.gid <= _ID_LIMIT
            and not entry.xattrs
            and entry.path.isascii()
            and entry.target.isascii()
        )
        if simple:
            return self._header(
                name,
                entry.mode,
                entry.uid,
                entry.gid,
                size,
                entry.mtime,
                _TYPES[kind],
                target,
                b"",
                entry.device,
            )
        return self._extended(entry, name, target, size)

    def _extended(self, entry: Entry, name: bytes, target: bytes, size: int) -> bytes:
        records: dict[bytes, bytes] = {}
        prefix = b""
        if _plain(name) and (split := _split(name)) is not None:
            prefix, name = split
        else:
            records[b"path"] = name
            name = _cut(name)
        if len(target) > 100 or not _plain(target):
            records[b"linkpath"] = target
            target = _cut(target)
        if any(not _decodes(text) for text in records.values()):
            records[b"hdrcharset"] = b"BINARY"
        uid, gid, mtime = entry.uid, entry.gid, entry.mtime
        if size > _NUMBER_LIMIT:
            records[b"size"], size = b"%d" % size, 0
        if uid > _ID_LIMIT:
            records[b"uid"], uid = b"%d" % uid, 0
        if gid > _ID_LIMIT:
            records[b"gid"], gid = b"%d" % gid, 0
        if not 0 <= mtime <= _NUMBER_LIMIT:
            records[b"mtime"], mtime = b"%d" % mtime, 0
        for key, value in entry.xattrs:
            if "=" in key or not key:
                raise FormatError(
                    f"entry {entry.path!r} has the attribute {key!r}, whose name tar cannot hold"
                )
            records[b"SCHILY.xattr." + to_bytes(key)] = value
        header = self._header(
            name, entry.mode, uid, gid, size, mtime, _TYPES[entry.kind], target, prefix, entry.device
        )
        if not records:
            return header
        body = b"".join(_record(key, records[key]) for key in sorted(records))
        before = self._header(b"PaxHeaders/entry", 0o644, 0, 0, len(body), 0, b"x", b"", b"", (0, 0))
        return b"".join((before, body, _PADDING[len(body) & 511], header))

    def _header(
        self,
        name: bytes,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        mtime: int,
        kind: bytes,
        target: bytes,
        prefix: bytes,
        device: tuple[int, int],
    ) -> bytes:
        rights = self._rights.get((mode, uid, gid))
        if rights is None:
            data = b"%07o\0%07o\0%07o\0" % (mode, uid, gid)
            rights = self._rights[mode, uid, gid] = (data, _sum(data))
        time = self._times.get(mtime)
        if time is None:
            data = b"%011o\0" % mtime
            time = self._times[mtime] = (data, _sum(data))
        key = kind if not (target or prefix) and device == (0, 0) else b""
        tail = self._tails.get(key) if key else None
        if tail is None:
            major, minor = device
            if not (0 <= major <= _ID_LIMIT and 0 <= minor <= _ID_LIMIT):
                raise FormatError(f"entry {name!r} has the device number {major}:{minor}, too large for tar")
            data = b"".join(
                (
                    kind,
                    target.ljust(100, b"\0"),
                    b"ustar\00000",
                    bytes(64),
                    b"%07o\0%07o\0" % (major, minor),
                    prefix.ljust(155, b"\0"),
                    bytes(12),
                )
            )
            tail = (data, _sum(data[:160]) + _sum(data[160:]))
            if key:
                self._tails[key] = tail
        length = b"%011o\0" % size
        # 256 is the sum of the eight spaces that stand for the checksum itself
        total = _sum(name) + rights[1] + _sum(length) + time[1] + tail[1] + 256
        return b"".join((name.ljust(100, b"\0"), rights[0], length, time[0], b"%06o\0 " % total, tail[0]))


def _stream(entry: Entry, files: Spans, out: Callable[[bytes], object]) -> None:
    content, done = entry.content, 0
    assert content is not None
    size = content.size
    if isinstance(content, Span):
        while done < size and (data := files.read(content, done, min(4 * _BATCH, size - done))):
            out(data)
            done += len(data)
    else:
        with content.open() as stream:
            while done <= size and (data := stream.read(4 * _BATCH)):
                done += len(data)
                if done <= size:
                    out(data)
    if done != size:
        raise _wrong_size(entry, done)


def _wrong_size(entry: Entry, found: int) -> RamekinError:
    more = "at least " if found > entry.size else ""
    return RamekinError(
        f"the content of {entry.path!r} has {more}{found} bytes where {entry.size} were expected",
        hint="its file was changed while it was read",
    )


def _sum(data: bytes) -> int:
    """The sum of at most 257 bytes: adler32's lower half is one more, as long as that is below 65521."""
    return (adler32(data) & 0xFFFF) - 1


def _plain(name: bytes) -> bool:
    """Whether a name goes into a ustar field as it is: ASCII does, and so do bytes that no pax record may
    hold, for it is UTF-8."""
    return name.isascii() or not _decodes(name)


def _decodes(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """The ustar prefix and name fields for a name, or None when it does not fit."""
    if len(name) <= 100:
        return b"", name
    slash = name.find(b"/", max(len(name) - 101, 1), 156)
    if slash < 0 or slash == len(name) - 1:
        return None
    return name[:slash], name[slash + 1 :]


def _cut(name: bytes) -> bytes:
    """What stands in the ustar field of a name that is in an extended header."""
    return bytes(byte if byte < 128 else 0x5F for byte in name[:100]).rstrip(b"/") or b"_"


def _record(key: bytes, value: bytes) -> bytes:
    """A record `LENGTH KEY=VALUE\\n`, whose length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
