"""ld.so.cache against the machine's own ldconfig and loader."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ramekin.closure import ldcache
from ramekin.closure.model import Library
from ramekin.image.tree import Entry, Kind, Span, Tree, file, symlink

LDCONFIG = shutil.which("ldconfig", path="/usr/sbin:/sbin:/usr/bin")
needs_ldconfig = pytest.mark.skipif(LDCONFIG is None, reason="no ldconfig")
FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def libraries_of_this_machine(limit: int = 150) -> tuple[Path, list[Path]]:
    for folder in map(Path, FOLDERS):
        found = sorted(path for path in folder.glob("lib*.so*") if path.exists())
        if len(found) > 10:
            return folder, found[:limit]
    pytest.skip("no libraries in a known folder")


def printed(cache: Path) -> list[str]:
    assert LDCONFIG is not None
    out = subprocess.run(
        [LDCONFIG, "-p", "-C", str(cache)], check=True, capture_output=True, text=True
    ).stdout
    return [line for line in out.splitlines()[1:] if not line.startswith("Cache generated")]


@needs_ldconfig
def test_the_cache_is_the_one_that_ldconfig_makes(tmp_path: Path) -> None:
    _, found = libraries_of_this_machine()
    root = tmp_path / "root"
    folder = "opt/demo"
    (root / folder).mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/ld.so.conf").write_text("# ours\n/opt/demo\n")
    entries: list[Entry] = [file("etc/ld.so.conf", b"# ours\n/opt/demo\n")]
    for path in found:
        copy = root / folder / path.name
        target = str(path.readlink()) if path.is_symlink() else ""
        if target and "/" not in target:
            copy.symlink_to(target)
            entries.append(symlink(f"{folder}/{path.name}", target))
        elif not target:
            shutil.copy(path, copy)
            span = Span(path, 0, path.stat().st_size)
            entries.append(Entry(path=f"{folder}/{path.name}", kind=Kind.FILE, content=span))
    tree = Tree(entries)
    ours = tmp_path / "ours"
    ours.write_bytes(
        ldcache.write(ldcache.scan(tree), ldcache.configuration(tree), merged={}, architecture="amd64")
    )
    assert LDCONFIG is not None
    subprocess.run([LDCONFIG, "-r", str(root), "-X", "-C", "/theirs"], check=True, capture_output=True)
    assert len(printed(ours)) > 10
    assert printed(ours) == printed(root / "theirs")


def library(path: str, soname: str, flags: int = 0x303) -> Library:
    return Library(path, soname, flags)


@needs_ldconfig
def test_links_special_builds_and_generic_names_stand_in_the_loaders_order(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = "usr/lib/x86_64-linux-gnu"
    cache.write_bytes(
        ldcache.write(
            [
                library(f"{folder}/liba.so.1.2", "liba.so.1"),
                Library(f"{folder}/liba.so.1", target=f"{folder}/liba.so.1.2"),
                Library(f"{folder}/liba.so", target=f"{folder}/liba.so.1"),
                library(f"{folder}/glibc-hwcaps/x86-64-v3/liba.so.1", "liba.so.1"),
                library(f"{folder}/libb.so.10", "libb.so.10"),
                library(f"{folder}/libb.so.9", "libb.so.9"),
                library("usr/local/lib/libb.so.9", "libb.so.9"),
                library("opt/unseen/libc.so.1", "libc.so.1"),
            ],
            [
                ("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n"),
                ("etc/ld.so.conf.d/libc.conf", "/usr/local/lib\n"),
            ],
            merged={"lib": "usr/lib"},
            architecture="amd64",
        )
    )
    assert [" ".join(line.split()) for line in printed(cache)] == [
        "libb.so.10 (libc6,x86-64) => /lib/x86_64-linux-gnu/libb.so.10",
        "libb.so.9 (libc6,x86-64) => /usr/local/lib/libb.so.9",
        "libb.so.9 (libc6,x86-64) => /lib/x86_64-linux-gnu/libb.so.9",
        'liba.so.1 (libc6,x86-64, hwcap: "x86-64-v3") => '
        "/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/liba.so.1",
        "liba.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/liba.so.1",
        "liba.so (libc6,x86-64) => /lib/x86_64-linux-gnu/liba.so",
    ]


@pytest.mark.parametrize("architecture", ["amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x"])
def test_a_cache_can_be_written_for_any_architecture(architecture: str) -> None:
    data = ldcache.write(
        [library("usr/lib/liba.so.1", "liba.so.1")], [], merged={}, architecture=architecture
    )
    order = "big" if architecture == "s390x" else "little"
    assert data.startswith(b"glibc-ld.so.cache1.1")
    assert int.from_bytes(data[20:24], order) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF", b"\x7fELF" + bytes(100), b"\x7fELF\x02\x01" + b"\xff" * 4000, b"INPUT(libc.so.6)"],
)
def test_files_that_are_no_libraries_are_passed_over(data: bytes) -> None:
    assert ldcache.scan(Tree([file("usr/lib/libx.so.1", data)])) == ()
