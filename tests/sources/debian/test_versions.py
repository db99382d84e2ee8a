"""Debian's order of versions, against dpkg's own."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.errors import FormatError
from ramekin.sources.debian import versions

# few characters, so that two random versions often share their beginning
upstreams = st.builds(str.__add__, st.sampled_from("019"), st.text("019aZ.+~", max_size=5))
revisions = st.text("019aZ.+~", min_size=1, max_size=4)
written = st.builds(
    lambda epoch, upstream, middle, revision: (
        f"{epoch}{upstream}{middle if revision else ''}{f'-{revision}' if revision else ''}"
    ),
    st.sampled_from(["", "", "", "0:", "1:", "01:", "10:"]),
    upstreams,
    st.sampled_from(["", "", "-0", "-a"]),
    st.none() | revisions,
)


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def dpkg_compares(pairs: list[tuple[str, str]]) -> list[int]:
    script = """while read -r a b; do
        if dpkg --compare-versions "$a" lt "$b"; then echo -1
        elif dpkg --compare-versions "$a" gt "$b"; then echo 1
        else echo 0; fi
    done"""
    text = "".join(f"{a} {b}\n" for a, b in pairs)
    done = subprocess.run(["sh", "-c", script], input=text, capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(written, written), min_size=10, max_size=25))
def test_order_is_that_of_dpkg(pairs: list[tuple[str, str]]) -> None:
    assert [versions.compare(a, b) for a, b in pairs] == dpkg_compares(pairs)


@settings(max_examples=200, deadline=None)
@given(written, written, written)
def test_order_is_total(a: str, b: str, c: str) -> None:
    assert versions.compare(a, a) == 0
    assert sign(versions.compare(a, b)) == -sign(versions.compare(b, a))
    if versions.compare(a, b) <= 0 and versions.compare(b, c) <= 0:
        assert versions.compare(a, c) <= 0


@given(written, written)
def test_keys_sort_as_text_and_as_utf8(a: str, b: str) -> None:
    left, right = versions.key(a), versions.key(b)
    assert (left < right) == (versions.compare(a, b) < 0)
    assert (left < right) == (left.encode() < right.encode())


@pytest.mark.parametrize(
    "ascending",
    [
        ["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0-1", "1.0-1.1", "1.0a", "1.0+b1", "1.0.1"],
        ["9", "10", "1:0", "1:0-0.1", "2:0~rc1"],
        ["7.0.15-1~deb12u1", "7.0.15-1", "7.0.15-1+b1", "7.0.15-2"],
    ],
)
def test_known_orders(ascending: list[str]) -> None:
    assert all(versions.compare(older, newer) < 0 for older, newer in pairwise(ascending))


@pytest.mark.parametrize(("a", "b"), [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.01", "1.1"), ("1.a", "1.a0")])
def test_equal_versions_have_equal_keys(a: str, b: str) -> None:
    assert versions.key(a) == versions.key(b)
    assert versions.compare(a, b) == 0


@pytest.mark.parametrize("text", ["", " ", "1 0", "1_0", "é", "1.0\n", "١.0"])
def test_what_is_no_version_is_refused_by_name(text: str) -> None:
    with pytest.raises(FormatError, match="is not a Debian version"):
        versions.key(text)
