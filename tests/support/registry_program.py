"""Debian's docker-registry as a peer: a real registry on loopback.

with registry(tmp_path) as host:          # "127.0.0.1:40123"
    ramekin("copy", "oci:…", f"docker://{host}/a:1")
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.containers import free_port, need, stop, wait_for_port


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry whose blobs lie below `folder`; yields its host and port."""
    need("docker-registry")
    port = free_port()
    settings = folder / "registry.yml"
    settings.write_text(
        f"""\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder / "registry"}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""
    )
    log = folder / "registry.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_port(port, process, log)
        yield f"127.0.0.1:{port}"
    finally:
        stop(process)
