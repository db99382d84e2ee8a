"""Images of store paths: how long they take, beside Nix's own copy of the same closure from the same cache.

    python bench/nix_images.py                 all measurements, as a Markdown table on standard output
    python bench/nix_images.py --runs 5 --check   more runs; the exit code is 1 when a limit is not kept

Two stand-ins: 2,000 paths in the shape of nixpkgs' graph (as in bench/nix.py), of which everything but the
bytes is there, for what is done before any byte is read; and 240 paths with files in them, from an xz cache.
Nix copies those into an empty store: it reads, decompresses, verifies and writes files. Ramekin reads,
decompresses and verifies them too, looks for every reference in every file, and writes a layer of each.
Needs Debian's nix-bin. Runs alternate, and figures are medians.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import lzma
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import msgspec
from nix import PATHS, SECONDS, Row, StandIn, stand_in

from ramekin.build import compose
from ramekin.build.request import Choices, ImageRequest, NixChoices, fold
from ramekin.image import tree
from ramekin.image.tree import Entry, Tree
from ramekin.plan import layers, order
from ramekin.progress import SILENT
from ramekin.sources.nix import base32, nar, narinfo
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.sources.protocol import Package, Resolution
from ramekin.store import digest as digests
from ramekin.store.store import Store

IMAGES = 40
FULL = 240
"""Paths that have files."""
WORDS = b"store path derivation output reference builder closure substitute".split()


def request(made: StandIn, *, compression: str = "gzip", closure: str = "packages") -> ImageRequest:
    """An image of everything in a stand-in."""
    asked = Choices(
        packages=(made.everything,),
        architectures=("amd64",),
        source=f"nix:{made.folder}",
        compression=compression,
        closure=closure,
        nix=NixChoices(trusted_keys=(made.key,)),
    )
    return fold("everything", (asked,), where="bench")


def full(folder: Path, count: int = FULL, *, seed: int = 2) -> StandIn:
    """A cache of `count` paths with programs, texts and links in them that name what they refer to."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    chance = random.Random(seed)
    secret = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"full").digest())
    (folder / "nar").mkdir(parents=True)
    (folder / "nix-cache-info").write_text("StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n")
    bases: list[str] = []
    for number in range(count):
        last = number == count - 1
        base = base32.encode(hashlib.sha256(f"full {number}".encode()).digest()[:20]) + f"-part{number}-1.0"
        wanted = min(number, 1 + int(chance.paretovariate(1.0)), 12)
        references = {bases[int(number * chance.random() ** 3)] for _ in range(wanted)} if number else set()
        references = set(bases) if last else references
        data = _archive(_files(base, sorted(references), chance))
        packed = lzma.compress(data, preset=2)
        url = f"nar/{hashlib.sha256(packed).hexdigest()}.nar.xz"
        (folder / url).write_bytes(packed)
        info = NarInfo(
            base=base,
            store_dir="/nix/store",
            url=url,
            compression="xz",
            nar_hash=digests.of(data),
            nar_size=len(data),
            file_hash=digests.of(packed),
            file_size=len(packed),
            references=tuple(sorted(references)),
        )
        signature = base64.b64encode(secret.sign(info.fingerprint())).decode()
        info = msgspec.structs.replace(info, signatures=(f"full-1:{signature}",))
        (folder / f"{base[:32]}.narinfo").write_bytes(narinfo.write(info))
        bases.append(base)
    public = base64.b64encode(secret.public_key().public_bytes_raw()).decode()
    return StandIn(folder, f"full-1:{public}", tuple(bases))


