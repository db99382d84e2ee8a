"""What was acknowledged is there after the server was killed, and nothing half done shows; a full disk."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.containers import free_port
from support.ramekin_registry import MANIFEST, Client, Direct, Served, digest_of, image, serving

KILLS = int(os.environ.get("RAMEKIN_KILLS", "12"))
"""How often the server is killed; `RAMEKIN_KILLS=200` for a thorough run."""

pytestmark = pytest.mark.runtime

Gone = (OSError, http.client.HTTPException)


class Pusher(threading.Thread):
    """A client that pushes until the server is gone, and remembers what was acknowledged."""

    def __init__(self, registry: Served, name: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.registry, self.name_, self.chance = registry, name, random.Random(seed)
        self.blobs: set[str] = set()
        self.manifests: dict[str, bytes] = {}
        self.tags: dict[str, set[str]] = {}
        self.uploads: dict[str, bytes] = {}
        self.refused: list[object] = []
        self.count = 0

    def run(self) -> None:
        try:
            while True:
                self.step()
        except Gone:
            return

    def step(self) -> None:
        self.count += 1
        name, chance = self.name_, self.chance
        layer = b"%d " % chance.randrange(10**9) * chance.choice((1, 1000, 60_000))
        if chance.random() < 0.3:
            location = self.registry.begin(name)
            self.uploads[location] = b""
            for part in (layer[: len(layer) // 2], layer[len(layer) // 2 :]):
                reply = self.registry.patch(location, part)
                if reply.status == 202:
                    self.uploads[location] += part
            return
        for data in (b"{}", layer):
            self.blobs.add(self.registry.push_blob(name, data))
        manifest = image(layer)
        tag = f"t{chance.randrange(3)}"
        # until it is acknowledged, the tag may be the old one or the new one
        known = self.tags.setdefault(tag, {""})
        known.add(digest_of(manifest))
        reply = self.registry.put(f"/v2/{name}/manifests/{tag}", manifest, content_type=MANIFEST)
        if reply.status != 201:
            self.refused.append(reply)
            return
        self.manifests[digest_of(manifest)] = manifest
        self.tags[tag] = {digest_of(manifest)}


def check(registry: Client, pusher: Pusher) -> None:
    """All that was acknowledged is there and whole, and nothing else shows."""
    name = pusher.name_
    assert pusher.refused == []
    for digest in pusher.blobs:
        reply = registry.get(f"/v2/{name}/blobs/{digest}")
        assert (reply.status, digest_of(reply.body)) == (200, digest)
    for digest, manifest in pusher.manifests.items():
        assert registry.get(f"/v2/{name}/manifests/{digest}").body == manifest
    for tag, possible in pusher.tags.items():
        reply = registry.get(f"/v2/{name}/manifests/{tag}")
        found = reply.headers.get("docker-content-digest", "")
        assert found in possible
        if reply.status == 200:
            assert digest_of(reply.body) == found
    for location, data in pusher.uploads.items():
        reply = registry.get(location)
        assert reply.status == 204
        has = int(reply.headers["range"].rpartition("-")[2]) + 1
        assert has >= len(data)
        if data and has == len(data):
            assert registry.put(f"{location}?digest={digest_of(data)}").status == 201


def whole(store: Path) -> None:
    """Every blob in the store is what its name says."""
    for path in (store / "blobs").rglob("?" * 64):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_killed_at_random_points_it_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    pushers: list[Pusher] = []
    for kill in range(KILLS):
        with serving(tmp_path) as registry:
            for old in pushers:
                check(registry, old)
            pushers = [Pusher(registry, f"r{kill}-{number}", chance.randrange(10**9)) for number in range(3)]
            for pusher in pushers:
                pusher.start()
            time.sleep(chance.uniform(0.05, 0.6))
            registry.kill()
            for pusher in pushers:
                pusher.join(20)
        whole(Path(registry.store))
    with Direct(tmp_path / "store") as direct:
        for old in pushers:
            check(direct, old)
    assert sum(pusher.count for pusher in pushers) > 0, f"seed {seed}"


def test_an_upload_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    port = free_port()
    with serving(tmp_path, port=port) as registry:
        location = registry.begin("a")
        registry.patch(location, data[:100_000])
        registry.kill()
    with serving(tmp_path, port=port) as registry:
        assert registry.get(location).headers["range"] == "0-99999"
        reply = registry.patch(location, data[100_000:], content_range="100000-299999")
        assert reply.status == 202
        assert registry.put(f"{location}?digest={digest_of(data)}").status == 201
        assert registry.get(f"/v2/a/blobs/{digest_of(data)}").body == data


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own; the test is skipped where none may be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_full_disk_it_says_so_and_serves_pulls(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk, Direct(disk / "store") as registry:
        digest, manifest = registry.push_image("a", "v1", b"x" * 1_000_000)
        big = os.urandom(9_000_000)
        reply = registry.post(f"/v2/a/blobs/uploads/?digest={digest_of(big)}", big)
        assert (reply.status, reply.code) == (507, "UNAVAILABLE")
        location = registry.begin("a")
        assert registry.patch(location, big).status == 507
        refused = 0
        for number in range(30):
            more = os.urandom(600_000)
            reply = registry.post(f"/v2/a/blobs/uploads/?digest={digest_of(more)}", more)
            assert reply.status in (201, 507)
            refused += reply.status == 507
            reply = registry.put(
                f"/v2/a/manifests/t{number}", manifest + b" " * 100_000, content_type=MANIFEST
            )
            assert reply.status in (201, 507)
        assert refused
        assert registry.get("/v2/a/manifests/v1").body == manifest
        assert registry.get(f"/v2/a/manifests/{digest}").body == manifest
        assert registry.get(f"/v2/a/blobs/{digest_of(b'x' * 1_000_000)}").body == b"x" * 1_000_000
        whole(disk / "store")
        # with room again, it goes on
        assert registry.delete(location).status == 204
        assert registry.push_blob("a", b"small")


def test_it_stops_when_told_after_pulls_have_finished(tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 64
    with serving(tmp_path) as registry:
        digest = registry.push_blob("a", data)
        connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)
        connection.request("GET", f"/v2/a/blobs/{digest}")
        response = connection.getresponse()
        first = response.read(1000)
        registry.process.terminate()
        time.sleep(1.0)
        assert digest_of(first + response.read()) == digest
        connection.close()
        assert registry.process.wait(20) == 0


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    with serving(tmp_path, {"workers": 2}) as registry:
        registry.push_image("a", "v1", b"1")
        children = (
            Path(f"/proc/{registry.process.pid}/task/{registry.process.pid}/children").read_text().split()
        )
        assert len(children) >= 2
        registry.process.kill()
        registry.process.wait()
        deadline = time.monotonic() + 15
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    with serving(tmp_path, {"workers": 2}) as registry:
        children = (
            Path(f"/proc/{registry.process.pid}/task/{registry.process.pid}/children").read_text().split()
        )
        os.kill(int(children[-1]), 9)
        deadline = time.monotonic() + 20
        while True:
            try:
                assert registry.get("/healthz").status == 200
                now = (
                    Path(f"/proc/{registry.process.pid}/task/{registry.process.pid}/children")
                    .read_text()
                    .split()
                )
                if set(now) - set(children):
                    break
            except Gone:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.1)
