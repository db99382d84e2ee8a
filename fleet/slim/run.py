"""Slims every application and judges it before and after; writes docs/slim-applications.md.

    python fleet/slim/run.py                        all applications
    python fleet/slim/run.py django --level files   one of them, at one level
    python fleet/slim/run.py --scan                 ask package managers about images that are there
    python fleet/slim/run.py --table                write the page from what was found so far, run nothing

At `units` slimming sees what probes.yaml asks, which is `GET /` or one command; all checks of checks.yaml are
held back from it. `small` is `units` with en and fr (or the languages of app.yaml) alone and without byte
code. At `files` it is asked all checks that can be written as probes. What was found is kept in
.cache/slim-apps/results.json. The exit code is 1 when a check failed that the original passes, or when what
package managers list is not what is there (scan.py).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import build
import judge
import scan
import yaml
from build import CACHE, Application

ROOT = Path(__file__).resolve().parents[2]
RESULTS = CACHE / "results.json"
TABLE = ROOT / "docs" / "slim-applications.md"
METHODS = ("get", "post", "put", "delete", "head")
LEVELS = ("units", "small", "files")

HEADINGS = (
    "application",
    "before",
    "checks",
    "`units`",
    "checks",
    "`en,fr`",
    "checks",
    "`files`",
    "checks",
    "put back",
    "packages",
)

Row = dict[str, Any]


def slim(app: Application, level: str, *options: str) -> tuple[str, Row]:
    """Slim an application's image by the command; the new image's name and what the command said of it."""
    target = target_of(app, level)
    probes = app.home / "probes.yaml"
    words = [*app.settings.get("options", ())]
    if level == "files":
        probes = CACHE / "probes" / f"{app.name}.yaml"
        write_probes(app, probes)
        words += ["--level", "files"]
    if level == "small":
        words += ["--locales", ",".join(languages(app)), "--bytecode", "drop"]
    start = time.perf_counter()
    result = subprocess.run(
        [
            *(sys.executable, "-m", "ramekin", "slim", app.reference, "--output", target),
            *("--probe", str(probes), *words, *options, "--json"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    if result.returncode:
        return target, {"failure": result.stderr[-3000:], "seconds": seconds}
    said = json.loads(result.stdout)
    return target, {
        "failure": "",
        "seconds": seconds,
        "digest": said["digest"],
        "healed": sum(len(one["put_back"]) for one in said["rounds"]),
        "rounds": len(said["rounds"]),
    }


def target_of(app: Application, level: str) -> str:
    """The slim image's name."""
    return f"oci:{CACHE}/slim/{app.name}-{level}:slim"


def languages(app: Application) -> list[str]:
    """The languages that level `small` keeps."""
    found: list[str] = app.settings.get("languages", ["en", "fr"])
    return found


def judged(app: Application, reference: str, level: str = "") -> Row:
    """Size of an image, and which checks fail on it.

    Level `small` is not put checks in languages that it was not to keep, level `files` not those that its
    probes could not say.
    """
    checks = app.checks
    if level == "small":
        checks = [one for one in checks if one.get("language", "en") in languages(app)]
    if level == "files":
        checks = [one for one in checks if not one.get("alone")]
    with judge.laid_out(reference) as box:
        verdicts = list(judge.judge(checks, box, app.settings))
        failed = {one.check: one.reason for one in verdicts if not one.passed}
        return {"bytes": box.size, "checks": len(verdicts), "failed": failed}


def scanned(app: Application, target: str) -> Row:
    """What package managers list in the original and in the slim image, and what of that is not so."""
    with judge.laid_out(app.reference) as fat, judge.laid_out(target) as slim:
        found = scan.scan(slim.root, fat.root, target)
    return {"packages": [found.before, found.after], "untrue": [*found.wrong], "notes": [*found.notes]}


