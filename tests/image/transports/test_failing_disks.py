"""Full and read-only disks, and processes that are killed, leave what was there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import samples

from ramekin.errors import RamekinError
from ramekin.image import transports
from ramekin.image.image import Image
from ramekin.image.reference import parse
from ramekin.image.transports.layout import Layout
from ramekin.image.tree import Tree, file
from ramekin.image.validate import validate
from ramekin.store.store import Store

TRANSPORTS = ["oci", "oci-archive", "docker-archive", "rootfs", "dir"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> Image:
    return samples.image(store, [samples.BASE, Tree([file("noise", samples.noise(4 << 20))])])


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A small disk of its own; the test is skipped where none can be mounted."""
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_full_disk_is_named_and_left_empty(image: Image, tmp_path: Path, transport: str) -> None:
    with disk(tmp_path / "disk", "size=1m") as folder:
        with pytest.raises(RamekinError) as caught:
            transports.write(image, parse(f"{transport}:{folder}/web"))
        assert "no space left" in caught.value.message.lower()
        assert "space" in (caught.value.hint or "")
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_read_only_disk_is_named(image: Image, tmp_path: Path, transport: str) -> None:
    with (
        disk(tmp_path / "disk", "size=1m,ro") as folder,
        pytest.raises(RamekinError, match=r"(?i)read-only file system"),
    ):
        transports.write(image, parse(f"{transport}:{folder}/web"))


KEEPS_WRITING = """
import dataclasses
import sys
from support import samples
from ramekin.image import transports
from ramekin.image.reference import parse
from ramekin.image.tree import Tree, file
from ramekin.store.store import Store

class Plain:
    def __init__(self, store):
        self.open = store.open

store = Store.at(sys.argv[1])
print("ready", flush=True)
for number in range(10_000):
    image = samples.image(store, [Tree([file("noise", samples.noise(100_000, number))])])
    # as from another place than a store, so that all bytes are written
    image = dataclasses.replace(image, blobs=Plain(image.blobs))
    transports.write(image, parse(f"oci:{sys.argv[2]}:{number % 3}"))
"""


def test_a_writer_that_is_killed_leaves_a_whole_layout(image: Image, store: Store, tmp_path: Path) -> None:
    root = tmp_path / "web"
    transports.write(image, parse(f"oci:{root}:old"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    choose = random.Random(7)
    for _ in range(5):
        command = [sys.executable, "-c", KEEPS_WRITING, str(tmp_path / "other"), str(root)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(choose.uniform(0.01, 0.2))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        for entry in Layout(root).index().manifests:
            with transports.read(parse(f"oci:{root}@{entry.digest}")) as found:
                assert validate(found) == []
    transports.write(image, parse(f"oci:{root}:new"))
    assert not list(root.rglob(".ramekin-*"))
