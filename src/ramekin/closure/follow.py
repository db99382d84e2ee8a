"""From declared dependencies to the packages and files that evidence shows to be needed.

    requested ──▶ files that count ──▶ their needs ──▶ files that meet them ──▶ packages ──▶ …

Pure: evidence in, reasons out. `packages` keeps or drops whole packages (and the scripts of kept packages that
nothing will run); `files` then goes from file to file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ramekin.closure.evidence.model import Kind, PackageDetail, PackageEvidence
from ramekin.closure.policy import Policy
from ramekin.errors import RamekinError
from ramekin.sources.protocol import Resolution


class MissingNeedError(RamekinError):
    """A program or library needs what no package of the closure holds."""


class Asked(msgspec.Struct, frozen=True):
    """What the user wants of a closure by evidence, besides the packages.

    `keep` and `drop` are package names, and globs of absolute paths. `programs` are the first words of the image's
    entry point and command as the user gave them (absolute paths or commands), if any. `essentials` are packages that
    stand in every image for their data: what they need is not followed.
    """

    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    essentials: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One link of a chain: `file` of `package` needs `target`, which `offer` (a tree path) meets.

    `file` and `offer` are tree paths, empty where a package as a whole is meant.
    """

    package: str
    file: str
    kind: Kind
    target: str
    offer: str


class KeptPackage(msgspec.Struct, frozen=True, array_like=True):
    """A package that stays. `because` is None when `reason` says why (`requested`, `kept by name`)."""

    name: str
    size: int
    because: Step | None = None
    reason: str = ""


class DroppedPackage(msgspec.Struct, frozen=True, array_like=True):
    """A package of the Depends closure that goes, its bytes, and why."""

    name: str
    size: int
    reason: str


class DroppedFile(msgspec.Struct, frozen=True, array_like=True):
    """A file (tree path) of a kept package that goes, its bytes, and why."""

    package: str
    path: str
    size: int
    reason: str


class Followed(msgspec.Struct, frozen=True):
    """A closure by evidence; its JSON is the small artifact that goes with an image.

    `level` is `packages` or `files`. `kept` stand in the resolution's order, `dropped` by name. `wanted` names Essential
    packages that a need points to and that are not in the resolution: resolve and scan them too, and follow again.
    """

    level: str
    kept: tuple[KeptPackage, ...] = ()
    dropped: tuple[DroppedPackage, ...] = ()
    files: tuple[DroppedFile, ...] = ()
    reached: tuple[tuple[str, Step], ...] = ()
    wanted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names of all packages that stay."""
        return frozenset(package.name for package in self.kept)


def packages(
    resolution: Resolution, evidence: Mapping[str, PackageEvidence], asked: Asked, policy: Policy
) -> Followed:
    """The packages of `resolution` that evidence reaches from the requested ones.

    `evidence` has every package of the resolution. `MissingNeedError` names what a program or library needs and no package
    holds.
    """
    return Followed("packages", tuple(KeptPackage(p.name, 0, None, "requested") for p in resolution.packages))


def files(
    followed: Followed,
    resolution: Resolution,
    evidence: Mapping[str, PackageEvidence],
    detail: Mapping[str, PackageDetail],
    asked: Asked,
    policy: Policy,
) -> Followed:
    """What is left of `followed` (by `packages`) when evidence is followed from file to file.

    `detail` has every kept package. `MissingNeedError` as for `packages`, and when nothing says what the image runs.
    """
    return followed
