"""From packages to a layer: prepared trees, written; done once and found again by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from ramekin.build.packages import Bench, Preparation
from ramekin.image.compress import Compression
from ramekin.image.oci import Descriptor
from ramekin.image.sharing import linked
from ramekin.image.tree import Entry, Inline, Tree, to_text
from ramekin.plan.layers import Group
from ramekin.store.action import Key, key
from ramekin.store.digest import Digest
from ramekin.store.store import Store

Hidden = Mapping[str, Mapping[str, str]]
"""For each package some of whose paths do not stand as they are: those, and where each goes ("": nowhere)."""

REVISION = 3
"""Raised when the same tree is written into other bytes than before."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides the bytes of a layer besides its packages.

    `epoch` (seconds since 1970) is the latest time that a file may bear, or None for its own.
    """

    preparation: Preparation
    compression: Compression
    epoch: int | None = None

    def parts(self, kinds: Iterable[str]) -> tuple[str | int, ...]:
        """The parts of an action key that stand for these terms, for packages of some kinds."""
        epoch = "" if self.epoch is None else str(self.epoch)
        prepared = [part for kind in kinds for part in self.preparation.parts(kind)]
        return (REVISION, *prepared, self.compression.identity, epoch)


class MadeLayer(msgspec.Struct, frozen=True):
    """A layer in the store."""

    name: str
    descriptor: Descriptor
    diff_id: Digest


def group_key(group: Group, terms: Terms, hidden: Hidden) -> Key:
    """The key under which the layer of `group` is found."""
    moves = [
        f"{package.name}\0{path}\0{to}"
        for package in group.packages
        for path, to in sorted(hidden.get(package.name, {}).items())
    ]
    digests = [f"{package.name} {package.digest} {package.version}" for package in group.packages]
    kinds = sorted({package.kind for package in group.packages})
    return key("layer", *terms.parts(kinds), len(digests), *digests, *moves)


def find(group: Group, terms: Terms, hidden: Hidden, store: Store) -> MadeLayer | None:
    """The layer of `group` if it was made before and its blob is still there."""
    found = store.result(group_key(group, terms, hidden))
    return None if found is None else msgspec.json.decode(found, type=MadeLayer)


def make(group: Group, terms: Terms, hidden: Hidden, bench: Bench) -> MadeLayer:
    """Make the layer of `group`, whose packages are in the store, unless another process has."""
    name = group_key(group, terms, hidden)
    with bench.store.exclusive(name):
        if (made := find(group, terms, hidden, bench.store)) is not None:
            return made
        trees = [
            _give_way(bench.tree(package, terms.preparation), hidden.get(package.name, {}))
            for package in group.packages
        ]
        files = linked(_union(trees), among=_is_program)
        made = write(group.name, files, terms, bench.store)
        bench.store.record(name, msgspec.json.encode(made), blobs=(made.descriptor.digest,))
        return made


def make_all(laid: Sequence[Group], terms: Terms, hidden: Hidden, bench: Bench) -> list[MadeLayer]:
    """The layers of all groups, those that are not in the store made in parallel."""
    there = {group.place: find(group, terms, hidden, bench.store) for group in laid}
    missing = [group for group in laid if there[group.place] is None]
    if missing:
        bench.source.fetch([package for group in missing for package in group.packages], bench.progress)
        missing.sort(key=lambda group: (-group.size, group.place))
        with bench.progress.task("layers", total=sum(group.size for group in missing)) as task:

            def one(group: Group) -> MadeLayer:
                made = make(group, terms, hidden, bench)
                task.advance(group.size)
                return made

            there.update(zip((group.place for group in missing), bench.each(one, missing), strict=True))
    return [layer for group in laid if (layer := there[group.place]) is not None]


def write(name: str, files: Tree, terms: Terms, store: Store) -> MadeLayer:
    """Write a tree as a layer called `name` into the store."""
    from ramekin.image import layer

    if terms.epoch is not None:
        files = files.map(lambda entry: _no_later(entry, terms.epoch or 0))
    written = layer.write(files, store, terms.compression)
    return MadeLayer(name, written.descriptor, written.diff_id)


def _no_later(entry: Entry, epoch: int) -> Entry:
    return entry if entry.mtime <= epoch else replace(entry, mtime=epoch)


def _give_way(files: Tree, moves: Mapping[str, str]) -> Tree:
    if not moves:
        return files
    moved = [files[path].at(to) for path, to in moves.items() if to and path in files]
    lists = [_unlisted(entry, moves) for path, entry in files.items() if path.endswith(".md5sums")]
    return files.without(lambda entry: entry.path in moves).plus([*moved, *lists]).with_parents()


def _unlisted(entry: Entry, moves: Mapping[str, str]) -> Entry:
    """A list of checksums without the files that are not there, so that it stays true."""
    if not entry.path.startswith("var/lib/dpkg/status.d/"):
        return entry
    lines = entry.read().splitlines(keepends=True)
    kept = [line for line in lines if to_text(line.rstrip(b"\n").partition(b"  ")[2]) not in moves]
    return replace(entry, content=Inline(b"".join(kept)))


def _is_program(path: str) -> bool:
    """Whether a file belongs to the system's own read-only part (Filesystem Hierarchy Standard, /usr)."""
    return path.startswith("usr/")


def _union(trees: Sequence[Tree]) -> Tree:
    """All trees in one; of folders that several have, the first one's entry stands, as dpkg has it."""
    if len(trees) == 1:
        return trees[0]
    return Tree(entry for files in reversed(trees) for entry in files.entries())
