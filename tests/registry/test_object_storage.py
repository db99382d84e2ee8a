"""The registry over an object store: in memory, and three replicas over one bucket of an S3 server.

The S3 server is moto, or any other: RAMEKIN_TEST_S3=http://127.0.0.1:7201 with AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY (`make test-s3`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import secrets
import select
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import samples
from support.archive import SigningKey
from support.containers import free_port, need, stop, wait_for_port
from support.larder import SETTINGS as DEMAND
from support.larder import open_larder
from support.ramekin_registry import MANIFEST, Direct, Served, digest_of, image, serving

from ramekin.image import transports
from ramekin.image.reference import parse
from ramekin.registry import object_records, sweeping
from ramekin.registry.catalog import Catalog
from ramekin.registry.object_records import ObjectRecords
from ramekin.store.store import Store

KILLS = 6 if "RAMEKIN_TEST_S3" in os.environ else 1
"""How often a replica is killed; who waits for what it held waits half a minute."""
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


def test_a_lease_outlives_its_time_while_its_holder_lives(bucket: tuple[str, dict[str, str]]) -> None:
    order = lease_in_a_process(bucket, hold=5, kill=False)
    assert order == ["held", "let go", "taken"]


def test_a_touch_of_a_record_is_noted(
    bucket: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, environment = bucket
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    records = ObjectRecords(Store.at(place))
    records.write("registry/touched", b"x")
    written = records.written("registry/touched")
    time.sleep(1.2)
    records.touch("registry/touched")
    later = records.written("registry/touched")
    assert written is not None
    assert later is not None
    assert later > written


def test_a_lease_of_the_dead_is_taken_over(bucket: tuple[str, dict[str, str]]) -> None:
    order = lease_in_a_process(bucket, hold=60, kill=True)
    assert order == ["held", "taken"]


HOLD = """
import sys, time
from ramekin.store.objects import Objects
place, name, seconds = sys.argv[1:]
with Objects(place, Objects.at(place)._bucket, lease=2.0).lock(name):
    print("held", flush=True)
    time.sleep(float(seconds))
    print("let go", flush=True)
"""


TAKE = """
import sys
from ramekin.store.objects import Objects
place, name = sys.argv[1:]
with Objects(place, Objects.at(place)._bucket, lease=2.0).lock(name):
    print("taken", flush=True)
