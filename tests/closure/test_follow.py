"""Which packages evidence reaches, for what reason, and what it leaves out by name."""

from __future__ import annotations

import pytest
from support.elves import elf
from support.pantry import LIBRARIES, Closure, program

from ramekin.closure import policy, proof
from ramekin.closure.evidence.model import Kind
from ramekin.closure.follow import MissingNeedError
from ramekin.closure.model import Alternative, PackageFacts

LIBRARY = {f"{LIBRARIES}/libdemo.so.1": elf(soname="libdemo.so.1", needed=("libc.so.6",))}


def demo(*depends: str, **files: bytes | str) -> Closure:
    """Package `demo` with a program; keys of `files` have `__` for a slash."""
    closure = Closure(["demo"], {"demo": ("libc6", *depends)})
    return closure.holds("demo", {path.replace("__", "/"): data for path, data in files.items()})


def test_a_dependency_without_evidence_is_not_followed() -> None:
    closure = demo("adduser", usr__bin__demo=program()).holds(
        "adduser", {"usr/sbin/adduser": b"#!/usr/bin/perl\n"}
    )
    followed = closure.packages()
    assert followed.names == {"demo", "libc6"}
    (dropped,) = followed.dropped
    assert (dropped.name, dropped.reason) == (
        "adduser",
        "demo depends on it, but no file shows a need for it",
    )


def test_a_library_deeper_in_the_declared_closure_is_found() -> None:
    closure = demo("between", usr__bin__demo=program("libdemo.so.1"))
    closure.holds("between", {"usr/share/between/x": b"x"}).holds("libdemo1", LIBRARY)
    closure.depends["between"] = ("libdemo1",)
    followed = closure.packages()
    assert followed.names == {"demo", "libc6", "libdemo1"}
    kept = next(package for package in followed.kept if package.name == "libdemo1")
    assert kept.because is not None
    assert (kept.because.kind, kept.because.file, kept.because.target) == (
        Kind.NEEDED,
        "usr/bin/demo",
        "libdemo.so.1",
    )


def test_a_library_that_nobody_holds_is_an_error_with_a_way_out() -> None:
    with pytest.raises(MissingNeedError, match=r"demo: /usr/bin/demo needs libgone\.so\.1") as caught:
        demo(usr__bin__demo=program("libgone.so.1")).packages()
    assert caught.value.hint


def test_a_library_of_a_package_that_is_not_declared_is_taken_with_a_note() -> None:
    closure = demo("other", usr__bin__demo=program("libdemo.so.1")).holds(
        "other", {"usr/bin/other": program()}
    )
    closure.depends["libdemo1"] = ()
    closure.holds("libdemo1", LIBRARY)
    followed = closure.packages()
    assert "libdemo1" in followed.names
    assert "undeclared" in followed.notes[0]


def test_a_plugin_that_cannot_load_is_left_out_by_name() -> None:
    closure = demo(usr__bin__demo=program(), usr__lib__demo__plugins__x=elf(needed=("libgone.so.1",)))
    (gone,) = closure.packages().files
    assert gone.path == "usr/lib/demo/plugins/x"
    assert "libgone.so.1" in gone.reason


def test_a_path_in_a_program_keeps_the_package_that_owns_it() -> None:
    closure = demo("demo-common", usr__bin__demo=program(strings=("/etc/demo/demo.conf",)))
    closure.holds("demo-common", {"etc/demo/demo.conf": b"x"})
    assert "demo-common" in closure.packages().names


def test_a_folder_keeps_only_packages_that_hold_data() -> None:
    closure = demo(
        "data", "tools", usr__bin__demo=program(strings=("/usr/share/demo-data/%s", "/etc/demo-tools"))
    )
    closure.holds("data", {"usr/share/demo-data/a": b"x"})
    closure.holds("tools", {"etc/demo-tools/x": b"x", "usr/bin/tool": program()})
    assert closure.packages().names == {"demo", "libc6", "data"}


def test_a_helper_script_does_not_pull_in_its_interpreter_and_is_left_out() -> None:
    closure = demo("perl", usr__bin__demo=program(), usr__share__demo__helper=b"#!/usr/bin/perl\n")
    closure.holds("perl", {"usr/bin/perl": program()})
    followed = closure.packages()
    assert "perl" not in followed.names
    assert [(file.path, "perl" in file.reason) for file in followed.files] == [
        ("usr/share/demo/helper", True)
    ]


