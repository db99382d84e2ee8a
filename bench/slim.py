"""What slimming an application costs, and what it gives back each time.

    python bench/slim.py [--runs 3] [--output FILE] [NAME …]     applications of fleet/slim/ (default: django)

An application is slimmed by the command as a user starts it, with the one request or command of its
probes.yaml. `slim` is the whole command. `observed` and `unobserved` are the same trial of the original,
start and probes included, with and without a watch, which the command runs one after the other; their ratio
is what observation costs. The digests of all runs must be equal. Then the records that scanners read in the
slim image are asked who is there: dpkg's packages and Python distributions with their files, and Node
packages with the main file of their package.json; packages of which a file is missing are counted.
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

OBSERVED, UNOBSERVED = "observe the original", "ask the original again"


def slim(app: build.Application, target: str) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole command, and what it said."""
    probes = app.home / "probes.yaml"
    start = time.perf_counter()
    result = subprocess.run(
        [
            *(sys.executable, "-m", "ramekin", "slim", app.reference),
            *("-o", target, "--probe", str(probes), "--json"),
        ],
        capture_output=True,
        text=True,
    )
    if result.returncode:
        sys.exit(result.stderr)
    return time.perf_counter() - start, json.loads(result.stdout)


def listed(target: str) -> dict[str, tuple[int, int]]:
    """By ecosystem: packages that scanners find in the image, and those of them that are not there at all."""
    with judge.laid_out(target) as box:
        return {
            "dpkg": _count(_dpkg(box.root)),
            "python": _count(_python(box.root)),
            "node": _count(_node(box.root)),
        }


def _count(found: dict[str, bool]) -> tuple[int, int]:
    return len(found), sum(not there for there in found.values())


def _dpkg(root: Path) -> dict[str, bool]:
    """Each installed package of the database, and whether each file that it lists is there."""
    status = root / "var/lib/dpkg/status"
    found = {}
    for block in status.read_text().split("\n\n") if status.exists() else ():
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            name = fields["Package"]
            lists = [*(root / "var/lib/dpkg/info").glob(f"{name}.list")]
            lists += (root / "var/lib/dpkg/info").glob(f"{name}:*.list")
            files = [line for path in lists for line in path.read_text().splitlines() if line != "/."]
            found[name] = bool(lists) and all(os.path.lexists(f"{root}{line}") for line in files)
    return found


def _python(root: Path) -> dict[str, bool]:
    """Each distribution, and whether each file of its RECORD is there."""
    found = {}
    for record in root.glob("**/*.dist-info/RECORD"):
        names = [line.split(",")[0].strip('"') for line in record.read_text().splitlines() if line]
        found[record.parent.name] = all((record.parents[1] / name).exists() for name in names)
    return found


def _node(root: Path) -> dict[str, bool]:
    """Each package below a node_modules, and whether its main file is there."""
    found = {}
    for path in [
        *root.glob("**/node_modules/*/package.json"),
        *root.glob("**/node_modules/@*/*/package.json"),
    ]:
        document = json.loads(path.read_text())
        main = path.parent / str(document.get("main") or "index.js")
        there = [main, main.with_suffix(".js"), Path(f"{main}.js"), main / "index.js"]
        found[str(path.parent)] = any(one.is_file() for one in there) or "main" not in document
    return found


def measure(name: str, runs: int) -> dict[str, Any]:
    (app,) = build.applications([name])
    build.build(app)
    with tempfile.TemporaryDirectory() as folder:
        target = f"oci:{folder}/slim:slim"
        said = [slim(app, target) for _ in range(runs)]
        ratios = [one["seconds"][OBSERVED] / one["seconds"][UNOBSERVED] for _, one in said]
        return {
            "before": said[0][1]["size_before"],
            "after": said[0][1]["size_after"],
            "slim": median(seconds for seconds, _ in said),
            "observed": median(one["seconds"][OBSERVED] for _, one in said),
            "unobserved": median(one["seconds"][UNOBSERVED] for _, one in said),
            "overhead": median(ratios),
            "digests": len({one["digest"] for _, one in said}),
            "listed": listed(target),
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
        for kind, (packages, gone) in row["listed"].items():
            print(f"  {kind:10} {packages} packages listed, {gone} of which files are missing", flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
