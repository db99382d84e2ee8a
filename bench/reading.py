"""How long `ramekin inspect` takes beside what anyone would do by hand: unpack, `tar tf`, `sha256sum`.

    python bench/reading.py                          a made image, as a Markdown table on standard output
    python bench/reading.py --image oci:DIR          another image, of which layers are gzip or plain tar
    python bench/reading.py --runs 5 --check         the exit code is 1 when a limit is not kept

The made image has 500 MB in 60,000 files and six layers, gzip: text, numbers and noise, mostly small files
and some of megabytes, and programs of this machine. By hand, for each layer one after another: `gzip -dc`
into a file, `tar tf` and `sha256sum` of that file. Cold runs of Ramekin have a store that does not exist;
warm ones look at the same image again. Runs alternate, and figures are medians.

Two ratios are given. The first is to all three programs, since layers have to be unpacked by anyone. The
second leaves the unpacking out, though Ramekin's time has it in it.
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
from collections.abc import Iterator, Sequence
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


def _apart(folder: Path) -> str:
    """`make` in a process of its own: what this one holds would be counted as its children's."""
    maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder,))
    maker.start()
    maker.join()
    if maker.exitcode:
        sys.exit("the image could not be made")
    return f"oci:{folder}"


def layers_of(place: str) -> list[Path]:
    """The files of the layers of a layout with one image."""
    root = Path(place.removeprefix("oci:"))

    def blob(descriptor: dict[str, str]) -> Path:
        return root / "blobs" / "sha256" / descriptor["digest"].partition(":")[2]

    index = json.loads((root / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]).read_text())
    return [blob(layer) for layer in manifest["layers"]]


def by_hand(layers: list[Path], folder: Path) -> tuple[float, float]:
    """Seconds for unpacking, and for listing and hashing."""
    unpacking = looking = 0.0
    for layer in layers:
        plain = folder / "layer.tar"
        with layer.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        unpacking += measure(["gzip", "-dc", layer] if packed else ["cat", layer], plain).wall
        looking += measure(["tar", "tf", plain]).wall + measure(["sha256sum", plain]).wall
    return unpacking, looking


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
        layers = layers_of(place)
        cold, warm, unpacking, looking = [], [], [], []
        for _ in range(options.runs):
            one, two = by_hand(layers, folder)
            unpacking.append(one)
            looking.append(two)
            store = folder / "store"
            shutil.rmtree(store, ignore_errors=True)
            command = [script, "inspect", place, "--store", store, "--json"]
            cold.append(measure(command))
            warm.append(measure(command))
    seconds = statistics.median(cost.wall for cost in cold)
    again = statistics.median(cost.wall for cost in warm)
    peak = max(cost.peak for cost in cold)
    hand, rest = statistics.median(map(sum, zip(unpacking, looking, strict=True))), statistics.median(looking)
    print("| what | measured | limit |")
    print("|---|---|---|")
    print(f"| by hand: gzip -dc, tar tf, sha256sum | {hand:.2f} s, {rest:.2f} s without gzip | |")
    print(
        f"| inspect, cold | {seconds:.2f} s, {statistics.median(c.cpu for c in cold):.2f} s of processors | |"
    )
    print(f"| cold, by all three programs | {seconds / hand:.2f} | {COLD} |")
    print(f"| cold, by tar tf and sha256sum alone | {seconds / rest:.2f} | |")
    cpu = statistics.median(c.cpu for c in warm)
    print(f"| inspect again | {again:.2f} s, {cpu:.2f} s of processors | {WARM} s |")
    print(f"| most memory | {peak / 1e6:.0f} MB | {PEAK / 1e6:.0f} MB |")
    kept = seconds <= COLD * hand and again <= WARM and peak <= PEAK
    return 0 if kept or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
