"""Who owns a path that several packages bring."""

from __future__ import annotations

import pytest
from closure.shelf import package, ready

from ramekin.closure.conflicts import FileConflictError, claims
from ramekin.closure.model import PackageFacts
from ramekin.image.tree import symlink


def facts(name: str, files: dict[str, str], **scripts: str) -> PackageFacts:
    return ready(package(name, files, scripts=scripts)).facts


def test_two_packages_with_one_path_are_an_error_by_name() -> None:
    with pytest.raises(FileConflictError) as caught:
        claims([facts("a", {"bin/x": "1"}), facts("b", {"usr/bin/x": "2"})], {})
    assert "packages a and b both bring /usr/bin/x" in caught.value.message


def test_equal_files_are_no_conflict() -> None:
    assert claims([facts("a", {"usr/bin/x": "1"}), facts("b", {"usr/bin/x": "1"})], {}) == {}


def test_the_package_that_replaces_another_wins() -> None:
    both = [facts("a", {"usr/bin/x": "1"}), facts("b", {"usr/bin/x": "2"})]
    assert claims(both, {"a": ("b",)}) == {"b": {"usr/bin/x": ""}}
    assert claims(both, {"b": ("a",)}) == {"a": {"usr/bin/x": ""}}


def test_a_diversion_moves_the_file_of_the_others() -> None:
    script = "#!/bin/sh\ndpkg-divert --package a --rename --divert /usr/bin/x.real --add /usr/bin/x\n"
    both = [facts("a", {"usr/bin/x": "1"}, preinst=script), facts("b", {"usr/bin/x": "2"})]
    assert claims(both, {}) == {"b": {"usr/bin/x": "usr/bin/x.real"}}


def test_paths_that_a_slice_took_are_not_fought_over() -> None:
    files = {"usr/share/man/man1/x.1": "1"}
    assert claims([facts("a", files), facts("b", {"usr/share/man/man1/x.1": "2"})], {}) == {}


def test_files_below_another_packages_link_are_an_error_by_name() -> None:
    link = ready(package("a", entries=[symlink("usr/share/x", "y")])).facts
    with pytest.raises(FileConflictError, match="a brings /usr/share/x as a link, and b files below it"):
        claims([link, facts("b", {"usr/share/x/z": "1"})], {})


def test_the_answer_does_not_depend_on_order() -> None:
    some = [facts(name, {"usr/bin/x": name}) for name in "abc"]
    replaces = {"c": ("a", "b"), "b": ("a",)}
    assert (
        claims(some, replaces)
        == claims(some[::-1], replaces)
        == {"a": {"usr/bin/x": ""}, "b": {"usr/bin/x": ""}}
    )
