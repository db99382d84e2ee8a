"""The registry over an object store: in memory, and three replicas over one bucket of an S3 server.

The S3 server is moto, or any other: RAMEKIN_TEST_S3=http://127.0.0.1:7201 with AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY (`make test-s3`).
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.containers import free_port, stop, wait_for_port
from support.ramekin_registry import MANIFEST, Direct, Served, digest_of, image, serving

from ramekin.registry import object_records, sweeping
from ramekin.registry.catalog import Catalog
from ramekin.registry.object_records import ObjectRecords
from ramekin.store.store import Store

LAYER = bytes(range(256)) * 100


@pytest.fixture
def registry() -> Iterator[Direct]:
    with Direct(f"memory://{secrets.token_hex(8)}", {"tag-seconds": 0}) as direct:
        yield direct


def test_images_are_pushed_and_pulled(registry: Direct) -> None:
    digest, manifest = registry.push_image("a/b", "v1", LAYER)
    for _ in range(2):
        assert registry.get("/v2/a/b/manifests/v1").body == manifest
        assert registry.get(f"/v2/a/b/manifests/{digest}").body == manifest
    reply = registry.get(f"/v2/a/b/blobs/{digest_of(LAYER)}")
    assert (reply.status, reply.body) == (200, LAYER)
    reply = registry.get(f"/v2/a/b/blobs/{digest_of(LAYER)}", range="bytes=100-199")
    assert (reply.status, reply.body) == (206, LAYER[100:200])
    assert registry.get("/v2/a/b/tags/list").json["tags"] == ["v1"]
    assert registry.get("/v2/_catalog").json["repositories"] == ["a/b"]
    assert registry.push_blob("a/b", b"") == digest_of(b"")
    assert registry.get(f"/v2/a/b/blobs/{digest_of(b'')}").body == b""


def test_chunks_are_put_together(registry: Direct) -> None:
    location = registry.begin("a")
    for first in range(0, len(LAYER), 10_000):
        assert registry.patch(location, LAYER[first : first + 10_000]).status == 202
    assert registry.get(location).headers["range"] == f"0-{len(LAYER) - 1}"
    assert registry.patch(location, b"x", content_range="5-5").status == 416
    assert registry.put(f"{location}?digest={digest_of(LAYER)}").status == 201
    assert registry.get(f"/v2/a/blobs/{digest_of(LAYER)}").body == LAYER
    assert registry.get(location).status == 404
    location = registry.begin("a")
    registry.patch(location, LAYER)
    assert registry.put(f"{location}?digest={digest_of(b'other')}").code == "DIGEST_INVALID"


def test_another_replica_goes_on_with_an_upload(registry: Direct) -> None:
    with Direct(registry.store.location) as other:
        location = registry.begin("a")
        registry.patch(location, LAYER[:9000])
        other.patch(location, LAYER[9000:])
        assert registry.put(f"{location}?digest={digest_of(LAYER)}").status == 201
        assert other.get(f"/v2/a/blobs/{digest_of(LAYER)}").body == LAYER


def test_deletions_and_sweeps(registry: Direct) -> None:
    digest, _ = registry.push_image("a", "v1", LAYER)
    lone = registry.push_blob("a", b"lone")
    registry.post(f"/v2/b/blobs/uploads/?mount={lone}&from=a")
    site = registry.site
    policy = sweeping.Policy(grace=3600)
    assert sweeping.sweep(site.catalog, site.uploads, policy).removed == ()
    later = time.time() + 10_000
    assert sweeping.sweep(site.catalog, site.uploads, policy, now=later).size == 4
    assert registry.get("/v2/a/manifests/v1").status == 200
    registry.delete(f"/v2/a/manifests/{digest}")
    assert registry.get("/v2/a/manifests/v1").status == 404
    sweeping.sweep(site.catalog, site.uploads, policy, now=later)
    assert list(site.catalog.records.walk("blobs")) == []


def test_a_replica_believes_a_tag_for_a_moment_only() -> None:
    place = f"memory://{secrets.token_hex(8)}"
    with Direct(place, {"tag-seconds": 0.3}) as one, Direct(place) as other:
        one.push_image("a", "v1", b"1")
        one.get("/v2/a/manifests/v1")
        _, two = other.push_image("a", "v1", b"2")
        time.sleep(0.4)
        assert one.get("/v2/a/manifests/v1").body == two


def test_nothing_is_swept_while_records_are_written() -> None:
    store = Store.at(f"memory://{secrets.token_hex(8)}")
    records = ObjectRecords(store)
    order: list[str] = []
    inside = threading.Event()

    def sweep() -> None:
        inside.wait()
        with records.sweeping() as holds:
            assert holds()
            order.append("swept")

    thread = threading.Thread(target=sweep)
    thread.start()
    with records.steady(), records.steady():
        inside.set()
        time.sleep(0.3)
        order.append("written")
    thread.join()
    with records.steady():
        order.append("written again")
    assert order == ["written", "swept", "written again"]


def test_the_dead_hold_nobody_up() -> None:
    store = Store.at(f"memory://{secrets.token_hex(8)}")
    records = ObjectRecords(store, lease=0.3)
    records.write(f"{object_records._MARKS}/dead", b"")
    with records.sweeping():
        pass
    records.write(object_records._SWEEPER, b"dead")
    with records.steady():
        pass


def test_who_is_too_slow_is_told() -> None:
    store = Store.at(f"memory://{secrets.token_hex(8)}")
    records = ObjectRecords(store, lease=0.1)
    with pytest.raises(object_records.StoreError), records.steady():
        time.sleep(0.2)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of an empty bucket, and the environment that reaches it."""
    endpoint = os.environ.get("RAMEKIN_TEST_S3")
    with ExitStack() as stack:
        if endpoint is None:
            port = free_port()
            log = tmp_path_factory.mktemp("s3") / "log"
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
            with log.open("wb") as out:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
                )
            stack.callback(stop, process)
            wait_for_port(port, process, log)
            endpoint = f"http://127.0.0.1:{port}"
        environment = {
            "AWS_ENDPOINT": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
            "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
        }
        name = f"ramekin-{secrets.token_hex(4)}"
        import boto3

        boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        ).create_bucket(Bucket=name)
        yield f"s3://{name}/registry", environment


