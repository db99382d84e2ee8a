"""What tar headers say: plain ones, and the extended ones before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, Protocol
from zlib import adler32

from ramekin.errors import FormatError
from ramekin.image.tree import Kind, clean_path, to_text

BROKEN = "the archive is broken or hostile"
ZERO = bytes(512)
_NO_ID = 0xFFFFFFFF
"""chown takes this for "leave it as it is"."""

KINDS = {
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
_SPARSE = b"GNU.sparse."
_PIECE = {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}
_USED = {b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"}
_Fields = tuple[str, str, int, int, int, int, int, tuple[tuple[str, bytes], ...]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader takes from one stream.

    `total` bytes of the stream, `entries` of it, bytes of one `extended` header, of one `name` or link text,
    and of all `metadata` (names, link texts and extended attributes) together; where sparse files are taken,
    bytes of all their `holes` together, and their `pieces` in one.
    """

    total: int = 64 << 30
    entries: int = 2_000_000
    extended: int = 1 << 20
    name: int = 4096
    metadata: int = 256 << 20
    holes: int = 8 << 30
    pieces: int = 100_000


LIMITS = Limits()


class SparseError(FormatError):
    """A file is stored without its holes; `read_filled` puts them in again."""


class Source(Protocol):
    """The stream that headers are read from."""

    def body(self, size: int) -> bytes:
        """The next `size` bytes, of an extended header."""

    def refuse(self, what: str) -> NoReturn:
        """Raise `FormatError`, naming the archive."""


class Headers:
    """What headers say, with the extended ones before them, counted.

    With `sparse`, files that are stored without their holes are not refused: after `fields`, `holes` has
    their records.
    """

    def __init__(self, source: Source, limits: Limits, *, sparse: bool = False) -> None:
        self._source, self._limits, self._sparse = source, limits, sparse
        self.holes: dict[bytes, bytes] = {}
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
            said = f"entry {to_text(until_nul(header[:100]))!r} is {what}"
            if form == b"S":
                _refuse_sparse(self._source, said)
            self._source.refuse(said)
        size = number(header[124:136], self._source, "size")
        if size > (self._limits.name + 1 if form in b"LK" else self._limits.extended):
            self._source.refuse(f"an extended header has {size} bytes, more than is taken")
        body = self._source.body(size)
        self._keep(size)
        if form == b"L":
            self.pending.setdefault(b"path", until_nul(body))
        elif form == b"K":
            self.pending.setdefault(b"linkpath", until_nul(body))
        elif form == b"g":
            self._shared.update(_records(body, self._source, sparse=self._sparse))
        else:
            self.pending.update(_records(body, self._source, sparse=self._sparse))

    def fields(self, header: bytes) -> _Fields:
        """Name, link text, size, mode, owner, group, mtime and attributes of an entry."""
        source = self._source
        rights, date = header[100:124], header[136:148]
        owner = self._owners.get(rights)
        if owner is None:
            owner = self._owners[rights] = (
                number(rights[:8], source, "mode") & 0o7777,
                number(rights[8:16], source, "uid"),
                number(rights[16:], source, "gid"),
            )
        mode, uid, gid = owner
        mtime = self._times.get(date)
        if mtime is None:
            mtime = self._times[date] = number(date, source, "mtime", signed=True)
        size = number(header[124:136], source, "size")
        name = until_nul(header[:100])
        if header[345] and header[257:263] == b"ustar\0":
            name = until_nul(header[345:500]) + b"/" + name
        target = until_nul(header[157:257]) if header[157] else b""
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if self.holes:
            self.holes = {}
        if self.pending or self._shared:
            records = {**self._shared, **self.pending}
            self.pending.clear()
            if self._sparse:
                self.holes = {key: value for key, value in records.items() if key.startswith(_SPARSE)}
            name = records.get(b"GNU.sparse.name") or records.get(b"path") or name
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
        major = number(header[329:337], self._source, "device number")
        return major, number(header[337:345], self._source, "device number")

    def _keep(self, size: int) -> None:
        self._metadata += size
        if self._metadata > self._limits.metadata:
            self._source.refuse(f"more than {self._limits.metadata} bytes of names and attributes")


def _refuse_sparse(source: Source, said: str) -> NoReturn:
    try:
        source.refuse(said)
    except FormatError as error:
        raise SparseError(error.message, hint=error.hint) from None


def until_nul(field: bytes) -> bytes:
    """A text field, which ends at its first NUL."""
    return field.split(b"\0", 1)[0]


def number(raw: bytes, source: Source, what: str, *, signed: bool = False) -> int:
    """A number in octal digits, or in the base 256 of GNU tar and star when its first bit is set."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big", signed=True)
        if raw[0] != 0xFF:
            value = int.from_bytes(raw, "big") & ~(0x80 << 8 * (len(raw) - 1))
        if not (-(1 << 63) if signed else 0) <= value < 1 << 63:
            source.refuse(f"a header has the {what} {value}")
        return value
    digits = until_nul(raw).strip(b" ")
    if not digits:
        return 0
    try:
        # int() alone would take signs and underscores
        return int(digits if digits.isdigit() else b"x", 8)
    except ValueError:
        source.refuse(f"a header has the {what} {digits!r}, which is not an octal number")


def _decimal(records: dict[bytes, bytes], keyword: bytes, usual: int, source: Source) -> int:
    raw = records.get(keyword)
    if not raw:
        # an empty value takes the record back
        return usual
    if not raw.isdigit() or len(raw) > 19 or (value := int(raw)) >= 1 << 63:
        source.refuse(f"an extended header has the {keyword.decode()} {raw[:40]!r}")
    return value


def _seconds(records: dict[bytes, bytes], usual: int, source: Source) -> int:
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
    digits = until_nul(raw).strip(b" ")
    try:
        return int(digits, 8) if digits.isdigit() else -1
    except ValueError:
        return -1


def _signed_sum_agrees(header: bytes, stated: int) -> bool:
    """Some tar programs of the past summed signed bytes."""
    counted = header[:148] + b" " * 8 + header[156:]
    return sum(byte - 256 if byte > 127 else byte for byte in counted) == stated


def _records(body: bytes, source: Source, *, sparse: bool) -> dict[bytes, bytes]:
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
        if keyword.startswith(_SPARSE):
            if not sparse:
                said = f"entry {records.get(b'path', b'?')!r} is sparse, in the form of GNU tar"
                _refuse_sparse(source, said)
            if keyword in _PIECE:
                # the oldest form says each piece in two records, always of these names
                known = records.get(b"GNU.sparse.map")
                keyword, value = b"GNU.sparse.map", value if known is None else known + b"," + value
            records[keyword] = value
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
