"""Fuzz target for what binary caches give: archives and narinfos of any bytes are read, or refused.

How to run it: `fuzzing`. An archive that is read must be the one archive of its tree; a narinfo that is read
must be the same once written and read again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzzing import fuzz
from support.binary_cache import nar_of

from ramekin.errors import FormatError
from ramekin.image import tree
from ramekin.image.tree import Tree
from ramekin.sources.nix import nar, narinfo

HASH = "0" * 32
_FILE = Path(tempfile.mkdtemp(prefix="fuzz-")) / "x.nar"


def one(data: bytes) -> None:
    """Read the bytes as both."""
    _FILE.write_bytes(data)
    try:
        with _FILE.open("rb") as stream:
            found = nar.read(stream, where="x.nar", file=_FILE)
    except FormatError:
        pass
    else:
        assert nar_of(found) == data
    try:
        info = narinfo.parse(data, asked=HASH, store_dir="/nix/store", cache="https://cache.example")
    except FormatError:
        return
    again = narinfo.parse(
        narinfo.write(info), asked=HASH, store_dir="/nix/store", cache="https://cache.example"
    )
    assert msgspec.structs.asdict(again) == msgspec.structs.asdict(info)


def seeds() -> list[bytes]:
    """An archive of all kinds of entries, and a narinfo with all fields."""
    files = [
        tree.file("bin/a", b"#!/bin/sh\n", mode=0o755),
        tree.file("b", b""),
        tree.symlink("l", "b"),
        tree.directory("z"),
    ]
    digest = "0" * 52
    text = (
        f"StorePath: /nix/store/{HASH}-a-1\nURL: nar/x.nar.xz\nCompression: xz\nFileHash: sha256:{digest}\n"
        f"FileSize: 1\nNarHash: sha256:{digest}\nNarSize: 2\nReferences: {HASH}-a-1\nDeriver: {HASH}-a.drv\n"
        f"System: x86_64-linux\nSig: k:AAAA\nCA: text:sha256:{digest}\n"
    )
    return [nar_of(Tree(files)), nar_of(Tree([tree.file("", b"x" * 20)])), text.encode()]


if __name__ == "__main__":
    fuzz(one, seeds())
