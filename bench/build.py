"""How long builds take, what they hold in memory and how large the images are, beside mmdebstrap.

    python bench/build.py                   all measurements, as a Markdown table on standard output
    python bench/build.py --runs 5 --check  more runs; the exit code is 1 when a limit is not kept

Both programs read the same packages from the same local archive: the closure of each image, fetched once
from the machine's Debian archive and published in a folder with apt-ftparchive and a key made here. Every
cold run of Ramekin has a store that does not exist, so it verifies the archive's signature, reads its
indexes, resolves, unpacks, slices, lays out and compresses layer by layer. mmdebstrap's `extract` variant
resolves and unpacks, and does nothing else. Runs alternate, and figures are medians.

Needs mmdebstrap, apt-utils and gnupg; as another user than root mmdebstrap runs in a user namespace.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / ".cache" / "store"
"""The store in which packages stay between benchmarks; no measured run uses it."""

REDIS = ["redis-server"]
ADDED = ["busybox", "sqlite3", "perl-base", "git"]
"""Packages to add to a warm redis-server, from small to large."""
JAVA = ["openjdk-17-jre-headless"]
MANY = [
    *(
        "redis-server",
        "nginx",
        "memcached",
        "curl",
        "ruby",
        "php-cli",
        "sqlite3",
        "git",
        "busybox",
        "python3",
    ),
    *("rsync", "tmux", "socat", "strace", "lsof", "jq", "haproxy", "tcpdump", "python3-flask"),
    *("python3-django", "python3-requests", "python3-psycopg2", "bind9-dnsutils"),
]
"""Programs of all kinds, none of which outweighs the rest."""


@dataclass(frozen=True)
class Cost:
    """What one process took: wall-clock and processor seconds, and the most bytes it held."""

    wall: float
    cpu: float
    peak: int


_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPYCACHEPREFIX": str(ROOT / ".cache" / "bench" / "bytecode"),
}
"""Byte code is at hand, as it is where a package was installed."""


def measure(command: Sequence[str | Path], env: Mapping[str, str] = {}) -> Cost:
    """Run a command to its end; its output is shown when it fails."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)),
            env={**_ENVIRONMENT, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")
            sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{text}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)


def ramekin(*words: str | Path) -> list[str | Path]:
    script = Path(sys.executable).parent / "ramekin"
    return [script, *words] if script.exists() else [sys.executable, "-m", "ramekin", *words]


@dataclass(frozen=True)
class LocalArchive:
    """The closures of some requests as a signed archive in a folder."""

    folder: Path
    packages: tuple[dict[str, object], ...]

    @classmethod
    def publish(cls, folder: Path, *requests: Sequence[str]) -> LocalArchive:
        """Fetch what `requests` need, each for itself, and publish it below `folder`."""
        found: dict[str, dict[str, object]] = {}
        for number, request in enumerate(requests):
            lock = folder / f"lock-{number}.json"
            lock.parent.mkdir(parents=True, exist_ok=True)
            image = folder / "fetched"
            measure(ramekin("build", *request, "--lock", lock, "-o", f"oci:{image}", "--store", PACKAGES))
            shutil.rmtree(image)
            for package in _pinned(json.loads(lock.read_text())):
                found[str(package["sha256"])] = package
        pool = folder / "archive" / "pool"
        pool.mkdir(parents=True)
        for digest, package in found.items():
            blob = PACKAGES / "blobs" / "sha256" / digest[:2] / digest
            name = "{name}_{version}_{architecture}.deb".format(**package).replace(":", "%3a")
            shutil.copy(blob, pool / name)
        archive = cls(folder, tuple(found.values()))
        archive._index()
        return archive

    @property
    def root(self) -> Path:
        return self.folder / "archive"

    @property
    def key(self) -> Path:
        return self.folder / "key.gpg"

    def _index(self) -> None:
        architecture = _text("dpkg", "--print-architecture").strip()
        lists = self.root / "dists" / "bookworm" / "main" / f"binary-{architecture}"
        lists.mkdir(parents=True)
        (lists / "Packages").write_text(_text("apt-ftparchive", "packages", "pool", cwd=self.root))
        _text("xz", "--keep", lists / "Packages")
        fields = {
            "Codename": "bookworm",
            "Suite": "stable",
            "Components": "main",
            "Architectures": architecture,
        }
        options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in fields.items()]
        dists = self.root / "dists" / "bookworm"
        release = _text("apt-ftparchive", *options, "release", ".", cwd=dists)
        (dists / "Release").write_text(release)
        home = self.folder / "gnupg"
        home.mkdir(mode=0o700)
        gpg: list[str | Path] = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
        _text(*gpg, "--quick-generate-key", "Benchmark <benchmark@example.org>", "ed25519", "sign", "1d")
        self.key.write_bytes(
            subprocess.run([*map(str, gpg), "--export"], check=True, capture_output=True).stdout
        )
        _text(*gpg, "--clear-sign", "--output", dists / "InRelease", dists / "Release")
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=False)
        apt = self.folder / "apt" / "sources.list.d"
        apt.mkdir(parents=True)
        (apt / "local.list").write_text(f"deb [signed-by={self.key}] file:{self.root} bookworm main\n")
        (self.folder / "apt.conf").write_text(f'Dir::Etc "{self.folder}/apt";\n')

    def build(self, request: Sequence[str], store: Path, target: Path) -> Cost:
        """Ramekin: from packages to an OCI layout with gzip layers."""
        words = ["build", *request, "--source", "debian:bookworm"]
        return measure(
            ramekin(*words, "-o", f"oci:{target}", "--store", store),
            {"APT_CONFIG": str(self.folder / "apt.conf")},
        )

    def extract(self, request: Sequence[str], target: Path) -> Cost:
        """mmdebstrap: from packages to a folder, or to an archive by `target`'s suffix."""
        mode = "root" if os.getuid() == 0 else "unshare"
        return measure(
            [
                *("mmdebstrap", "--quiet", f"--mode={mode}", "--variant=extract"),
                *(f"--include={','.join(request)}", "bookworm", target),
                f"deb [signed-by={self.key}] copy:{self.root} bookworm main",
            ]
        )