def write_probes(app: Application, path: Path) -> None:
    """The application's own probes and all its checks that probes can say, as a file for slimming."""
    document = yaml.safe_load((app.home / "probes.yaml").read_text())
    entrypoint = judge.configuration(app.reference)["config"].get("Entrypoint") or ()
    files = path.parent / app.name
    files.mkdir(parents=True, exist_ok=True)
    for number, check in enumerate(app.checks):
        taken: set[str] = set()
        for step in check.get("steps", [check]):
            if _wanted(step) & _takes(check) - taken:
                continue  # of what a command said, which probes do not take
            if probe := _probe(step, check["check"], f"s{number}", files, entrypoint):
                document["probes"].append(probe)
                taken |= set(step.get("take", ())) if "take" in probe else set()
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))


def _takes(check: Mapping[str, Any]) -> set[str]:
    return {name for step in check.get("steps", ()) for name in step.get("take", ())}


def _wanted(step: Mapping[str, Any]) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", json.dumps({k: v for k, v in step.items() if k != "take"})))


def _probe(
    step: Mapping[str, Any], name: str, session: str, files: Path, entrypoint: Sequence[str]
) -> Row | None:
    """One step of a check as a probe, or nothing when probes cannot say it; answers are judged elsewhere."""

    def spelled(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", rf"${{{session}_\1}}", value) if "{" in value else value
        if isinstance(value, list):
            return [spelled(item) for item in value]
        return {key: spelled(item) for key, item in value.items()} if isinstance(value, dict) else value

    if step.get("alone"):
        return None
    probe: Row = {"name": name}
    if "within" in step:
        probe["within"] = step["within"]
    method = next((word for word in METHODS if word in step), None)
    if "exec" in step or "run" in step:
        words = step.get("exec") or [*step.get("entrypoint", entrypoint), *step["run"]]
        probe |= {"run": [*map(str, words)], "env": step.get("env", {})}
        probe |= {"exit": step.get("exit", 0), "text": [str(text) for text in step.get("has", ())]}
        if "encoding" in step:
            octal = "".join(f"\\{byte:03o}" for byte in step["stdin"].encode(step["encoding"]))
            probe["run"] = ["sh", "-c", f"printf '{octal}' | {shlex.join(probe['run'])}"]
        elif "stdin" in step:
            probe["stdin"] = step["stdin"]
        return probe
    if method is None:
        return None
    probe |= {method: spelled(step[method]).replace(" ", "%20"), "session": session, "follow": False}
    probe["status"] = step.get("status", 200)
    for key in ("headers", "port", "tls", "json", "body"):
        if key in step:
            probe[key] = spelled(step[key])
    if "upload" in step:
        # the body is sent as it is; Django takes its token, which is new each time, from a header too
        fields = dict(step.get("form", {}))
        token = fields.pop("csrfmiddlewaretoken", None)
        body, kind = judge.multipart({**step, "form": fields})
        place = files / f"{session}.body"
        place.write_bytes(body)
        probe["file"] = str(place)
        probe["headers"] = {**probe.get("headers", {}), "Content-Type": kind}
        if token:
            probe["headers"]["X-CSRFToken"] = spelled(token)
    elif "form" in step:
        probe["form"] = spelled(step["form"])
    if "take" in step:
        probe["take"] = {f"{session}_{key}": {"pattern": pattern} for key, pattern in step["take"].items()}
    return probe


def keep(name: str, what: str, row: Row) -> None:
    """Put what was found beside what is known already."""
    with (CACHE / "results.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = load()
        known.setdefault(name, {})[what] = row
        fresh = RESULTS.with_suffix(".new")
        fresh.write_text(json.dumps(known, indent=1, sort_keys=True))
        fresh.replace(RESULTS)


def load() -> dict[str, dict[str, Row]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def table(known: Mapping[str, Mapping[str, Row]]) -> str:
    """The page of all applications."""
    lines = [
        "# Applications, slimmed",
        "",
        "`make slim-apps` builds these images by the Dockerfiles of `fleet/slim/`, slims them, and puts the",
        "checks of each to the image before and after, run by runc apart from Ramekin. Slimming sees one",
        "`GET /` or one command; the checks are held back from it. Sizes are bytes of files, uncompressed.",
        "`en,fr` is level `units` with two languages and without byte code; at `files` slimming is asked the",
        "checks as well. Packages are those that dpkg-query, pip, npm and RubyGems list before and at",
        "`units`: one is listed when, and only when, its files are there; records name the files that are",
        "there, by their digests; `dpkg --audit`, `dpkg --verify` and `npm ls` find nothing wrong.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name in sorted(known):
        app = Application(name)
        if not app.folder.exists():
            continue
        rows = known[name]
        cells = [f"**{name}**: {app.settings['what']}"]
        for what in ("fat", *LEVELS):
            row = rows.get(what, {})
            if "bytes" not in row:
                cells += ["failed" if row.get("failure") else "", ""]
                continue
            passed = row["checks"] - len(row["failed"])
            cells += [f"{row['bytes'] / 1e6:.1f} MB", f"{passed} of {row['checks']}"]
        cells.append(str(rows.get("units", {}).get("healed", "")))
        cells.append(_packages(rows.get("units", {})))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for name in sorted(known):
        note = Application(name).settings.get("note") if Application(name).folder.exists() else None
        if note:
            lines += [f"**{name}**: {note}", ""]
    lines.pop()
    return "\n".join(lines) + "\n"


def _packages(row: Row) -> str:
    """What package managers list before and after; what is not so is said as the number of untruths."""
    if "packages" not in row:
        return ""
    before, after = row["packages"]
    told = ", ".join(f"{name} {before[name]} → {after[name]}" for name in before)
    return f"{told} ({len(row['untrue'])} untrue)" if row["untrue"] else told


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="applications (default: all)")
    parser.add_argument("--level", action="append", choices=LEVELS, help="levels (default: all)")
    parser.add_argument("--table", action="store_true", help="write the page from what is known")
    parser.add_argument("--scan", action="store_true", help="ask package managers again, slim nothing")
    parser.add_argument("--again", action="store_true", help="judge the originals again")
    options = parser.parse_args()
    bad = 0
    if options.scan:
        for app in build.applications(options.names):
            bad += _scan_again(app, options.level or LEVELS)
        options.table = True
    for app in [] if options.table else build.applications(options.names):
        build.build(app)
        fat = load().get(app.name, {}).get("fat", {})
        key = f"{app.key} {hash_of(app)}"
        if options.again or fat.get("key") != key or fat["failed"]:
            fat = {**judged(app, app.reference), "key": key}
            keep(app.name, "fat", fat)
        _tell(app.name, "original", fat)
        for level in options.level or LEVELS:
            target, row = slim(app, level)
            if not row["failure"]:
                row |= judged(app, target, level) | scanned(app, target)
                broken = set(row["failed"]) - set(fat["failed"])
                bad += bool(broken or row["untrue"])
            bad += bool(row["failure"])
            keep(app.name, level, row)
            _tell(app.name, level, row)
    TABLE.write_text(table(load()))
    sys.exit(1 if bad else 0)


def _scan_again(app: Application, levels: Sequence[str]) -> int:
    """Scan the slim images of an application that are there; how many are not as package managers say."""
    bad = 0
    for level in levels:
        row = load().get(app.name, {}).get(level, {})
        if "digest" in row:
            row |= scanned(app, target_of(app, level))
            keep(app.name, level, row)
            _tell(app.name, level, row)
            bad += bool(row["untrue"])
    return bad


def hash_of(app: Application) -> str:
    """Names what an image is judged by."""
    import hashlib

    texts = [app.home.joinpath("checks.yaml").read_bytes(), app.folder.joinpath("app.yaml").read_bytes()]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


def _tell(name: str, what: str, row: Row) -> None:
    if row.get("failure"):
        print(f"{name:12}{what:10}{row['failure']}", flush=True)
        return
    passed = row["checks"] - len(row["failed"])
    seconds = f"{row['seconds']:6.1f} s" if "seconds" in row else ""
    print(
        f"{name:12}{what:10}{row['bytes'] / 1e6:8.2f} MB  {passed} of {row['checks']}  {seconds}", flush=True
    )
    for check, reason in row["failed"].items():
        print(f"    {check}: {reason[:600]}", flush=True)
    if told := _packages(row):
        print(f"    {told}", flush=True)
    for text in row.get("untrue", ()):
        print(f"    {text}", flush=True)


if __name__ == "__main__":
    main()
