"""The order in which packages of an image stand, where what they refer to is known exactly.

In: packages, and which of the others each refers to. Out: the same packages, lowest first.

Engines share a layer on disk only where all the layers below it are the same too. So what stands lowest has
to be what the most images have, in an order that does not follow from what else an image holds:

1. the foundation: packages that at least half of the image refers to, directly or not (the C library and what
   that needs, for almost all). They stand by how much they reach themselves, and then by name without hash,
   both of which are the same in every image that has them;
2. the others by how many of the image refer to them, most first: what few need changes and comes and goes
   without anything above it. Ties go to what reaches less, then by name.

Both orders put a package above all that it refers to: who refers to a package reaches more than it does,
and is referred to by fewer. (Where packages refer to each other in a circle there is no such order.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ramekin.sources.protocol import Package

Some = TypeVar("Some", bound=Package)


def by_reach(packages: Sequence[Some], edges: Mapping[str, Sequence[str]]) -> tuple[Some, ...]:
    """`packages` in the order above; `edges` give for each name those that it refers to."""
    place = {package.name: number for number, package in enumerate(packages)}
    after = [[place[other] for other in edges.get(p.name, ()) if other in place] for p in packages]
    before: list[list[int]] = [[] for _ in packages]
    for number, others in enumerate(after):
        for other in others:
            before[other].append(number)
    reach, reached_by = _reach(after), _reach(before)
    half = (len(packages) + 1) // 2

    def rank(number: int) -> tuple[int, int, int, str, str]:
        package, count = packages[number], reached_by[number].bit_count()
        low = count >= half and len(packages) > 1
        reaches = reach[number].bit_count()
        return (0 if low else 1, 0 if low else -count, reaches, package.origin, package.name)

    return tuple(packages[number] for number in sorted(range(len(packages)), key=rank))


def _reach(after: Sequence[Sequence[int]]) -> list[int]:
    """For each node a set, as bits, of all that it reaches and itself (Tarjan's components, lowest first)."""
    reach = [0] * len(after)
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    standing: set[int] = set()
    for start in range(len(after)):
        if start in index:
            continue
        work = [(start, 0)]
        while work:
            node, step = work.pop()
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                standing.add(node)
            for turn in range(step, len(after[node])):
                other = after[node][turn]
                if other not in index:
                    work += [(node, turn), (other, 0)]
                    break
                if other in standing:
                    low[node] = min(low[node], low[other])
            else:
                if low[node] == index[node]:
                    _close(node, after, reach, stack, standing)
    return reach


def _close(
    node: int, after: Sequence[Sequence[int]], reach: list[int], stack: list[int], standing: set[int]
) -> None:
    """Take a whole circle, or a single node, off the stack."""
    members = []
    while True:
        member = stack.pop()
        standing.discard(member)
        members.append(member)
        if member == node:
            break
    bits = 0
    for member in members:
        bits |= 1 << member
        for other in after[member]:
            bits |= reach[other]
    for member in members:
        reach[member] = bits
