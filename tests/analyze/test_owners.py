"""Whose each byte is, by every packaging system."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import subprocess
from pathlib import Path

import pytest
from handmade import stacked, tar_of
from support.containers import need

from ramekin.analyze import waste
from ramekin.analyze.owners import Owned, Owners, owners
from ramekin.analyze.stack import Stack
from ramekin.image.tree import Entry, Kind, file, symlink
from ramekin.store.store import Store

STATUS = b"""\
Package: tool
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: toolbox (1.0)
Version: 2.0-1
Conffiles:
 /etc/tool.conf 0123456789abcdef0123456789abcdef
Description: a tool
 with more lines

Package: other
Status: install ok installed
Architecture: all
Version: 1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""


def whose(found: Owners) -> dict[str, str]:
    """Owner by path, as system/name."""
    return {path: f"{p.system}/{p.name}" for path in found.of if (p := found.package(path)) is not None}


def test_dpkg_owns_what_its_lists_name_through_links_and_diversions(store: Store) -> None:
    found = stacked(
        store,
        tar_of(
            [
                symlink("lib", "usr/lib"),
                file("usr/lib/tool.so", b"1" * 100),
                file("etc/tool.conf", b"22"),
                file("usr/bin/both", b"other's"),
                file("usr/bin/both.distrib", b"tool's"),
                file("srv/data", b"333"),
                file("var/lib/dpkg/status", STATUS),
                file("var/lib/dpkg/info/tool:amd64.list", b"/.\n/lib\n/lib/tool.so\n/usr/bin/both\n"),
                file("var/lib/dpkg/info/tool:amd64.postinst", b"#!/bin/sh\n"),
                file("var/lib/dpkg/info/other.list", b"/usr/bin/both\n"),
                file("var/lib/dpkg/diversions", b"/usr/bin/both\n/usr/bin/both.distrib\nother\n"),
                file("usr/share/doc/other/left", b"4"),
            ]
        ),
    )
    owned = owners(found)
    found_owners = whose(owned)
    assert found_owners["usr/lib/tool.so"] == "dpkg/tool"
    assert found_owners["etc/tool.conf"] == "dpkg/tool"
    assert found_owners["usr/bin/both"] == "dpkg/other"
    assert found_owners["usr/bin/both.distrib"] == "dpkg/tool"
    assert found_owners["var/lib/dpkg/info/tool:amd64.postinst"] == "dpkg/tool"
    assert found_owners["usr/share/doc/other/left"] == "dpkg/other"
    assert "srv/data" not in found_owners
    assert [(p.name, p.version, p.source) for p in owned.packages] == [
        ("tool", "2.0-1", "toolbox"),
        ("other", "1", ""),
    ]
    assert (
        owned.nobody.size
        == 3 + found.files["var/lib/dpkg/status"].size + found.files["var/lib/dpkg/diversions"].size
    )


def test_images_without_dpkg_say_in_status_d_what_they_have(store: Store) -> None:
    paragraph = b"Package: base-files\nVersion: 12\nArchitecture: amd64\n"
    found = stacked(
        store,
        tar_of(
            [
                file("etc/host.conf", b"x"),
                file("var/lib/dpkg/status.d/base", paragraph),
                file("var/lib/dpkg/status.d/base.md5sums", b"0" * 32 + b"  etc/host.conf\n"),
            ]
        ),
    )
    assert set(whose(owners(found)).values()) == {"dpkg/base-files"}
    assert owners(found).nobody.size == 0


def test_checksums_in_status_d_stand_for_all_names_of_a_file(store: Store) -> None:
    paragraph = b"Package: perl-base\nVersion: 5\nArchitecture: amd64\n"
    found = stacked(
        store,
        tar_of(
            [
                symlink("bin", "usr/bin"),
                file("usr/bin/perl", b"x"),
                Entry(path="usr/bin/perl5", kind=Kind.HARDLINK, target="usr/bin/perl"),
                file("usr/bin/mine", b"y"),
                Entry(path="usr/bin/mine2", kind=Kind.HARDLINK, target="usr/bin/mine"),
                file("var/lib/dpkg/status.d/perl-base", paragraph),
                file("var/lib/dpkg/status.d/perl-base.md5sums", b"0" * 32 + b"  bin/perl\n"),
            ]
        ),
    )
    owned = whose(owners(found))
    assert owned["usr/bin/perl"] == owned["usr/bin/perl5"] == "dpkg/perl-base"
    assert "usr/bin/mine2" not in owned