def _pinned(document: object) -> list[dict[str, object]]:
    """The packages of a lock file."""
    if isinstance(document, dict):
        if "sha256" in document:
            return [document]
        return [package for value in document.values() for package in _pinned(value)]
    if isinstance(document, list):
        return [package for value in document for package in _pinned(value)]
    return []


def _text(*command: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run(
        list(map(str, command)), cwd=cwd, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def median(costs: Sequence[Cost]) -> float:
    return statistics.median(cost.wall for cost in costs)


def remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def alternate(runs: int, *actions: Callable[[], Cost]) -> list[list[Cost]]:
    """The costs of each action, run in turn; the first round only warms the page cache."""
    costs: list[list[Cost]] = [[] for _ in actions]
    for number in range(runs + 1):
        for action, found in zip(actions, costs, strict=True):
            cost = action()
            if number:
                found.append(cost)
    return costs


@dataclass(frozen=True)
class Row:
    """One line of the report. `limit` None means that the figure is told and not judged."""

    what: str
    figure: float
    unit: str
    limit: float | None = None

    @property
    def kept(self) -> bool:
        return self.limit is None or self.figure <= self.limit

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"{self.limit:g} {self.unit}{'' if self.kept else ' (missed)'}"
        return f"| {self.what} | {self.figure:.2f} {self.unit} | {limit} |"


@dataclass
class Bench:
    runs: int
    folder: Path
    rows: list[Row] = field(default_factory=list)

    def say(self, what: str, figure: float, unit: str, limit: float | None = None) -> None:
        self.rows.append(Row(what, figure, unit, limit))
        print(self.rows[-1], file=sys.stderr)

    def cold(self, archive: LocalArchive, request: Sequence[str], name: str, limit: float | None) -> float:
        """Ramekin with an empty store against mmdebstrap; gives Ramekin's seconds."""
        store, target = self.folder / "cold-store", self.folder / "cold-image"
        folder, tar = self.folder / "extracted", self.folder / "extracted.tar.gz"

        def ours() -> Cost:
            remove(store, target)
            return archive.build(request, store, target)

        def theirs(place: Path) -> Callable[[], Cost]:
            def extract() -> Cost:
                remove(folder, tar)
                return archive.extract(request, place)

            return extract

        mine, plain, packed = alternate(self.runs, ours, theirs(folder), theirs(tar))
        self.say(f"{name}, cold: ramekin", median(mine), "s")
        self.say(f"{name}: mmdebstrap into a folder", median(plain), "s")
        self.say(f"{name}: mmdebstrap into a .tar.gz", median(packed), "s")
        self.say(
            f"{name}, cold: ramekin / mmdebstrap into a folder", median(mine) / median(plain), "×", limit
        )
        self.say(
            f"{name}, cold: ramekin / mmdebstrap into a .tar.gz", median(mine) / median(packed), "×", limit
        )
        self.say(f"{name}, cold: ramekin's processor time", statistics.median(c.cpu for c in mine), "s")
        self.say(f"{name}: mmdebstrap's processor time", statistics.median(c.cpu for c in plain), "s")
        self.say(f"{name}, cold: peak memory", max(cost.peak for cost in mine) / 1e6, "MB", 300)
        return median(mine)

    def redis(self) -> None:
        archive = LocalArchive.publish(self.folder / "redis", REDIS, *([*REDIS, added] for added in ADDED))
        cold = self.cold(archive, REDIS, "redis-server", 0.5)
        store, target = self.folder / "warm-store", self.folder / "warm-image"
        archive.build(REDIS, store, target)
        self.say("redis-server: gzip layers", _layers(target) / 1e6, "MB", 14)
        declared = self.folder / "declared-image"
        archive.build([*REDIS, "--closure", "depends"], self.folder / "declared-store", declared)
        self.say("redis-server by Depends: gzip layers", _layers(declared) / 1e6, "MB", 14)
        warm, start = alternate(
            max(self.runs, 5),
            lambda: archive.build(REDIS, store, target),
            lambda: measure(ramekin("--version")),
        )
        self.say("redis-server, warm: whole process", median(warm), "s", 0.5)
        self.say("start-up: ramekin --version", median(start), "s", 0.15)
        self.say("redis-server, warm: peak memory", max(cost.peak for cost in warm) / 1e6, "MB")
        self._added(archive, store, median(warm), cold)

    def _added(self, archive: LocalArchive, store: Path, warm: float, cold: float) -> None:
        """Adding packages to a warm image costs what those packages cost alone."""
        copy, target = self.folder / "copied-store", self.folder / "added-image"
        alone = self.folder / "alone-store"
        for name in ADDED:

            def added(name: str = name) -> Cost:
                remove(copy, target)
                shutil.copytree(store, copy)
                return archive.build([*REDIS, name], copy, target)

            def by_itself(name: str = name) -> Cost:
                remove(alone, target)
                return archive.build([name], alone, target)

            more, whole = alternate(self.runs, added, by_itself)
            self.say(f"adding {name} to a warm redis-server, beyond the warm build", median(more) - warm, "s")
            self.say(f"{name} by itself, cold", median(whole), "s")
            self.say(f"adding {name} / a cold build of both", median(more) / (cold + median(whole)), "×")

    def java(self) -> None:
        archive = LocalArchive.publish(self.folder / "java", JAVA)
        self.cold(archive, JAVA, "openjdk-17-jre-headless", None)

    def many(self) -> None:
        archive = LocalArchive.publish(self.folder / "many", MANY)
        self.cold(archive, MANY, f"{len(archive.packages)} packages", 0.5)


def _layers(layout: Path) -> int:
    """Bytes of all layers of the image in a layout."""

    def document(digest: str) -> Any:
        return json.loads((layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text())

    entries = json.loads((layout / "index.json").read_text())["manifests"]
    entry = next(e for e in entries if "org.opencontainers.image.ref.name" in e.get("annotations", {}))
    return sum(int(layer["size"]) for layer in document(entry["digest"])["layers"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="measured runs of each (default: 3)")
    parser.add_argument("--only", choices=["redis", "java", "many"], action="append")
    parser.add_argument("--check", action="store_true", help="end with 1 when a limit is not kept")
    options = parser.parse_args()
    for program in ("mmdebstrap", "apt-ftparchive", "gpg", "xz"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is needed: apt-get install mmdebstrap apt-utils gnupg xz-utils")
    work = ROOT / ".cache" / "bench"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, ignore_cleanup_errors=True) as folder:
        # mmdebstrap's user namespace must be able to read it
        Path(folder).chmod(0o755)
        bench = Bench(options.runs, Path(folder))
        for part in options.only or ["redis", "java", "many"]:
            getattr(bench, part)()
    print(f"Medians of {options.runs} alternating runs on {os.cpu_count()} processors, {platform.machine()},")
    print(f"Python {platform.python_version()}, {_text('mmdebstrap', '--version').strip()}.\n")
    print("| measured | figure | limit |\n|---|---:|---:|")
    print("\n".join(map(str, bench.rows)))
    if options.check and not all(row.kept for row in bench.rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
