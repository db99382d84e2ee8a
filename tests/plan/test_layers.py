"""How packages are laid out in layers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ramekin.plan.layers import groups
from ramekin.sources.protocol import Package
from ramekin.store.digest import of


def package(name: str, size: int = 100, origin: str = "") -> Package:
    return Package(
        name=name,
        version="1",
        architecture="amd64",
        digest=of(name.encode()),
        size=size,
        origin=origin or name,
    )


def names(laid: object) -> list[list[str]]:
    return [[p.name for p in group.packages] for group in laid]  # type: ignore[attr-defined]


def test_each_package_has_a_layer_of_its_own_while_there_is_room() -> None:
    laid = groups([package("libc6"), package("zlib1g"), package("redis-server")], limit=3)
    assert names(laid) == [["libc6"], ["zlib1g"], ["redis-server"]]


def test_the_foundation_stands_lowest() -> None:
    laid = groups([package("libc6"), package("tzdata")], foundation=("tzdata",))
    assert names(laid) == [["tzdata"], ["libc6"]]


def test_packages_of_one_origin_are_joined_first_and_the_smallest_pair_before_others() -> None:
    asked = [
        package("a1", 900, "a"),
        package("tiny", 1),
        package("b1", 10, "b"),
        package("a2", 900, "a"),
        package("b2", 10, "b"),
    ]
    assert names(groups(asked, limit=4)) == [["a1"], ["tiny"], ["b1", "b2"], ["a2"]]
    assert names(groups(asked, limit=3)) == [["a1", "a2"], ["tiny"], ["b1", "b2"]]


def test_small_neighbours_are_joined_when_no_origins_are_left() -> None:
    asked = [package("a", 500), package("b", 5), package("c", 5), package("d", 500)]
    assert names(groups(asked, limit=3)) == [["a"], ["b", "c"], ["d"]]


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.sampled_from("abcd")), max_size=30),
    st.integers(1, 12),
)
def test_every_package_stands_once_in_at_most_so_many_layers(
    kinds: list[tuple[int, str]], limit: int
) -> None:
    asked = [package(f"p{i}", size, origin) for i, (size, origin) in enumerate(kinds)]
    laid = groups(asked, limit=limit)
    assert len(laid) <= limit
    assert sorted(p.name for g in laid for p in g.packages) == sorted(p.name for p in asked)
    assert [g.place for g in laid] == sorted(g.place for g in laid)
    assert laid == groups(asked, limit=limit)
