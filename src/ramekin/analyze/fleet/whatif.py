"""The figures of a fleet if its images stood differently, and what a year of updates costs then.

Nothing is built. What is taken for granted:

- an image that moves to another base keeps the layers above its own, at their sizes;
- a base is rebuilt `Rates.base_builds` times a year. Whoever stands on it is then built anew, and all layers
  above get new digests, as they do unless a builder is reproducible;
- a package gets a new version `Rates.package_updates` times a year, and where it has a layer of its own only
  that layer changes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
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
        f"{len(bases.bases)} bases, each rebuilt {rates.base_builds:g} times a year",
        figures(members),
        _yearly(members, rates),
    )


def one_base(members: Sequence[Member], bases: Bases, rates: Rates) -> Scenario | None:
    """All images that have a base stand on the most used one."""
    if len(bases.bases) < 2:
        return None
    chosen = bases.bases[0]
    moves = {base.key: chosen.key for base in bases.bases}
    how = f"all stand on {called(chosen)} of {len(chosen.images)} images"
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
    """Each package has a layer; packages that stand in exactly the same images share one.

    The most shared layers lie lowest, since a chain is only shared from below. What an image has beyond
    `most` layers, those that save least, goes into its own top layer, with all files of no package.
    """
    where: dict[str, list[int]] = defaultdict(list)
    known: dict[str, Bundle] = {}
    for number, ones in enumerate(bundles):
        for bundle in ones:
            known[bundle.key] = bundle
            if bundle.package:
                where[bundle.key].append(number)
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for key, users in where.items():
        groups[tuple(users)].append(key)
    stored = {images: sum(known[key].stored for key in keys) for images, keys in groups.items()}
    ranked = sorted(groups, key=lambda images: (-stored[images] * (len(images) - 1), images))
    taken: Counter[int] = Counter()
    plans: list[list[Part]] = [[] for _ in members]
    rests: list[list[Bundle]] = [[b for b in ones if not b.package] for ones in bundles]
    updates = 0.0
    chosen: list[tuple[tuple[int, ...], frozenset[int]]] = []
    for images in ranked:
        fits = frozenset(number for number in images if taken[number] < most - 1 and len(images) > 1)
        for number in images:
            if number in fits:
                taken[number] += 1
            else:
                rests[number].extend(known[key] for key in groups[images])
        if fits:
            chosen.append((images, fits))
            updates += stored[images]
    for images, fits in sorted(chosen, key=lambda pair: (-len(pair[0]), pair[0])):
        name = "packages " + " ".join(sorted(groups[images]))
        size = sum(known[key].unpacked for key in groups[images])
        for number in fits:
            plans[number].append(Part(name, name, stored[images], size))
    for number, rest in enumerate(rests):
        if rest:
            name = "rest " + " ".join(sorted(bundle.key for bundle in rest))
            size, unpacked = sum(b.stored for b in rest), sum(b.unpacked for b in rest)
            plans[number].append(Part(name, name, size, unpacked))
            updates += sum(b.stored for b in rest if b.package)
    laid_out = [
        Member(one.name, tuple(plan), one.documents) for one, plan in zip(members, plans, strict=True)
    ]
    return Scenario(
        "by-package",
        "Layers by package",
        f"{len(where)} packages in {len(chosen)} shared layers, each updated "
        f"{rates.package_updates:g} times a year",
        figures(laid_out),
        round(updates * rates.package_updates),
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
    by_key = {base.key: base for base in bases.bases}
    of_image = {one.name: one for one in members}
    floors = {key: of_image[base.images[0]].parts[: base.layers] for key, base in by_key.items()}
    moved = []
    for one in members:
        key = bases.of[one.name]
        if not key:
            moved.append(one)
            continue
        above = one.parts[by_key[key].layers :]
        moved.append(Member(one.name, (*floors[moves[key]], *above), one.documents))
    return Scenario(name, title, how, figures(moved), _yearly(moved, rates))


def _yearly(members: Sequence[Member], rates: Rates) -> int:
    """Bytes of a year of builds of all bases and, with each, of everything above them."""
    return round(figures(members).registry * rates.base_builds)
