"""Layouts of many packages: the same that the rule in its plain words gives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from ramekin.plan.layers import Group, groups
from ramekin.sources.protocol import Package
from ramekin.store.digest import of


def package(number: int, size: int, origin: str) -> Package:
    return Package(
        name=f"p{number}",
        version="1",
        architecture="amd64",
        digest=of(str(number).encode()),
        size=size,
        origin=origin,
    )


def joined(first: Group, second: Group) -> Group:
    low, high = sorted((first, second), key=lambda group: group.place)
    return Group(low.place, low.packages + high.packages)


def plainly(packages: Sequence[Package], limit: int) -> tuple[Group, ...]:
    """The rule of `plan.layers`, every pair looked at for every joint."""
    laid = [Group(place, (one,)) for place, one in enumerate(packages)]
    while len(laid) > limit:
        pairs = []
        for origin in {group.packages[0].origin for group in laid}:
            members = [group for group in laid if group.packages[0].origin == origin]
            smallest = sorted(members, key=lambda group: (group.size, group.place))[:2]
            pairs += [
                (a.size + b.size, min(a.place, b.place), origin, a, b) for a, b in combinations(smallest, 2)
            ]
        if not pairs:
            break
        *_, first, second = min(pairs, key=lambda pair: pair[:3])
        laid = [group for group in laid if group not in (first, second)] + [joined(first, second)]
        laid.sort(key=lambda group: group.place)
    while len(laid) > limit:
        at = min(range(len(laid) - 1), key=lambda n: (laid[n].size + laid[n + 1].size, n))
        laid[at : at + 2] = [joined(laid[at], laid[at + 1])]
    return tuple(laid)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abcdefghij")), max_size=40),
    st.integers(1, 12),
)
def test_packages_are_joined_as_the_rule_says(kinds: list[tuple[int, str]], limit: int) -> None:
    asked = [package(number, size, origin) for number, (size, origin) in enumerate(kinds)]
    assert groups(asked, limit=limit) == plainly(asked, limit)


def test_thousands_of_packages_are_laid_out() -> None:
    asked = [package(number, number * 7919 % 10007, f"o{number % 1500}") for number in range(4000)]
    laid = groups(asked, limit=64)
    assert len(laid) == 64
    assert sorted(one.name for group in laid for one in group.packages) == sorted(one.name for one in asked)
