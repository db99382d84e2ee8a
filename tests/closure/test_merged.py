"""Trees on the merged layout lead where they led before."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import pytest
from closure.shelf import MERGED
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.closure.merged import LINKS, place, relocate, retarget
from ramekin.errors import FormatError
from ramekin.image.tree import Entry, Kind, Tree, directory, file, symlink


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("bin/awk", "mawk", "mawk"),
        ("bin/ed", "../usr/lib/ed", "../lib/ed"),
        ("bin/x", "../lib/y", "../lib/y"),
        ("lib/a/b", "../../etc/c", "../../../etc/c"),
        ("lib/a/b", "../c", "../c"),
        ("lib/a/b", "../../bin/c", "../../bin/c"),
        ("bin/x", "/bin/y", "/bin/y"),
        ("etc/x", "../bin/y", "../bin/y"),
        ("usr/bin/x", "../../bin/y", "../../bin/y"),
        ("bin/x", "../../../usr/bin/y", "y"),
        ("var/run/a/x", "../y", "../y"),
        ("var/run/x", "../lib/y", "../var/lib/y"),
        ("var/run/x", "../lock/y", "lock/y"),
        ("var/run/x", "../../bin/y", "../usr/bin/y"),
        ("var/lib/x", "../run/y", "../run/y"),
    ],
)
def test_a_link_leads_where_it_led(path: str, target: str, expected: str) -> None:
    assert retarget(path, target, {**LINKS, **MERGED}) == expected


def test_no_folder_is_put_where_every_image_has_a_link() -> None:
    tree = Tree(
        [
            directory("var/run"),
            directory("var/run/old", mode=0o700),
            file("var/run/old/here", b"x"),
            directory("var/lock", mode=0o1777),
            directory("run"),
            directory("var/lib"),
        ]
    ).with_parents()
    found = relocate(tree, LINKS, where="base-files")
    assert {"run", "run/lock", "run/old/here", "var/lib"} <= found.keys()
    assert found["run/old"].mode == 0o700
    assert not [path for path in found if path.startswith(("var/run", "var/lock"))]
    linked = Tree([symlink("var/run", "/run")]).with_parents()
    assert dict(relocate(linked, LINKS, where="base-files")) == dict(linked)


def test_hard_links_follow_their_file() -> None:
    tree = Tree(
        [file("bin/gunzip", b"x"), Entry(path="bin/uncompress", kind=Kind.HARDLINK, target="bin/gunzip")]
    )
    assert relocate(tree, MERGED, where="gzip")["usr/bin/uncompress"].target == "usr/bin/gunzip"


def test_two_entries_for_one_place_are_an_error_by_name() -> None:
    tree = Tree([file("lib/x", b"1"), file("usr/lib/x", b"2")])
    with pytest.raises(FormatError, match="demo: /usr/lib/x"):
        relocate(tree, MERGED, where="demo")


def test_two_equal_entries_for_one_place_are_one() -> None:
    tree = Tree(
        [file("lib/x", b"1"), file("usr/lib/x", b"1"), directory("lib"), directory("usr/lib", mode=0o711)]
    )
    moved = relocate(tree, MERGED, where="demo")
    assert "lib" not in moved
    assert moved["usr/lib"].mode == 0o711


def test_the_links_of_the_merge_itself_stay() -> None:
    tree = Tree([symlink("bin", "usr/bin"), directory("usr/bin")])
    assert relocate(tree, MERGED, where="base-files")["bin"].target == "usr/bin"


names = st.sampled_from(["a", "b", "c"])
tops = st.sampled_from(["bin", "lib", "usr/bin", "usr/lib", "etc", "opt"])
paths = st.builds(lambda top, parts: "/".join([top, *parts]), tops, st.lists(names, min_size=1, max_size=3))


@given(path=paths, goal=paths, absolute=st.booleans())
@settings(max_examples=60, deadline=None)
def test_links_resolve_on_a_disk_as_they_did_unmerged(
    tmp_path_factory: pytest.TempPathFactory, path: str, goal: str, absolute: bool
) -> None:
    if goal == path or goal.startswith(path + "/") or path.startswith(goal + "/"):
        return
    target = posixpath.relpath("/" + goal, "/" + posixpath.dirname(path))
    tree = Tree([symlink(path, "/" + goal if absolute else target), file(goal, b"here")])
    if len({place(one, MERGED) for one in (path, goal)}) < 2:
        return
    for one in (path, goal):
        for other in (path, goal):
            if place(other, MERGED).startswith(place(one, MERGED) + "/"):
                return
    moved = relocate(tree, MERGED, where="demo")
    if absolute:
        assert moved[place(path, MERGED)].target == "/" + goal
        return
    root = tmp_path_factory.mktemp("root")
    for link, to in MERGED.items():
        (root / to).mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(to)
    for entry in moved.with_parents().entries():
        _write(root, entry)
    assert os.path.realpath(root / path) == os.path.realpath(root / goal)


def _write(root: Path, entry: Entry) -> None:
    where = root / entry.path
    if entry.kind is Kind.DIRECTORY:
        where.mkdir(parents=True, exist_ok=True)
    elif entry.kind is Kind.SYMLINK:
        where.symlink_to(entry.target)
    else:
        where.write_bytes(entry.read())
