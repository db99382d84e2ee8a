"""Trees are values: ordered, immutable, and closed under dropping files."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from trees import trees

from ramekin.errors import FormatError
from ramekin.image.tree import Entry, Kind, Span, Tree, clean_path, directory, file, sort_key, symlink


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.HARDLINK, target=target)


def test_entries_stand_in_the_order_of_their_bytes() -> None:
    tree = Tree([file("a/b", b""), file("ä", b""), file("a-b", b""), directory("a"), file("\udcff", b"")])
    assert list(tree) == ["a", "a-b", "a/b", "ä", "\udcff"]


def test_the_order_does_not_depend_on_the_locale() -> None:
    code = (
        "from ramekin.image.tree import *;"
        "print(*map(ascii, Tree([file('\\udcff', b''), file('\\u65e5', b'')])))"
    )
    found = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code],
        env={"LC_ALL": "en_US.ISO-8859-1", "PYTHONCOERCECLOCALE": "0"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "'\\u65e5' '\\udcff'\n"


def test_of_several_entries_for_a_path_the_last_stands() -> None:
    assert Tree([file("a", b"1"), file("a", b"2")])["a"].read() == b"2"
    assert Tree([file("a", b"1")]).plus([symlink("a", "b")])["a"].kind is Kind.SYMLINK


def test_a_span_is_a_window_on_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("span") / "file"
    path.write_bytes(b"0123456789" * 50_000)
    with Span(path, 3, 300_000).open() as stream:
        assert stream.read(4) == b"3456"
        rest = stream.read()
    assert (len(rest), rest[-1:]) == (299_996, b"2")


def test_a_dropped_file_leaves_its_bytes_to_its_links() -> None:
    tree = Tree([file("a", b"x"), link("b", "a"), link("c", "a"), file("d", b"y")])
    kept = tree.without(lambda entry: entry.path == "a")
    assert kept["b"].read() == b"x"
    assert kept["c"].target == "b"
    assert list(kept.without(lambda entry: entry.path == "b")) == ["c", "d"]


def test_missing_parents_are_folders_of_root() -> None:
    assert list(Tree([file("a/b/c", b"")]).with_parents(mtime=7).entries())[:2] == [
        directory("a", mtime=7),
        directory("a/b", mtime=7),
    ]


@pytest.mark.parametrize("name", ["..", "../a", "a/../b", "a/..", "/../a", "a\0b"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match=r"x\.tar"):
        clean_path(name, where="x.tar")


@pytest.mark.parametrize(
    ("name", "path"),
    [("./a/", "a"), ("/a//b", "a/b"), ("a/./b", "a/b"), ("./", ""), ("...", "..."), ("a/..b", "a/..b")],
)
def test_names_are_cleaned(name: str, path: str) -> None:
    assert clean_path(name, where="x.tar") == path


@settings(max_examples=60, deadline=None)
@given(trees())
def test_dropping_any_half_leaves_links_with_their_bytes(tree: Tree) -> None:
    def bytes_of(files: Tree, path: str) -> bytes:
        entry = files[path]
        return files[entry.target].read() if entry.kind is Kind.HARDLINK else entry.read()

    kept = tree.without(lambda entry: len(entry.path) % 2 == 0)
    assert list(kept) == [path for path in tree if len(path) % 2]
    for path in kept:
        assert bytes_of(kept, path) == bytes_of(tree, path)


@settings(max_examples=60, deadline=None)
@given(trees())
def test_a_tree_is_the_same_whatever_order_it_came_in(tree: Tree) -> None:
    assert Tree(reversed(list(tree.entries()))) == tree
    assert list(tree) == sorted(tree, key=sort_key)
