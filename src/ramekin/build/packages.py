"""What the image must know of each package, found once: facts for composing, evidence for closures.

A package is unpacked at most once a build while there is room: its prepared tree is held from the moment
that it is examined to the moment that its layer is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from ramekin import closure, workers
from ramekin.closure import evidence as evidence_room
from ramekin.closure import model as facts_of
from ramekin.closure.evidence import model as evidence_of
from ramekin.closure.evidence.model import PackageDetail, PackageEvidence
from ramekin.closure.model import PackageFacts, Prepared, SliceChoice
from ramekin.image.tree import Tree
from ramekin.progress import Progress
from ramekin.sources.protocol import Package, Source, SuiteFacts
from ramekin.store.action import Key, key
from ramekin.store.digest import Digest
from ramekin.store.store import Store

if TYPE_CHECKING:
    from ramekin.sources.nix.model import NixPackage

HELD = 768 << 20
"""Bytes of unpacked files that a build keeps on disk for the layers it is about to write."""

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Preparation:
    """What decides how a package is prepared, besides the package."""

    suite: SuiteFacts
    architecture: str
    slices: SliceChoice

    def parts(self, kind: str) -> tuple[str, ...]:
        """The parts of an action key that stand for this preparation of packages of a kind.

        A store path of Nix is prepared alike for all images.
        """
        if kind == "nix":
            from ramekin.closure import storepaths

            return (kind, storepaths.revision())
        merged = " ".join(f"{old}>{new}" for old, new in sorted(self.suite.merged.items()))
        return (closure.revision(), self.architecture, merged, self.slices.identity)


@dataclass(frozen=True, slots=True)
class Examined:
    """What is known of a package; `evidence` is None where it was not asked for."""

    facts: PackageFacts
    evidence: PackageEvidence | None


_Name = tuple[Digest, str, tuple[str, ...]]
"""A package as it is prepared: two store paths may have the same archive, and stand in two places."""


def _named(package: Package, how: Preparation) -> _Name:
    return package.digest, package.name, how.parts(package.kind)


@dataclass
class Bench:
    """Where packages are worked on: `jobs` at once, unpacked trees held up to `HELD` bytes."""

    source: Source
    store: Store
    progress: Progress
    jobs: int
    _trees: dict[_Name, Tree] = field(default_factory=dict)
    _known: dict[_Name, Examined] = field(default_factory=dict)
    _held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def each(self, work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
        """`work` done on all items by `jobs` threads, the results in the items' order."""
        return workers.each(lambda item, _: work(item), items, jobs=max(self.jobs, 1))

    def tree(self, package: Package, how: Preparation) -> Tree:
        """The prepared tree of a package, held from when it was examined or made again."""
        with self._lock:
            held = self._trees.pop(_named(package, how), None)
            self._held -= held.size if held is not None else 0
        return held if held is not None else self._prepare(package, how).tree

    def keep_only(self, packages: Iterable[Package]) -> None:
        """Let go of the trees of all other packages."""
        digests = {package.digest for package in packages}
        with self._lock:
            self._trees = {name: files for name, files in self._trees.items() if name[0] in digests}
            self._held = sum(files.size for files in self._trees.values())

    def known(self, package: Package, how: Preparation, *, evidence: bool) -> Examined | None:
        """What this build or an earlier one found out of a package, if it did."""
        name = _named(package, how)
        found = self._known.get(name)
        if found is None or (evidence and found.evidence is None):
            found = recall(package, how, self.store, evidence=evidence)
            if found is not None:
                self._known[name] = found
        return found

    def examine(self, package: Package, how: Preparation, *, evidence: bool) -> Examined:
        """Facts and evidence of a package that is in the store; recorded there for the next build."""
        ready = self._prepare(package, how)
        self._hold(package, how, ready.tree)
        self.store.record(_key("facts", package, how), facts_of.encode(ready.facts))
        examined = Examined(ready.facts, None)
        if evidence and package.kind == "nix":
            from ramekin.closure.storepaths import scan as of_paths

            known = of_paths.evidence(ready, references(package))
            self.store.record(_key("evidence", package, how), evidence_of.encode(known))
            examined = Examined(ready.facts, known)
        elif evidence:
            from ramekin.closure.evidence.scan import scan

            scanned = scan(ready)
            self.store.record(_key("detail", package, how), evidence_of.encode(scanned.detail))
            self.store.record(_key("evidence", package, how), evidence_of.encode(scanned.evidence))
            examined = Examined(ready.facts, scanned.evidence)
        self._known[_named(package, how)] = examined
        return examined

    def detail(self, package: Package, how: Preparation) -> PackageDetail:
        """The evidence of the single files of a package that is in the store."""
        data = self.store.result(_key("detail", package, how))
        if data is not None:
            return evidence_of.decode_detail(data)
        if package.kind == "nix":
            from ramekin.closure.storepaths import scan as of_paths

            found = of_paths.detail(self._prepare(package, how), references(package))
            self.store.record(_key("detail", package, how), evidence_of.encode(found))
            return found
        from ramekin.closure.evidence.scan import scan

        return scan(self._prepare(package, how)).detail

    def _prepare(self, package: Package, how: Preparation) -> Prepared:
        if package.kind == "nix":
            from ramekin.closure.storepaths.prepare import prepare as prepare_path

            return prepare_path(self.source.open(package), architecture=how.architecture)
        from ramekin.closure.prepare import prepare

        return prepare(
            self.source.open(package), facts=how.suite, slices=how.slices, architecture=how.architecture
        )

    def _hold(self, package: Package, how: Preparation, files: Tree) -> None:
        name = _named(package, how)
        with self._lock:
            if name not in self._trees and self._held + files.size <= HELD:
                self._trees[name] = files
                self._held += files.size


