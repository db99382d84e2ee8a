"""Proof before an image is written: every failure names the file and the way out."""

from __future__ import annotations

import msgspec
from support.elves import elf
from support.pantry import LIBRARIES, LOADER, Closure, program

from ramekin.closure import policy, proof
from ramekin.closure.follow import DroppedFile, Followed
from ramekin.closure.model import Hints, PackageFacts
from ramekin.closure.proof import Failure


def prove(closure: Closure, followed: Followed, *facts: PackageFacts) -> tuple[Failure, ...]:
    known = {fact.name: fact for fact in facts}
    return proof.prove(followed, closure.evidence, closure.detail, known, policy.load())


def demo(**files: bytes | str) -> Closure:
    closure = Closure(["demo"], {"demo": ("libc6", "libx1")})
    closure.holds("demo", {path.replace("__", "/"): data for path, data in files.items()})
    return closure.holds(
        "libx1", {f"{LIBRARIES}/libx.so.1": elf(soname="libx.so.1", defines=("libx.so.1", "X_1"))}
    )


def without(followed: Followed, package: str, path: str) -> Followed:
    gone = DroppedFile(package, path, 1, "for the test")
    return msgspec.structs.replace(followed, files=(*followed.files, gone))


def test_a_whole_image_is_proven() -> None:
    closure = demo(usr__bin__demo=program("libx.so.1"), usr__bin__also="demo")
    assert prove(closure, closure.packages()) == ()


def test_a_library_that_was_left_out_fails_with_the_way_to_keep_it() -> None:
    closure = demo(usr__bin__demo=program("libx.so.1"))
    (failure,) = prove(closure, without(closure.packages(), "libx1", f"{LIBRARIES}/libx.so.1"))
    assert (failure.package, failure.path) == ("demo", "usr/bin/demo")
    assert "libx.so.1" in failure.what
    assert failure.hint == f"--keep /{LIBRARIES}/libx.so.1"


def test_a_symbol_version_that_the_library_lacks_fails() -> None:
    data = elf(needed=("libx.so.1", "libc.so.6"), interpreter=LOADER, asks={"libx.so.1": ("X_1", "X_2")})
    closure = demo(usr__bin__demo=data)
    (failure,) = prove(closure, closure.packages())
    assert "X_2" in failure.what
    assert "X_1" not in failure.what


def test_an_interpreter_that_is_missing_fails() -> None:
    closure = Closure(["demo"], {"demo": ("perl",), "perl": ("libc6",)})
    closure.holds("demo", {"usr/bin/demo": b"#!/usr/bin/perl\n"}).holds("perl", {"usr/bin/perl": program()})
    (failure,) = prove(closure, without(closure.packages(), "perl", "usr/bin/perl"))
    assert failure.path == "usr/bin/demo"
    assert "/usr/bin/perl" in failure.what


def test_a_link_that_led_somewhere_must_still_do_so() -> None:
    closure = demo(usr__bin__demo=program(), usr__bin__also="demo", usr__share__dangling="nowhere")
    failures = prove(closure, without(closure.packages(), "demo", "usr/bin/demo"))
    assert [failure.path for failure in failures] == ["usr/bin/also"]


def test_a_recipe_s_user_and_program_must_exist() -> None:
    closure = demo(usr__bin__demo=program())
    followed = closure.packages()
    facts = PackageFacts("demo", "1", "amd64", hints=Hints(entrypoint=("nowhere",), user="4711:4711"))
    assert {failure.what for failure in prove(closure, followed, facts)} == {
        "its recipe runs as user 4711, whom no package makes",
        "its recipe starts nowhere, which the image does not hold",
    }


def test_an_entry_point_finds_its_imports() -> None:
    closure = Closure(["demo"], {"demo": ("python3",), "python3": ("libc6",)})
    closure.holds(
        "demo",
        {
            "usr/bin/demo": b"#!/usr/bin/python3\nimport sys, here, gone\n"
            b"try:\n import maybe\nexcept ImportError:\n pass\n"
        },
    )
    closure.holds(
        "python3", {"usr/bin/python3": program(), "usr/lib/python3/dist-packages/here.py": b"x = 1\n"}
    )
    (failure,) = prove(closure, closure.packages())
    assert (failure.path, failure.what) == ("usr/bin/demo", "imports gone, which the image does not hold")


def test_a_library_of_the_wrong_machine_does_not_count() -> None:
    closure = demo(usr__bin__demo=program("libx.so.1"))
    closure.holds("libx1", {f"{LIBRARIES}/libx.so.1": elf(soname="libx.so.1", wide=False, machine=3)})
    assert [failure.path for failure in prove(closure, closure.packages())] == ["usr/bin/demo"]
