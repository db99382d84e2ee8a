"""Programs without symbols and debugging information: what goes, what is left alone, and that they run."""

from __future__ import annotations

import base64
import hashlib
import random
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from shelf_of_units import Files, contents, distribution, dpkg, image, seen
from support.containers import need

from ramekin.image import layer
from ramekin.image.oci import Runtime
from ramekin.image.tree import Tree
from ramekin.slim import contents as contents_of
from ramekin.slim.rebuild import Layers, Rebuilt, rebuild
from ramekin.slim.units import Choice, Symbols, complete
from ramekin.store.store import Store

SITE = "usr/local/lib/python3.12/site-packages"
NODE = "usr/local/bin/node"
SOURCE = "#include <stdio.h>\n" + "\n".join(
    [
        *(f"static int made_{n}(int x) {{ return x + {n}; }}" for n in range(200)),
        "int main(void) { int x = 0;",
    ]
    + [f"x = made_{n}(x);" for n in range(200)]
    + ['printf("it runs: %d\\n", x); return 0; }']
)


@cache
def program(*options: str) -> bytes:
    """A program with all that a compiler adds for debugging."""
    need("gcc")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["gcc", "-g3", "-O0", "-fno-inline", *options, "-x", "c", "-", "-o", f"{folder}/made"],
            input=SOURCE.encode(),
            check=True,
        )
        return Path(folder, "made").read_bytes()


def slim(
    store: Store,
    tmp_path: Path,
    *layers: Files,
    symbols: Symbols = Symbols.PACKAGES,
    laid: Layers = Layers.KEEP,
    cmd: str = "node",
) -> tuple[Rebuilt, Tree]:
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    run = Runtime(cmd=(cmd,), working_dir="/app", env=("PATH=/usr/local/bin:/usr/bin",))
    held = contents_of.read(image(store, *layers, run=run), name="the image", spool=spool)
    opened = (path for path in layers[0] if "/include/" not in path)
    selection = complete(held, seen(*opened), Choice(symbols=symbols))
    made = rebuild(held, selection, layers=laid, store=store)
    tree = layer.apply([layer.read(blob, store, spool=spool) for blob in made.image.manifest().layers])
    return made, tree


IDLE: Files = {"usr/include/node.h": "x"}
"""A file that goes, so that no layer stays whole."""


@pytest.mark.parametrize("options", [(), ("-static",), ("-shared", "-fPIC"), ("-no-pie",)], ids=str)
def test_a_program_is_as_small_as_strip_makes_it_and_runs(
    store: Store, tmp_path: Path, options: tuple[str, ...]
) -> None:
    need("strip", "readelf")
    fat = program(*options)
    made, tree = slim(store, tmp_path, {NODE: fat, **IDLE})
    data = tree[NODE].read()
    place = tmp_path / "node"
    place.write_bytes(data)
    place.chmod(0o755)
    assert made.leaner == {NODE: len(fat) - len(data)}
    told = subprocess.run(["readelf", "--all", "--wide", place], capture_output=True, text=True, check=True)
    assert "rror" not in told.stderr and "arning" not in told.stderr
    if "-shared" not in options:
        assert subprocess.run([place], capture_output=True, check=True).stdout == b"it runs: 19900\n"
    (tmp_path / "fat").write_bytes(fat)
    subprocess.run(["strip", tmp_path / "fat"], check=True)
    assert len(data) < (tmp_path / "fat").stat().st_size + 4096


@pytest.mark.parametrize(
    "more",
    [
        {NODE: program() + b"a payload that the program finds at its own end"},
        {"usr/local/bin/.node.hmac": "0" * 64},
        {NODE: program("-Wl,--emit-relocs")},
        {NODE: program("-c")},
        dpkg({"valgrind": ("", ["usr/bin/valgrind"])}) | {"usr/bin/valgrind": "x"},
    ],
    ids=["payload", "checksum", "relocations", "object", "debugger"],
)
def test_a_file_is_left_alone_where_something_may_be_missed(
    store: Store, tmp_path: Path, more: Files
) -> None:
    files = {NODE: program(), **IDLE, **more}
    made, tree = slim(store, tmp_path, files)
    assert not made.leaner
    assert tree[NODE].read() == files[NODE]


def test_the_authors_files_stay_as_they_are_unless_asked(store: Store, tmp_path: Path) -> None:
    files: Files = {"app/server": program(), **IDLE}
    assert not slim(store, tmp_path, files, cmd="/app/server")[0].leaner
    assert slim(store, tmp_path, files, cmd="/app/server", symbols=Symbols.DROP)[0].leaner
    assert not slim(store, tmp_path, {NODE: program(), **IDLE}, symbols=Symbols.KEEP)[0].leaner


def test_a_layer_that_stays_whole_is_worth_more_than_its_symbols(store: Store, tmp_path: Path) -> None:
    files = {NODE: program()}
    made, _ = slim(store, tmp_path, files)
    assert (len(made.shared), dict(made.leaner)) == (1, {})
    assert slim(store, tmp_path, files, laid=Layers.ONE)[0].leaner


def test_records_tell_of_the_new_files(store: Store, tmp_path: Path) -> None:
    library = f"{SITE}/fast/core.so"
    files: Files = {
        **distribution("fast", {"fast/__init__.py": "", "fast/core.so": ""}),
        library: program("-shared", "-fPIC"),
        "usr/local/bin/python3.12": "",
        "usr/local/lib/python3.12/os.py": "",
        "app/run.py": "import fast\n",
        **IDLE,
    }
    record = f"{SITE}/fast-1.0.dist-info/RECORD"
    files = {**files, record: str(files[record]).replace("core.so,,", "core.so,sha256=abc,1")}
    made, tree = slim(store, tmp_path, files, cmd="/usr/local/bin/python3.12")
    data = tree[library].read()
    assert made.leaner.keys() == {library}
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    assert f"fast/core.so,sha256={digest},{len(data)}" in tree[record].read().decode().splitlines()


def test_damaged_files_stay_as_they_are(store: Store, tmp_path: Path) -> None:
    chance = random.Random(7)
    whole = program()
    heads = len(whole) - 64 * 40
    files: dict[str, bytes | str] = dict(IDLE)
    for number in range(150):
        data = bytearray(whole[: chance.randrange(100, len(whole))] if number % 3 == 0 else whole)
        for _ in range(number % 5):
            place = (
                chance.randrange(heads, len(data)) if chance.random() < 0.6 and heads < len(data) else None
            )
            data[chance.randrange(64) if place is None else place] = chance.randrange(256)
        files[f"usr/local/lib/ruby/{number}.so"] = bytes(data)
    held = contents(store, tmp_path, files)
    rebuild(held, complete(held, seen(*files), Choice()), store=store)
