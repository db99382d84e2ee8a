"""The level `files`: what is reached from file to file, and what stays whole."""

from __future__ import annotations

from support.elves import elf
from support.pantry import LIBRARIES, LOADER, Closure, program


def server() -> Closure:
    closure = Closure(["demo"], {"demo": ("libc6", "demo-tools", "libx1")})
    closure.holds("demo", {"usr/bin/demo": "demo-check", "etc/demo.conf": b"x"})
    closure.holds(
        "demo-tools",
        {
            "usr/bin/demo-check": program("liba.so.1"),
            "usr/bin/demo-cli": program("libx.so.1"),
            "usr/share/demo/data": b"x",
            f"{LIBRARIES}/liba.so.1.0": elf(soname="liba.so.1", needed=("libc.so.6",)),
            f"{LIBRARIES}/liba.so.1": "liba.so.1.0",
            f"{LIBRARIES}/libb.so.1": elf(soname="libb.so.1"),
        },
    )
    closure.depends["demo-tools"] = ("libc6", "libx1")
    return closure.holds("libx1", {f"{LIBRARIES}/libx.so.1": elf(soname="libx.so.1")})


def test_tools_and_libraries_that_nothing_reaches_go_with_what_they_alone_need() -> None:
    closure = server()
    assert "libx1" in closure.packages().names
    followed = closure.files()
    assert followed.names == {"demo", "demo-tools", "libc6"}
    assert {file.path for file in followed.files} == {"usr/bin/demo-cli", f"{LIBRARIES}/libb.so.1"}
    assert {package.name for package in followed.dropped} == {"libx1"}


def test_data_and_links_to_libraries_stay() -> None:
    gone = {file.path for file in server().files().files}
    assert not gone & {"usr/share/demo/data", f"{LIBRARIES}/liba.so.1", "usr/bin/demo", "etc/demo.conf"}


def test_keep_reaches_a_tool_and_what_it_needs() -> None:
    followed = server().files(keep=["/usr/bin/demo-cli"])
    assert "libx1" in followed.names


def test_an_entry_point_takes_the_place_of_the_package_s_own_program() -> None:
    followed = server().files(programs=["demo-cli"])
    assert "libx1" in followed.names


def test_a_package_without_a_program_of_its_name_starts_from_all_its_commands() -> None:
    closure = Closure(["tools"], {"tools": ("libc6",)}).holds(
        "tools", {"usr/bin/a": program(), "usr/bin/b": program()}
    )
    assert not closure.files().files


def test_a_bare_interpreter_keeps_all_modules_of_its_language_but_given_up_ones() -> None:
    library = "usr/lib/python3.11"
    closure = Closure(
        ["python3"], {"python3": ("stdlib", "libc6"), "stdlib": ("libdb",)}, python3="p", stdlib="p"
    )
    closure.holds("python3", {"usr/bin/python3": program()})
    closure.holds(
        "stdlib",
        {
            f"{library}/os.py": b"import sys\n",
            f"{library}/telnetlib.py": b"import os\n",
            f"{library}/lib-dynload/_dbm.cpython-311-x86_64-linux-gnu.so": elf(needed=("libdb.so.5",)),
        },
    )
    closure.holds("libdb", {f"{LIBRARIES}/libdb.so.5": elf(soname="libdb.so.5")})
    followed = closure.files()
    assert "libdb" not in followed.names
    assert {file.path.rpartition("/")[2] for file in followed.files} == {
        "telnetlib.py",
        "_dbm.cpython-311-x86_64-linux-gnu.so",
    }


def test_an_imported_module_that_python_has_given_up_stays() -> None:
    library = "usr/lib/python3.11"
    closure = Closure(["app"], {"app": ("python3",), "python3": ("stdlib", "libc6")})
    closure.holds("app", {"usr/bin/app": b"#!/usr/bin/python3\nimport telnetlib\n"})
    closure.holds("python3", {"usr/bin/python3": program()})
    closure.holds("stdlib", {f"{library}/telnetlib.py": b"x = 1\n", f"{library}/uu.py": b"x = 1\n"})
    closure.depends["stdlib"] = ()
    assert [file.path for file in closure.files().files] == [f"{library}/uu.py"]


def test_converters_stay_only_for_programs_that_convert() -> None:
    def image(*imports: str) -> set[str]:
        closure = Closure(["demo"], {"demo": ("libc6",)})
        closure.holds(
            "demo", {"usr/bin/demo": elf(needed=("libc.so.6",), interpreter=LOADER, imports=imports)}
        )
        closure.holds(
            "libc6",
            {
                f"{LIBRARIES}/libc.so.6": elf(soname="libc.so.6", defines=("libc.so.6",)),
                f"{LIBRARIES}/gconv/UTF-16.so": elf(needed=("libc.so.6",)),
                "usr/lib64/ld-linux-x86-64.so.2": elf(soname="ld-linux-x86-64.so.2"),
            },
        )
        return {file.path for file in closure.files().files}

    assert image() == {f"{LIBRARIES}/gconv/UTF-16.so"}
    assert image("iconv_open") == set()
