"""Build the whole acceptance fleet, use every image as its users would, and write docs/fleet.md.

    python fleet/run.py                              all images; those by evidence are checked
    python fleet/run.py --only nginx --level files   some of it
    python fleet/run.py --peer                       mmdebstrap's trees of the same packages too
    python fleet/run.py --table                      write docs/fleet.md from what was found so far

What was found is kept in .cache/fleet/results.json, image by image, so that a run can be taken up again; each
run does again what it is asked for. The exit code is 1 when a check failed.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import fleet  # noqa: E402
from support.fleet import LEVELS, Member  # noqa: E402

from ramekin.image import compress  # noqa: E402
from ramekin.store.store import Store  # noqa: E402

STORE = ROOT / ".cache" / "store"
RESULTS = ROOT / ".cache" / "fleet" / "results.json"
TABLE = ROOT / "docs" / "fleet.md"

Row = dict[str, Any]


def try_one(name: str, level: str, runtime: str, checked: bool) -> Row:
    """Build an image at a level and check it; what was found as plain values."""
    (member,) = fleet.members([name])
    try:
        made = fleet.make(member, level, Store.at(STORE), jobs=1)
    except Exception as error:
        return {"failure": _told(error), "at": "build"}
    row: Row = {
        "packages": len(made.packages),
        "bytes": made.report.size,
        "unknown": list(made.report.unknown),
        "names": made.packages,
        "seconds": round(made.seconds, 2),
    }
    if not checked:
        return row
    try:
        with fleet.laid_out(made, runtime) as box:
            fleet.check(member)(box)
    except Exception as error:
        return {**row, "failure": _told(error), "at": "check"}
    return {**row, "failure": ""}


def _told(error: Exception) -> str:
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "checks" in frame.filename]
    where = f"{Path(places[-1].filename).name}:{places[-1].lineno}: " if places else ""
    notes = "\n".join(getattr(error, "__notes__", ()))
    hint = getattr(error, "hint", "") or ""
    return f"{where}{type(error).__name__}: {error}\n{hint}\n{notes}".strip()[-3000:]


def peer(name: str) -> Row:
    """Bytes of what mmdebstrap installs for the packages of an image, compressed as Ramekin's layers are.

    Its packages come from the machine's apt configuration, without recommendations, in the variant `minbase`.
    """
    (member,) = fleet.members([name])
    suite = member.request.source.partition(":")[2]
    cache = RESULTS.parent / "archives"
    cache.mkdir(parents=True, exist_ok=True)
    mode = "root" if os.getuid() == 0 else "unshare"
    inside = '"$1"/var/cache/apt/archives'
    command = [
        *("mmdebstrap", "--quiet", f"--mode={mode}", "--variant=minbase", "--format=tar"),
        # packages stay on this machine from one image to the next
        *("--skip=download/empty", "--skip=essential/unlink", "--dpkgopt=force-unsafe-io"),
        f"--setup-hook=mkdir -p {inside}; cp {cache}/*.deb {inside}/ 2>/dev/null || true",
        f"--customize-hook=cp -n {inside}/*.deb {cache}/",
        f"--include={','.join(member.request.packages)}",
        *(suite, "-"),
        *sorted(map(str, Path("/etc/apt/sources.list.d").glob("*.sources"))),
        *sorted(map(str, Path("/etc/apt/sources.list.d").glob("*.list"))),
    ]
    raw = packed = 0
    compressor = compress.compressor(compress.parse("gzip"))
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        while data := process.stdout.read(1 << 20):
            raw += len(data)
            packed += len(compressor.write(data))
        packed += len(compressor.finish())
        if process.wait():
            errors.seek(0)
            return {"failure": errors.read().decode(errors="replace")[-800:]}
    return {"bytes": packed, "tar": raw}


def keep(name: str, what: str, row: Row) -> None:
    """Put what was found beside what is known already."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with (RESULTS.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = load()
        known.setdefault(name, {})[what] = row
        fresh = RESULTS.with_suffix(".new")
        fresh.write_text(json.dumps(known, indent=1, sort_keys=True))
        fresh.replace(RESULTS)


