"""The evidence of prepared packages: what files offer and need, and odd files that are skipped by name."""

from __future__ import annotations

import io
import zipfile

from hypothesis import given, settings
from hypothesis import strategies as st
from support.elves import elf
from support.pantry import LIBRARIES, LOADER, program, scanned

from ramekin.closure.evidence import model
from ramekin.closure.evidence.model import Kind
from ramekin.closure.evidence.scan import TEXT_LIMIT, scan
from ramekin.closure.model import Hints, PackageFacts, Prepared
from ramekin.image import tree
from ramekin.image.tree import Tree


def needs(known: model.Scanned) -> set[tuple[Kind, str]]:
    return {(need.kind, need.target) for need in known.evidence.needs}


def test_a_program_shows_libraries_loader_paths_and_shell() -> None:
    known = scanned(
        "demo",
        {
            "usr/bin/demo": program(
                "libdemo.so.1", strings=("/etc/demo/demo.conf", "libplugin.so.2"), imports=("dlopen", "popen")
            )
        },
    )
    assert needs(known) == {
        (Kind.NEEDED, "libdemo.so.1"),
        (Kind.NEEDED, "libc.so.6"),
        (Kind.INTERPRETER, LOADER),
        (Kind.PATH, "/etc/demo/demo.conf"),
        (Kind.LOADED, "libplugin.so.2"),
        (Kind.SHELL, "/bin/sh"),
    }


def test_what_a_package_holds_itself_is_no_need_of_the_package_but_stays_in_its_detail() -> None:
    known = scanned(
        "demo",
        {
            "usr/bin/demo": program("libdemo.so.1", strings=("/usr/share/demo/data",)),
            f"{LIBRARIES}/libdemo.so.1.2": elf(soname="libdemo.so.1"),
            f"{LIBRARIES}/libdemo.so.1": "libdemo.so.1.2",
            "usr/share/demo/data": b"x" * 400,
        },
    )
    assert (Kind.NEEDED, "libdemo.so.1") not in needs(known)
    assert not any(kind is Kind.PATH for kind, _ in needs(known))
    assert ("libdemo.so.1", ()) in next(elf_ for elf_ in known.detail.elves if elf_.interpreter).needed
    assert any(need.target == "/usr/share/demo/data" for need in known.detail.needs)
    assert [item.soname for item in known.evidence.shared] == ["libdemo.so.1"]


def test_scripts_show_interpreter_commands_and_paths() -> None:
    known = scanned(
        "demo",
        {
            "usr/bin/demo": b"#!/bin/sh\n# /usr/share/never/mind\nawk -f /usr/share/other/lib.awk | sort\n",
            "usr/bin/demo-env": b"#!/usr/bin/env -S perl -w\nuse JSON::PP;\n",
            "usr/bin/demo-py": b"#!/usr/bin/python3\nimport yaml\n",
        },
    )
    assert needs(known) == {
        (Kind.INTERPRETER, "/bin/sh"),
        (Kind.COMMAND, "awk"),
        (Kind.COMMAND, "sort"),
        (Kind.PATH, "/usr/share/other/lib.awk"),
        (Kind.INTERPRETER, "perl"),
        (Kind.INTERPRETER, "/usr/bin/env"),
        (Kind.PERL, "JSON::PP"),
        (Kind.INTERPRETER, "/usr/bin/python3"),
        (Kind.PYTHON, "yaml"),
    }


def test_modules_are_offered_by_name_and_make_a_runtime_needed() -> None:
    known = scanned(
        "python3-demo", {"usr/lib/python3/dist-packages/pack/__init__.py": b"import os\nfrom pack import x\n"}
    )
    (modules,) = known.evidence.modules
    assert (modules.language, modules.names) == ("python", "pack 0")
    assert (Kind.RUNTIME, "python3") in needs(known)
    assert (Kind.PYTHON, "os") in needs(known)
    assert (Kind.PYTHON, "pack") not in needs(known)


def test_documentation_and_hooks_are_not_read() -> None:
    known = scanned(
        "demo",
        {
            "usr/share/doc/demo/run.sh": b"#!/bin/bash\nawk\n",
            "etc/cron.daily/demo": b"#!/bin/sh\nfind /\n",
        },
    )
    assert needs(known) == {(Kind.INTERPRETER, "/bin/sh")}


