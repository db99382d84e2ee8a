"""From packages to a layer: opened, prepared, written; done once and found again by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from ramekin import closure
from ramekin.closure.model import PackageFacts, SliceChoice
from ramekin.image.compress import Compression
from ramekin.image.oci import Descriptor
from ramekin.image.tree import Entry, Tree
from ramekin.plan.layers import Group
from ramekin.sources.protocol import Package, Source, SuiteFacts
from ramekin.store.action import Key, key
from ramekin.store.digest import Digest
from ramekin.store.store import Store

Hidden = Mapping[str, Mapping[str, str]]
"""For each package that gives way to others: its paths that do, and where each file goes ("" for nowhere)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides the bytes of a layer besides its packages.

    `epoch` (seconds since 1970) is the latest time that a file may bear, or None for its own.
    """

    suite: SuiteFacts
    architecture: str
    slices: SliceChoice
    compression: Compression
    epoch: int | None = None

    def parts(self) -> tuple[str, ...]:
        """The parts of an action key that stand for these terms."""
        merged = " ".join(f"{old}>{new}" for old, new in sorted(self.suite.merged.items()))
        epoch = "" if self.epoch is None else str(self.epoch)
        return (
            closure.revision(),
            self.architecture,
            merged,
            self.slices.identity,
            self.compression.identity,
            epoch,
        )


class MadeLayer(msgspec.Struct, frozen=True):
    """A layer in the store, and the facts of the packages in it (none for essentials)."""

    name: str
    descriptor: Descriptor
    diff_id: Digest
    facts: tuple[PackageFacts, ...] = ()


def group_key(group: Group, terms: Terms, hidden: Hidden) -> Key:
    """The key under which the layer of `group` is found."""
    moves = [
        f"{package.name}\0{path}\0{to}"
        for package in group.packages
        for path, to in sorted(hidden.get(package.name, {}).items())
    ]
    digests = [f"{package.digest} {package.version}" for package in group.packages]
    return key("layer", *terms.parts(), len(digests), *digests, *moves)


def find(group: Group, terms: Terms, hidden: Hidden, store: Store) -> MadeLayer | None:
    """The layer of `group` if it was made before and its blob is still there."""
    found = store.result(group_key(group, terms, hidden))
    return None if found is None else msgspec.json.decode(found, type=MadeLayer)


def make(group: Group, terms: Terms, hidden: Hidden, source: Source, store: Store) -> MadeLayer:
    """Make the layer of `group`, whose packages are in the store, unless another process has."""
    name = group_key(group, terms, hidden)
    with store.exclusive(name):
        if (made := find(group, terms, hidden, store)) is not None:
            return made
        trees, facts = [], []
        for package in group.packages:
            files, known = _prepare(package, terms, source)
            trees.append(_give_way(files, hidden.get(package.name, {})))
            facts.append(known)
        made = write(group.name, _union(trees), terms, store, facts=tuple(facts))
        store.record(name, msgspec.json.encode(made), blobs=(made.descriptor.digest,))
        return made


def write(
    name: str, files: Tree, terms: Terms, store: Store, *, facts: tuple[PackageFacts, ...] = ()
) -> MadeLayer:
    """Write a tree as a layer called `name` into the store."""
    from ramekin.image import layer

    if terms.epoch is not None:
        files = files.map(lambda entry: _no_later(entry, terms.epoch or 0))
    written = layer.write(files, store, terms.compression)
    return MadeLayer(name, written.descriptor, written.diff_id, facts)


def _prepare(package: Package, terms: Terms, source: Source) -> tuple[Tree, PackageFacts]:
    from ramekin.closure.prepare import prepare

    ready = prepare(
        source.open(package), facts=terms.suite, slices=terms.slices, architecture=terms.architecture
    )
    return ready.tree, ready.facts


def _no_later(entry: Entry, epoch: int) -> Entry:
    return entry if entry.mtime <= epoch else replace(entry, mtime=epoch)


def _give_way(files: Tree, moves: Mapping[str, str]) -> Tree:
    if not moves:
        return files
    moved = [files[path].at(to) for path, to in moves.items() if to and path in files]
    return files.without(lambda entry: entry.path in moves).plus(moved).with_parents()


def _union(trees: Sequence[Tree]) -> Tree:
    """All trees in one; of folders that several have, the first one's entry stands, as dpkg has it."""
    if len(trees) == 1:
        return trees[0]
    return Tree(entry for files in reversed(trees) for entry in files.entries())
