"""Python's byte code for an image, made by the image's own interpreter where `bytecode` is kept.

What a byte code file holds depends on the interpreter down to its last number, so that no other than the one
in the image may make it: the files are laid out in a throw-away folder, and its Python compiles them under
bubblewrap, without a network and with nothing to write to. The files are those that Debian compiles when it
installs: the interpreter's library and the packages for it. They name their sources by hash and are not
checked against them (PEP 552, unchecked), as an image's files do not change.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from ramekin.build.layers import MadeLayer, Terms, write
from ramekin.build.request import host_architecture
from ramekin.errors import RamekinError
from ramekin.image import layer
from ramekin.image.removal import remove
from ramekin.image.tree import Kind, Tree, directory, file
from ramekin.store.action import key
from ramekin.store.store import Store

SLICE = "bytecode"

REVISION = 1
"""Raised when the same files give other byte code than before."""

TITLE = "python-bytecode"

_INTERPRETER = re.compile(r"usr/bin/python(3\.[0-9]+)\Z")

_PROGRAM = """\
import marshal, sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
sys.setrecursionlimit(10000)
write = sys.stdout.buffer.write
for path in sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\\0")[:-1]:
    try:
        source = open("/" + path, "rb").read()
        code = compile(source, "/" + path, "exec", dont_inherit=True, optimize=0)
    except (OSError, SyntaxError, ValueError, RecursionError):
        continue
    data = MAGIC_NUMBER + (1).to_bytes(4, "little") + source_hash(source) + marshal.dumps(code)
    name = (path + "\\0" + cache_from_source(path)).encode("utf-8", "surrogateescape")
    write(len(name).to_bytes(4, "little") + len(data).to_bytes(4, "little") + name + data)
"""
"""Reads paths, each with a NUL behind it; writes sizes of names and data, both names, and the byte code."""

_QUIET = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}


def made(layers: Sequence[MadeLayer], architecture: str, terms: Terms, store: Store) -> MadeLayer | None:
    """The layer of byte code for an image of `layers`, found again or made; None when it has no Python.

    `RamekinError` when this machine cannot run the image's programs.
    """
    name = key("bytecode", REVISION, *terms.parts(()), *(one.descriptor.digest for one in layers))
    found = store.result(name)
    if found is None:
        with store.exclusive(name):
            compiled = _compiled(layers, architecture, store)
            one = write(TITLE, compiled, terms, store) if compiled else None
            found = msgspec.json.encode(one)
            store.record(name, found, blobs=() if one is None else (one.descriptor.digest,))
    return msgspec.json.decode(found, type=MadeLayer | None)


def _compiled(layers: Sequence[MadeLayer], architecture: str, store: Store) -> Tree:
    """The byte code of all that the interpreters in `layers` import, as files of its own."""
    with TemporaryDirectory(dir=store.scratch(), prefix="bytecode-") as folder:
        spool = Path(folder)
        files = layer.apply(layer.read(one.descriptor, store, spool=spool) for one in layers)
        found: dict[str, bytes] = {}
        interpreters = [match[1] for path in files if (match := _INTERPRETER.match(path))]
        if interpreters:
            _require(architecture)
            with _laid_out(files, spool / "root") as root:
                for version in sorted(interpreters):
                    found.update(_of_version(version, files, root))
        entries = []
        for names, data in found.items():
            source, _, place = names.partition("\0")
            time = files[source].mtime
            entries += [
                directory(place.rpartition("/")[0], mtime=files.newest),
                file(place, data, mtime=time),
            ]
        return Tree(entries).with_parents(mtime=files.newest)


def _require(architecture: str) -> None:
    if architecture != host_architecture():
        raise RamekinError(
            f"byte code for {architecture} can only be made by a machine that runs its Python",
            hint=f"build it on {architecture}, or without `--keep {SLICE}`",
        )
    if shutil.which("bwrap") is None:
        raise RamekinError(
            "byte code is made by the image's own Python under bubblewrap, which is not here",
            hint=f"install bubblewrap, or build without `--keep {SLICE}`",
        )


@contextmanager
def _laid_out(files: Tree, root: Path) -> Iterator[Path]:
    root.mkdir()
    try:
        layer.unpack(files, root, owners=False)
        yield root
    finally:
        remove(root)


def _of_version(version: str, files: Tree, root: Path) -> Iterator[tuple[str, bytes]]:
    """For one interpreter the byte code by source and place, with a NUL between the two."""
    folders = (
        f"usr/lib/python{version}/",
        f"usr/local/lib/python{version}/",
        "usr/lib/python3/dist-packages/",
    )
    sources = [
        path
        for path, entry in files.items()
        if entry.kind is Kind.FILE and path.endswith(".py") and path.startswith(folders)
    ]
    python = f"/usr/bin/python{version}"
    command = ["bwrap", "--die-with-parent", "--new-session", "--unshare-all", "--ro-bind", str(root), "/"]
    command += ["--dev", "/dev", "--chdir", "/", "--clearenv"]
    for name, value in _QUIET.items():
        command += ["--setenv", name, value]
    ended = subprocess.run(
        [*command, "--", python, "-s", "-S", "-B", "-c", _PROGRAM],
        input="".join(f"{path}\0" for path in sources).encode("utf-8", "surrogateescape"),
        capture_output=True,
        check=False,
    )
    if ended.returncode:
        last = (ended.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
        raise RamekinError(
            f"{python} of the image cannot compile (it ended with {ended.returncode}): {last}",
            hint=f"build without `--keep {SLICE}`",
        )
    place, output = 0, ended.stdout
    while place < len(output):
        names, size = struct.unpack_from("<II", output, place)
        place += 8
        text = output[place : place + names].decode("utf-8", "surrogateescape")
        place += names
        yield text, output[place : place + size]
        place += size
