"""Relationship fields as text and as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramekin.errors import FormatError
from ramekin.sources.debian import relations
from ramekin.sources.debian.relations import Alternative

bounds = st.tuples(
    st.sampled_from(["<<", "<=", "=", ">=", ">>"]), st.from_regex(r"[0-9][0-9a-z.+~:-]{0,6}", fullmatch=True)
)
names = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,8}", fullmatch=True)
alternatives = st.builds(
    lambda name, qualifier, bound, architectures, profiles: Alternative(
        name, qualifier, *(bound or ("", "")), architectures, profiles
    ),
    names,
    st.sampled_from(["", "", "any", "native", "amd64", "kfreebsd-i386"]),
    st.none() | bounds,
    st.sampled_from([(), ("amd64",), ("!i386", "!armhf")]),
    st.sampled_from([(), ("!nocheck",), ("stage1 cross", "!nodoc")]),
)
fields = st.lists(st.lists(alternatives, min_size=1, max_size=3).map(tuple), max_size=4).map(tuple)


@given(fields)
def test_what_is_written_is_read_back(groups: tuple[relations.Group, ...]) -> None:
    assert relations.parse(relations.render(groups)) == groups


def test_a_field_of_the_archive() -> None:
    assert relations.parse("libc6 (>= 2.34), perl:any, debconf (>= 0.5) | debconf-2.0,") == (
        (Alternative("libc6", "", ">=", "2.34"),),
        (Alternative("perl", "any"),),
        (Alternative("debconf", "", ">=", "0.5"), Alternative("debconf-2.0")),
    )


@pytest.mark.parametrize("text", ["a(>=1)|b", "a (>=1) |b", " a ( >= 1 )\n | b ", "a (>= 1)\t|\n\tb"])
def test_spacing_does_not_matter(text: str) -> None:
    assert relations.words(relations.parse(text)[0]) == "a (>= 1) | b"


@pytest.mark.parametrize(("old", "new"), [("<", "<="), (">", ">=")])
def test_the_old_operators_include_the_version_itself(old: str, new: str) -> None:
    assert relations.parse(f"a ({old} 1)") == relations.parse(f"a ({new} 1)")


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_an_empty_field_has_no_groups(text: str) -> None:
    assert relations.parse(text) == ()


@pytest.mark.parametrize(
    "text", ["a (>= )", "a >= 1", "a (1)", "a (~ 1)", "|", "a |", "a b", "-a", "a:b:c", "a (= 1"]
)
def test_a_broken_field_is_refused_with_the_part_at_fault(text: str) -> None:
    with pytest.raises(FormatError, match="is not a package relation"):
        relations.parse(f"fine, {text}")


@pytest.mark.parametrize(
    ("operator", "admitted"), [("<<", "1"), ("<=", "12"), ("=", "2"), (">=", "23"), (">>", "3"), ("", "123")]
)
def test_operators(operator: str, admitted: str) -> None:
    alternative = Alternative("a", "", operator, "2" if operator else "")
    assert "".join(version for version in "123" if alternative.admits(version)) == admitted


def test_restriction_lists() -> None:
    (only,), (never,), (everywhere,) = relations.parse("a [amd64 arm64], b [!amd64], c")
    assert [one.applies("amd64") for one in (only, never, everywhere)] == [True, False, True]
    assert [one.applies("riscv64") for one in (only, never, everywhere)] == [False, True, True]