def test_keep_brings_a_helper_script_and_its_interpreter_back() -> None:
    closure = demo("perl", usr__bin__demo=program(), usr__share__demo__helper=b"#!/usr/bin/perl\n")
    closure.holds("perl", {"usr/bin/perl": program()})
    followed = closure.packages(keep=["/usr/share/demo/*"])
    assert "perl" in followed.names
    assert not followed.files
    assert "perl" in closure.packages(keep=["perl"]).names


def test_drop_leaves_a_file_out() -> None:
    closure = demo(usr__bin__demo=program(), usr__bin__extra=program())
    assert [file.path for file in closure.packages(drop=["/usr/bin/extra"]).files] == ["usr/bin/extra"]


def test_a_helper_that_a_program_names_is_followed() -> None:
    closure = demo(
        "perl",
        usr__bin__demo=b"#!/bin/sh\n/usr/share/demo/helper\n",
        usr__share__demo__helper=b"#!/usr/bin/perl\n",
    )
    closure.holds("perl", {"usr/bin/perl": program()}).holds("dash", {"usr/bin/sh": program()})
    assert closure.packages().names == {"demo", "libc6", "dash", "perl"}


def test_a_script_of_a_dependency_counts_only_when_it_is_reached() -> None:
    closure = demo("tools", "perl", usr__bin__demo=program(strings=("/usr/share/tools/data",)))
    closure.holds("tools", {"usr/share/tools/data": b"x", "usr/bin/tool": b"#!/usr/bin/perl\n"})
    closure.holds("perl", {"usr/bin/perl": program()})
    closure.depends["tools"] = ("perl",)
    followed = closure.packages()
    assert "perl" not in followed.names
    assert [file.path for file in followed.files] == ["usr/bin/tool"]


def test_essential_packages_are_wanted_though_nobody_declares_them() -> None:
    closure = demo(usr__bin__demo=b"#!/bin/sh\ngrep x /etc/hosts | sort\n")
    assert closure.packages().wanted == ("coreutils", "dash", "grep")


def test_commands_that_env_finds_the_interpreter_for_want_env_where_they_count() -> None:
    closure = demo("perl", "tools", usr__bin__demo=b"#!/usr/bin/env perl\n")
    closure.holds("perl", {"usr/bin/perl": program(), "usr/share/perl/bin/x": b"#!/usr/bin/env perl\n"})
    followed = closure.packages()
    assert followed.wanted == ("coreutils",)
    assert "perl" in followed.names
    # those of packages that were not asked for are left out by name where there is no env
    other = demo("perl", usr__bin__demo=b"#!/usr/bin/perl\n")
    other.holds("perl", {"usr/bin/perl": program(), "usr/bin/other": b"#!/usr/bin/env perl\n"})
    followed = other.packages()
    assert followed.wanted == ()
    assert [(file.path, "/usr/bin/env" in file.reason) for file in followed.files] == [
        ("usr/bin/other", True)
    ]


def test_system_and_popen_want_a_shell() -> None:
    assert demo(usr__bin__demo=program(imports=("system",))).packages().wanted == ("dash",)
    assert demo(usr__bin__demo=program()).packages().wanted == ()


def test_an_empty_package_that_was_asked_for_stands_for_what_it_depends_on() -> None:
    closure = Closure(["demo"], {"demo": ("demo2",), "demo2": ("libc6",)}).holds(
        "demo2", {"usr/bin/demo": program()}
    )
    followed = closure.packages()
    assert followed.names == {"demo", "demo2", "libc6"}


def test_the_program_named_like_the_request_is_kept_wherever_it_is() -> None:
    closure = Closure(["python3"], {"python3": ("minimal",), "minimal": ("libc6",)})
    closure.holds("python3", {"usr/share/python3/x": b"x"}).holds("minimal", {"usr/bin/python3": program()})
    assert "minimal" in closure.packages().names


def test_data_of_the_same_origin_is_kept() -> None:
    closure = Closure(
        ["demo"], {"demo": ("demo-data", "other-data")}, demo="src", demo_data="src", other_data="other"
    )
    closure.holds("demo", {"usr/bin/demo": program()})
    closure.holds("demo-data", {"usr/share/demo/x": b"x"}).holds("other-data", {"usr/share/other/x": b"x"})
    closure.depends["demo"] = ("libc6", "demo-data", "other-data")
    assert closure.packages().names == {"demo", "libc6", "demo-data"}


