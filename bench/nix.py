"""Nix: closures and plans of a stand-in nixpkgs, and NARs converted beside Nix's own restoring of them.

    python bench/nix.py                    all measurements, as a Markdown table on standard output
    python bench/nix.py --only resolve     resolve (with the plan of layers) or convert
    python bench/nix.py --check            the exit code is 1 when a limit is not kept

The stand-in has the shape that the runtime graph of nixpkgs has: one C library below all, a few dozen
libraries that hundreds need, thousands that hardly anyone needs, five to six references a path of which one
is to itself, closures of tens to hundreds. It is made by numbers alone, the same each time, and signed by a
key made for it. Needs Debian's nix-bin for what Nix does.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from ramekin.image import layer, tar
from ramekin.image.compress import Compression
from ramekin.image.tree import Entry, Inline, Kind, Tree, directory
from ramekin.plan import layers
from ramekin.progress import SILENT
from ramekin.sources.nix import base32, nar, narinfo, paths
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.sources.nix.source import NixSettings, NixSource
from ramekin.sources.protocol import Package
from ramekin.store.digest import Digest
from ramekin.store.store import Store

PATHS = 2000
SECONDS = 2.0
"""That a closure of all paths may take, with the plan of its layers."""
RATIO = 0.8
"""Of the speed of `nix-store --restore` that converting must have."""
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """A measurement; `limit` None means that it is told and not judged, `least` that more is better."""

    what: str
    figure: float
    unit: str
    limit: float | None = None
    least: bool = False

    @property
    def kept(self) -> bool:
        return self.limit is None or (self.figure >= self.limit if self.least else self.figure <= self.limit)

    def __str__(self) -> str:
        side = "at least" if self.least else "at most"
        limit = "" if self.limit is None else f"{side} {self.limit:g}{'' if self.kept else ' (missed)'}"
        return f"| {self.what} | {self.figure:.3f} {self.unit} | {limit} |"


# --- a stand-in for nixpkgs ------------------------------------------------------------------------------


@dataclass(frozen=True)
class StandIn:
    """A cache of `bases`, each after those that it refers to; the last refers to all that nobody else does.

    Its NARs are known by hash and size only.
    """

    folder: Path
    key: str
    bases: tuple[str, ...]

    @property
    def everything(self) -> str:
        return f"{paths.STORE_DIR}/{self.bases[-1]}"


def stand_in(folder: Path, count: int = PATHS, *, seed: int = 1) -> StandIn:
    """Make a cache of `count` paths in `folder`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    chance = random.Random(seed)
    secret = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"stand-in").digest())
    public = secret.public_key().public_bytes_raw()
    (folder / "nar").mkdir(parents=True)
    (folder / "nix-cache-info").write_text(f"StoreDir: {paths.STORE_DIR}\nWantMassQuery: 1\nPriority: 40\n")
    infos: list[NarInfo] = []
    needed: set[str] = set()
    for number in range(count):
        last = number == count - 1
        base = _base(number, last, chance)
        if last:
            references = sorted({info.base for info in infos} - needed)
        else:
            references = _references(number, infos, chance)
        needed.update(references)
        if chance.random() < 0.7:
            references.append(base)
        unsigned = _info(base, sorted(references), chance)
        signature = base64.b64encode(secret.sign(unsigned.fingerprint())).decode()
        info = _signed(unsigned, f"stand-in-1:{signature}")
        infos.append(info)
        (folder / f"{paths.hash_of(base)}.narinfo").write_bytes(narinfo.write(info))
    key = f"stand-in-1:{base64.b64encode(public).decode()}"
    return StandIn(folder, key, tuple(info.base for info in infos))


def _base(number: int, last: bool, chance: random.Random) -> str:
    known = ("glibc-2.38-44", "gcc-13.2.0-lib", "zlib-1.3.1", "bash-5.2p26", "openssl-3.0.13", "ncurses-6.4")
    if last:
        name = "everything"
    elif number < len(known):
        name = known[number]
    else:
        # outputs of one derivation, as a third of all paths are
        name = f"package{number - number % 3}-{chance.randrange(9)}.{number % 7}"
        name += ("", "-lib", "-data")[number % 3]
    return f"{base32.encode(hashlib.sha256(f'{number} {name}'.encode()).digest()[:20])}-{name}"


