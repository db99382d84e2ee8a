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

from bisect import insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

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
    # of each origin its groups by size and place, with the smallest last; and which pairs may be next: an
    # entry whose count of members is not the origin's any more is out of date
    by_origin: dict[str, list[tuple[int, int, Group]]] = {}
    for group in laid:
        by_origin.setdefault(group.packages[0].origin, []).append((-group.size, -group.place, group))
    waiting: list[tuple[int, int, str, int]] = []
    for origin, members in by_origin.items():
        members.sort(key=_smallest_last)
        _wait(waiting, origin, members)
    while excess > 0 and waiting:
        _, _, origin, count = heappop(waiting)
        members = by_origin[origin]
        if count != len(members):
            continue
        joined = _join(members.pop()[2], members.pop()[2])
        insort(members, (-joined.size, -joined.place, joined), key=_smallest_last)
        _wait(waiting, origin, members)
        excess -= 1
    groups_left = (group for members in by_origin.values() for _, _, group in members)
    return sorted(groups_left, key=lambda group: group.place)


def _smallest_last(member: tuple[int, int, Group]) -> tuple[int, int]:
    return member[:2]


def _wait(
    waiting: list[tuple[int, int, str, int]], origin: str, members: Sequence[tuple[int, int, Group]]
) -> None:
    if len(members) > 1:
        (size, place, _), (other_size, other_place, _) = members[-2:]
        heappush(waiting, (-size - other_size, min(-place, -other_place), origin, len(members)))


def _join_neighbours(laid: list[Group], limit: int) -> list[Group]:
    left: list[Group | None] = list(laid)
    sizes = [group.size for group in laid]
    before, after = list(range(-1, len(laid) - 1)), list(range(1, len(laid) + 1))
    # pairs by their size and the place of the first; those whose size is out of date are passed over
    waiting = [(sizes[at] + sizes[at + 1], at) for at in range(len(laid) - 1)]
    heapify(waiting)
    excess = len(laid) - max(limit, 1)
    while excess > 0:
        size, at = heappop(waiting)
        following = after[at]
        first = left[at]
        second = left[following] if following < len(left) else None
        if first is None or second is None or size != sizes[at] + sizes[following]:
            continue
        left[at], left[following] = _join(first, second), None
        sizes[at] = size
        after[at] = after[following]
        if after[at] < len(left):
            before[after[at]] = at
            heappush(waiting, (size + sizes[after[at]], at))
        if before[at] >= 0:
            heappush(waiting, (sizes[before[at]] + size, before[at]))
        excess -= 1
    return [group for group in left if group is not None]
