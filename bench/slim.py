"""What slimming an application costs, and what it gives back each time.

    python bench/slim.py [--runs 3] [--output FILE] [NAME …]     applications of fleet/slim/ (default: django)

An application is slimmed by the command as a user starts it, with the one request or command of its
probes.yaml. `slim` is the whole command. `observed` and `unobserved` are the same trial of the original,
start and probes included, with and without a watch, one after the other and nothing beside (`--jobs 1`);
their ratio is what observation costs. The digests of all runs must be equal. Then package managers are asked
what they list in the original and in the slim image, and how much of it is not so (`fleet/slim/scan.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "fleet" / "slim"))

import build  # noqa: E402
import judge  # noqa: E402
import scan  # noqa: E402

OBSERVED, UNOBSERVED = "observe the original", "ask the original again"


def slim(app: build.Application, target: str, *options: str) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole command, and what it said."""
    probes = app.home / "probes.yaml"
    start = time.perf_counter()
    result = subprocess.run(
        [
            *(sys.executable, "-m", "ramekin", "slim", app.reference),
            *("-o", target, "--probe", str(probes), "--json", *options),
        ],
        capture_output=True,
        text=True,
    )
    if result.returncode:
        sys.exit(result.stderr)
    return time.perf_counter() - start, json.loads(result.stdout)


def scanned(app: build.Application, target: str) -> scan.Scan:
    """What package managers list in the original and in the slim image, and what of it is not so."""
    with judge.laid_out(app.reference) as fat, judge.laid_out(target) as slim:
        return scan.scan(slim.root, fat.root, target)


def measure(name: str, runs: int) -> dict[str, Any]:
    (app,) = build.applications([name])
    build.build(app)
    with tempfile.TemporaryDirectory() as folder:
        target = f"oci:{folder}/slim:slim"
        said = [slim(app, target) for _ in range(runs)]
        # one thing at a time: else the slim image is made while the original is asked unobserved
        alone = [one["seconds"] for _, one in (slim(app, target, "--jobs", "1") for _ in range(runs))]
        return {
            "before": said[0][1]["size_before"],
            "after": said[0][1]["size_after"],
            "slim": median(seconds for seconds, _ in said),
            "observed": median(one[OBSERVED] for one in alone),
            "unobserved": median(one[UNOBSERVED] for one in alone),
            "overhead": median(one[OBSERVED] / one[UNOBSERVED] for one in alone),
            "digests": len({one["digest"] for _, one in said}),
            "scanned": str(found := scanned(app, target)),
            "untrue": found.wrong,
            "load": os.getloadavg()[0],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=["django"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the figures to this file too, as JSON")
    options = parser.parse_args()
    found = {}
    for name in options.names:
        found[name] = row = measure(name, options.runs)
        print(f"{name}: {row['before'] / 1e6:.1f} → {row['after'] / 1e6:.1f} MB, load {row['load']:.1f}")
        print(f"  slim       {row['slim']:6.2f} s (median of {options.runs})")
        cost = f"{row['overhead']:.2f} of {row['unobserved']:.2f} s unobserved"
        print(f"  observed   {row['observed']:6.2f} s, {cost}")
        print(f"  digests    {row['digests']} of {options.runs} runs")
        print(f"  packages   {row['scanned']}, {len(row['untrue'])} things untrue", flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
