"""Builds the images of this folder's applications as their users would, with no daemon.

    python fleet/slim/build.py django redis    into .cache/slim-apps/NAME, an OCI layout
    python fleet/slim/build.py                 all of them

Each application is a folder with a Dockerfile. Its base is made by mmdebstrap (bases.yaml), the rest by
buildah with a layer an instruction. Python's and Node's packages are fetched before, into
.cache/slim-apps/wheels and .cache/slim-apps/npm, by the versions that the application pins, and are seen in
the build at /wheels and /npm. What has not changed since it was built is not built again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "slim-apps"
SUITE = "bookworm"
PROGRAMS = ("mmdebstrap", "buildah")
PIN = "Package: usrmerge\\nPin: version *\\nPin-Priority: -1\\n"
TIME = "1735689600"
"""Seconds since the epoch that files of upper layers are dated with, so that a build can be repeated."""


@dataclass(frozen=True)
class Application:
    """A folder with a Dockerfile, settings in app.yaml, probes.yaml (what slimming sees) and checks.yaml.

    One that is `like` another has all but the first two from there.
    """

    name: str

    @property
    def folder(self) -> Path:
        return HERE / self.name

    @property
    def home(self) -> Path:
        """The folder of what it has from another application, or its own."""
        return HERE / str(self.settings.get("like", self.name))

    @property
    def layout(self) -> Path:
        """The OCI layout of the image once it is built; its tag is `fat`."""
        return CACHE / self.name

    @property
    def reference(self) -> str:
        """As ramekin and skopeo name the built image."""
        return f"oci:{self.layout}:fat"

    @cached_property
    def settings(self) -> dict[str, Any]:
        document: dict[str, Any] = yaml.safe_load((self.folder / "app.yaml").read_text())
        return document

    @cached_property
    def checks(self) -> list[dict[str, Any]]:
        document: list[dict[str, Any]] = yaml.safe_load((self.home / "checks.yaml").read_text())
        return document

    @property
    def bases(self) -> list[str]:
        """The bases that the Dockerfile's stages start from."""
        lines = (self.folder / "Dockerfile").read_text().splitlines()
        return sorted({line.split()[1][10:] for line in lines if line.startswith("FROM localhost/")})

    @property
    def key(self) -> str:
        """Names the content of everything that the image is built from, but for what the archive holds."""
        hashed = hashlib.sha256((HERE / "bases.yaml").read_bytes() + (HERE / "docker-clean").read_bytes())
        hashed.update(TIME.encode())
        for place, path in self.sources.items():
            hashed.update(f"{place}\0{path.stat().st_mode & 0o111}\0".encode())
            hashed.update(hashlib.sha256(path.read_bytes()).digest())
        return hashed.hexdigest()

    @property
    def sources(self) -> dict[str, Path]:
        """The files that make the image, by their names in the build; probes, checks and settings do not."""
        found = {str(path.relative_to(self.home)): path for path in _sources(self.home)}
        return found | {str(path.relative_to(self.folder)): path for path in _sources(self.folder)}


def applications(names: Sequence[str] = ()) -> list[Application]:
    """All applications of this folder by name, or those of `names` in their order."""
    known = sorted(path.parent.name for path in HERE.glob("*/Dockerfile"))
    unknown = set(names) - set(known)
    assert not unknown, f"there is no application {', '.join(sorted(unknown))}; there are {', '.join(known)}"
    return [Application(name) for name in names or known]


