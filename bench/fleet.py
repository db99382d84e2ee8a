"""How long `ramekin fleet --shallow` takes over a layout of synthetic manifests.

    python bench/fleet.py [IMAGES]           by manifests only
    python bench/fleet.py --deep [IMAGES]    with all files, and the memory that takes (300 images)

Images stand on twenty builds of ten bases and have four to twelve layers, of which some are common. The
figure is that of the whole command, start-up and reading included; `--html` and `--json` are timed apart.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SUITES = ("bullseye", "bookworm", "trixie", "forky")


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write(root: Path, count: int) -> None:
    """A layout of `count` images whose layers are not there."""
    choose = random.Random(1)
    folder = root / "blobs" / "sha256"
    folder.mkdir(parents=True)

    def put(document: object, media_type: str) -> dict[str, object]:
        data = json.dumps(document, sort_keys=True).encode()
        (folder / digest(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    listed = []
    for number in range(count):
        base = choose.randrange(20)
        names = [f"base {base}"] + [f"common {base} {n}" for n in range(choose.randrange(3))]
        names += [f"shared {choose.randrange(50)}" for _ in range(choose.randrange(3))]
        names += [f"own {number} {n}" for n in range(choose.randrange(2, 7))]
        steps = [f"# debian.sh --arch 'amd64' out/ '{SUITES[base // 5]}' '@{base}'", *names[1:]]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(f"plain {name}".encode()) for name in names]},
            "history": [{"created_by": step} for step in steps],
        }
        layers = [
            {
                "mediaType": LAYER,
                "digest": digest(name.encode()),
                "size": random.Random(name).randrange(
                    1000, 60_000_000 if name.startswith("base") else 8_000_000
                ),
            }
            for name in names
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": put(config, CONFIG),
            "layers": layers,
        }
        entry = put(manifest, MANIFEST)
        entry["annotations"] = {"org.opencontainers.image.ref.name": f"team-{number % 9}-image-{number}"}
        listed.append(entry)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": listed}))


def write_deep(root: Path, count: int) -> None:
    """A layout of `count` images of ten bases of 4,000 files and a layer of 500 files each, all there."""
    folder = root / "blobs" / "sha256"
    folder.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        (folder / digest(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def layer(name: str, files: int) -> tuple[dict[str, object], str]:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for number in range(files):
                data = f"{name} {number}".encode() * 20
                info = tarfile.TarInfo(f"usr/lib/{name}/part-{number % 40}/file-{number}.so")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return put(gzip.compress(out.getvalue(), 1, mtime=0), LAYER), digest(out.getvalue())

    bases = [layer(f"base-{number}", 4000) for number in range(10)]
    listed = []
    for number in range(count):
        made = [bases[number % 10], layer(f"own-{number}", 500)]
        diff_ids = [diff_id for _, diff_id in made]
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": put(json.dumps(config).encode(), CONFIG),
            "layers": [described for described, _ in made],
        }
        entry = put(json.dumps(manifest).encode(), MANIFEST)
        entry["annotations"] = {"org.opencontainers.image.ref.name": f"image-{number}"}
        listed.append(entry)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": listed}))


def costs(*words: str) -> tuple[float, float, float]:
    """Seconds, seconds of processors and MB at most of a command."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "ramekin", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{words} failed")
    cpu = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - start, cpu, usage.ru_maxrss * 1024 / 1e6


def deep(count: int) -> None:
    """`ramekin fleet` with all files read: once with an empty store, once again."""
    with tempfile.TemporaryDirectory() as name:
        write_deep(Path(name) / "layout", count)
        for what in ("with an empty store", "again"):
            seconds, cpu, peak = costs("fleet", f"oci:{name}/layout", "--store", f"{name}/store", "--json")
            print(
                f"{count} images with their files, {what}: {seconds:.1f} s, {cpu:.1f} s of processors, "
                f"{peak:.0f} MB at most"
            )


def timed(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ramekin", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    if sys.argv[1:2] == ["--deep"]:
        deep(int(sys.argv[2]) if len(sys.argv) > 2 else 300)
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        write(root, count)
        print(f"{count} manifests")
        for what, words in (
            ("text", ()),
            ("--json", ("--json",)),
            ("--html", ("--html", str(Path(folder) / "fleet.html"))),
        ):
            print(f"  {what:8} {timed('fleet', f'oci:{root}', '--shallow', *words):6.2f} s")


if __name__ == "__main__":
    main()
