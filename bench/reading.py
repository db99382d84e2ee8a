"""How long `ramekin inspect` takes beside what anyone would do by hand: unpack, `tar tf`, `sha256sum`.

    python bench/reading.py                          a made image, as a Markdown table on standard output
    python bench/reading.py --image oci:DIR          another image, of which layers are gzip or plain tar
    python bench/reading.py --runs 5 --check         the exit code is 1 when a limit is not kept

The made image has 500 MB in 60,000 files and six layers, gzip: text, numbers and noise, mostly small files
and some of megabytes, and programs of this machine. By hand, for each layer one after another: `gzip -dc`
into a file, `tar tf` and `sha256sum` of that file. Cold runs of Ramekin have a store that does not exist;
warm ones look at the same image again. Runs alternate, and figures are medians.

Ratios are to two commands. The first unpacks too, as anyone has to whose layers are compressed; the limit
is on this one. The second lists and hashes layers that are unpacked already; beside it stand, for the record,
the same image with such layers and the packed one. Processor seconds stand beside all others, since a busy
machine makes seconds long.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FILES, BYTES, LAYERS = 60_000, 500_000_000, 6
COLD, WARM, PEAK = 1.3, 0.3, 400 << 20
"""Limits: the ratio of cold to by hand, seconds of a second look, bytes held."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Cost:
    """Wall-clock and processor seconds, and the most bytes that were held at once."""

    wall: float
    cpu: float
    peak: int


def measure(command: Sequence[str | Path], output: Path | None = None) -> Cost:
    """Run a command to its end."""
    with (output or Path(os.devnull)).open("wb") as out:
        start = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=subprocess.PIPE)
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command}: {said.decode(errors='replace')}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)