def load() -> dict[str, dict[str, Row]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="IMAGE", help="these images, not all")
    parser.add_argument("--kind", nargs="+", default=[], help="images of these kinds, not all")
    parser.add_argument("--level", choices=LEVELS, action="append", help="levels of closure (default: all)")
    parser.add_argument("--runtime", choices=["bwrap", "runc"], default="bwrap")
    parser.add_argument("--no-check", action="store_true", help="build, but do not run the images")
    parser.add_argument("--peer", action="store_true", help="measure mmdebstrap's trees too")
    parser.add_argument(
        "--table", action="store_true", help="write docs/fleet.md from what is known, run nothing"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many images at once (default: 2)")
    options = parser.parse_args()
    if options.table:
        TABLE.write_text(table(load()))
        return
    if options.peer and shutil.which("mmdebstrap") is None:
        sys.exit("mmdebstrap is needed: apt-get install mmdebstrap")
    chosen = [m for m in fleet.members(options.only) if not options.kind or m.kind in options.kind]
    failed = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        waiting = {}
        for member in chosen:
            for level in options.level or ([] if options.peer else LEVELS):
                checked = not options.no_check and (level != "depends" or bool(options.level))
                future = pool.submit(try_one, member.name, level, options.runtime, checked)
                waiting[future] = (member.name, level)
        for future in as_completed(waiting):
            name, level = waiting[future]
            row = future.result()
            keep(name, level, row)
            failed += bool(row.get("failure"))
            print(_line(name, level, row), flush=True)
    if options.peer:
        # one at a time: they share a folder of packages
        for member in chosen:
            row = peer(member.name)
            keep(member.name, "peer", row)
            print(f"{member.name} peer {row}", flush=True)
    if not options.only and not options.kind:
        TABLE.write_text(table(load()))
    sys.exit(1 if failed else 0)


def _line(name: str, level: str, row: Row) -> str:
    size = f"{row['packages']} packages, {row['bytes'] / 1e6:.1f} MB" if "packages" in row else ""
    said = f"FAILED at {row['at']}: {row['failure']}" if row.get("failure") else "passed"
    return f"{name} {level}: {size} {said}"


def table(results: Mapping[str, Mapping[str, Row]]) -> str:
    """docs/fleet.md."""
    found = fleet.members()
    return "".join(part(found, results) for part in (_head, _rows, _failures, _recipes))


def _head(found: list[Member], results: Mapping[str, Mapping[str, Row]]) -> str:
    passed = {
        level: sum(results.get(m.name, {}).get(level, {}).get("failure") == "" for m in found)
        for level in LEVELS
    }
    ratios = [ratio for m in found if (ratio := _ratio(results.get(m.name, {})))]
    sums = ", ".join(f"{passed[level]} of {len(found)} by `{level}`" for level in LEVELS[1:])
    lines = [
        "# The acceptance fleet",
        "",
        f"{len(found)} images (`fleet/*.yaml`), each with a check that uses it as its user would "
        "(`fleet/checks/`), in the closed image under bubblewrap. `make fleet` writes this page.",
        "",
        "- A cell holds packages and bytes: gzip layers summed, all essentials included, amd64.",
        f"- `packages` and `files` are closures by evidence. Checks passed: {sums}.",
        "- By Depends an image lacks what Debian takes for granted (Essential packages, which no package "
        "declares), so that not all would work; they are built for their sizes and not checked.",
        "- mmdebstrap: `--variant=minbase` with the same packages and no recommendations, compressed in the "
        "same way. ×: bytes by `packages` as a part of that"
        + (f"; the median of {len(ratios)} is {median(ratios):.3f}." if ratios else "."),
        "",
    ]
    return "\n".join(lines) + "\n"


def _ratio(rows: Mapping[str, Row], level: str = "packages") -> float:
    ours, theirs = rows.get(level, {}).get("bytes"), rows.get("peer", {}).get("bytes")
    return ours / theirs if ours and theirs else 0.0


def _rows(found: list[Member], results: Mapping[str, Mapping[str, Row]]) -> str:
    lines = []
    for kind in dict.fromkeys(member.kind for member in found):
        lines += [
            f"## {kind.replace('-', ' ').capitalize()}",
            "",
            "| image | by Depends | by `packages` | by `files` | mmdebstrap | × | checks |",
            "|---|---:|---:|---:|---:|---:|---|",
        ]
        for member in found:
            if member.kind == kind:
                lines.append(_cells(member, results.get(member.name, {})))
        lines.append("")
    return "\n".join(lines) + "\n"


def _cells(member: Member, rows: Mapping[str, Row]) -> str:
    cells = [member.name]
    for level in LEVELS:
        row = rows.get(level, {})
        cells.append(f"{row['packages']}, {row['bytes'] / 1e6:.1f} MB" if "packages" in row else "")
    theirs = rows.get("peer", {}).get("bytes")
    cells.append(f"{theirs / 1e6:.1f} MB" if theirs else "")
    ratio = _ratio(rows)
    cells.append(f"{ratio:.2f}" if ratio else "")
    failing = [level for level in LEVELS[1:] if rows.get(level, {}).get("failure")]
    known = [level for level in LEVELS[1:] if "failure" in rows.get(level, {})]
    cells.append("" if not known else f"not {', '.join(failing)}" if failing else "all")
    return f"| {' | '.join(cells)} |"


def _failures(found: list[Member], results: Mapping[str, Mapping[str, Row]]) -> str:
    lines = []
    for member in found:
        for level in LEVELS[1:]:
            row = results.get(member.name, {}).get(level, {})
            if row.get("failure"):
                said = [line for line in row["failure"].splitlines() if line.strip()]
                text = (said[0] if row["at"] == "build" else said[-1])[:160].replace("|", "/")
                lines.append(f"| {member.name} | {level} | {text} |")
    head = ["| image | closure | what was said |", "|---|---|---|"] if lines else ["Nothing."]
    return "\n".join(["## What does not pass", "", *head, *lines, "", ""])


def _recipes(found: list[Member], results: Mapping[str, Mapping[str, Row]]) -> str:
    from ramekin.closure import recipes

    counts: list[tuple[str, str, int]] = []
    everything = {name for m in found for name in results.get(m.name, {}).get("depends", {}).get("names", ())}
    kept = {name for m in found for name in results.get(m.name, {}).get("packages", {}).get("names", ())}
    with_recipe = {name for name in everything if recipes.recipe(name) is not None}
    kinds: Mapping[str, Callable[[Any], object]] = {
        "accounts (`users`, `groups`)": lambda r: r.users or r.groups,
        "folders (`directories`)": lambda r: r.directories,
        "files written or copied (`files`)": lambda r: r.files,
        "links (`links`)": lambda r: r.links,
        "owners and modes (`owners`)": lambda r: r.owners,
        "files taken out (`remove`)": lambda r: r.remove,
        "how the image starts (`image`)": lambda r: r.image != type(r.image)(),
        "only commands that are known to be needless (`covers`)": lambda r: (
            r.covers
            and not (r.users or r.groups or r.directories or r.files or r.links or r.owners or r.remove)
            and r.image == type(r.image)()
        ),
    }
    for title, has in kinds.items():
        mine = [name for name in with_recipe if has(recipes.recipe(name))]
        counts.append((title, "", len(mine)))
    unknown = sorted(
        {
            text
            for m in found
            for level in LEVELS
            for text in results.get(m.name, {}).get(level, {}).get("unknown", ())
        }
    )
    lines = [
        "## Recipes",
        "",
        f"The fleet's images hold {len(everything)} different packages by Depends and {len(kept)} by "
        f"evidence; {len(with_recipe)} of them have a recipe. A recipe may be of several kinds.",
        "",
        "| kind | packages |",
        "|---|---:|",
        *(f"| {title} | {count} |" for title, _, count in counts),
        f"| with a command that nothing covers | {len({text.partition(':')[0] for text in unknown})} |",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
