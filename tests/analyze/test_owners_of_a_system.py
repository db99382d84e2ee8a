"""Owners on an image of real content: packages of this machine's dpkg, of pip and of npm."""

from __future__ import annotations

import io
import subprocess
import sysconfig
import tarfile
from pathlib import Path

import pytest
from handmade import image_of, read
from support.containers import need

from ramekin.analyze.owners import owners
from ramekin.analyze.stack import stack
from ramekin.store.store import Store

PACKAGES = [
    "bash",
    "coreutils",
    "libc6",
    "perl-base",
    "dpkg",
    "apt",
    "tzdata",
    "ca-certificates",
    "base-files",
]
INFO = Path("/var/lib/dpkg/info")


def dpkg_layer() -> bytes:
    """What dpkg has of some packages, with its database."""
    out = io.BytesIO()
    paths: dict[str, None] = {}
    for package in PACKAGES:
        listed = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True)
        if listed.returncode == 0:
            paths.update(dict.fromkeys(listed.stdout.splitlines()))
            paths.update((str(path), None) for path in INFO.glob(f"{package}[.:]*"))
    status = subprocess.run(["dpkg-query", "-s", *PACKAGES], capture_output=True, text=True).stdout
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path in paths:
            if Path(path).is_file():
                archive.add(path, recursive=False)
        # made by tools of the packages when they are installed
        for path in [*Path("/etc/ssl/certs").glob("*.crt"), Path("/etc/ld.so.cache"), Path("/etc/passwd")]:
            if path.is_file():
                archive.add(path.resolve(), arcname=str(path).lstrip("/"))
        info = tarfile.TarInfo("var/lib/dpkg/status")
        info.size = len(status.encode())
        archive.addfile(info, io.BytesIO(status.encode()))
    return out.getvalue()


def folder_layer(folders: dict[Path, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for folder, name in folders.items():
            archive.add(folder, arcname=name)
    return out.getvalue()


@pytest.mark.runtime
def test_almost_every_byte_of_a_real_image_has_an_owner(store: Store) -> None:
    need("dpkg-query", "npm")
    site = Path(sysconfig.get_path("purelib"))
    chosen = {path: f"usr/lib/python3/site-packages/{path.name}" for path in site.glob("rich*")}
    chosen |= {path: f"usr/lib/python3/site-packages/{path.name}" for path in site.glob("pygments*")}
    assert chosen
    root = Path(subprocess.run(["npm", "root", "-g"], capture_output=True, text=True).stdout.strip())
    npm = {root.resolve() / "npm": "usr/lib/node_modules/npm"}
    tars = [dpkg_layer(), folder_layer(chosen), folder_layer(npm)]
    found = owners(stack(read(store, image_of(store, tars, compress=False))))
    size = dict.fromkeys(("dpkg", "python", "node"), 0)
    for package, part in zip(found.packages, found.owned, strict=True):
        size[package.system] += part.size
    assert all(part > 1_000_000 for part in size.values()), size
    owned = sum(size.values())
    assert owned / (owned + found.nobody.size) >= 0.97
