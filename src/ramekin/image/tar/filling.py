"""Reading tar with sparse members: `read` for archives in which files are stored without their holes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from ramekin.errors import FormatError
from ramekin.image.tar.headers import BROKEN, LIMITS, Limits
from ramekin.image.tar.reading import Names, extract
from ramekin.image.tar.scanning import scan
from ramekin.image.tar.spool import Spool
from ramekin.image.tree import Content, Entry, Inline, Kind, Span, Tree

_EMPTY = Inline(b"")


def read_filled(
    stream: BinaryIO, *, where: str, spool: Path, closed: bool = True, limits: Limits = LIMITS
) -> Iterator[Entry]:
    """`read`, slower, and with the holes of sparse files in their contents (`Limits.holes` bounds them)."""
    names = Names(_Refusing(where), where, closed=closed, keep=None)
    file: Spool | None = None
    try:
        for member, passing in scan(stream, where=where, limits=limits):
            path = names.path(member.kind, member.path, member.target)
            content: Content | None = None
            if member.kind is Kind.FILE:
                content = _EMPTY
                if member.size:
                    file = file or Spool(spool)
                    start = file.size
                    passing.take(file.write, file.skip)
                    content = Span(file.path, start, member.size, file.owner)
            entry = Entry(
                path=path,
                kind=member.kind,
                mode=member.mode,
                uid=member.uid,
                gid=member.gid,
                mtime=member.mtime,
                content=content,
                target=member.target,
                device=member.device,
                xattrs=member.xattrs,
            )
            found = names.resolve(entry) if member.kind is Kind.HARDLINK else entry
            if found is not None:
                names.add(found)
                yield found
    finally:
        if file is not None:
            file.close()


def read_filled_tree(
    stream: BinaryIO, *, where: str, spool: Path, closed: bool = True, limits: Limits = LIMITS
) -> Tree:
    """All of a tar as one tree: `extract` of `read_filled`."""
    return extract(read_filled(stream, where=where, spool=spool, closed=closed, limits=limits), where=where)


class _Refusing:
    def __init__(self, where: str) -> None:
        self._where = where

    def refuse(self, what: str) -> NoReturn:
        raise FormatError(f"{self._where}: {what}", hint=BROKEN)