"""


def lease_in_a_process(bucket: tuple[str, dict[str, str]], *, hold: float, kill: bool) -> list[str]:
    """What happens, in order, when a process wants a lease (of 2 s) that another one holds."""
    place, environment = bucket
    name = f"locks/{secrets.token_hex(8)}"

    def start(program: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, place, name, *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})

    order: list[str] = []
    with start(HOLD, str(hold)) as holder:
        assert holder.stdout is not None
        order.append(holder.stdout.readline().strip())
        if kill:
            holder.kill()
        with start(TAKE) as taker:
            assert taker.stdout is not None
            said = [taker.stdout, holder.stdout]
            while said:
                for stream in select.select(said, [], [], 60)[0]:
                    line = stream.readline().strip()
                    if line:
                        order.append(line)
                    else:
                        said.remove(stream)
    return order


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


@contextlib.contextmanager
def balancer(folder: Path, replicas: list[Served]) -> Iterator[Served]:
    """nginx before replicas, as docs/registry.md has it."""
    need("nginx")
    port = free_port()
    settings = folder / "nginx.conf"
    servers = " ".join(f"server 127.0.0.1:{replica.port} max_fails=0;" for replica in replicas)
    settings.write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        "events {}\n"
        "http {\n"
        f"  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"  upstream registry {{ {servers} keepalive 16; }}\n"
        "  server {\n"
        f"    listen 127.0.0.1:{port};\n"
        "    client_max_body_size 0;\n"
        "    location / {\n"
        "      proxy_pass http://registry;\n"
        "      proxy_http_version 1.1;\n"
        "      proxy_set_header Host $http_host;\n"
        '      proxy_set_header Connection "";\n'
        "      proxy_request_buffering off;\n"
        "      proxy_buffering off;\n"
        "      proxy_read_timeout 600s;\n"
        "    }\n"
        "  }\n"
        "}\n"
    )
    log = folder / "nginx.out"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["nginx", "-p", str(folder), "-c", str(settings), "-e", str(folder / "nginx.log")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_port(port, process, log)
        yield Served(port, process, log, "")
    finally:
        stop(process)


@pytest.mark.runtime
def test_clients_push_and_pull_through_a_load_balancer(replicas: list[Served], tmp_path: Path) -> None:
    need("skopeo")
    (tmp_path / "nginx").mkdir()
    store = Store.at(tmp_path / "store")
    made = samples.image(store, [samples.BASE], cmd=("/bin/true",))
    transports.write(made, parse(f"oci:{tmp_path}/ours:1"))
    with balancer(tmp_path / "nginx", replicas) as front:
        name = f"docker://{front.host}/balanced/a:1"
        for words in (
            ("--dest-tls-verify=false", f"oci:{tmp_path}/ours:1", name),
            ("--src-tls-verify=false", name, f"oci:{tmp_path}/theirs:1"),
        ):
            done = subprocess.run(["skopeo", "copy", *words], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        with transports.read(parse(f"oci:{tmp_path}/theirs:1")) as theirs:
            assert theirs.root.digest == made.root.digest
        # each request of an upload meets another replica
        big = os.urandom(3 << 20)
        location = front.begin("balanced/b")
        for first in range(0, len(big), 1 << 20):
            assert front.patch(location, big[first : first + (1 << 20)]).status == 202
        assert front.put(f"{location}?digest={digest_of(big)}").status == 201
        # the third sends clients on to the bucket
        for _ in replicas:
            address = f"http://{front.host}/v2/balanced/b/blobs/{digest_of(big)}"
            assert urllib.request.urlopen(address).read() == big


def push_again_and_again(front: Served, name: str, until: threading.Event) -> list[tuple[str, bytes]]:
    """What was acknowledged of images that a client pushes, each as often as it takes."""
    done: list[tuple[str, bytes]] = []
    number = 0
    while not until.is_set():
        number += 1
        layer = f"{name} {number} ".encode() * 2000
        for _ in range(50):
            try:
                digest, manifest = front.push_image(name, f"v{number % 3}", layer)
            except (AssertionError, OSError, http.client.HTTPException):
                time.sleep(0.05)
                continue
            done.append((digest, manifest))
            break
        else:
            raise AssertionError(f"{name} {number} could not be pushed")
    return done


@pytest.mark.runtime
def test_what_was_acknowledged_survives_kills_behind_a_load_balancer(
    bucket: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    place, environment = bucket
    (tmp_path / "nginx").mkdir()
    settings = {"tag-seconds": 0}
    options = ("--replica",)
    ports = [free_port() for _ in range(3)]
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                serving(
                    tmp_path / str(number),
                    settings,
                    store=place,
                    environment=environment,
                    options=options,
                    port=port,
                )
            )
            for number, port in enumerate(ports)
        ]
        front = stack.enter_context(balancer(tmp_path / "nginx", started))
        over = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            clients = [
                pool.submit(push_again_and_again, front, f"kills/{number}", over) for number in range(3)
            ]
            try:
                for kill in range(KILLS):
                    time.sleep(random.uniform(0.3, 1.5))
                    started[kill % 3].kill()
                    started[kill % 3] = stack.enter_context(
                        serving(
                            tmp_path / str(kill % 3),
                            settings,
                            store=place,
                            environment=environment,
                            options=options,
                            port=ports[kill % 3],
                        )
                    )
            finally:
                over.set()
            pushed = [client.result(120) for client in clients]
        for number, images in enumerate(pushed):
            assert images
            for digest, manifest in images:
                assert front.get(f"/v2/kills/{number}/manifests/{digest}").body == manifest
                for layer in json.loads(manifest)["layers"]:
                    body = front.get(f"/v2/kills/{number}/blobs/{layer['digest']}").body
                    assert digest_of(body) == layer["digest"]
            last, _ = images[-1]
            tag = f"v{len(images) % 3}"
            assert front.head(f"/v2/kills/{number}/manifests/{tag}").headers["docker-content-digest"] == last


@pytest.mark.runtime
def test_an_image_on_demand_is_made_once_by_all_replicas(
    bucket: tuple[str, dict[str, str]], tmp_path: Path, signing_key: SigningKey
) -> None:
    place, environment = bucket
    larder = open_larder(tmp_path / "kitchen", signing_key).env()
    settings = {"on-demand": DEMAND, "tag-seconds": 0}
    with ExitStack() as stack:
        three = [
            stack.enter_context(
                serving(
                    tmp_path / str(number),
                    settings,
                    store=place,
                    environment={**environment, **larder},
                    options=("--replica",),
                )
            )
            for number in range(3)
        ]
        with ThreadPoolExecutor(12) as pool:
            names = ["gratin/leek", "leek/gratin"] * 6
            asked = [
                pool.submit(three[number % 3].get, f"/v2/{name}/manifests/latest")
                for number, name in enumerate(names)
            ]
            replies = [one.result(120) for one in asked]
        assert {reply.status for reply in replies} == {200}
        digests = {reply.headers["docker-content-digest"] for reply in replies}
        assert len(digests) == 1
        # one that never made it has all of it, by digest too
        index = replies[0].json
        three[0].kill()
        for child in index["manifests"]:
            manifest = three[1].get(f"/v2/gratin/leek/manifests/{child['digest']}").json
            for layer in manifest["layers"]:
                body = three[2].get(f"/v2/gratin/leek/blobs/{layer['digest']}").body
                assert digest_of(body) == layer["digest"]