def test_alternatives_offer_their_link() -> None:
    closure = demo("mawk", usr__bin__demo=b"#!/usr/bin/awk -f\n")
    closure.holds(
        "mawk",
        {"usr/bin/mawk": program()},
        alternatives=[Alternative("awk", "/usr/bin/awk", "/usr/bin/mawk", 5)],
    )
    assert "mawk" in closure.packages().names


def test_what_is_kept_already_is_taken_before_what_is_near() -> None:
    closure = demo("one", "two", usr__bin__demo=program("libtwo.so.1"), usr__bin__run=b"#!/usr/bin/tool\n")
    tool = Alternative("tool", "/usr/bin/tool", "/usr/bin/tool-1", 5)
    closure.holds("one", {"usr/bin/tool-1": program()}, alternatives=[tool])
    closure.holds(
        "two",
        {"usr/bin/tool-2": program(), f"{LIBRARIES}/libtwo.so.1": elf(soname="libtwo.so.1")},
        alternatives=[Alternative("tool", "/usr/bin/tool", "/usr/bin/tool-2", 5)],
    )
    assert closure.packages().names == {"demo", "libc6", "two"}


def test_imports_lead_to_the_package_of_the_module() -> None:
    closure = Closure(["python3-a"], {"python3-a": ("python3-b", "python3")})
    closure.holds("python3-a", {"usr/lib/python3/dist-packages/a.py": b"import b.deep\n"})
    closure.holds("python3-b", {"usr/lib/python3/dist-packages/b/__init__.py": b"x = 1\n"})
    closure.holds("python3", {"usr/bin/python3": program()})
    closure.depends["python3"] = ("libc6",)
    assert closure.packages().names == {"python3-a", "python3-b", "python3", "libc6"}


def test_essentials_stand_for_their_data_alone() -> None:
    closure = demo(usr__bin__demo=program()).holds(
        "ca-certificates", {"usr/sbin/update": b"#!/bin/sh\n", "etc/ssl/x": b"x"}
    )
    followed = closure.packages(essentials=["ca-certificates"])
    assert followed.names == {"demo", "libc6", "ca-certificates"}
    assert [file.path for file in followed.files] == ["usr/sbin/update"]


def test_links_in_a_loop_end() -> None:
    closure = demo(usr__bin__demo=program(strings=("/usr/share/a/x",)), usr__share__a="b", usr__share__b="a")
    assert "demo" in closure.packages().names


def test_the_order_of_packages_does_not_matter() -> None:
    closure = demo(
        "perl", "libdemo1", usr__bin__demo=program("libdemo.so.1"), usr__share__demo__x=b"#!/usr/bin/perl\n"
    )
    closure.holds("libdemo1", LIBRARY).holds("perl", {"usr/bin/perl": program()})
    first = closure.packages()
    closure.scanned = dict(reversed(list(closure.scanned.items())))
    assert closure.packages() == first


def test_a_package_version_in_the_request_names_the_package() -> None:
    closure = demo(usr__bin__demo=program())
    closure.requested = ("demo=1.0",)
    assert "demo" in closure.packages().names


def test_east_asian_converters_stay_for_programs_that_convert() -> None:
    def left_out(*imports: str) -> list[str]:
        closure = demo(usr__bin__demo=program(imports=imports))
        converter = {f"{LIBRARIES}/gconv/SJIS.so": elf(needed=("libc.so.6",))}
        libc = {f"{LIBRARIES}/libc.so.6": elf(soname="libc.so.6", defines=("libc.so.6",))}
        loader = {"usr/lib64/ld-linux-x86-64.so.2": elf(soname="ld-linux-x86-64.so.2")}
        closure.holds("libc6", {**libc, **loader, **converter})
        return [file.path for file in closure.packages().files]

    assert left_out() == [f"{LIBRARIES}/gconv/SJIS.so"]
    assert left_out("iconv_open") == []


def with_libc(*depends: str, **files: bytes | str) -> Closure:
    """A program, and a libc with parts that most programs do not load."""
    libc = {f"{LIBRARIES}/libc.so.6": elf(soname="libc.so.6", defines=("libc.so.6",))}
    loader = {"usr/lib64/ld-linux-x86-64.so.2": elf(soname="ld-linux-x86-64.so.2")}
    rare = {
        f"{LIBRARIES}/gconv/SJIS.so": elf(needed=("libc.so.6",)),
        f"{LIBRARIES}/libmvec.so.1": elf(soname="libmvec.so.1"),
        f"{LIBRARIES}/libthread_db.so.1": elf(soname="libthread_db.so.1"),
    }
    return demo(*depends, **files).holds("libc6", {**libc, **loader, **rare})


