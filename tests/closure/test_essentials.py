"""What every image has below its packages."""

from __future__ import annotations

import pytest
from closure.shelf import SUITE

from ramekin.closure import essentials
from ramekin.errors import UsageError
from ramekin.image.tree import Kind


def test_the_base_is_one_layer_that_depends_on_the_suite_alone() -> None:
    ((name, tree),) = essentials.essentials(SUITE)
    assert name == "base"
    assert (tree["tmp"].mode, tree["var/tmp"].mode, tree["root"].mode) == (0o1777, 0o1777, 0o700)
    assert (tree["bin"].kind, tree["bin"].target) == (Kind.SYMLINK, "usr/bin")
    assert tree["var/run"].target == "/run"
    assert tree["etc/os-release"].target == "../usr/lib/os-release"
    assert tree["usr/lib/os-release"].read() == SUITE.os_release.encode()
    assert (tree["home/nonroot"].uid, tree["home/nonroot"].mode) == (65532, 0o700)
    assert b"hosts:      files dns" in tree["etc/nsswitch.conf"].read()
    assert {entry.mtime for entry in tree.entries()} == {essentials.MTIME}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("accounts", "etc/passwd"),
        ("nsswitch", "etc/nsswitch.conf"),
        ("os-release", "etc/os-release"),
        ("tmp", "tmp"),
    ],
)
def test_each_can_be_left_out_by_name(name: str, path: str) -> None:
    ((_, with_all),) = essentials.essentials(SUITE)
    ((_, without),) = essentials.essentials(SUITE, frozenset({name}))
    assert path in with_all
    assert path not in without


def test_packages_among_them_can_be_left_out() -> None:
    assert essentials.packages() == ("ca-certificates", "libc-bin", "tzdata")
    assert essentials.packages(frozenset({"tzdata"})) == ("ca-certificates", "libc-bin")


@pytest.mark.parametrize(("name", "what"), [("skeleton", "folders"), ("tzdate", "tzdate")])
def test_what_cannot_be_left_out_is_said(name: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        essentials.check(frozenset({name}))


def test_a_near_name_is_told_and_all_where_none_is_near() -> None:
    for name, hint in (("tzdat", "did you mean tzdata?"), ("qqqq", "there are accounts, ca-certificates")):
        with pytest.raises(UsageError) as caught:
            essentials.check(frozenset({name}))
        assert (caught.value.hint or "").startswith(hint)
