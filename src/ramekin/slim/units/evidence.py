"""What single files of an image show that they need, by the closure room's scan, when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramekin.closure.evidence.model import Kind, PackageDetail
from ramekin.closure.model import PackageFacts, Prepared
from ramekin.image import tree as trees
from ramekin.image.tree import Tree
from ramekin.slim.contents import Contents

if TYPE_CHECKING:
    from ramekin.slim.units.catalog import Known


@dataclass(frozen=True, slots=True)
class Finding:
    """One need of a file. `optional` says that the file copes without."""

    kind: Kind
    target: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class FileEvidence:
    """All that a file shows: needs, and for programs that start others the words that may be commands.

    `is_elf` is true for what the dynamic loader reads.
    """

    needs: tuple[Finding, ...] = ()
    words: frozenset[str] = frozenset()
    is_elf: bool = False


_NOTHING = FileEvidence()


class Evidence:
    """Scans files of one image, each once."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._known: dict[str, FileEvidence] = {}
        self.notes: list[str] = []

    def of(self, path: str, unit: Known) -> FileEvidence:
        """What the file at a path (no link) shows."""
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self._scan(path, unit)
        return found

    def _scan(self, path: str, unit: Known) -> FileEvidence:
        from ramekin.closure.evidence.scan import scan

        entry = self._contents.entry(path)
        entries = [entry]
        name = "image"
        if unit.package is not None and unit.package.depends:
            # the scan reads there which commands its package declares
            name = unit.package.name
            text = f"Depends: {', '.join(sorted(unit.package.depends))}\n"
            entries.append(trees.file(f"var/lib/dpkg/status.d/{name}", text.encode()))
        detail = scan(Prepared(Tree(entries), PackageFacts(name, "", ""))).detail
        return _evidence(detail) if detail.needs or detail.elves or detail.words else _NOTHING


def _evidence(detail: PackageDetail) -> FileEvidence:
    needs = [Finding(need.kind, need.target, need.optional) for need in detail.needs]
    for elf in detail.elves:
        needs += [Finding(Kind.NEEDED, name) for name, _ in elf.needed]
    words: Mapping[int, str] = dict(detail.words)
    return FileEvidence(
        tuple(needs),
        frozenset(word for text in words.values() for word in text.split()),
        bool(detail.elves),
    )
