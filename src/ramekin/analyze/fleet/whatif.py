"""The figures of a fleet if its images stood differently, and what a year of updates costs then.

Nothing is built. What is taken for granted:

- an image that moves keeps the layers above its base, at their sizes. What its base had more bytes than one
  of another kind stays as a layer, which all who move with it share;
- a base is rebuilt `Rates.base_builds` times a year. Whoever stands on it is then built anew, and all layers
  above get new digests, as they do unless a builder is reproducible;
- a package gets a new version `Rates.package_updates` times a year, and where layers are made of packages, as
  Ramekin's are, only those that have it change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ramekin.analyze.fleet.bases import Base, Bases
from ramekin.analyze.fleet.contents import Bundle
from ramekin.analyze.fleet.sharing import Figures, Member, Part, figures

MOST_LAYERS = 100
"""Layers that an image by package may have; the rest go into its own one (engines take 127)."""


@dataclass(frozen=True)
class Rates:
    """How often things change in a year."""

    base_builds: float = 12
    package_updates: float = 1


@dataclass(frozen=True)
class Scenario:
    """One way for the images to stand. `yearly` is what a registry newly stores in a year of updates, which
    is also what a node with all images pulls."""

    name: str
    title: str
    how: str
    figures: Figures
    yearly: int


def as_is(members: Sequence[Member], bases: Bases, rates: Rates) -> Scenario:
    """The fleet as it stands."""
    return Scenario(
        "as-is",
        "As it is",
        f"{counted(len(bases.bases), 'base')}, rebuilt {often(rates.base_builds)}",
        figures(members),
        _yearly(members, rates),
    )


def one_base(members: Sequence[Member], bases: Bases, rates: Rates) -> Scenario | None:
    """All images that have a base stand on the most used one."""
    if len(bases.bases) < 2:
        return None
    chosen = bases.bases[0]
    moves = {base.key: chosen.key for base in bases.bases}
    how = f"all stand on {called(chosen)} of {counted(len(chosen.images), 'image')}"
    return _moved("one-base", "One base for all", how, members, bases, moves, rates)


def one_build(members: Sequence[Member], bases: Bases, rates: Rates) -> Scenario | None:
    """Of bases that are builds of one another, the most used stands in for all."""
    moves = {base.key: base.key for base in bases.bases}
    for base in bases.bases:
        for kin in bases.kin:
            if kin.one == moves[base.key] == base.key:
                moves[kin.other] = base.key
    # chains of kinship end at the base that is used most
    for key in moves:
        while moves[moves[key]] != moves[key]:
            moves[key] = moves[moves[key]]
    gone = sum(key != target for key, target in moves.items())
    if not gone:
        return None
    how = f"{gone} of {len(bases.bases)} bases give way to another build of the same"
    return _moved("one-build", "One build of each base", how, members, bases, moves, rates)


def by_package(
    members: Sequence[Member], bundles: Sequence[Sequence[Bundle]], rates: Rates, *, most: int = MOST_LAYERS
) -> Scenario:
    """Each package has a layer.

    The most shared layers lie lowest, since a chain is only shared from below. What an image has beyond
    `most` layers, the packages that matter least, goes into its own top layer, with all files of no package.
    """
    users: Counter[str] = Counter()
    known: dict[str, Bundle] = {}
    for ones in bundles:
        known.update((bundle.key, bundle) for bundle in ones)
        users.update(bundle.key for bundle in ones if bundle.package)
    laid_out = []
    for one, ones in zip(members, bundles, strict=True):
        ranked = sorted(
            (bundle for bundle in ones if bundle.package),
            key=lambda bundle: (-bundle.stored * users[bundle.key], bundle.key),
        )
        alone, rest = ranked[: most - 1], ranked[most - 1 :]
        parts = [
            Part(bundle.key, bundle.key, bundle.stored, bundle.unpacked, 1)
            for bundle in sorted(alone, key=lambda bundle: (-users[bundle.key], bundle.key))
        ]
        rest += [bundle for bundle in ones if not bundle.package]
        if rest:
            name = "rest " + " ".join(sorted(bundle.key for bundle in rest))
            size, unpacked = sum(b.stored for b in rest), sum(b.unpacked for b in rest)
            parts.append(Part(name, name, size, unpacked, sum(bool(b.package) for b in rest)))
        laid_out.append(Member(one.name, tuple(parts), one.documents))
    return Scenario(
        "by-package",
        "Layers by package",
        f"{len(users):,} packages in layers of their own, updated {often(rates.package_updates)}",
        figures(laid_out),
        _yearly(laid_out, rates),
    )


def called(base: Base) -> str:
    """How people know a base: by its name, its distribution or its digest."""
    known = str(base.identity) if base.identity.distribution else ""
    digest = base.key.removeprefix("sha256:")[:12]
    return base.name or (f"{known} ({digest})" if known else f"the base {digest}")


def _moved(
    name: str,
    title: str,
    how: str,
    members: Sequence[Member],
    bases: Bases,
    moves: Mapping[str, str],
    rates: Rates,
) -> Scenario:
    """Images on other bases."""
    kin = {frozenset((one.one, one.other)) for one in bases.kin}
    by_key = {base.key: base for base in bases.bases}
    of_image = {one.name: one for one in members}
    floors = {key: of_image[base.images[0]].parts[: base.layers] for key, base in by_key.items()}
    moved = []
    for one in members:
        key = bases.of[one.name]
        if not key:
            moved.append(one)
            continue
        base, chosen = by_key[key], by_key[moves[key]]
        more = Part(
            f"more of {key}",
            f"more of {key}",
            max(0, base.stored - chosen.stored),
            max(0, base.unpacked - chosen.unpacked),
        )
        # another build of one base has all that is needed of it
        apart = base is not chosen and frozenset((base.key, chosen.key)) not in kin
        rest = (more,) if more.stored and apart else ()
        parts = (*floors[chosen.key], *rest, *one.parts[base.layers :])
        moved.append(Member(one.name, parts, one.documents))
    return Scenario(name, title, how, figures(moved), _yearly(moved, rates))


def counted(count: int, word: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def often(times: float) -> str:
    """`once a year`, `12 times a year`."""
    return "once a year" if times == 1 else f"{times:g} times a year"


def _yearly(members: Sequence[Member], rates: Rates) -> int:
    """Bytes of a year of updates, each blob once: of packages in layers made of them, else of builds."""
    blobs = {part.blob: part for one in members for part in one.parts}
    total = 0.0
    for part in blobs.values():
        times = rates.base_builds if part.packages is None else part.packages * rates.package_updates
        total += part.stored * times
    return round(total)