def _key(what: str, package: Package, how: Preparation) -> Key:
    room = "" if what == "facts" else evidence_room.revision()
    if package.kind == "nix":
        room = "" if what == "facts" else " ".join(references(package))
    return key(what, room, package.digest, package.name, package.version, *how.parts(package.kind))


def references(package: Package) -> tuple[str, ...]:
    """The base names of the store paths that a store path refers to."""
    return tuple(sorted(cast("NixPackage", package).references))


def recall(package: Package, how: Preparation, store: Store, *, evidence: bool) -> Examined | None:
    """What an earlier build found out of a package, if it did."""
    facts = store.result(_key("facts", package, how))
    if facts is None:
        return None
    if not evidence:
        return Examined(facts_of.decode(facts), None)
    found = store.result(_key("evidence", package, how))
    return None if found is None else Examined(facts_of.decode(facts), evidence_of.decode(found))


def examine(
    packages: Sequence[Package], how: Preparation, bench: Bench, *, evidence: bool
) -> dict[str, Examined]:
    """What is known of all `packages` by name; those that nothing is known of are fetched and opened."""
    known = {package.name: bench.known(package, how, evidence=evidence) for package in packages}
    missing = [package for package in packages if known[package.name] is None]
    if missing:
        # the largest first, so that no worker is left alone with it at the end
        missing.sort(key=lambda package: (-package.size, package.name))

        def fetch(hand_over: Callable[[Package], None]) -> None:
            absent = []
            for package in missing:
                if bench.store.has(package.digest):
                    hand_over(package)
                else:
                    absent.append(package)
            bench.source.fetch(absent, bench.progress, arrived=hand_over)

        with bench.progress.task("packages", total=sum(package.size for package in missing)) as task:

            def one(package: Package) -> Examined:
                examined = bench.examine(package, how, evidence=evidence)
                task.advance(package.size)
                return examined

            for package, examined in zip(
                missing, workers.each_fed(one, missing, fetch, jobs=bench.jobs), strict=True
            ):
                known[package.name] = examined
    return {name: examined for name, examined in known.items() if examined is not None}