def _references(number: int, infos: Sequence[NarInfo], chance: random.Random) -> list[str]:
    """Mostly what many need already: low numbers, as a power law has it."""
    if not number:
        return []
    wanted = 1 + min(int(chance.paretovariate(0.9)), 40)
    chosen = {0} if chance.random() < 0.9 else set()
    for _ in range(wanted):
        chosen.add(min(int(number * chance.random() ** 3.2), number - 1))
    return [infos[place].base for place in sorted(chosen)]


def _info(base: str, references: Sequence[str], chance: random.Random) -> NarInfo:
    size = max(int(chance.lognormvariate(12.2, 2.0)) & ~7, 120)
    text = hashlib.sha256(base.encode()).hexdigest()
    return NarInfo(
        base=base,
        store_dir=paths.STORE_DIR,
        url=f"nar/{text[:52]}.nar.xz",
        compression="xz",
        nar_hash=Digest(f"sha256:{text}"),
        nar_size=size,
        file_hash=Digest(f"sha256:{text[::-1]}"),
        file_size=size // 4,
        references=tuple(references),
        deriver=f"{base32.encode(bytes.fromhex(text)[:20])}-{paths.name_of(base)}.drv",
    )


def _signed(info: NarInfo, signature: str) -> NarInfo:
    import msgspec

    return msgspec.structs.replace(info, signatures=(signature,))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of a folder on this machine's own server (nginx where it is installed)."""
    program = shutil.which("nginx")
    with tempfile.TemporaryDirectory() as work:
        if program is None:
            with _python_server(folder) as url:
                yield url
            return
        port = _free_port()
        settings = f"""
            daemon off; worker_processes 1; pid {work}/pid; error_log stderr crit;
            events {{ worker_connections 256; }}
            http {{ access_log off; keepalive_requests 100000;
                client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3;
                uwsgi_temp_path {work}/4; scgi_temp_path {work}/5;
                server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"""
        Path(work, "nginx.conf").write_text(f"{'user root;' if os.geteuid() == 0 else ''}{settings}")
        with subprocess.Popen(
            [program, "-c", f"{work}/nginx.conf", "-p", work], stderr=subprocess.DEVNULL
        ) as run:
            try:
                _wait(port)
                yield f"http://127.0.0.1:{port}"
            finally:
                run.terminate()


