"""Images made on demand, pulled by the programs that people have."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.archive import SigningKey
from support.containers import free_port, need, podman, podman_image, stop
from support.larder import SETTINGS, open_larder
from support.ramekin_registry import Served, serving

from ramekin.store.store import Store

pytestmark = pytest.mark.runtime


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)


def ran(*command: str) -> str:
    done = run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def larder(tmp_path_factory: pytest.TempPathFactory, signing_key: SigningKey) -> dict[str, str]:
    return open_larder(tmp_path_factory.mktemp("larder") / "kitchen", signing_key).env()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, larder: dict[str, str]) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), {"on-demand": SETTINGS}, environment=larder) as served:
        yield served


def test_each_client_gets_its_own_platform_from_one_name(registry: Served, tmp_path: Path) -> None:
    need("skopeo")
    for architecture in ("amd64", "arm64"):
        found = ran(
            "skopeo",
            "--override-arch",
            architecture,
            "inspect",
            "--tls-verify=false",
            "--config",
            f"docker://{registry.host}/gratin/pan_p_p",
        )
        assert json.loads(found)["architecture"] == architecture
    copied = f"oci:{tmp_path / 'all'}:x"
    ran("skopeo", "copy", "--all", "--src-tls-verify=false", f"docker://{registry.host}/gratin", copied)
    assert len(json.loads((tmp_path / "all" / "index.json").read_text())["manifests"]) == 1


def test_a_wrong_name_tells_the_client_why(registry: Served) -> None:
    need("skopeo")
    done = run("skopeo", "inspect", "--tls-verify=false", f"docker://{registry.host}/gratn")
    assert done.returncode != 0
    assert "did you mean gratin" in done.stderr


def test_permutations_are_one_digest_and_head_then_get_by_digest_works(registry: Served) -> None:
    one = registry.head("/v2/leek/gratin/cream/manifests/latest")
    other = registry.get("/v2/cream/gratin/leek/manifests/latest")
    assert one.headers["docker-content-digest"] == other.headers["docker-content-digest"]
    digest = other.headers["docker-content-digest"]
    again = registry.get(f"/v2/leek/gratin/cream/manifests/{digest}")
    assert (again.status, again.body) == (200, other.body)


def test_many_clients_and_two_servers_make_an_image_once(tmp_path: Path, larder: dict[str, str]) -> None:
    store = str(tmp_path / "store")
    digests: list[str] = []

    def pull(served: Served, name: str) -> None:
        digests.append(served.get(f"/v2/{name}/manifests/latest").headers["docker-content-digest"])

    settings = {"on-demand": SETTINGS}
    with (
        serving(tmp_path / "a", settings, store=store, environment=larder) as one,
        serving(tmp_path / "b", settings, store=store, environment=larder) as other,
    ):
        threads = [
            threading.Thread(target=pull, args=(served, name))
            for served in (one, other)
            for name in ("gratin/leek/bash", "bash/leek/gratin") * 10
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(digests) == 40
    assert len(set(digests)) == 1
    assert Store.at(store).has(digests[0])  # type: ignore[arg-type]


def test_what_was_given_can_be_had_after_a_restart(tmp_path: Path, larder: dict[str, str]) -> None:
    settings = {"on-demand": SETTINGS}
    with serving(tmp_path, settings, environment=larder) as served:
        given = served.get("/v2/gratin/manifests/latest")
        digest = given.headers["docker-content-digest"]
    with serving(tmp_path, {"on-demand": {"enabled": False}}, environment=larder) as served:
        again = served.get(f"/v2/gratin/manifests/{digest}")
        assert (again.status, again.body) == (200, given.body)


RUN = ["--network=host", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", "--log-driver=none", "--rm"]


@pytest.mark.archive
def test_redis_runs_from_what_was_pulled(tmp_path: Path, shared_store: Store) -> None:
    need("podman", "runc")
    engine = podman(tmp_path)
    with serving(tmp_path, {"on-demand": {}}, store=shared_store.location) as served:
        name = f"{served.host}/shell/redis-server/curl"
        image = podman_image(tmp_path, "pull", "-q", "--tls-verify=false", name)
    shell = [*engine, "run", *RUN, image]
    tools = ran(*shell, "bash", "-c", "ps --version && curl --version && less --version && ls /")
    assert "procps" in tools and "curl" in tools
    port = str(free_port())
    server = subprocess.Popen([*shell, "redis-server", "--port", port], stdin=subprocess.DEVNULL)
    try:
        pong = ""
        for _ in range(20):
            pong = run(*shell, "redis-cli", "-p", port, "ping").stdout
            if "PONG" in pong:
                break
            time.sleep(0.2)
        assert "PONG" in pong
    finally:
        run(*shell, "redis-cli", "-p", port, "shutdown", "nosave")
        stop(server)
