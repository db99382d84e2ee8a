"""How long `ramekin fleet --shallow` takes over a layout of synthetic manifests.

    python bench/fleet.py [IMAGES]

Images stand on twenty builds of ten bases and have four to twelve layers, of which some are common. The
figure is that of the whole command, start-up and reading included; `--html` and `--json` are timed apart.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
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


def timed(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ramekin", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
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