@contextmanager
def _python_server(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

    def handler(*arguments: object) -> Quiet:
        return Quiet(*arguments, directory=str(folder))  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(port: int) -> None:
    import socket

    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


# --- closures and plans ----------------------------------------------------------------------------------


def resolve_rows(rounds: int) -> Iterator[Row]:
    """The closure of everything from a folder and over HTTP, with nothing known and again, and its plan."""
    with tempfile.TemporaryDirectory() as work:
        made = stand_in(Path(work, "cache"))
        with served(made.folder) as url:
            for what, cache in (("a folder", str(made.folder)), ("HTTP", url)):
                cold, warm, laid = [], [], []
                for number in range(rounds):
                    store = Store.at(Path(work, f"store-{cache.partition(':')[0].strip('/')[:4]}-{number}"))
                    settings = NixSettings(caches=(cache,), trusted_keys=(made.key,))
                    cold.append(_seconds(lambda: _resolve(store, settings, made)))  # noqa: B023
                    warm.append(_seconds(lambda: _resolve(store, settings, made)))  # noqa: B023
                    packages = _resolve(store, settings, made)
                    assert len(packages) == PATHS
                    laid.append(_seconds(lambda: layers.groups(packages, limit=64)))  # noqa: B023
                yield Row(f"closure of {PATHS} paths from {what}", median(cold), "s")
                yield Row("the same again", median(warm), "s")
                yield Row("plan of 64 layers", median(laid), "s")
                yield Row(f"closure and plan from {what}", median(cold) + median(laid), "s", SECONDS)


def _resolve(store: Store, settings: NixSettings, made: StandIn) -> tuple[Package, ...]:
    source = NixSource("", store, settings)
    source.refresh(("amd64",), SILENT)
    return source.resolve([made.everything], "amd64").packages


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


# --- conversion ------------------------------------------------------------------------------------------


def archives(folder: Path) -> Iterator[tuple[str, Path]]:
    """What is converted: many small files, as a Python has, and few large ones, as a compiler has."""
    chance = random.Random(1)
    for what, count, mean in (("3,000 files of 16 KiB", 3000, 9.7), ("60 files of 4 MiB", 60, 15.3)):
        entries: list[Entry] = []
        for number in range(count):
            size = min(int(chance.lognormvariate(mean, 0.5)), 64 << 20)
            path = f"lib/folder{number // 20}/file{number}"
            mode = 0o555 if number % 10 == 0 else 0o444
            entries.append(
                Entry(path=path, kind=Kind.FILE, mode=mode, content=Inline(chance.randbytes(size)))
            )
            if number % 20 == 0:
                entries.append(Entry(path=f"{path}.so", kind=Kind.SYMLINK, target=f"file{number}"))
        place = folder / f"{count}.nar"
        with place.open("wb") as stream:
            nar.write(Tree([*entries, directory("lib")]).with_parents(), stream.write)
        yield what, place


def convert_rows(rounds: int) -> Iterator[Row]:
    """Converting a NAR, beside `nix-store --restore` of the same on the same disk, in turns.

    *files* and *tar* are the like of what Nix does: NAR, tree, and the tree laid out in a folder or written
    as a layer's tar to a file. *layer* is told only: it also hashes the tar and waits until the disk has it.
    No side hashes the NAR here: all do that when it comes in.
    """
    if shutil.which("nix-store") is None:
        print("nix-store is not installed: conversion is left out", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as work:
        for what, place in archives(Path(work)):
            took: dict[str, list[float]] = {"restore": [], "files": [], "tar": [], "layer": []}
            for number in range(rounds):
                target = Path(work, f"target-{number}")
                store = Store.at(Path(work, f"store-{place.stem}-{number}"))
                for name, convert in (
                    ("restore", lambda: _restore(place, target)),  # noqa: B023
                    ("files", lambda: _lay_out(place, target)),  # noqa: B023
                    ("tar", lambda: _tar(place, target)),  # noqa: B023
                    ("layer", lambda: _layer(place, store)),  # noqa: B023
                ):
                    # what the one wrote must not slow the other down
                    os.sync()
                    took[name].append(_seconds(convert))
                    subprocess.run(["rm", "-rf", target], check=True)
                shutil.rmtree(store.root or "", ignore_errors=True)
            restore = median(took["restore"])
            yield Row(f"{what}: nix-store --restore", restore, "s")
            for name in ("files", "tar", "layer"):
                limit = None if name == "layer" else RATIO
                yield Row(f"{what}: {name}", median(took[name]), "s")
                yield Row(f"{what}: speed of {name}", restore / median(took[name]), "of Nix's", limit, True)


def _restore(place: Path, target: Path) -> None:
    with place.open("rb") as stream:
        subprocess.run(
            ["nix-store", "--restore", target], stdin=stream, check=True, stderr=subprocess.DEVNULL
        )


def _lay_out(place: Path, target: Path) -> None:
    target.mkdir()
    layer.unpack(_tree(place), target, owners=False)


def _tar(place: Path, target: Path) -> None:
    with target.open("wb", buffering=0) as stream:
        tar.write(_tree(place), stream.write)


def _layer(place: Path, store: Store) -> None:
    layer.write(_tree(place), store, Compression("none", 0))


def _tree(place: Path) -> Tree:
    with place.open("rb") as stream:
        return nar.read(stream, where=place.name, file=place)


MEASUREMENTS: dict[str, Callable[[int], Iterator[Row]]] = {"resolve": resolve_rows, "convert": convert_rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=sorted(MEASUREMENTS))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    print("| measurement | figure | limit |\n|---|---|---|")
    rows: list[Row] = []
    for name, measure in MEASUREMENTS.items():
        if options.only in (None, name):
            for row in measure(options.rounds):
                print(row, flush=True)
                rows.append(row)
    return 1 if options.check and not all(row.kept for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
