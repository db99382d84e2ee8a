"""From packages in dependency order to the layers of one image.

In: packages, what stands below all others, how many layers there may be. Out: groups, lowest layer first.

    packages in dependency order   libgcc  libc6  zlib  libssl3  redis-tools  redis-server
    foundation (in every image)    tzdata
    at most 5 layers               [tzdata] [libgcc libc6] [zlib] [libssl3] [redis-tools redis-server]

1. Every package is a group of its own: a layer that is one package is the same in each image that holds it.
2. Engines share a layer on disk only where all the layers below it are the same too (its chain ID), so the
   foundation stands lowest, then packages in dependency order: what many need stands before what few need.
3. While there are more groups than layers, two are joined. Packages built from one source package change
   on the same day, so joining them costs no update anything: the smallest such pair goes first. When no
   two groups have an origin in common, the two smallest neighbours are joined. Ties go to the lower place.

A group takes the place of its lowest member, so the order stays the same when a group grows. Joining never
looks at anything but sizes, origins and places: the same packages give the same groups.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from ramekin.sources.protocol import Package

LIMIT = 110
"""Layers an image may have by default: engines stop between 125 and 128, and users build on top."""


@dataclass(frozen=True, slots=True)
class Group:
    """Packages that share a layer; `place` is that of the lowest member."""

    place: int
    packages: tuple[Package, ...]

    @property
    def size(self) -> int:
        """Bytes of the packages' archive files, an estimate of the layer's."""
        return sum(package.size for package in self.packages)

    @property
    def name(self) -> str:
        return " ".join(package.name for package in self.packages)


def groups(
    packages: Sequence[Package], *, foundation: Collection[str] = (), limit: int = LIMIT
) -> tuple[Group, ...]:
    """Lay out `packages` (in dependency order) in at most `limit` (≥ 1) layers, lowest first."""
    ordered = sorted(packages, key=lambda package: package.name not in foundation)
    laid = [Group(place, (package,)) for place, package in enumerate(ordered)]
    excess = len(laid) - limit
    if excess > 0:
        laid = _join_neighbours(_join_origins(laid, excess), limit)
    return tuple(laid)


def _join(first: Group, second: Group) -> Group:
    low, high = sorted((first, second), key=lambda group: group.place)
    return Group(low.place, low.packages + high.packages)


def _join_origins(laid: list[Group], excess: int) -> list[Group]:
    by_origin: dict[str, list[Group]] = {}
    for group in laid:
        by_origin.setdefault(group.packages[0].origin, []).append(group)
    while excess > 0:
        pairs = [
            (a.size + b.size, min(a.place, b.place), origin, a, b)
            for origin, members in by_origin.items()
            for a, b in combinations(sorted(members, key=lambda group: (group.size, group.place))[:2], 2)
        ]
        if not pairs:
            break
        _, _, origin, first, second = min(pairs, key=lambda pair: pair[:3])
        rest = [group for group in by_origin[origin] if group not in (first, second)]
        by_origin[origin] = [*rest, _join(first, second)]
        excess -= 1
    return sorted((group for members in by_origin.values() for group in members), key=lambda g: g.place)


def _join_neighbours(laid: list[Group], limit: int) -> list[Group]:
    laid = list(laid)
    while len(laid) > max(limit, 1):
        at = min(range(len(laid) - 1), key=lambda i: (laid[i].size + laid[i + 1].size, i))
        laid[at : at + 2] = [_join(laid[at], laid[at + 1])]
    return laid
