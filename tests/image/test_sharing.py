"""Equal files of a tree become one file with several names."""

from __future__ import annotations

from ramekin.image.sharing import LEAST, linked
from ramekin.image.tree import Entry, Kind, Tree, file

BIG = b"x" * LEAST


def kinds(tree: Tree) -> dict[str, str]:
    return {path: entry.target or str(entry.kind) for path, entry in tree.items()}


def everywhere(path: str) -> bool:
    return True


def test_the_first_of_equal_files_stays_and_the_others_are_links_to_it() -> None:
    tree = Tree([file("usr/bin/b", BIG), file("usr/bin/a", BIG), file("usr/bin/c", BIG)])
    assert kinds(linked(tree, among=everywhere)) == {
        "usr/bin/a": "file",
        "usr/bin/b": "usr/bin/a",
        "usr/bin/c": "usr/bin/a",
    }


def test_files_that_differ_in_bytes_mode_owner_or_time_stay() -> None:
    tree = Tree(
        [
            file("a", BIG),
            file("b", BIG[:-1] + b"y"),
            file("c", BIG, mode=0o755),
            file("d", BIG, uid=1),
            file("e", BIG, mtime=1),
        ]
    )
    assert linked(tree, among=everywhere) == tree


def test_small_files_and_those_not_among_them_stay() -> None:
    tree = Tree([file("a", BIG[1:]), file("b", BIG[1:]), file("etc/c", BIG), file("etc/d", BIG)])
    assert linked(tree, among=lambda path: not path.startswith("etc/")) == tree


def test_a_link_to_a_file_that_became_a_link_leads_to_the_one_that_stayed() -> None:
    tree = Tree([file("a", BIG), file("b", BIG), Entry(path="c", kind=Kind.HARDLINK, target="b")])
    assert kinds(linked(tree, among=everywhere)) == {"a": "file", "b": "a", "c": "a"}
