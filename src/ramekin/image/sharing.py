"""Files of one tree that are the same file under several names.

Packages hold the same bytes twice more often than one would think (redis-check-aof is redis-check-rdb), and
no compressor sees that far back. Of such files one stays and the others become hard links to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ramekin.image.tree import Entry, Kind, Tree
from ramekin.store.digest import Digest, of_stream

LEAST = 4096
"""Bytes that a file must have to be worth a link."""


def linked(tree: Tree, *, among: Callable[[str], bool]) -> Tree:
    """`tree` with equal files made one, of those paths for which `among` is true.

    Files are equal when bytes, mode, owners, time and attributes are; the first in order stays. Only files of
    one size are read. Paths that programs write to must not be `among` them.
    """
    alike: dict[tuple[object, ...], list[Entry]] = {}
    for entry in tree.entries():
        if entry.kind is Kind.FILE and entry.size >= LEAST and among(entry.path):
            what = (entry.size, entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs)
            alike.setdefault(what, []).append(entry)
    first: dict[str, str] = {}
    for entries in alike.values():
        if len(entries) == 1:
            continue
        seen: dict[Digest, str] = {}
        for entry in entries:
            assert entry.content is not None
            with entry.content.open() as stream:
                name = seen.setdefault(of_stream(stream)[0], entry.path)
            if name != entry.path:
                first[entry.path] = name
    if not first:
        return tree

    def link(entry: Entry) -> Entry:
        if entry.path in first:
            return replace(entry, kind=Kind.HARDLINK, content=None, target=first[entry.path])
        if entry.kind is Kind.HARDLINK and entry.target in first:
            return replace(entry, target=first[entry.target])
        return entry

    return tree.map(link)