def test_configuration_links_recipes_and_jars_are_evidence() -> None:
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr(
            "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nClass-Path: other.jar lon\r\n ger.jar\r\n"
        )
    known = scanned(
        "demo",
        {
            "etc/demo.conf": b"# /usr/share/never/mind\nmime /etc/mime.types\n",
            "etc/pam.d/demo": b"auth required pam_unix.so\n@include common-auth\n",
            "usr/bin/demo": "../lib/demo/run",
            "usr/share/java/demo.jar": jar.getvalue(),
        },
        hints=Hints(entrypoint=("demo-server", "-x")),
    )
    assert needs(known) == {
        (Kind.SETTING, "/etc/mime.types"),
        (Kind.SETTING, "/etc/pam.d/common-auth"),
        (Kind.MODULE, "pam_unix.so"),
        (Kind.LINK, "/usr/lib/demo/run"),
        (Kind.JAVA, "/usr/share/java/other.jar"),
        (Kind.JAVA, "/usr/share/java/longer.jar"),
        (Kind.RECIPE, "demo-server"),
    }


def test_a_program_starts_packages_that_it_declares_and_lines_for_a_shell() -> None:
    data = program(strings=("exec x86-gcc -c %s", "perl", "unrelated"), imports=("execvp",))
    known = scanned("demo", {"usr/bin/demo": data}, depends="perl (>= 5), libc6")
    assert {target for kind, target in needs(known) if kind is Kind.COMMAND} == {"x86-gcc", "perl"}


def test_odd_files_are_skipped_by_name() -> None:
    known = scanned(
        "odd",
        {
            "usr/lib/bad.so": b"\x7fELF\x02\x01" + b"\xff" * 100,
            "usr/bin/nul": b"#!/bin/sh\nls\0ls\n",
            "etc/huge.conf": b"/etc/other\n" * (TEXT_LIMIT // 10),
            "usr/bin/old": b"#!/usr/bin/python3\nimport json\nprint 'old'\n",
            "usr/share/java/no.jar": b"PK\x03\x04 no",
            "usr/share/\udcff\udcfe": b"x",
            "usr/share/line\nbreak": b"x",
            "usr/bin/loop": "loop",
        },
    )
    named = "\n".join(known.evidence.notes)
    for path in ("bad.so", "bin/nul", "huge.conf", "bin/old", "no.jar", r"\udcff", r"line\nbreak"):
        assert path in named, path
    assert (Kind.PYTHON, "json") in needs(known)


def test_evidence_comes_back_from_its_json() -> None:
    known = scanned("demo", {"usr/bin/demo": program("libdemo.so.1"), "usr/bin/d": "demo"})
    assert model.decode(model.encode(known.evidence)) == known.evidence
    assert model.decode_detail(model.encode(known.detail)) == known.detail


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(
        [
            "usr/bin/x",
            "etc/x.conf",
            "etc/pam.d/x",
            "usr/lib/x.so",
            "usr/share/java/x.jar",
            "usr/lib/a/x",
            "usr/share/php/x.php",
            "usr/lib/python3/dist-packages/x.py",
            "usr/share/perl5/x.pm",
            "usr/share/nodejs/x/index.js",
            "usr/lib/ruby/vendor_ruby/x.rb",
        ]
    ),
    st.sampled_from(
        [b"", b"\x7fELF", b"#!/bin/sh\n", b"#!", b"#!/usr/bin/env", b"#!/usr/bin/python3\n", b"PK\x03\x04"]
    ),
    st.binary(max_size=200),
)
def test_no_bytes_upset_a_scan(path: str, head: bytes, data: bytes) -> None:
    known = scan(Prepared(Tree([tree.file(path, head + data)]), PackageFacts("odd", "1", "amd64")))
    model.decode(model.encode(known.evidence))
    model.decode_detail(model.encode(known.detail))


def test_a_file_that_nobody_may_run_does_not_need_its_interpreter() -> None:
    entry = tree.file("usr/lib/demo/core.fasl", b"#!/usr/local/bin/lisp --script\n", mode=0o644)
    known = scan(Prepared(Tree([entry]), PackageFacts("demo", "1", "amd64")))
    assert not known.evidence.needs


def test_a_script_names_commands_of_packages_that_it_declares_in_quotes() -> None:
    source = b"#!/usr/bin/python3\nimport subprocess\nsubprocess.run(['jq', 'tar'])\n"
    known = scanned("yq", {"usr/bin/yq": source}, depends="jq, python3:any")
    assert {target for kind, target in needs(known) if kind is Kind.COMMAND} == {"jq"}


def test_erlang_applications_name_those_that_they_start() -> None:
    path = "usr/lib/erlang/lib/ssl-10.8/ebin/ssl.app"
    known = scanned(
        "erlang-ssl", {path: b"{application, ssl, [{applications, [crypto,public_key]}, {env, []}]}."}
    )
    assert {(Kind.ERLANG, "crypto"), (Kind.ERLANG, "public_key")} <= needs(known)
    assert known.evidence.modules[0].names == "ssl 0"
