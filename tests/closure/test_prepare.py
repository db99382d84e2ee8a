"""Packages made ready to be layers."""

from __future__ import annotations

from dataclasses import replace

from closure.shelf import MTIME, package, ready

from ramekin.closure import model, slices
from ramekin.closure.model import PackageFacts
from ramekin.image.tree import Tree, directory, file, symlink


def test_files_lie_on_the_merged_layout_under_real_folders() -> None:
    tree = ready(
        package(files={"bin/demo": "x", "lib/x/y": "z"}, entries=[symlink("sbin/demo", "../bin/demo")])
    ).tree
    assert {"usr/bin/demo", "usr/lib/x/y", "usr/sbin/demo"} <= set(tree)
    assert {"bin", "lib", "sbin"}.isdisjoint(tree)


def test_scanners_find_the_package_and_digests_of_what_is_there() -> None:
    content = package(files={"bin/demo": "x", "usr/share/man/man1/demo.1": "y", "etc/changed": "z"})
    content = replace(content, md5sums=b"aa  bin/demo\nbb  usr/share/man/man1/demo.1\n")
    tree = ready(content).tree
    assert tree["var/lib/dpkg/status.d/demo"].read() == content.status
    assert tree["var/lib/dpkg/status.d/demo.md5sums"].read() == b"aa  usr/bin/demo\n"


def test_scanners_records_can_be_dropped() -> None:
    tree = ready(package(files={"bin/demo": "x"}), slices.choose(drop=["dpkg"])).tree
    assert not any(path.startswith("var/lib/dpkg") for path in tree)


def test_a_package_of_another_source_has_no_records() -> None:
    content = replace(package(files={"bin/demo": "x"}), status=b"")
    assert not any(path.startswith("var/lib/dpkg") for path in ready(content).tree)


def test_what_is_made_bears_the_newest_date_of_the_package() -> None:
    content = package(
        files={"usr/bin/x": ""}, scripts={"postinst": "#!/bin/sh\nmkdir /etc/x; touch /etc/x/y\n"}
    )
    content = replace(content, tree=content.tree.plus([file("usr/bin/z", b"", mtime=MTIME + 5)]))
    prepared = ready(content)
    assert prepared.facts.newest == MTIME + 5
    assert {prepared.tree[path].mtime for path in ("etc/x", "etc/x/y")} == {MTIME + 5}


def test_preparing_is_a_pure_function() -> None:
    content = package("redis-server", {"bin/redis-server": "x"}, entries=[directory("etc/redis")])
    assert ready(content) == ready(replace(content, tree=Tree(reversed(list(content.tree.entries())))))


def test_odd_paths_survive() -> None:
    content = package(files={"usr/share/a\nb": "1", "usr/share/\udcff": "2"})
    prepared = ready(content)
    assert {"usr/share/a\nb", "usr/share/\udcff"} <= set(prepared.tree)
    assert len(list(prepared.facts.claimed())) == 2


def test_facts_that_are_no_unicode_can_be_kept() -> None:
    facts = PackageFacts("demo", "1", "amd64", handled=("rm caf\udce9",))
    assert model.decode(model.encode(facts)).handled == ("rm caf\\udce9",)
