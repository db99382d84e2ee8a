"""Store paths: what is found in their files, what is followed, linked, and told to Nix."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.elves import elf

from ramekin.closure import storepaths
from ramekin.closure.evidence.model import Kind, PackageDetail, PackageEvidence
from ramekin.closure.follow import Asked, Followed
from ramekin.closure.model import PackageFacts
from ramekin.closure.storepaths import follow, profile, scan, sqlite
from ramekin.closure.storepaths.prepare import line, prepare, unline
from ramekin.closure.storepaths.sqlite import Index, Table
from ramekin.errors import FormatError
from ramekin.image import tree
from ramekin.image.tree import Tree
from ramekin.sources.nix.model import NixPackage
from ramekin.sources.protocol import PackageContent, Reason, Resolution
from ramekin.store.digest import of


def base(name: str) -> str:
    """A base name whose hash follows from the name."""
    letters = "0123456789abcdfghijklmnpqrsvwxyz"
    start = "".join(letters[ord(letter) % 32] for letter in (name * 32)[:32])
    return f"{start}-{name}"


def path(name: str, rest: str = "") -> str:
    return f"/nix/store/{base(name)}" + (f"/{rest}" if rest else "")


class World:
    """Store paths with files; a text is where a link leads."""

    def __init__(self, **paths: Mapping[str, bytes | str]) -> None:
        self.evidence: dict[str, PackageEvidence] = {}
        self.detail: dict[str, PackageDetail] = {}
        self.facts: dict[str, PackageFacts] = {}
        self.packages: list[NixPackage] = []
        self.edges: dict[str, tuple[str, ...]] = {}
        for name, files in paths.items():
            self._add(name, files, [other for other in paths if other != name])

    def _add(self, name: str, files: Mapping[str, bytes | str], others: Sequence[str]) -> None:
        root = f"nix/store/{base(name)}"
        entries = [
            tree.symlink(f"{root}/{inside}", what)
            if isinstance(what, str)
            else tree.file(f"{root}/{inside}", what, mode=0o555)
            for inside, what in files.items()
        ]
        everything = b" ".join(
            what if isinstance(what, bytes) else what.encode() for what in files.values()
        ) + " ".join(files).encode("utf-8", "surrogateescape")
        references = [base(other) for other in others if base(other)[:32].encode() in everything]
        package = NixPackage(
            name=base(name),
            version="",
            architecture="amd64",
            digest=of(name.encode()),
            size=1,
            origin=name,
            location=path(name),
            references=tuple(references),
        )
        ready = prepare(PackageContent(package, Tree(entries), {}), architecture="amd64")
        self.packages.append(package)
        self.edges[base(name)] = tuple(references)
        self.facts[base(name)] = ready.facts
        self.evidence[base(name)] = scan.evidence(ready, references)
        self.detail[base(name)] = scan.detail(ready, references)

    def resolution(self, *asked: str) -> Resolution:
        reasons = {base(name): Reason("", name) for name in asked}
        return Resolution("amd64", asked, tuple(self.packages), reasons, self.edges, {})

    def packages_of(self, *asked: str) -> Followed:
        names = [base(name) for name in asked]
        return follow.packages(self.resolution(*asked), self.evidence, Asked(), names)

    def files_of(self, *asked: str, **wishes: tuple[str, ...]) -> Followed:
        names = [base(name) for name in asked]
        return follow.files(self.resolution(*asked), self.evidence, self.detail, Asked(**wishes), names)

    def gone(self, followed: Followed, name: str) -> set[str]:
        """The files of a kept store path that are left out."""
        root = f"nix/store/{base(name)}/"
        return {file.path.removeprefix(root) for file in followed.files if file.path.startswith(root)}

    def profile(self, *asked: str, **more: object) -> profile.Profile:
        names = [profile.Asked(base(name)) for name in asked]
        return profile.profile(names, self.facts, self.resolution(*asked), **more)  # type: ignore[arg-type]


def kept(followed: Followed) -> set[str]:
    return {storepaths.title(name) for name in followed.names}


# --- evidence --------------------------------------------------------------------------------------------


def test_a_reference_is_found_in_text_in_links_in_names_and_by_its_hash_alone() -> None:
    world = World(
        app={
            "bin/app": b"#! " + path("shell", "bin/sh").encode() + b"\nexec x",
            "etc/link": path("data", "share/x"),
            f"lib/{base('named')}": b"",
            "share/hash": b"\0\1" + base("hashed")[:32].encode() + b"\2",
            "share/text": f'prefix="{path("text", "lib/a b")}"; other'.encode(),
        },
        shell={"bin/sh": b""},
        data={"share/x": b""},
        named={"x": b""},
        hashed={"x": b""},
        text={"lib/a": b""},
    )
    needs = {(need.kind, need.target) for need in world.evidence[base("app")].needs}
    assert needs == {
        (Kind.INTERPRETER, path("shell", "bin/sh")),
        (Kind.LINK, path("data", "share/x")),
        (Kind.PATH, path("named")),
        (Kind.PATH, path("hashed")),
        (Kind.PATH, path("text", "lib/a")),
    }
    steps = {step.provider: step for step in world.packages_of("app").edges}
    assert steps[base("hashed")].file == f"nix/store/{base('app')}/share/hash"


def test_a_reference_across_two_chunks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_CHUNK", 8192)
    for shift in range(0, 120, 7):
        data = b"x" * (8192 - shift) + path("lib", "lib/x").encode() + b"\0" + b"y" * 9000
        world = World(app={"bin/app": data}, lib={"lib/x": b""})
        assert world.evidence[base("app")].needs[0].target == path("lib", "lib/x")


def test_what_lies_outside_of_a_store_path_is_refused() -> None:
    package = NixPackage(name=base("a"), version="", architecture="amd64", digest=of(b""), size=1)
    files = Tree([tree.file("etc/passwd", b"")])
    with pytest.raises(FormatError, match="outside"):
        prepare(PackageContent(package, files, {}), architecture="amd64")


# --- from file to file -----------------------------------------------------------------------------------

LOADER = "lib/ld-linux-x86-64.so.2"


def program(*needed: str, search: Sequence[str] = (), strings: Sequence[str] = ()) -> bytes:
    """A program as nixpkgs links them."""
    folders = [path("libc", "lib"), *search]
    return elf(
        needed=[*needed, "libc.so.6"],
        interpreter=path("libc", LOADER),
        runpath=":".join(folders),
        strings=strings,
    )


LIBC: dict[str, bytes | str] = {
    "lib/libc.so.6": elf(soname="libc.so.6"),
    LOADER: elf(soname="ld-linux-x86-64.so.2"),
    "lib/libm.so.6": elf(soname="libm.so.6"),
    "lib/gconv/UTF-7.so": b"",
    "bin/getconf": b"",
    "include/stdio.h": b"",
    "lib/libc.a": b"",
}


def test_a_search_list_is_no_need_for_all_in_its_folders() -> None:
    world = World(app={"bin/app": program()}, libc=LIBC)
    followed = world.files_of("app")
    assert world.gone(followed, "libc") == {"lib/libm.so.6", "bin/getconf", "include/stdio.h", "lib/libc.a"}


def test_a_library_is_found_where_the_loader_looks_and_by_links() -> None:
    world = World(
        app={"bin/app": program("libz.so.1", search=[path("zlib", "lib")])},
        zlib={
            "lib/libz.so.1": "libz.so.1.3",
            "lib/libz.so.1.3": elf(soname="libz.so.1"),
            "lib/libz.so": "libz.so.1",
        },
        libc=LIBC,
    )
    followed = world.files_of("app")
    assert world.gone(followed, "zlib") == {"lib/libz.so"}
    assert kept(followed) == {"app", "zlib", "libc"}


def test_a_library_that_is_loaded_by_name_stays() -> None:
    world = World(app={"bin/app": program(strings=["libm.so.6"])}, libc=LIBC)
    assert "lib/libm.so.6" not in world.gone(world.files_of("app"), "libc")


def test_a_folder_that_is_named_stays_with_all_in_it() -> None:
    world = World(
        app={"bin/app": f"PATH={path('tools', 'bin')}:x\n".encode()},
        tools={"bin/a": b"", "bin/b": b"", "share/doc/tools/README": b""},
    )
    assert world.gone(world.files_of("app"), "tools") == {"share/doc/tools/README"}


def test_a_store_path_that_is_named_as_a_whole_stays_whole() -> None:
    world = World(app={"bin/app": f"x={path('tools')} y".encode()}, tools={"bin/a": b"", "include/h": b""})
    assert world.gone(world.files_of("app"), "tools") == set()


def test_a_name_that_goes_on_where_a_store_path_ends_means_all_of_it() -> None:
    world = World(app={"bin/app": f"{path('tools')}xyz/bin/a".encode()}, tools={"bin/a": b"", "bin/b": b""})
    assert world.gone(world.files_of("app"), "tools") == set()


def test_what_only_documentation_names_goes() -> None:
    world = World(
        app={"bin/app": b"", "share/doc/app/README": path("big", "bin/x").encode()}, big={"bin/x": b""}
    )
    followed = world.files_of("app")
    assert kept(followed) == {"app"}
    assert followed.dropped[0].reason == (
        f"app names it in /nix/store/{base('app')}/share/doc/app/README, which is left out"
    )


def test_slices_that_are_kept_stay_and_so_does_an_output_of_nothing_else() -> None:
    files: dict[str, bytes | str] = {
        "bin/app": b"",
        "share/man/man1/app.1": b"",
        "include/app.h": b"",
        "lib/libapp.a": b"",
        "share/doc/x": b"",
    }
    world = World(app=files)
    assert world.gone(world.files_of("app"), "app") == set(files) - {"bin/app"}
    kept_man = world.files_of("app", keep=("man", "headers"))
    assert world.gone(kept_man, "app") == {"lib/libapp.a", "share/doc/x"}
    dev = World(dev={"include/app.h": b"", "lib/pkgconfig/app.pc": b"", "nix-support/x": b""})
    assert dev.gone(dev.files_of("dev"), "dev") == set()


def test_references_in_a_circle_are_followed_once() -> None:
    world = World(
        app={"bin/app": path("one", "bin/x").encode()},
        one={"bin/x": path("two", "bin/x").encode(), "share/a": b""},
        two={"bin/x": path("one", "bin/x").encode()},
    )
    assert kept(world.files_of("app")) == {"app", "one", "two"}
    assert kept(world.packages_of("app")) == {"app", "one", "two"}


def test_links_that_lead_round_end() -> None:
    world = World(app={"bin/app": b"", "share/a": "b", "share/b": "a"})
    assert world.gone(world.files_of("app"), "app") == set()


def test_a_shell_stays_for_who_starts_commands() -> None:
    world = World(
        app={"bin/app": b"#!/bin/sh\n" + path("bash", "share/x").encode()},
        bash={"bin/sh": b"", "bin/other": b"", "share/x": b""},
    )
    assert world.gone(world.files_of("app"), "bash") == {"bin/other"}


def test_what_is_kept_by_name_or_path_stays() -> None:
    world = World(app={"bin/app": b"", "share/man/x": path("tools", "bin/a").encode()}, tools={"bin/a": b""})
    assert kept(world.files_of("app")) == {"app"}
    assert kept(world.files_of("app", keep=("tools",))) == {"app", "tools"}
    assert kept(world.files_of("app", keep=("/nix/store/*/bin/a",))) == {"app", "tools"}
    assert world.gone(world.files_of("app", drop=("/nix/store/*-app/bin/*",)), "app") == {
        "bin/app",
        "share/man/x",
    }


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_a_path_comes_back_from_its_line(text: str) -> None:
    assert len(line(text).splitlines()) <= 1
    assert unline(line(text)) == (None if "\ufffd" in text else text)


def test_names_with_any_bytes_are_linked_and_left_out() -> None:
    names = ["a\nb", "c\\d", "e f", "g\u2028h"]
    world = World(app={f"bin/{name}": b"" for name in (*names, "\udcff")})
    made = {one.path.removeprefix("bin/"): one.target for one in world.profile("app").tree.entries()}
    for name in names:
        assert made[name] == path("app", f"bin/{name}")
    # what no text can name stays
    assert world.gone(world.files_of("app", drop=("/nix/*",)), "app") == {f"bin/{name}" for name in names}


# --- links -----------------------------------------------------------------------------------------------


def links(made: profile.Profile) -> dict[str, str]:
    return {one.path: one.target for one in made.tree.entries() if one.target}


def test_a_folder_of_one_is_a_link_and_one_of_several_is_merged() -> None:
    world = World(
        a={"share/a/x": b"", "share/common/a": b"", "bin/a": b""}, b={"share/common/b": b"", "bin/b": b""}
    )
    assert links(world.profile("a", "b")) == {
        "bin/a": path("a", "bin/a"),
        "bin/b": path("b", "bin/b"),
        "share/a": path("a", "share/a"),
        "share/common/a": path("a", "share/common/a"),
        "share/common/b": path("b", "share/common/b"),
    }


def test_a_file_and_a_folder_of_one_name_are_a_conflict() -> None:
    world = World(a={"share/x": b"", "bin/a": b""}, b={"share/x/y": b""})
    made = world.profile("a", "b")
    assert links(made)["share/x"] == path("a", "share/x")
    assert made.conflicts == ("/share/x is of a and not of b (which was asked for first)",)
    other = world.profile("b", "a")
    assert links(other)["share/x"] == path("b", "share/x")
    assert other.conflicts == ("/share/x is of b and not of a (which was asked for first)",)


def test_links_to_the_same_file_are_no_conflict() -> None:
    world = World(a={"bin/x": path("c", "bin/x")}, b={"bin/x": path("c", "bin/x")}, c={"bin/x": b""})
    assert world.profile("a", "b").conflicts == ()


def test_a_link_to_a_folder_stands_for_what_is_in_it() -> None:
    world = World(
        a={"share/man": path("m", "share/man"), "bin/a": b""},
        m={"share/man/man1/a.1": b""},
        b={"share/man/man1/b.1": b""},
    )
    assert links(world.profile("a", "b"))["share/man/man1/a.1"] == path("a", "share/man/man1/a.1")
    assert links(world.profile("a"))["share/man"] == path("a", "share/man")


def test_what_the_image_has_is_not_hidden() -> None:
    world = World(a={"etc/passwd": b"", "etc/a": b"", "tmp/x": b"", "nix-support/y": b"", "usr/bin/z": b""})
    made = world.profile("a", present={"etc/passwd"}, folders={"etc", "tmp", "usr", "usr/bin"})
    assert links(made) == {"etc/a": path("a", "etc/a"), "usr/bin/z": path("a", "usr/bin/z")}
    assert made.conflicts == ("/etc/passwd is the image's own and not of a",)


def test_links_stand_apart_from_the_files_of_a_distribution() -> None:
    world = World(a={"bin/a": b"", "bin/sh": b""})
    assert set(links(world.profile("a", local=True))) == {"usr/local/bin/a", "usr/local/bin/sh"}


def test_the_shell_is_bash_before_others() -> None:
    world = World(a={"bin/a": b""}, ash={"bin/sh": b""}, bash={"bin/sh": b"", "bin/env": b""})
    found = links(world.profile("a"))
    assert found["bin/sh"] == path("bash", "bin/sh")
    assert found["usr/bin/env"] == path("bash", "bin/env")


# --- the database ----------------------------------------------------------------------------------------

values = st.one_of(st.integers(-(1 << 62), 1 << 62), st.none(), st.text("aäz0-/", max_size=40))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.text("abcäø/", max_size=9), values, values), max_size=400),
    long=st.integers(0, 20_000),
)
def test_sqlite_reads_what_was_written(
    rows: list[tuple[str, int | str | None, int | str | None]],
    long: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rows = [(f"{number}{text}", a, b) for number, (text, a, b) in enumerate(rows)]
    rows.append(("long", "x" * long, None))
    sql = "CREATE TABLE things (name text unique not null, a, b)"
    table = Table(
        "things",
        sql,
        rows,
        (
            Index("sqlite_autoindex_things_1", "", (0,)),
            Index("both", "CREATE INDEX both on things(a, b)", (1, 2)),
        ),
    )
    file = tmp_path_factory.mktemp("sqlite") / "db"
    data = sqlite.write([table])
    assert sqlite.write([table]) == data
    file.write_bytes(data)
    with sqlite3.connect(file) as opened:
        assert opened.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert opened.execute("select * from things order by rowid").fetchall() == rows
        assert opened.execute("select b from things where name = ?", (rows[0][0],)).fetchall() == [
            (rows[0][2],)
        ]
    opened.close()


def test_numbers_of_any_length_are_as_sqlite_writes_them(tmp_path: Path) -> None:
    numbers = [n for power in range(63) for n in (1 << power, (1 << power) - 1, -(1 << power))]
    table = Table("n", "CREATE TABLE n (a)", [(number,) for number in numbers])
    (tmp_path / "db").write_bytes(sqlite.write([table]))
    opened = sqlite3.connect(tmp_path / "db")
    assert [row[0] for row in opened.execute("select a from n")] == numbers
    opened.close()
