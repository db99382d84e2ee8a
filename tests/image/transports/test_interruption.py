"""Ctrl-C while a registry keeps everyone waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import samples
from support.fake_registry import FakeRegistry

from ramekin.image import transports
from ramekin.image.reference import parse
from ramekin.image.tree import Tree, file
from ramekin.store.store import Store


@pytest.mark.parametrize("target", ["oci:{}/web", "oci-archive:{}/web.tar", "dir:{}/web", "rootfs:{}/web"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_pull_ends_at_once_and_leaves_nothing(target: str, sent: signal.Signals, tmp_path: Path) -> None:
    layers = [Tree([file(f"noise{number}", samples.noise(1 << 20, number))]) for number in range(4)]
    image = samples.image(Store.at(tmp_path / "store"), layers)
    folder = tmp_path / "targets"
    folder.mkdir()
    with FakeRegistry() as registry:
        source = f"docker://{registry.host}/team/web:1"
        transports.write(image, parse(source))
        registry.fail(
            lambda seen: seen.method == "GET" and "/blobs/" in seen.path,
            cut_after=700_000,
            stall=True,
            times=9,
        )
        command = [sys.executable, "-m", "ramekin", "copy", source, target.format(folder), "--jobs", "3"]
        process = subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 30
        while not registry.count("GET", "/blobs/") and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        since = time.monotonic()
        process.send_signal(sent)
        _, errors = process.communicate(timeout=30)
    assert time.monotonic() - since < 20
    assert process.returncode == 128 + sent
    assert "Traceback" not in errors
    assert list(folder.rglob("*")) == []
