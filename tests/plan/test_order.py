"""The order of packages whose references are known exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ramekin.plan.order import _reach, by_reach
from ramekin.sources.protocol import Package
from ramekin.store.digest import of


def package(name: str) -> Package:
    return Package(
        name=name,
        version="1",
        architecture="amd64",
        digest=of(name.encode()),
        size=1,
        origin=name.partition("-")[0],
    )


def order(edges: dict[str, tuple[str, ...]], *popular: str) -> list[str]:
    return [one.name for one in by_reach([package(name) for name in edges], edges, popular=popular)]


def test_what_everything_refers_to_stands_lowest() -> None:
    edges = {"app": ("lib", "data", "libc"), "data": (), "lib": ("libc",), "libc": ("idn",), "idn": ()}
    assert order(edges) == ["idn", "libc", "data", "lib", "app"]


def test_the_list_comes_before_what_an_image_makes_of_it() -> None:
    edges = {"app": ("ssl", "zlib"), "ssl": ("libc",), "zlib": ("libc",), "more": ("zlib",), "libc": ()}
    assert order(edges, "ssl", "zlib") == ["libc", "ssl", "zlib", "more", "app"]
    assert order(edges, "zlib", "ssl") == ["libc", "zlib", "ssl", "more", "app"]


def test_two_images_have_the_same_below_what_only_one_has() -> None:
    common = {"libc": (), "zlib": ("libc",), "ssl": ("libc", "zlib")}
    first = order({**common, "nginx": ("ssl",), "a1": (), "a2": ("a1",)}, "libc", "zlib", "ssl")
    second = order({**common, "redis": ("ssl",), "zz": (), "curl": ("zz", "ssl")}, "libc", "zlib", "ssl")
    assert first[:3] == second[:3] == ["libc", "zlib", "ssl"]


@given(
    st.lists(st.lists(st.integers(0, 24), max_size=4), min_size=1, max_size=25),
    st.lists(st.integers(0, 24), max_size=5, unique=True),
)
def test_everything_stands_above_what_it_refers_to(graph: list[list[int]], popular: list[int]) -> None:
    edges = {
        f"p{number}": tuple(f"p{other}" for other in others if other < number)
        for number, others in enumerate(graph)
    }
    found = order(edges, *(f"p{number}" for number in popular))
    assert sorted(found) == sorted(edges)
    for name, others in edges.items():
        assert all(found.index(other) < found.index(name) for other in others)
    shuffled = dict(reversed(edges.items()))
    assert order(shuffled, *(f"p{number}" for number in popular)) == found


@given(st.lists(st.lists(st.integers(0, 14), max_size=4), min_size=1, max_size=15))
def test_who_reaches_whom_is_known_with_circles_too(graph: list[list[int]]) -> None:
    after = [[other for other in others if other < len(graph)] for others in graph]
    for start, bits in enumerate(_reach(after)):
        seen, todo = {start}, [start]
        while todo:
            for other in after[todo.pop()]:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        assert {number for number in range(len(graph)) if bits >> number & 1} == seen