def contents(rng: random.Random) -> Iterator[bytes]:
    """Contents of files, without end."""
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 10))) for _ in range(4000)]
    programs = [path.resolve() for path in sorted(Path("/usr/bin").iterdir()) if path.is_file()]
    elves = [data for path in programs[:400] if (data := path.read_bytes())[:4] == b"\x7fELF"][:200]
    average = BYTES // FILES
    while True:
        kind = rng.random()
        if kind < 0.0006 and elves:
            yield rng.choice(elves)
            continue
        size = int(rng.paretovariate(1.15) * average / 6) if kind < 0.98 else rng.randint(50_000, 400_000)
        size = min(size, 8_000_000)
        if kind < 0.85:
            text = b" ".join(rng.choices(words, k=min(size, 30_000) // 7 + 1))
            yield (text * (size // len(text) + 1))[:size]
        else:
            yield rng.randbytes(size // 2) + bytes(size - size // 2)


def make(folder: Path) -> str:
    """The image as a layout."""
    rng = random.Random(7)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def keep(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    source, layers, diff_ids = contents(rng), [], []
    for number in range(LAYERS):
        out, total = io.BytesIO(), 0
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for file in range(FILES // LAYERS):
                data = next(source)
                if total + len(data) > BYTES // LAYERS:
                    data = data[: max(0, BYTES // LAYERS - total)]
                total += len(data)
                info = tarfile.TarInfo(f"usr/share/part{number}/d{file % 300}/file-{file}.txt")
                info.size, info.mtime = len(data), 1_700_000_000
                archive.addfile(info, io.BytesIO(data))
        plain = out.getvalue()
        diff_ids.append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
        layers.append(keep(gzip.compress(plain, 6, mtime=0), LAYER))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"layer {number}"} for number in range(LAYERS)],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": keep(json.dumps(config).encode(), CONFIG),
        "layers": layers,
    }
    root = keep(json.dumps(manifest).encode(), MANIFEST)
    root["annotations"] = {"org.opencontainers.image.ref.name": "bench"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return f"oci:{folder}"


def layers_of(place: str) -> list[Path]:
    """The files of the layers of a layout with one image."""
    root = Path(place.removeprefix("oci:"))

    def blob(descriptor: dict[str, str]) -> Path:
        return root / "blobs" / "sha256" / descriptor["digest"].partition(":")[2]

    index = json.loads((root / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]).read_text())
    return [blob(layer) for layer in manifest["layers"]]


def plain(place: str, folder: Path) -> str:
    """The same image with layers that are not compressed."""
    root = Path(place.removeprefix("oci:"))
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def read(descriptor: dict[str, str]) -> bytes:
        return (root / "blobs" / "sha256" / descriptor["digest"].partition(":")[2]).read_bytes()

    def keep(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    index = json.loads((root / "index.json").read_text())
    manifest = json.loads(read(index["manifests"][0]))
    packed = [read(layer) for layer in manifest["layers"]]
    layers = [gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for data in packed]
    manifest["layers"] = [keep(data, LAYER.removesuffix("+gzip")) for data in layers]
    manifest["config"] = keep(read(manifest["config"]), manifest["config"]["mediaType"])
    entry = keep(json.dumps(manifest).encode(), index["manifests"][0]["mediaType"])
    entry["annotations"] = {"org.opencontainers.image.ref.name": "plain"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return f"oci:{folder}"


def by_hand(layers: list[Path], folder: Path) -> tuple[list[Cost], list[Cost]]:
    """What unpacking costs, and what listing and hashing do."""
    unpacking, looking = [], []
    for layer in layers:
        tar = folder / "layer.tar"
        with layer.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        unpacking.append(measure(["gzip", "-dc", layer] if packed else ["cat", layer], tar))
        looking += [measure(["tar", "tf", tar]), measure(["sha256sum", tar])]
    return unpacking, looking


def _apart(folder: Path, source: str = "") -> str:
    """`make` or `plain` in a process of its own: what this one holds would be counted as its children's."""
    work = (plain, (source, folder)) if source else (make, (folder,))
    maker = multiprocessing.get_context("spawn").Process(target=work[0], args=work[1])
    maker.start()
    maker.join()
    if maker.exitcode:
        sys.exit("the image could not be made")
    return f"oci:{folder}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", help="a layout with one image of gzip or plain layers, as oci:DIR")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a limit is not kept")
    options = parser.parse_args()
    script = Path(sys.executable).parent / "ramekin"
    with tempfile.TemporaryDirectory(prefix="reading-") as name:
        folder = Path(name)
        place = options.image or _apart(folder / "image")
        flat = _apart(folder / "plain", place)
        layers = layers_of(place)
        cold, warm, cold_flat, unpacking, looking = (list[Cost]() for _ in range(5))
        for _ in range(options.runs):
            one, two = by_hand(layers, folder)
            unpacking.append(_sum(one))
            looking.append(_sum(two))
            for source, costs in ((flat, cold_flat), (place, cold)):
                store = folder / "store"
                shutil.rmtree(store, ignore_errors=True)
                command = [script, "inspect", source, "--store", store, "--json"]
                costs.append(measure(command))
            warm.append(measure(command))
    all_three = [_sum(pair) for pair in zip(unpacking, looking, strict=True)]
    peak = max(cost.peak for cost in (*cold, *cold_flat))
    print("| what | seconds | of processors | limit |")
    print("|---|---:|---:|---:|")
    rows = {
        "by hand: gzip -dc, tar tf, sha256sum": all_three,
        "by hand: tar tf, sha256sum of the unpacked layers": looking,
        "inspect, cold": cold,
        "inspect, cold, of the same image with unpacked layers": cold_flat,
        "inspect again": warm,
    }
    for what, costs in rows.items():
        limit = f"{WARM} s" if costs is warm else ""
        print(f"| {what} | {_median(costs, 'wall'):.2f} | {_median(costs, 'cpu'):.2f} | {limit} |")
    print(_ratio("cold, by all three programs", cold, all_three, COLD))
    print(_ratio("cold, unpacked, by tar tf and sha256sum", cold_flat, looking, None))
    print(_ratio("cold, packed, by tar tf and sha256sum of unpacked layers", cold, looking, None))
    print(f"| most memory | {peak / 1e6:.0f} MB | | {PEAK / 1e6:.0f} MB |")
    kept = (
        _median(cold, "wall") <= COLD * _median(all_three, "wall")
        and _median(warm, "wall") <= WARM
        and peak <= PEAK
    )
    return 0 if kept or not options.check else 1


def _sum(costs: Iterable[Cost]) -> Cost:
    costs = list(costs)
    return Cost(sum(c.wall for c in costs), sum(c.cpu for c in costs), max(c.peak for c in costs))


def _median(costs: Sequence[Cost], what: str) -> float:
    return float(statistics.median(getattr(cost, what) for cost in costs))


def _ratio(what: str, ours: Sequence[Cost], theirs: Sequence[Cost], limit: float | None) -> str:
    wall = _median(ours, "wall") / _median(theirs, "wall")
    cpu = _median(ours, "cpu") / _median(theirs, "cpu")
    return f"| {what} | {wall:.2f} | {cpu:.2f} | {'' if limit is None else limit} |"


if __name__ == "__main__":
    sys.exit(main())
