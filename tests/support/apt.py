"""apt asked as on an empty machine, without Recommends; nothing of this machine's own is touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def uris(folder: Path, names: Sequence[str], architecture: str) -> subprocess.CompletedProcess[str]:
    """What apt would fetch to install packages: a line a package. Its caches are in `folder`."""
    (folder / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::status": "/dev/null",
        "Dir::State::extended_states": "/dev/null",
        "Dir::Cache::archives": f"{folder}/archives",
        "Dir::Cache::pkgcache": f"{folder}/pkgcache.bin",
        "Dir::Cache::srcpkgcache": f"{folder}/srcpkgcache.bin",
        "Debug::NoLocking": "1",
        "Apt::Architectures": architecture,
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    command = ["apt-get", "install", "-qq", "-y", "--print-uris", "--no-install-recommends", *options, *names]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