def _sources(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        made = {"__pycache__", "node_modules"}.intersection(path.parts)
        if path.is_file() and not made and path.name not in ("probes.yaml", "checks.yaml", "app.yaml"):
            yield path


def build(app: Application) -> Path:
    """The layout of the application's image; built when it or its sources are new."""
    CACHE.mkdir(parents=True, exist_ok=True)
    stamp = app.layout.with_suffix(".key")
    with _alone(app.name):
        if app.layout.exists() and stamp.exists() and stamp.read_text() == app.key:
            return app.layout
        for base in app.bases:
            _base(base)
        context = CACHE / "contexts" / app.name
        shutil.rmtree(context, ignore_errors=True)
        for name, path in app.sources.items():
            place = context / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        volumes = [f"{_wheels(app)}:/wheels:ro", f"{_npm(app)}:/npm:ro"]
        with _alone("storage"):
            _run(
                *_bud(),
                *("--pull-never", "--network", "host"),
                *(word for volume in volumes for word in ("--volume", volume)),
                *("--tag", f"localhost/{app.name}", "--file", str(context / "Dockerfile"), str(context)),
            )
            shutil.rmtree(app.layout, ignore_errors=True)
            _run(*_buildah(), "push", "--quiet", f"localhost/{app.name}", app.reference)
        stamp.write_text(app.key)
    return app.layout


def _base(name: str) -> None:
    """Have the base in buildah's storage."""
    with _alone(f"base-{name}"):
        archive = CACHE / "bases" / f"{name}.tar"
        if not archive.exists():
            archive.parent.mkdir(exist_ok=True)
            fresh = archive.with_suffix(".new")
            _run(*_mmdebstrap(yaml.safe_load((HERE / "bases.yaml").read_text())[name], fresh))
            fresh.replace(archive)
        known = subprocess.run([*_buildah(), "images", "--quiet", f"localhost/{name}"], capture_output=True)
        if known.returncode == 0 and known.stdout.strip():
            return
        recipe = archive.with_suffix(".Dockerfile")
        recipe.write_text(f'FROM scratch\nADD {archive.name} /\nCMD ["bash"]\n')
        with _alone("storage"):
            _run(
                *_bud(),
                *("--tag", f"localhost/{name}", "--file", str(recipe), str(archive.parent)),
            )


def _mmdebstrap(base: dict[str, Any], target: Path) -> list[str]:
    """The command line that makes a base from this machine's apt configuration."""
    mode = "root" if os.getuid() == 0 else "unshare"
    sources = Path("/etc/apt/sources.list.d")
    preferences = '"$1"/etc/apt/preferences.d'
    return [
        *("mmdebstrap", "--quiet", f"--mode={mode}", "--variant=minbase", "--format=tar"),
        *("--dpkgopt=force-unsafe-io", f"--include={','.join(base['packages'])}"),
        *(f"--dpkgopt=path-exclude={glob}" for glob in base.get("exclude", ())),
        *(f"--dpkgopt=path-include={glob}" for glob in base.get("include", ())),
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        # of the two packages that do, the one that needs Perl is not in images of this name
        f"--setup-hook=mkdir -p {preferences}; printf '{PIN}' >{preferences}/usrmerge",
        f"--customize-hook=rm {preferences}/usrmerge",
        f"--customize-hook=copy-in {HERE / 'docker-clean'} /etc/apt/apt.conf.d",
        '--customize-hook=rm -f "$1"/var/cache/apt/*.bin',
        *(SUITE, str(target)),
        *sorted(map(str, sources.glob("*.sources"))),
        *sorted(map(str, sources.glob("*.list"))),
    ]


def _wheels(app: Application) -> Path:
    """A folder with the wheels that requirements.txt pins; empty when the application has none."""
    wheels = CACHE / "wheels" / app.name
    wheels.mkdir(parents=True, exist_ok=True)
    wanted = app.folder / "requirements.txt"
    if wanted.exists():
        platforms = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
        _run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--requirement", str(wanted)),
            *("--dest", str(wheels), "--only-binary", ":all:", "--python-version", "3.11"),
            *("--implementation", "cp", *(f"--platform={platform}" for platform in platforms)),
        )
    return wheels


def _npm(app: Application) -> Path:
    """A folder with node_modules as each package-lock.json pins them, that of a folder in one of its name."""
    target = CACHE / "npm" / app.home.name
    target.mkdir(parents=True, exist_ok=True)
    for name, lock in app.sources.items():
        if lock.name == "package-lock.json":
            folder = target / Path(name).parent
            folder.mkdir(exist_ok=True)
            for path in (lock, lock.with_name("package.json")):
                shutil.copy(path, folder)
            _run("npm", "ci", "--ignore-scripts", "--omit=optional", "--prefix", str(folder))
    return target


def _buildah() -> list[str]:
    storage = CACHE / "storage"
    return ["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run")]


def _bud() -> list[str]:
    """The command that builds a Dockerfile into the storage, a layer an instruction, the same every time."""
    words = ["bud", "--isolation", "chroot", "--layers", "--force-rm", "--timestamp", TIME, "--format", "oci"]
    return [*_buildah(), *words]


def _run(*command: str) -> None:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process at a time does what has this name."""
    locks = CACHE / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="applications (default: all)")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} must be installed: apt-get install {' '.join(missing)}")
    for app in applications(parser.parse_args().names):
        print(app.name, build(app), flush=True)


if __name__ == "__main__":
    main()