def test_apk_owns_what_its_database_lists(store: Store) -> None:
    database = (
        b"P:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nF:lib\nR:ld-musl.so\na:0:0:755\nF:\nR:top\n\nP:empty\nV:1\n\n"
    )
    tree = [file("lib/ld-musl.so", b"1" * 9), file("top", b"2"), file("lib/apk/db/installed", database)]
    found = owners(stacked(store, tar_of(tree)))
    assert whose(found)["lib/ld-musl.so"] == whose(found)["top"] == "apk/musl"
    assert [str(package) for package in found.packages] == ["musl 1.2.5-r0", "empty 1"]


def rpm_header(name: str, files: dict[str, list[str]]) -> bytes:
    """A header as rpm keeps it in its database."""
    folders = list(files)
    bases = [base for folder in folders for base in files[folder]]
    places = [number for number, folder in enumerate(folders) for _ in files[folder]]
    tags: list[tuple[int, int, int, bytes]] = []
    for tag, text in (
        (1000, name),
        (1001, "1.0"),
        (1002, "2"),
        (1022, "x86_64"),
        (1044, f"{name}-src-1.0-2.src.rpm"),
    ):
        tags.append((tag, 6, 1, text.encode() + b"\0"))
    tags.append((1116, 4, len(places), struct.pack(f">{len(places)}I", *places)))
    tags.append((1117, 8, len(bases), b"".join(base.encode() + b"\0" for base in bases)))
    tags.append((1118, 8, len(folders), b"".join(folder.encode() + b"\0" for folder in folders)))
    index, data = b"", b""
    for tag, kind, count, value in tags:
        if kind == 4:
            data += bytes(-len(data) % 4)
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += value
    return struct.pack(">II", len(tags), len(data)) + index + data


