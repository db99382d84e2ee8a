"""The parts of a build that are asked most often, each beside what anyone would use in its place.

    python bench/parts.py              all of them, as a Markdown table on standard output
    python bench/parts.py --runs 9     more runs; figures are medians

`resolve` is a resolution of indexes that are at hand, beside apt's of the same packages on an empty machine
without Recommends, its own cache warm. `read` and `write` are layers of 6,000 small files, beside Python's
`tarfile`. `match` says of 10,000 paths to which slice they belong, beside one `fnmatch` a glob and path, as
dpkg's path-exclude has it. Runs alternate.
"""

from __future__ import annotations

import argparse
import fnmatch
import io
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from ramekin.closure import slices
from ramekin.closure.model import SliceChoice
from ramekin.image import tar
from ramekin.image.tree import Tree, file
from ramekin.progress import SILENT
from ramekin.sources import open_source
from ramekin.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.apt import uris  # noqa: E402

STORE = ROOT / ".cache" / "store"
SOURCE = "debian:bookworm"
MANY = (
    "redis-server", "nginx", "memcached", "python3", "curl", "nodejs", "openjdk-17-jre-headless",
    "postgresql-15", "ruby", "php-cli", "sqlite3", "git", "busybox",
)  # fmt: skip

Work = Callable[[], object]
Part = tuple[str, Work, Work]
"""What is measured, and the work of Ramekin and of the peer."""


def resolutions(folder: Path) -> Iterator[Part]:
    source = open_source(SOURCE, Store.at(STORE))
    source.refresh(["amd64"], SILENT)
    for name, asked in (("resolve redis-server", ("redis-server",)), (f"resolve {len(MANY)} programs", MANY)):
        _apt(folder, asked)  # builds its cache
        yield name, partial(source.resolve, asked, "amd64"), partial(_apt, folder, asked)


def _apt(folder: Path, asked: Sequence[str]) -> None:
    uris(folder, asked, "amd64").check_returncode()


def layers(folder: Path) -> Iterator[Part]:
    files = [(f"usr/share/d{number % 50}/{number}", b"x" * (number % 1500)) for number in range(6000)]
    tree = Tree(file(path, data) for path, data in files)
    out = io.BytesIO()
    tar.write(tree, out.write)

    def read() -> None:
        for _ in tar.read(io.BytesIO(out.getvalue()), where="a layer", spool=folder):
            pass

    def peer_reads() -> None:
        with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
            for entry in archive:
                if (content := archive.extractfile(entry)) is not None:
                    content.read()

    def peer_writes() -> None:
        with tarfile.open(fileobj=io.BytesIO(), mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, data in files:
                entry = tarfile.TarInfo(path)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    yield "read a layer of 6,000 files", read, peer_reads
    yield "write a layer of 6,000 files", lambda: tar.write(tree, io.BytesIO().write), peer_writes


def matches(_: Path) -> Iterator[Part]:
    kinds = ("usr/share/doc/p{}/README", "usr/bin/tool{}", "usr/share/man/man1/p{}.1.gz", "usr/lib/p{}/m.so")
    paths = [kinds[number % len(kinds)].format(number) for number in range(10_000)]
    slice_of = slices.matcher(SliceChoice()).slice_of
    globs = ["usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*", "usr/include/*"]

    def peer() -> None:
        for path in paths:
            any(fnmatch.fnmatchcase(path, glob) for glob in globs)

    yield "match 10,000 paths (the peer with 5 globs)", lambda: [slice_of(path) for path in paths], peer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: %(default)s)")
    options = parser.parse_args()
    print("| part | here | peer | ratio |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        for parts in (resolutions, layers, matches):
            for what, ours, theirs in parts(Path(name)):
                pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(options.runs)]
                mine, peer = (median(column) for column in zip(*pairs, strict=True))
                print(
                    f"| {what} | {mine * 1e3:.1f} ms | {peer * 1e3:.1f} ms | {mine / peer:.2f} |", flush=True
                )


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