def test_a_slice_that_is_kept_by_name_keeps_what_a_correction_would_leave_out() -> None:
    closure = with_libc(usr__bin__demo=program())
    assert f"{LIBRARIES}/gconv/SJIS.so" in [file.path for file in closure.packages().files]
    assert f"{LIBRARIES}/gconv/SJIS.so" not in [
        file.path for file in closure.packages(slices=["gconv"]).files
    ]
    assert f"{LIBRARIES}/gconv/SJIS.so" not in [file.path for file in closure.files(slices=["gconv"]).files]


def test_what_a_correction_leaves_out_stays_for_a_file_that_names_it() -> None:
    def left_out(closure: Closure) -> set[str]:
        return {file.path.rpartition("/")[2] for file in closure.packages().files}

    assert left_out(with_libc(usr__bin__demo=program())) == {"SJIS.so", "libmvec.so.1", "libthread_db.so.1"}
    fast = with_libc("fast", usr__bin__demo=program("libfast.so.1"))
    fast.holds("fast", {f"{LIBRARIES}/libfast.so.1": elf(soname="libfast.so.1", needed=("libmvec.so.1",))})
    fast.depends["fast"] = ("libc6",)
    assert left_out(fast) == {"SJIS.so", "libthread_db.so.1"}
    linked = with_libc(usr__bin__demo=program())
    linked.holds(
        "libc6-dev",
        {"usr/include/x.h": b"", f"{LIBRARIES}/libthread_db.so": f"/lib/{LIBRARIES[8:]}/libthread_db.so.1"},
    )
    linked.depends["libc6-dev"] = ("libc6",)
    linked.requested = ("demo", "libc6-dev")
    assert left_out(linked) == {"SJIS.so", "libmvec.so.1"}


def test_an_import_is_met_through_the_package_that_declares_both() -> None:
    closure = Closure(
        ["https"], {"https": ("http", "tls", "perl"), "http": ("perl",), "tls": (), "perl": ("libc6",)}
    )
    closure.holds("https", {"usr/share/perl5/Web/Https.pm": b"use Web::Http;\n"})
    closure.holds("http", {"usr/share/perl5/Web/Http.pm": b"eval { require Sock::Tls; };\n"})
    closure.holds("tls", {"usr/share/perl5/Sock/Tls.pm": b"1;\n"}).holds("perl", {"usr/bin/perl": program()})
    assert closure.packages().names == {"https", "http", "tls", "perl", "libc6"}
    closure.requested = ("http",)
    assert "tls" not in closure.packages().names


def test_what_knows_terminals_wants_their_descriptions() -> None:
    closure = demo("libtinfo6", usr__bin__demo=program("libtinfo.so.6"))
    closure.holds("libtinfo6", {f"{LIBRARIES}/libtinfo.so.6": elf(soname="libtinfo.so.6")})
    assert closure.packages().wanted == ("ncurses-base",)


def test_suites_without_a_merged_usr_have_files_where_packages_name_them() -> None:
    closure = demo(usr__bin__demo=program(), bin__tool=b"#!/bin/sh\n")
    loader = "lib/x86_64-linux-gnu/ld-2.31.so"
    libc = elf(soname="libc.so.6", defines=("libc.so.6",), needed=("ld-linux-x86-64.so.2",))
    closure.holds(
        "libc6",
        {
            "lib/x86_64-linux-gnu/libc.so.6": libc,
            "lib64/ld-linux-x86-64.so.2": f"/{loader}",
            loader: elf(soname="ld-linux-x86-64.so.2"),
        },
    )
    closure.depends["demo"] = ("libc6", "dash")
    closure.holds("dash", {"bin/sh": "dash", "bin/dash": program()}).depends["dash"] = ("libc6",)
    assert closure.packages().names == {"demo", "libc6", "dash"}
    for followed in (closure.packages(), closure.files()):
        facts = {name: PackageFacts(name, "1", "amd64") for name in closure.depends}
        found = proof.prove(followed, closure.evidence, closure.detail, facts, policy.load(), present=())
        assert tuple(found) == ()