def _files(base: str, references: list[str], chance: random.Random) -> Tree:
    entries: list[Entry] = []
    named = "\n".join(f"/nix/store/{other}/lib/library.so" for other in references).encode()
    entries.append(tree.file("bin/program", b"#! /nix/store/none\n" + named + b"\n", mode=0o555))
    for number in range(1 + int(min(chance.paretovariate(0.9), 150))):
        size = int(min(chance.lognormvariate(9.5, 1.6), 4e6))
        words = b" ".join(chance.choices(WORDS, k=size // 20 + 1))
        data = (words + chance.randbytes(size // 3))[: size + 1]
        entries.append(tree.file(f"share/{number % 7}/file-{number}", data, mode=0o444))
    entries.append(tree.symlink("share/first", "0/file-0"))
    return Tree(entries).with_parents()


def _archive(files: Tree) -> bytes:
    parts: list[bytes] = []
    nar.write(files, parts.append)
    return b"".join(parts)


def planned(rounds: int) -> Iterator[Row]:
    """What is done of an image before any byte is read."""
    with tempfile.TemporaryDirectory() as work:
        made = stand_in(Path(work, "cache"))
        asked = request(made)
        cold, warm, laid = [], [], []
        for number in range(rounds):
            store = Store.at(Path(work, f"store-{number}"))
            cold.append(_seconds(lambda: compose.resolve(asked, store=store, progress=SILENT)))  # noqa: B023
            warm.append(_seconds(lambda: compose.resolve(asked, store=store, progress=SILENT)))  # noqa: B023
            locked = compose.resolve(asked, store=store, progress=SILENT)
            resolution = locked.architectures["amd64"].resolution("amd64")
            assert len(resolution.packages) == PATHS
            laid.append(
                _seconds(
                    lambda: layers.groups(
                        order.by_reach(resolution.packages, resolution.edges),  # noqa: B023
                        limit=64,
                    )
                )
            )
        yield Row(f"lock of {PATHS} paths, signatures verified", median(cold), "s")
        yield Row("the same again", median(warm), "s")
        yield Row("order and plan of 64 layers", median(laid), "s")
        yield Row("lock, order and plan", median(cold) + median(laid), "s", SECONDS)


def shared(rounds: int) -> Iterator[Row]:
    """How much of what two images have in common stands below all that differs, by the order of layers."""
    with tempfile.TemporaryDirectory() as work:
        made = stand_in(Path(work, "cache"))
        asked = request(made)
        locked = compose.resolve(asked, store=Store.at(Path(work, "store")), progress=SILENT)
        whole = locked.architectures["amd64"].resolution("amd64")
    chance = random.Random(3)
    candidates = sorted(package.name for package in whole.packages)
    images = [_closure(whole, chance.sample(candidates, chance.randrange(1, 3))) for _ in range(IMAGES)]
    wanted = Counter(package.name for image in images for package in image)
    listed = Counter(
        package.name for name in candidates[::25] for package in _closure(whole, [name])
    ).most_common(60)
    # one list of names for the program, by what stands for a package's name here
    popular = [name for name, _ in listed]
    orders: dict[str, Callable[[Sequence[Package]], Sequence[Package]]] = {
        "by one image alone": lambda ps: order.by_reach(ps, whole.edges, popular=()),
        "with a list of 60": lambda ps: order.by_reach(
            [replace(package, origin=package.name) for package in ps], whole.edges, popular=popular
        ),
        "by all images": lambda ps: sorted(ps, key=lambda package: (-wanted[package.name], package.name)),
    }
    common = mean(
        sum(package.size for package in one if package.name in {other.name for other in two})
        for one, two in combinations(images, 2)
    )
    yield Row("in common of two images", common / 1e6, "MB")
    for what, lay in orders.items():
        laid = [lay(image) for image in images]
        below = mean(_below(one, two) for one, two in combinations(laid, 2))
        yield Row(f"below what differs, {what}", below / 1e6, "MB")


def _closure(whole: Resolution, roots: Sequence[str]) -> list[Package]:
    seen, todo = set(roots), list(roots)
    while todo:
        for other in whole.edges[todo.pop()]:
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return [package for package in whole.packages if package.name in seen]


def _below(one: Sequence[Package], two: Sequence[Package]) -> int:
    size = 0
    for first, second in zip(one, two, strict=False):
        if first.name != second.name:
            break
        size += first.size
    return size


def built(rounds: int) -> Iterator[Row]:
    """Whole images, beside `nix copy`: seconds, and seconds of processors, which others' work moves less."""
    with tempfile.TemporaryDirectory() as work:
        made = full(Path(work, "cache"))
        kinds = {"gzip": "packages", "none": "packages", "zstd": "packages", "gzip, by files": "files"}
        costs: dict[str, list[Cost]] = {kind: [] for kind in (*kinds, "nix", "again", "more")}
        size = 0
        for number in range(rounds):
            costs["nix"].append(_cost(lambda: _copy(made, Path(work, f"nix-{number}"))))  # noqa: B023
            for kind, closure in kinds.items():
                asked = request(made, compression=kind.partition(",")[0], closure=closure)
                store = Store.at(Path(work, f"{kind}-{number}"))
                costs[kind].append(_cost(lambda: _build(asked, store)))  # noqa: B023
                if kind == "gzip":
                    costs["again"].append(_cost(lambda: _build(asked, store)))  # noqa: B023
                    labelled = replace(asked, labels=(("a", str(number)),))
                    costs["more"].append(_cost(lambda: _build(labelled, store)))  # noqa: B023
                    locked = compose.resolve(asked, store=store, progress=SILENT)
                    size = sum(package.size for package in locked.architectures["amd64"].packages)
        told = {"nix": f"nix copy of {FULL} paths, {size / 1e6:.0f} MB"}
        told |= {kind: f"ramekin build, {kind}" for kind in kinds}
        told |= {"again": "the same image again", "more": "another image of the same paths"}
        for kind, what in told.items():
            yield Row(what, median(cost.wall for cost in costs[kind]), "s")
            yield Row(f"{what}, processors", median(cost.processors for cost in costs[kind]), "s")


class Cost(NamedTuple):
    """Seconds of a clock, and of all processors."""

    wall: float
    processors: float


def _cost(work: Callable[[], object]) -> Cost:
    gc.collect()
    before, begun = os.times(), time.perf_counter()
    work()
    after = os.times()
    return Cost(time.perf_counter() - begun, sum(after[:4]) - sum(before[:4]))


def _build(asked: ImageRequest, store: Store) -> None:
    compose.build(asked, store=store, progress=SILENT, jobs=len(os.sched_getaffinity(0)))


def _copy(made: StandIn, root: Path) -> None:
    command = [
        "nix",
        "--extra-experimental-features",
        "nix-command",
        "copy",
        "--from",
        f"file://{made.folder}",
    ]
    command += ["--to", str(root), "--option", "trusted-public-keys", made.key, made.everything]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HOME": str(root.parent)})


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("plan", "share", "build"))
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    parts = {"plan": planned, "share": shared, "build": built}
    rows = [row for name, part in parts.items() if chosen.only in (None, name) for row in part(chosen.runs)]
    print("| | median | limit |\n|---|---|---|")
    for row in rows:
        print(row)
    return 1 if chosen.check and not all(row.kept for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