@pytest.fixture(scope="module")
def replicas(
    bucket: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Served]]:
    place, environment = bucket
    folder = tmp_path_factory.mktemp("replicas")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                serving(
                    folder / str(number),
                    {"tag-seconds": 0, "redirect": number == 2},
                    store=place,
                    environment=environment,
                    options=("--replica",),
                )
            )
            for number in range(3)
        ]


@pytest.mark.runtime
def test_three_replicas_are_one_registry(replicas: list[Served]) -> None:
    one, two, three = replicas
    digest, manifest = one.push_image("a/b", "v1", LAYER)
    for replica in replicas:
        assert replica.get("/v2/a/b/manifests/v1").body == manifest
        assert replica.get("/v2/a/b/tags/list").json["tags"] == ["v1"]
    assert two.get(f"/v2/a/b/blobs/{digest_of(LAYER)}").body == LAYER
    assert two.get(f"/v2/a/b/blobs/{digest_of(LAYER)}", range="bytes=5-9").body == LAYER[5:10]
    # each request of an upload at another replica
    location = one.begin("a/b")
    assert two.patch(location, LAYER[:9000]).status == 202
    assert three.patch(location, LAYER[9000:] + b"more").status == 202
    assert one.put(f"{location}?digest={digest_of(LAYER + b'more')}").status == 201
    assert two.get(f"/v2/a/b/blobs/{digest_of(LAYER + b'more')}").body == LAYER + b"more"
    assert three.delete(f"/v2/a/b/manifests/{digest}").status == 202
    assert one.get("/v2/a/b/manifests/v1").status == 404


@pytest.mark.runtime
def test_a_replica_sends_clients_to_the_store(replicas: list[Served]) -> None:
    import urllib.request

    digest = replicas[0].push_blob("redirect", LAYER)
    reply = replicas[2].get(f"/v2/redirect/blobs/{digest}")
    assert reply.status == 307
    assert urllib.request.urlopen(reply.headers["location"]).read() == LAYER
    assert replicas[2].head(f"/v2/redirect/blobs/{digest}").status == 200


@pytest.mark.runtime
def test_replicas_take_pushes_to_one_tag_at_once(replicas: list[Served]) -> None:
    images = [image(b"%d" % number) for number in range(6)]
    replicas[0].push_blob("race", b"{}")
    for number in range(6):
        replicas[number % 3].push_blob("race", b"%d" % number)
    statuses: list[int] = []

    def push(number: int) -> None:
        path = "/v2/race/manifests/v1"
        statuses.append(replicas[number % 3].put(path, images[number], content_type=MANIFEST).status)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 6
    bodies = {replica.get("/v2/race/manifests/v1").body for replica in replicas}
    assert len(bodies) == 1
    assert bodies <= set(images)
    for one in images:
        assert replicas[1].get(f"/v2/race/manifests/{digest_of(one)}").body == one


@pytest.mark.runtime
def test_a_killed_replica_leaves_the_others_at_work(
    replicas: list[Served], bucket: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    place, environment = bucket
    big = os.urandom(20 << 20)
    with serving(tmp_path, store=place, environment=environment, options=("--replica",)) as fourth:
        location = fourth.begin("killed")
        fourth.patch(location, big[: 10 << 20])
        fourth.kill()
    assert replicas[0].get(location).headers["range"] == f"0-{(10 << 20) - 1}"
    assert replicas[0].patch(location, big[10 << 20 :]).status == 202
    assert replicas[1].put(f"{location}?digest={digest_of(big)}").status == 201
    assert digest_of(replicas[0].get(f"/v2/killed/blobs/{digest_of(big)}").body) == digest_of(big)


@pytest.mark.runtime
def test_sweeps_over_a_bucket(
    replicas: list[Served], bucket: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, environment = bucket
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = Store.at(place)
    catalog = Catalog(store)
    replicas[0].push_image("swept", "v1", b"kept")
    lone = replicas[0].push_blob("swept", b"not kept")
    from ramekin.registry import uploads

    swept = sweeping.sweep(catalog, uploads.of(catalog), sweeping.Policy(grace=60), now=time.time() + 10_000)
    assert ("blob", lone) in {(one.kind, one.name) for one in swept.removed}
    assert replicas[1].get(f"/v2/swept/blobs/{lone}").status == 404
    assert replicas[1].get(f"/v2/swept/blobs/{digest_of(b'kept')}").body == b"kept"
