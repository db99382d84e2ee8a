"""Fuzz target for the readers of evidence: a package with a file of any bytes is scanned, never a crash.

The first byte chooses where the file lies, and with that which readers look at it: ELF, shell, Python, Perl,
Ruby, PHP, Node, Erlang, Java, settings and services. How to run it: `fuzzing`. What becomes of the evidence
is part of it: it goes through JSON, a closure of both levels is made of it, and the proof looks at it.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzzing import fuzz
from support.elves import elf
from support.pantry import LIBRARIES, Closure, program

from ramekin.closure import policy, proof
from ramekin.closure.evidence.model import decode, decode_detail, encode
from ramekin.closure.follow import MissingNeedError
from ramekin.closure.model import PackageFacts

PLACES = (
    "usr/bin/demo",
    f"{LIBRARIES}/libdemo.so.1",
    "usr/lib/demo/helper",
    "usr/share/demo/helper.sh",
    "usr/lib/python3/dist-packages/demo/__init__.py",
    "usr/share/perl5/Demo.pm",
    "usr/lib/ruby/vendor_ruby/demo.rb",
    "usr/share/php/demo.php",
    "usr/share/nodejs/demo/index.js",
    "usr/lib/erlang/lib/demo-1/ebin/demo.app",
    "usr/share/java/demo.jar",
    "etc/demo/demo.conf",
    "etc/pam.d/demo",
    "etc/nsswitch.conf",
    "usr/share/dbus-1/services/demo.service",
    "usr/share/applications/demo.desktop",
)


def one(data: bytes) -> None:
    """Scan a package with a file of these bytes, and follow and prove what it shows."""
    if not data:
        return
    path = PLACES[data[0] % len(PLACES)]
    closure = Closure(["demo"], {"demo": ("libc6",)}).holds("demo", {path: data[1:]})
    found = closure.scanned["demo"]
    assert decode(encode(found.evidence)) == found.evidence
    assert decode_detail(encode(found.detail)) == found.detail
    try:
        followed = closure.files()
    except MissingNeedError:
        return
    facts = {name: PackageFacts(name, "1", "amd64") for name in closure.depends}
    proof.prove(followed, closure.evidence, closure.detail, facts, policy.load(), present=())


def seeds() -> list[bytes]:
    """A file of each kind at each place that fits it."""
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nClass-Path: other.jar\n")
    texts: dict[int, list[bytes]] = {
        0: [
            program("libx.so.1", strings=("/etc/x", "sort -u"), imports=("popen", "dlopen")),
            elf(needed=("libc.so.6",), asks={"libc.so.6": ("GLIBC_2.34",)}, runpath="$ORIGIN/../lib"),
            elf(needed=("libc.so.6",), wide=False, little=False, rpath="/opt"),
            b"#!/bin/sh\nif [ -x /usr/bin/sort ]; then sort <<EOF | awk '{print $1}'\nx\nEOF\nfi\n",
            b"#!/usr/bin/env python3\nimport os, a.b as c\ntry:\n import d\nexcept ImportError: pass\n",
            b"#!/usr/bin/perl -w\nuse strict;\nuse parent qw(A::B);\nrequire C;\n__END__\n=head1 X\n",
        ],
        1: [elf(soname="libdemo.so.1", defines=("DEMO_1",), strings=("libssl.so.3",), imports=("dlopen",))],
        2: [b"#!/bin/bash\ncase $1 in a) grep x;; *) $(sed s/a/b/ `find .`);; esac\n"],
        4: [b'"""import x"""\nfrom . import y\nfrom z import (a,\n b)\n__import__("q")\n'],
        5: [b"package Demo;\nuse Foo::Bar 1.0 qw(a b);\neval { require Baz };\n=pod\nuse Not;\n=cut\n1;\n"],
        6: [b"require 'json'\nrequire_relative 'x'\nautoload :Y, 'y'\n=begin\nrequire 'n'\n=end\n"],
        7: [b"<?php require_once 'Foo/Bar.php'; include __DIR__ . '/x.php';"],
        8: [b"const a = require('b'); import c from '@d/e'; /* require('no') */ export * from \"f\";\n"],
        9: [b"{application, demo, [{applications, [kernel, stdlib, ssl]}]}.\n"],
        10: [jar.getvalue()],
        11: [b"# c\ninclude /etc/other.conf\nplugin = /usr/lib/demo/x.so # y\n"],
        12: [b"auth required pam_unix.so\n@include common-auth\n"],
        13: [b"passwd: files systemd\nhosts: files dns\n"],
        14: [b"[D-BUS Service]\nName=a.b\nExec=/usr/bin/demo --x\n"],
        15: [b'[Desktop Entry]\nExec="/usr/bin/demo" %U\nTryExec=demo\n'],
    }
    return [bytes([place]) + text for place, many in texts.items() for text in many]


if __name__ == "__main__":
    fuzz(one, seeds())
