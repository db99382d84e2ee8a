"""Closures by evidence: the size of images, the time that evidence takes, what is said by hand.

    python bench/closures.py                 all measurements, as a Markdown table on standard output
    python bench/closures.py --only scan     sizes, scan, warm, corrections or peers
    python bench/closures.py --check         the exit code is 1 when a limit is not kept

Packages come from the machine's Debian archive and stay under .cache/store. `peers` tells what fleet/run.py
found with --peer: its comparison of every image of the fleet with mmdebstrap's tree of the same packages.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ramekin.build import closures, compose, packages
from ramekin.build.request import ImageRequest
from ramekin.closure import policy
from ramekin.closure.evidence.scan import scan
from ramekin.closure.prepare import prepare
from ramekin.progress import SILENT
from ramekin.sources import open_source
from ramekin.sources.protocol import Resolution
from ramekin.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / ".cache" / "store"
FLEET = ROOT / ".cache" / "fleet" / "results.json"

SOURCE = "debian:bookworm"
SIZES = {
    "redis-server": 9.8,
    "nginx": 6.0,
    "memcached": 5.4,
    "python3": 14.2,
    "curl": 10.3,
    "nodejs": 37.0,
    "openjdk-17-jre-headless": 75.5,
    "postgresql-15": 93.0,
}
"""MB of gzip layers, essentials included, that an image may have by `packages`."""
SIZES_BY_FILES = {"redis-server": 7.5, "python3": 11.0}
"""The same by `files`, compressed as well as gzip can at its highest usual level."""
ZSTD = 0.85
"""The part of those limits that layers by zstd 19 may have."""
SCANNED = [
    "redis-server",
    "nginx",
    "python3",
    "curl",
    "ruby",
    "php-cli",
    "postgresql-15",
    "git",
    "gcc",
    "perl",
]
"""Images whose packages are scanned."""
LARGE = ["ffmpeg"]
"""An image of 200 packages."""
PER_CORRECTION = 20


@dataclass(frozen=True)
class Row:
    """A measurement; `limit` None means that it is told and not judged."""

    what: str
    figure: float
    unit: str
    limit: float | None = None

    @property
    def kept(self) -> bool:
        return self.limit is None or self.figure <= self.limit

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"{self.limit:g} {self.unit}{'' if self.kept else ' (missed)'}"
        return f"| {self.what} | {self.figure:.3f} {self.unit} | {limit} |"


def request(*names: str, level: str = "packages", compression: str = "gzip") -> ImageRequest:
    return ImageRequest(
        name=names[0],
        packages=names,
        source=SOURCE,
        architectures=("amd64",),
        closure=level,
        compression=compression,
    )


def size(asked: ImageRequest, store: Store) -> float:
    """MB of an image's layers."""
    built = compose.build(asked, store=store, progress=SILENT, jobs=2)
    return built.reports[0].size / 1e6


def sizes(store: Store) -> list[Row]:
    rows = []
    for name, limit in SIZES.items():
        rows.append(Row(f"{name}, `packages`, gzip", size(request(name), store), "MB", limit))
        packed = size(request(name, compression="zstd:19"), store)
        rows.append(Row(f"{name}, `packages`, zstd 19", packed, "MB", round(limit * ZSTD, 2)))
    for name, limit in SIZES_BY_FILES.items():
        rows.append(Row(f"{name}, `files`, gzip", size(request(name, level="files"), store), "MB", limit))
    return rows


def scans(store: Store) -> list[Row]:
    """Each package of some images, opened and then scanned, with no result of an earlier run."""
    source = open_source(SOURCE, store)
    found = {}
    for name in SCANNED:
        resolution, _ = _resolution(request(name), store)
        found.update({package.digest: package for package in resolution.packages})
    how = packages.Preparation(source.facts("amd64"), "amd64", closures.choice(request("redis-server")))
    opening, scanning, ratios = 0.0, 0.0, []
    for package in found.values():
        start = time.perf_counter()
        ready = prepare(source.open(package), facts=how.suite, slices=how.slices, architecture="amd64")
        opened = time.perf_counter()
        scan(ready)
        done = time.perf_counter()
        opening += opened - start
        scanning += done - opened
        ratios.append((done - opened) / (opened - start))
    return [
        Row(f"opening {len(found)} packages", opening, "s"),
        Row("looking for evidence in them", scanning, "s"),
        Row("evidence / opening, all together", scanning / opening, "×", 0.3),
        Row("evidence / opening, median of the packages", median(ratios), "×"),
    ]


def warm(store: Store) -> list[Row]:
    """The closure of a large image when the evidence of all its packages is known."""
    asked = request(*LARGE)
    compose.build(asked, store=store, progress=SILENT, jobs=2)
    times = []
    for _ in range(7):
        resolution, bench = _resolution(asked, store)
        how = packages.Preparation(bench.source.facts("amd64"), "amd64", closures.choice(asked))
        start = time.perf_counter()
        closed = closures.close(resolution, asked, how, bench)
        times.append(time.perf_counter() - start)
    count = len(resolution.packages)
    return [
        Row(f"packages of {' '.join(LARGE)} by Depends", count, ""),
        Row(f"packages of {' '.join(LARGE)} by evidence", len(closed.packages), ""),
        Row("its closure by known evidence", median(times), "s"),
        Row("the same for 200 packages", median(times) * 200 / count, "s", 0.2),
    ]


def _resolution(asked: ImageRequest, store: Store) -> tuple[Resolution, packages.Bench]:
    locked = compose.resolve(asked, store=store, progress=SILENT)
    bench = packages.Bench(open_source(SOURCE, store), store, SILENT, 2)
    return locked.architectures["amd64"].resolution("amd64"), bench


def corrections(_: Store) -> list[Row]:
    # each rule counts, though several may stand together
    known = sum(
        max(1, len(one.drop_rules) + bool(one.ignores or one.needs)) for one in policy.load().corrections
    )
    rows = [Row("corrections to single packages (policy.yaml)", known, "")]
    if FLEET.exists():
        fleet = json.loads(FLEET.read_text())
        names = {name for rows in fleet.values() for name in rows.get("packages", {}).get("names", ())}
        rows.append(Row("packages of the fleet's images", len(names), ""))
        rows.append(
            Row(f"corrections for {PER_CORRECTION} packages", known * PER_CORRECTION / len(names), "", 1)
        )
    return rows


def peers(_: Store) -> list[Row]:
    if not FLEET.exists():
        return []
    fleet = json.loads(FLEET.read_text())
    rows = []
    for level in ("packages", "files"):
        ratios = [
            rows[level]["bytes"] / rows["peer"]["bytes"]
            for rows in fleet.values()
            if "bytes" in rows.get(level, {}) and "bytes" in rows.get("peer", {})
        ]
        if ratios:
            limit = 0.2 if level == "packages" else None
            rows.append(
                Row(
                    f"bytes by `{level}` / mmdebstrap, median of {len(ratios)} images",
                    median(ratios),
                    "×",
                    limit,
                )
            )
            rows.append(Row(f"bytes by `{level}` / mmdebstrap, the worst", max(ratios), "×"))
    return rows


PARTS = {"sizes": sizes, "scan": scans, "warm": warm, "corrections": corrections, "peers": peers}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=list(PARTS), action="append")
    parser.add_argument("--check", action="store_true", help="end with 1 when a limit is not kept")
    options = parser.parse_args()
    store = Store.at(STORE)
    rows = []
    print("| measured | figure | limit |\n|---|---:|---:|")
    for part in options.only or PARTS:
        for row in PARTS[part](store):
            print(row, flush=True)
            rows.append(row)
    if options.check and not all(row.kept for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