def test_rpm_owns_what_its_database_lists(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "rpmdb.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
    for name, files in (
        ("bash", {"/usr/bin/": ["bash", "sh"], "/etc/": ["bashrc"]}),
        ("one", {"/opt/": ["one"]}),
    ):
        connection.execute("INSERT INTO Packages (blob) VALUES (?)", (rpm_header(name, files),))
    connection.execute("INSERT INTO Packages (blob) VALUES (?)", (b"\xff" * 40,))
    connection.commit()
    connection.close()
    tree = [
        file(name, name.encode())
        for name in ("usr/bin/bash", "usr/bin/sh", "etc/bashrc", "opt/one", "opt/two")
    ]
    tree.append(file("usr/lib/sysimage/rpm/rpmdb.sqlite", path.read_bytes()))
    found = owners(stacked(store, tar_of(tree)))
    assert {path: owner for path, owner in whose(found).items() if "sysimage" not in path} == {
        "usr/bin/bash": "rpm/bash",
        "usr/bin/sh": "rpm/bash",
        "etc/bashrc": "rpm/bash",
        "opt/one": "rpm/one",
    }
    assert str(found.packages[0]) == "bash 1.0-2"
    assert found.packages[0].source == "bash-src"


def test_pip_owns_what_its_records_list_and_npm_what_lies_in_its_folders(store: Store) -> None:
    site = "usr/lib/python3/site-packages"
    tree = [
        file(
            f"{site}/flask-3.0.dist-info/METADATA",
            b"Metadata-Version: 2.1\nName: Flask\nVersion: 3.0\n\ntext",
        ),
        file(f"{site}/flask-3.0.dist-info/RECORD", b'flask/a.py,,\n"flask/b,c.py",,\n../../../bin/flask,,\n'),
        file(f"{site}/flask/a.py", b"a"),
        file(f"{site}/flask/b,c.py", b"b"),
        file(f"{site}/flask/__pycache__/a.cpython-311.pyc", b"compiled"),
        file("usr/bin/flask", b"#!"),
        file("app/node_modules/one/package.json", b'{"name": "one", "version": "1.0.0"}'),
        file("app/node_modules/one/lib/index.js", b"1"),
        file(
            "app/node_modules/one/node_modules/@scope/two/package.json",
            json.dumps({"name": "@scope/two"}).encode(),
        ),
        file("app/node_modules/one/node_modules/@scope/two/index.js", b"2"),
        file("app/node_modules/.bin/one", b"3"),
        file("app/package.json", b'{"name": "mine", "version": "0"}'),
    ]
    found = whose(owners(stacked(store, tar_of(tree))))
    assert {path for path, owner in found.items() if owner == "python/Flask"} == {
        f"{site}/flask-3.0.dist-info/METADATA",
        f"{site}/flask-3.0.dist-info/RECORD",
        f"{site}/flask/a.py",
        f"{site}/flask/b,c.py",
        f"{site}/flask/__pycache__/a.cpython-311.pyc",
        "usr/bin/flask",
    }
    assert found["app/node_modules/one/lib/index.js"] == "node/one"
    assert found["app/node_modules/one/node_modules/@scope/two/index.js"] == "node/@scope/two"
    assert "app/package.json" not in found


def test_a_content_with_several_names_is_counted_once(store: Store) -> None:
    tree = [
        file("app/node_modules/one/package.json", b'{"name": "one"}'),
        file("app/node_modules/one/big", b"x" * 1000),
        Entry(path="a-link", kind=Kind.HARDLINK, target="app/node_modules/one/big"),
    ]
    found = owners(stacked(store, tar_of(tree)))
    assert found.owned[0] == Owned(2, 1015)
    assert found.nobody == Owned(1, 0)


@pytest.mark.runtime
def test_go_programs_and_java_archives_say_what_they_are(tmp_path: Path, store: Store) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.jar", "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nImplementation-Title: thing\r\n")
        archive.writestr("META-INF/maven/g/a/pom.properties", "groupId=g\nartifactId=a\nversion=1.2\n")
    jar = file("opt/x.jar", (tmp_path / "x.jar").read_bytes())
    found = owners(stacked(store, tar_of([jar])))
    assert [str(package) for package in found.packages] == ["g:a 1.2"]
    need("podman")
    podman = Path(shutil.which("podman") or "")
    program = file("hello", podman.read_bytes(), mode=0o755)
    stack_ = stacked(store, tar_of([program]))
    names = [(package.system, package.name) for package in owners(stack_).packages]
    assert names[0] == ("go", "github.com/containers/podman/cmd/podman")


def test_a_rust_program_lists_its_crates_where_cargo_auditable_left_them(
    tmp_path: Path, store: Store
) -> None:
    need("gcc", "objcopy")
    import zlib

    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    crates = {
        "packages": [{"name": "dep", "version": "0.1"}, {"name": "mine", "version": "2.0", "root": True}]
    }
    (tmp_path / "deps").write_bytes(zlib.compress(json.dumps(crates).encode()))
    subprocess.run(["gcc", "-o", "a", "a.c"], cwd=tmp_path, check=True)
    subprocess.run(["objcopy", "--add-section", ".dep-v0=deps", "a"], cwd=tmp_path, check=True)
    found = owners(stacked(store, tar_of([file("a", (tmp_path / "a").read_bytes())])))
    assert [str(package) for package in found.packages] == ["mine 2.0"]


def test_symbols_and_debugging_information_are_what_strip_takes_away(tmp_path: Path, store: Store) -> None:
    need("gcc", "strip")
    (tmp_path / "a.c").write_text('#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n')
    subprocess.run(["gcc", "-g", "-o", "a", "a.c"], cwd=tmp_path, check=True)
    subprocess.run(["strip", "-o", "b", "a"], cwd=tmp_path, check=True)
    before, after = (tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()
    found: Stack = stacked(store, tar_of([file("a", before), file("b", after)]))
    elf = found.traits("a")["elf"]
    # section headers, their names and padding go as well
    assert 0 <= len(before) - len(after) - elf["debug"] - elf["symbols"] < 2000
    assert not {"debug", "symbols"} & found.traits("b")["elf"].keys()
    assert elf["interpreter"].startswith("/lib")
    assert elf["needed"] == ["libc.so.6"]


@pytest.mark.parametrize(
    ("path", "category"),
    [
        ("usr/share/doc/x/README", waste.DOCS),
        ("usr/share/doc/x/copyright", ""),
        ("usr/share/man/man1/x.1.gz", waste.DOCS),
        ("usr/share/locale/de/LC_MESSAGES/x.mo", waste.LOCALES),
        ("usr/lib/locale/locale-archive", waste.LOCALES),
        ("var/cache/apt/pkgcache.bin", waste.CACHES),
        ("var/lib/apt/lists/x_Packages", waste.CACHES),
        ("root/.cache/pip/http/a", waste.CACHES),
        ("usr/lib/debug/.build-id/ab/cd.debug", waste.DEBUG),
        ("usr/lib/python3/dist-packages/x/__pycache__/a.cpython-311.pyc", waste.BYTECODE),
        ("usr/lib/python3/dist-packages/x/tests/test_a.py", waste.TESTS),
        ("srv/tests/data", ""),
        ("usr/include/stdio.h", waste.DEVELOPMENT),
        ("usr/lib/libc.a", waste.DEVELOPMENT),
        ("app/.git/objects/ab/cdef", waste.HISTORY),
        ("usr/bin/bash", ""),
    ],
)
def test_what_images_can_do_without_is_told_by_its_place(path: str, category: str) -> None:
    assert waste.category(path) == category
