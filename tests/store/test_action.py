"""Keys tell all that differs apart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.store.action import key

parts = st.lists(st.one_of(st.text(max_size=4), st.integers(-20, 20), st.binary(max_size=4)), max_size=4)


def test_a_key_is_the_same_for_the_same_parts() -> None:
    assert key("layer", "a", 1, b"x") == key("layer", "a", 1, b"x")


def test_joining_parts_differently_gives_another_key() -> None:
    assert key("layer", "ab", "c").hex != key("layer", "a", "bc").hex
    assert key("layer", "a:1", "s1:b").hex != key("layer", "a", "b").hex


def test_parts_of_other_types_give_another_key() -> None:
    assert len({key("layer", "1").hex, key("layer", 1).hex, key("layer", b"1").hex}) == 3


def test_a_key_does_not_change_between_versions() -> None:
    assert key("layer", "a", 1, b"x").hex == (
        "1948e7620925f21dfccb126c9be1557de763cf5caeda7531ec92f47319202915"
    )


@settings(max_examples=100, deadline=None)
@given(parts, parts)
def test_keys_are_equal_only_for_equal_parts(
    one: list[str | int | bytes], other: list[str | int | bytes]
) -> None:
    def typed(values: list[str | int | bytes]) -> list[tuple[type, object]]:
        return [(type(value), value) for value in values]

    assert (key("n", *one).hex == key("n", *other).hex) == (typed(one) == typed(other))
