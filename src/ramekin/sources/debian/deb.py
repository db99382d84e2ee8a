"""Package files opened (deb(5)): an ar archive of debian-binary, control.tar and data.tar.

Read once from front to back, in bounded memory: data.tar is decompressed and spooled as it comes. A package
file is believed for its digest and yet not trusted: everything that could write outside of a tree, make a
device or fill the disk is refused with the name of the package and of the entry.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ramekin.errors import FormatError
from ramekin.image import tar
from ramekin.image.compress import decompress
from ramekin.image.tree import Entry, Kind
from ramekin.sources.debian import control
from ramekin.sources.debian.compression import SUFFIXES
from ramekin.sources.protocol import Package, PackageContent

_BROKEN = "the package is broken or hostile"
_CHUNK = 1 << 18

LEAST = 64 << 20
"""Bytes that every package may unpack to, whatever it says of itself."""

TIMES = 4
"""How many times its Installed-Size a package may unpack to: the field is an estimate (Policy, 5.6.20)."""

_CONTROL_LIMITS = tar.Limits(total=64 << 20, entries=1000)

_STATUS_ORDER = (
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
)


def read(stream: BinaryIO, package: Package, *, spool: Path, limit: int | None = None) -> PackageContent:
    """Open the package file in `stream`, which should itself verify the digest of what it yields.

    Contents are spooled to a file in the folder `spool` that lives as long as the tree does. `limit` is how
    many bytes data.tar may have; without it, four times the Installed-Size and at least 64 MiB.
    `FormatError` names the package's file and the entry at fault. When the bytes are not those of the digest,
    `DigestMismatchError` is raised even if they are malformed, too.
    """
    where = (
        package.location.rpartition("/")[2] or f"{package.name}_{package.version}_{package.architecture}.deb"
    )
    try:
        content = _read(stream, package, where, spool, limit)
        _drain(stream)
    except FormatError:
        # a damaged file should be called damaged and not malformed
        _drain(stream)
        raise
    return content


def _drain(stream: BinaryIO | io.RawIOBase) -> None:
    while stream.read(_CHUNK):
        pass


def _read(stream: BinaryIO, package: Package, where: str, spool: Path, limit: int | None) -> PackageContent:
    members = _members(stream, where)
    name, member = _next(members, where, "debian-binary")
    version = member.read(64)
    if name != "debian-binary" or not version.startswith(b"2."):
        found = f"{name} {version[:8]!r}"
        raise FormatError(
            f"{where} is not a Debian package of format 2: it begins with {found}", hint=_BROKEN
        )
    name, member = _next(members, where, "control.tar")
    with _unpacked(name, member, "control.tar", where) as plain:
        scripts = _control(plain, f"{where}: {name}", spool)
    if "control" not in scripts:
        raise FormatError(f"{where}: {name} has no control file", hint=_BROKEN)
    text = scripts.pop("control").decode("utf-8", "surrogateescape")
    fields = control.paragraph(text.strip("\n"), where=f"{where}: control")
    _check_identity(fields, package, where)

    name, member = _next(members, where, "data.tar")
    if limit is None:
        size = fields.get("Installed-Size", "")
        limit = max(LEAST, TIMES * 1024 * int(size) if size.isascii() and size.isdigit() else 0)
    place = f"{where}: {name}"
    with _unpacked(name, member, "data.tar", where) as plain:
        limits = replace(tar.LIMITS, total=limit)
        entries = _safe(tar.read(plain, where=place, spool=spool, limits=limits), place)
        tree = tar.extract(entries, where=place)
        _drain(plain)
    for name, _ in members:
        raise FormatError(f"{where} has a member {name} behind data.tar", hint=_BROKEN)
    md5sums = scripts.pop("md5sums", b"")
    return PackageContent(
        package=package,
        tree=tree,
        scripts=scripts,
        status=status(fields, scripts.get("conffiles", b""), tree),
        md5sums=md5sums,
    )


# --- the outer archive -----------------------------------------------------------------------------------


class _Member(io.RawIOBase):
    """One member of an ar archive: the next `size` bytes of a stream."""

    def __init__(self, stream: BinaryIO, size: int, where: str) -> None:
        self._stream, self.left, self._where = stream, size, where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        data = self._stream.read(min(len(view), self.left))
        if not data and self.left and view:
            raise FormatError(f"{self._where} is truncated", hint="fetch the package again")
        view[: len(data)] = data
        self.left -= len(data)
        return len(data)


def _members(stream: BinaryIO, where: str) -> Iterator[tuple[str, BinaryIO]]:
    """The members of an ar archive in order, without those whose name begins with `_` (deb(5)).

    Each is to be read before the next is asked for; what is left of it is passed over.
    """
    if stream.read(8) != b"!<arch>\n":
        raise FormatError(f"{where} is not a Debian package: it is no ar archive", hint=_BROKEN)
    while header := stream.read(60):
        if len(header) < 60:
            raise FormatError(
                f"{where} is truncated in the header of a member", hint="fetch the package again"
            )
        name = header[:16].decode("ascii", "replace").rstrip().removesuffix("/")
        size = header[48:58].strip()
        if header[58:] != b"`\n" or not size.isdigit():
            raise FormatError(f"{where}: the header of member {name!r} is malformed", hint=_BROKEN)
        raw = _Member(stream, int(size), f"{where}: {name}")
        member = io.BufferedReader(raw, _CHUNK)
        if not name.startswith("_"):
            yield name, member
        # whoever has read it may have closed it
        _drain(_Member(stream, raw.left, f"{where}: {name}"))
        if int(size) % 2:
            stream.read(1)


def _next(members: Iterator[tuple[str, BinaryIO]], where: str, wanted: str) -> tuple[str, BinaryIO]:
    found = next(members, None)
    if found is None:
        raise FormatError(f"{where} has no {wanted}", hint=_BROKEN)
    return found


def _unpacked(name: str, member: BinaryIO, wanted: str, where: str) -> BinaryIO:
    suffix = name.removeprefix(wanted)
    if not name.startswith(wanted) or suffix not in SUFFIXES:
        raise FormatError(f"{where} has a member {name} where {wanted} should stand", hint=_BROKEN)
    return decompress(member, where=f"{where}: {name}", name=SUFFIXES[suffix])


# --- what is inside --------------------------------------------------------------------------------------


def _control(plain: BinaryIO, where: str, spool: Path) -> dict[str, bytes]:
    """The files of control.tar by name."""
    found: dict[str, bytes] = {}
    for entry in tar.read(plain, where=where, spool=spool, limits=_CONTROL_LIMITS):
        if entry.kind is Kind.DIRECTORY and not entry.path:
            continue
        if entry.kind is not Kind.FILE or "/" in entry.path or not entry.path:
            raise FormatError(f"{where}: {entry.path!r} is a {entry.kind} and no control file", hint=_BROKEN)
        found[entry.path] = entry.read()
    _drain(plain)
    return {name: found[name] for name in sorted(found)}


def _check_identity(fields: Mapping[str, str], package: Package, where: str) -> None:
    for field, expected in (
        ("Package", package.name),
        ("Version", package.version),
        ("Architecture", package.architecture),
    ):
        if fields.get(field) != expected:
            raise FormatError(
                f"{where}: its control file says {field} {fields.get(field)!r}, the index says {expected!r}",
                hint=_BROKEN,
            )


def _safe(entries: Iterable[Entry], where: str) -> Iterator[Entry]:
    """The entries without the root; `FormatError` for what no package may ship (Policy, 10.6 and 10.5)."""
    for entry in entries:
        if entry.kind in (Kind.CHARACTER, Kind.BLOCK, Kind.FIFO):
            raise FormatError(
                f"{where}: entry {entry.path!r} is a {entry.kind}", hint="packages may not ship device files"
            )
        if entry.kind is Kind.SYMLINK and _leads_out(entry.path, entry.target):
            raise FormatError(
                f"{where}: entry {entry.path!r} is a link to {entry.target!r}, which leads out of the tree",
                hint=_BROKEN,
            )
        if entry.path:
            yield entry


def _leads_out(path: str, target: str) -> bool:
    if ".." not in target:
        return False
    depth = 0 if target.startswith("/") else path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


def status(fields: Mapping[str, str], conffiles: bytes, tree: Mapping[str, Entry]) -> bytes:
    """The paragraph that dpkg would keep of the package once it is installed, fields in dpkg's order."""
    lines = []
    for line in conffiles.decode("utf-8", "surrogateescape").split("\n"):
        words = line.rsplit(None, 1)
        path = words[-1] if words else ""
        entry = tree.get(path.lstrip("/"))
        # lines may begin with a flag such as remove-on-upgrade: those name files that are not there
        if path.startswith("/") and len(words) == 1 and entry is not None and entry.kind is Kind.FILE:
            lines.append(f"{path} {hashlib.md5(entry.read(), usedforsecurity=False).hexdigest()}")
    full = {**fields, "Status": "install ok installed"}
    if lines:
        full["Conffiles"] = "\n" + "\n".join(lines)
    order = {name: place for place, name in enumerate(_STATUS_ORDER)}
    names = sorted(full, key=lambda name: order.get(name, len(order)))
    return control.write({name: full[name] for name in names}).encode("utf-8", "surrogateescape")
