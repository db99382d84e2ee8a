"""Slices: what goes and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from closure.shelf import package, ready

from ramekin.closure import slices
from ramekin.closure.model import SliceChoice
from ramekin.errors import UsageError
from ramekin.image.tree import Tree, directory, file, symlink

DROPPED = {
    "usr/share/doc/redis/changelog.Debian.gz": "docs",
    "usr/share/doc/redis/examples/a/b.conf": "docs",
    "usr/share/perl/5.36/pod/perlfunc.pod": "docs",
    "usr/share/doc-base/redis.manual": "doc-base",
    "usr/share/man/man1/ls.1.gz": "man",
    "usr/share/man/de/man1/ls.1.gz": "man",
    "usr/share/info/tar.info.gz": "info",
    "usr/share/locale/de/LC_MESSAGES/tar.mo": "locales",
    "usr/lib/locale/de_DE.utf8/LC_CTYPE": "locales",
    "usr/share/i18n/charmaps/UTF-8.gz": "locales",
    "usr/share/lintian/overrides/redis": "lintian",
    "usr/share/bash-completion/completions/git": "completions",
    "usr/share/zsh/vendor-completions/_git": "completions",
    "etc/init.d/redis-server": "init",
    "usr/lib/systemd/system/redis.service": "init",
    "usr/lib/udev/rules.d/60-x.rules": "init",
    "etc/logrotate.d/nginx": "host",
    "etc/cron.daily/dpkg": "cron",
    "usr/include/zlib.h": "headers",
    "usr/lib/x86_64-linux-gnu/pkgconfig/zlib.pc": "headers",
    "usr/lib/x86_64-linux-gnu/libz.a": "static-libraries",
    "usr/lib/x86_64-linux-gnu/gconv/EBCDIC-AT-DE.so": "gconv",
    "usr/lib/python3/dist-packages/x/__pycache__/y.cpython-311.pyc": "bytecode",
    "usr/share/bug/redis/control": "bug",
    "usr/lib/debug/.build-id/aa/bb.debug": "debug",
    "usr/share/zoneinfo/right/Europe/Berlin": "zoneinfo-duplicates",
    "usr/share/ca-certificates/mozilla/ACCV.crt": "ca-originals",
}
KEPT = [
    "usr/share/doc/redis/copyright",
    "usr/share/doc/redis/NOTICE.txt",
    "usr/share/perl/5.36/pod/perldiag.pod",
    "usr/lib/locale/C.utf8/LC_CTYPE",
    "usr/lib/systemd/systemd-sysctl",
    "usr/lib/systemd/libsystemd-shared-252.so",
    "usr/lib/x86_64-linux-gnu/libz.so.1",
    "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
    "usr/lib/x86_64-linux-gnu/gconv/ISO8859-15.so",
    "usr/lib/x86_64-linux-gnu/gconv/CP1252.so",
    "usr/lib/x86_64-linux-gnu/gconv/gconv-modules",
    "usr/share/zoneinfo/Europe/Berlin",
    "usr/share/python3/runtime.py",
    "usr/lib/python3.11/test/support/__init__.py",
    "usr/sbin/nginx",
    "etc/redis/redis.conf",
    "manifest",
]


@pytest.mark.parametrize(("path", "name"), DROPPED.items())
def test_a_path_goes_with_its_slice(path: str, name: str) -> None:
    assert slices.matcher(SliceChoice()).slice_of(path) == name


@pytest.mark.parametrize("path", KEPT)
def test_a_path_that_programs_need_stays(path: str) -> None:
    assert slices.matcher(SliceChoice()).slice_of(path) is None


@pytest.mark.parametrize(("path", "name"), DROPPED.items())
def test_a_slice_that_is_kept_by_name_stays(path: str, name: str) -> None:
    assert slices.matcher(slices.choose(keep=[name])).slice_of(path) is None


def test_a_slice_that_is_kept_by_default_can_be_dropped() -> None:
    choice = slices.choose(drop=["tests"])
    assert slices.matcher(choice).slice_of("usr/lib/python3.11/test/support/__init__.py") == "tests"


def test_repeating_a_default_is_the_same_choice() -> None:
    assert slices.choose(drop=["man"], keep=["tests"]) == SliceChoice()


@pytest.mark.parametrize("request_", ["zlib1g-dev", "libssl-dev=3.0", "gcc", "g++-12", "build-essential"])
def test_a_request_for_what_compiles_keeps_headers(request_: str) -> None:
    choice = slices.choose(requests=["curl", request_])
    assert slices.matcher(choice).slice_of("usr/include/zlib.h") is None
    assert slices.matcher(choice).slice_of("usr/lib/x/libz.a") is None


def test_an_unknown_slice_is_named_with_near_ones() -> None:
    with pytest.raises(UsageError) as caught:
        slices.choose(keep=["mans"])
    assert "mans" in caught.value.message
    assert "man" in (caught.value.hint or "")


def test_a_slice_cannot_be_both() -> None:
    with pytest.raises(UsageError, match="both kept and dropped"):
        slices.choose(keep=["man"], drop=["man"])


def test_folders_that_a_slice_emptied_go_and_others_stay() -> None:
    tree = Tree(
        [
            file("usr/share/man/man1/a.1.gz", b"x"),
            directory("usr/share/man/man5"),
            directory("var/lib/redis"),
            file("usr/share/doc/a/copyright", b"c"),
            file("usr/share/doc/a/x/y", b"c"),
        ]
    ).with_parents()
    left = slices.apply(tree, SliceChoice()).tree
    assert "usr/share/man" not in left
    assert "usr/share/doc/a/x" not in left
    assert "var/lib/redis" in left
    assert "usr/share/doc/a/copyright" in left


def test_a_link_in_place_of_a_documentation_folder_stays() -> None:
    tree = Tree(
        [symlink("usr/share/doc/libruby", "ruby3.1"), symlink("usr/share/doc/x/changelog.gz", "../y")]
    )
    assert list(slices.apply(tree, SliceChoice()).tree) == ["usr/share/doc/libruby"]


def test_what_went_is_counted_and_named() -> None:
    prepared = ready(package(files={"usr/share/man/man1/a.1": "12345", "usr/bin/a": "x"}))
    assert [(one.name, one.count, one.size) for one in prepared.facts.dropped] == [("man", 1, 5)]
    assert dict(prepared.facts.left_out()) == {"usr/share/man/man1/a.1": "man"}


def test_lists_of_gconv_modules_name_only_what_is_left() -> None:
    folder = "usr/lib/x86_64-linux-gnu/gconv"
    text = (
        "# rare and usual\n"
        "module\tINTERNAL\tUTF-16//\tUTF-16\t1\n"
        "alias\tUTF16//\tUTF-16//\n"
        "module\tINTERNAL\tEBCDIC-FR//\tEBCDIC-FR\t1\n"
        "alias\tEBCDICFR//\tEBCDIC-FR//\n"
    )
    files = {
        f"{folder}/gconv-modules.d/extra.conf": text,
        f"{folder}/UTF-16.so": "1",
        f"{folder}/EBCDIC-FR.so": "2",
    }
    kept = ready(package(files=files)).tree[f"{folder}/gconv-modules.d/extra.conf"].read().decode()
    assert "UTF16" in kept
    assert "EBCDIC" not in kept
    all_kept = ready(package(files=files), slices.choose(keep=["gconv"])).tree
    assert all_kept[f"{folder}/gconv-modules.d/extra.conf"].read().decode() == text


def test_every_slice_is_documented_with_its_reason() -> None:
    text = (Path(__file__).parents[2] / "docs/slices.md").read_text()
    missing = [name for name, rule in slices.rules().items() if f"| `{name}` | {rule.reason} |" not in text]
    assert missing == []
