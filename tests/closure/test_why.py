"""Closures explained: chains in words, what was left out, and pictures."""

from __future__ import annotations

from xml.etree import ElementTree

from support.elves import elf
from support.pantry import LIBRARIES, Closure, program

from ramekin.closure import why


def closure() -> Closure:
    made = Closure(["server"], {"server": ("tools", "adduser"), "tools": ("libc6", "libj2")})
    made.holds("server", {"usr/bin/server": "check"})
    made.holds("tools", {"usr/bin/check": program("libj.so.2"), "usr/share/t/helper": b"#!/usr/bin/perl\n"})
    made.holds("libj2", {f"{LIBRARIES}/libj.so.2": elf(soname="libj.so.2")})
    return made.holds("adduser", {"usr/sbin/adduser": b"#!/usr/bin/perl\n" + b"#" * 5000})


def test_a_chain_leads_from_what_was_asked_for_to_a_package() -> None:
    assert why.chain(closure().packages(), "libj2") == (
        "server: asked for",
        "server → /usr/bin/server leads to /usr/bin/check → tools",
        "tools → /usr/bin/check needs libj.so.2 → libj2",
    )


def test_what_is_not_there_has_a_reason() -> None:
    followed = closure().packages()
    (line,) = why.chain(followed, "adduser")
    assert line.startswith("adduser is not in the image: server depends on it")
    (line,) = why.chain(followed, "/usr/share/t/helper")
    assert "/usr/bin/perl" in line
    assert why.chain(followed, "unheard-of") == ()


def test_what_was_left_out_is_listed_by_size() -> None:
    names = [name for name, _, _ in why.dropped(closure().packages())]
    assert names == ["adduser", "/usr/share/t/helper"]


def test_the_graph_is_whole_in_dot_and_svg() -> None:
    followed = closure().packages()
    dot = why.dot(followed)
    assert '"tools" -> "libj2"' in dot
    assert dot.count("label=") == len(followed.kept)
    picture = ElementTree.fromstring(why.svg(followed))
    texts = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"server", "tools", "libj2", "libc6"} <= texts
