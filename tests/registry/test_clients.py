"""Real clients over loopback, and what only a real connection can do."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest
from support import samples
from support.containers import forget, need, podman, stop
from support.ramekin_registry import Served, digest_of, serving

from ramekin.image import transports
from ramekin.image.image import Image
from ramekin.image.reference import parse
from ramekin.image.tree import Tree, file
from ramekin.image.validate import validate
from ramekin.store.store import Store

pytestmark = pytest.mark.runtime

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="containers are run by root here")

STATIC = Path("/sbin/ldconfig")
"""A statically linked program that every Debian machine has; it prints its version."""
LIMITS = {"head-seconds": 1, "body-seconds": 2, "stop-seconds": 5}
BOUNDS = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(
        tmp_path_factory.mktemp("registry"), {"limits": LIMITS, "log": {"requests": True}}
    ) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "own")


@pytest.fixture
def image(store: Store) -> Image:
    """An image that runs, with a layer that goes up in a PATCH."""
    program = Tree([file("bin/greet", STATIC.read_bytes(), mode=0o755)]).with_parents()
    noise = Tree([file("srv/noise", samples.noise(6 << 20))]).with_parents()
    base = samples.BASE.without(lambda entry: entry.path == "bin")
    return samples.image(store, [base, program, noise], cmd=("/bin/greet", "--version"))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for programs that take no long paths."""
    with tempfile.TemporaryDirectory(prefix="rk-", ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        finally:
            # dockerd leaves the network namespace of its containers mounted
            for line in Path("/proc/mounts").read_text().splitlines():
                place = line.split(" ")[1]
                if place.startswith(f"{folder}/"):
                    subprocess.run(["umount", place], check=False)
            forget(Path(folder))


def call(*command: str | Path, **environment: str) -> str:
    need(str(command[0]))
    result = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


def test_our_own_client_pushes_mounts_and_pulls_with_referrers(
    registry: Served, image: Image, store: Store, tmp_path: Path
) -> None:
    image = samples.with_sbom(store, image)
    for repository in ("own/a", "own/b"):
        transports.write(image, parse(f"docker://{registry.host}/{repository}:1"))
    transports.copy(parse(f"docker://{registry.host}/own/b:1"), parse(f"oci:{tmp_path}/back:1"))
    with transports.read(parse(f"oci:{tmp_path}/back:1")) as back:
        assert back.root.digest == image.root.digest
        assert [one.digest for one in back.referrers] == [image.referrers[0].digest]
        assert validate(back) == []
    tags = registry.get("/v2/own/a/tags/list").json["tags"]
    assert tags == ["1"], "the referrers API is used, not its stand-in"


def test_skopeo_copies_inspects_lists_and_deletes(registry: Served, image: Image, tmp_path: Path) -> None:
    transports.write(image, parse(f"oci:{tmp_path}/ours:1"))
    name = f"docker://{registry.host}/skopeo/a"
    call("skopeo", "copy", "--dest-tls-verify=false", f"oci:{tmp_path}/ours:1", f"{name}:1")
    inspected = json.loads(call("skopeo", "inspect", "--tls-verify=false", f"{name}:1"))
    assert (inspected["Digest"], inspected["RepoTags"]) == (image.root.digest, ["1"])
    call("skopeo", "copy", "--src-tls-verify=false", f"{name}:1", f"oci:{tmp_path}/theirs:1")
    with transports.read(parse(f"oci:{tmp_path}/theirs:1")) as theirs:
        assert theirs.root.digest == image.root.digest
    # schema 2 too
    call(
        *("skopeo", "copy", "--format=v2s2", "--dest-tls-verify=false"),
        *(f"oci:{tmp_path}/ours:1", f"{name}:docker"),
    )
    reply = registry.get("/v2/skopeo/a/manifests/docker")
    assert reply.headers["content-type"] == "application/vnd.docker.distribution.manifest.v2+json"
    call("skopeo", "delete", "--tls-verify=false", f"{name}:docker")
    assert json.loads(call("skopeo", "list-tags", "--tls-verify=false", name))["Tags"] == ["1"]


def test_skopeo_takes_both_architectures_from_one_name(
    registry: Served, store: Store, tmp_path: Path
) -> None:
    amd = samples.image(store, platform=samples.AMD64, cmd=("/bin/amd",))
    arm = samples.image(store, platform=samples.ARM64, cmd=("/bin/arm",))
    transports.write(samples.index(store, [amd, arm]), parse(f"docker://{registry.host}/both:1"))
    for architecture, wanted in (("amd64", amd), ("arm64", arm)):
        call(
            *("skopeo", f"--override-arch={architecture}", "copy", "--src-tls-verify=false"),
            *(f"docker://{registry.host}/both:1", f"oci:{tmp_path}/{architecture}:1"),
        )
        with transports.read(parse(f"oci:{tmp_path}/{architecture}:1")) as one:
            assert one.root.digest == wanted.root.digest


def test_umoci_unpacks_what_was_pulled(registry: Served, store: Store, tmp_path: Path) -> None:
    need("umoci")
    transports.write(samples.image(store), parse(f"docker://{registry.host}/umoci:1"))
    call(
        "skopeo", "copy", "--src-tls-verify=false", f"docker://{registry.host}/umoci:1", f"oci:{tmp_path}/u:1"
    )
    call("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/u:1", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/srv/greeting").read_text() == "hello\n"


@as_root
def test_podman_pulls_runs_and_pushes(registry: Served, image: Image, short: Path) -> None:
    need("podman", "runc")
    transports.write(image, parse(f"docker://{registry.host}/podman:1"))
    name = f"{registry.host}/podman:1"
    call(*podman(short), "pull", "--quiet", "--tls-verify=false", name)
    said = call(*podman(short), "run", "--rm", "--network=host", "--log-driver=none", *BOUNDS, name)
    assert "ldconfig" in said
    call(
        *podman(short), "push", "--quiet", "--tls-verify=false", name, f"docker://{registry.host}/podman/b:2"
    )
    assert registry.get("/v2/podman/b/manifests/2").status == 200


@as_root
def test_buildah_begins_from_an_image_and_pushes(registry: Served, image: Image, short: Path) -> None:
    need("buildah")
    transports.write(image, parse(f"docker://{registry.host}/buildah:1"))
    buildah = [
        "buildah",
        "--root",
        str(short / "storage"),
        "--runroot",
        str(short / "run"),
        "--storage-driver=vfs",
    ]
    name = call(*buildah, "from", "--tls-verify=false", f"{registry.host}/buildah:1").strip()
    assert "ldconfig" in call(*buildah, "run", "--isolation=chroot", name, "/bin/greet", "--version")
    call(*buildah, "commit", "--quiet", "--tls-verify=false", name, f"docker://{registry.host}/buildah:2")
    assert registry.get("/v2/buildah/manifests/2").status == 200


@contextmanager
def daemon(log: Path, ready: Path, *command: str | Path) -> Iterator[None]:
    """A program that runs until the end of the test; skipped where it does not start."""
    need(str(command[0]))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"{command[0]} does not start here: {log.read_text()[-300:]}")
            time.sleep(0.1)
        yield
    finally:
        stop(process, patience=15)


@as_root
def test_containerd_pulls(registry: Served, image: Image, short: Path) -> None:
    transports.write(image, parse(f"docker://{registry.host}/containerd:1"))
    address = short / "c.sock"
    settings = short / "config.toml"
    settings.write_text(
        f'version = 2\nroot = "{short}/root"\nstate = "{short}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{address}"\n'
    )
    with daemon(short / "log", address, "containerd", "--config", settings):
        name = f"{registry.host}/containerd:1"
        pulled = call(
            "ctr", "--address", address, "images", "pull", "--plain-http", "--snapshotter=native", name
        )
        assert "done" in pulled
        listed = call("ctr", "--address", address, "images", "ls")
        assert image.root.digest in listed


@as_root
def test_docker_pulls_runs_pushes_and_loads(registry: Served, image: Image, short: Path) -> None:
    transports.write(image, parse(f"docker://{registry.host}/docker:1"))
    address = short / "d.sock"
    options = ["--iptables=false", "--bridge=none", "--insecure-registry=127.0.0.0/8", "--storage-driver=vfs"]
    places = [f"--data-root={short}/data", f"--exec-root={short}/exec", f"--pidfile={short}/pid"]
    with daemon(short / "log", address, "dockerd", "--host", f"unix://{address}", *options, *places):
        docker = ["docker", "--host", f"unix://{address}"]
        name = f"{registry.host}/docker:1"
        call(*docker, "pull", "--quiet", name)
        assert "ldconfig" in call(*docker, "run", "--rm", "--network=host", *BOUNDS, name)
        call(*docker, "tag", name, f"{registry.host}/docker/b:2")
        call(*docker, "push", "--quiet", f"{registry.host}/docker/b:2")
        assert registry.get("/v2/docker/b/manifests/2").status == 200
        # the archive that `docker save` writes is one that we write too
        archive = short / "image.tar"
        transports.write(image, parse(f"docker-archive:{archive}:loaded:1"))
        assert "loaded:1" in call(*docker, "load", "--input", archive)
        assert "ldconfig" in call(*docker, "run", "--rm", "--network=host", *BOUNDS, "loaded:1")


def certificate(folder: Path) -> tuple[Path, Path]:
    need("openssl")
    key, made = folder / "key.pem", folder / "certificate.pem"
    call(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", key, "-out", made, "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
    )
    return made, key


def test_clients_log_in_over_tls(image: Image, tmp_path: Path, short: Path) -> None:
    made, key = certificate(tmp_path)
    users = tmp_path / "users"
    users.write_text(f"me:{bcrypt.hashpw(b'secret', bcrypt.gensalt(5)).decode()}\n")
    settings = {
        "anonymous": [],
        "users": str(users),
        "tls": {"certificate": str(made), "key": str(key)},
        "rules": [{"repositories": "mine", "users": "me", "allow": ["pull", "push"]}],
    }
    transports.write(image, parse(f"oci:{tmp_path}/ours:1"))
    with serving(tmp_path, settings) as registry:
        trusted = short / "certificates"
        trusted.mkdir()
        shutil.copy(made, trusted / "ca.crt")
        name = f"docker://{registry.host}/mine/a:1"
        copy = ["skopeo", "copy", f"--dest-cert-dir={trusted}", f"oci:{tmp_path}/ours:1"]
        call(*copy, "--dest-creds=me:secret", name)
        inspected = call("skopeo", "inspect", f"--cert-dir={trusted}", "--creds=me:secret", name)
        assert json.loads(inspected)["Digest"] == image.root.digest
        for options, target in (
            (["--dest-creds=me:wrong"], name),
            ([], name),
            (["--dest-creds=me:secret"], name.replace("mine", "other")),
        ):
            failed = subprocess.run([*copy, *options, target], capture_output=True, text=True)
            assert failed.returncode
        context = ssl.create_default_context(cafile=str(made))
        with (
            socket.create_connection(("127.0.0.1", registry.port)) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as secure,
        ):
            assert secure.version() in ("TLSv1.2", "TLSv1.3")


def test_our_own_client_logs_in(image: Image, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"me:{bcrypt.hashpw(b'secret', bcrypt.gensalt(5)).decode()}\n")
    with serving(tmp_path, {"anonymous": [], "users": str(users)}) as registry:
        login = base64.b64encode(b"me:secret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))
        transports.write(image, parse(f"oci:{tmp_path}/ours:1"))
        name = f"docker://{registry.host}/mine/a:1"
        call("ramekin", "copy", f"oci:{tmp_path}/ours:1", name, DOCKER_CONFIG=str(tmp_path))
        call("ramekin", "copy", name, f"oci:{tmp_path}/back:1", DOCKER_CONFIG=str(tmp_path))
        with transports.read(parse(f"oci:{tmp_path}/back:1")) as back:
            assert back.root.digest == image.root.digest
        assert registry.get("/v2/mine/a/manifests/1").status == 401


def test_an_interrupted_download_resumes(registry: Served) -> None:
    data = samples.noise(3 << 20)
    digest = registry.push_blob("resume", data)
    connection = http.client.HTTPConnection("127.0.0.1", registry.port)
    connection.request("GET", f"/v2/resume/blobs/{digest}")
    response = connection.getresponse()
    first = response.read(1_000_000)
    etag = response.headers["etag"]
    connection.close()
    rest = registry.get(f"/v2/resume/blobs/{digest}", range="bytes=1000000-", if_range=etag)
    assert (rest.status, digest_of(first + rest.body)) == (206, digest)
    # what has another name is another thing
    whole = registry.get(f"/v2/resume/blobs/{digest}", range="bytes=1000000-", if_range='"other"')
    assert (whole.status, whole.body) == (200, data)


def test_an_interrupted_upload_resumes(registry: Served) -> None:
    data = samples.noise(2 << 20)
    location = registry.begin("resume")
    with socket.create_connection(("127.0.0.1", registry.port)) as raw:
        head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        raw.sendall(head.encode() + data[:700_000])
        time.sleep(0.2)
    deadline = time.monotonic() + 10
    while (
        has := int(registry.get(location).headers["range"][2:]) + 1
    ) < 700_000 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert has == 700_000
    reply = registry.patch(location, data[has:], content_range=f"{has}-{len(data) - 1}")
    assert reply.status == 202
    assert registry.put(f"{location}?digest={digest_of(data)}").status == 201


def raw_request(port: int, data: bytes, *, patience: float = 10) -> bytes:
    """What the server says to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as raw:
        raw.sendall(data)
        said = b""
        try:
            while more := raw.recv(65536):
                said += more
        except (TimeoutError, ConnectionResetError):
            pass
        return said


def test_a_slow_head_is_cut_off(registry: Served) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as raw:
        raw.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")
        try:
            for _ in range(60):
                raw.sendall(b"X: y\r\n")
                time.sleep(0.1)
        except OSError:
            pass
        raw.settimeout(5)
        try:
            while raw.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert time.monotonic() - began < 15
    assert registry.get("/v2/").status == 200


def test_a_slow_body_is_cut_off(registry: Served) -> None:
    location = registry.begin("slow")
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"
    said = raw_request(registry.port, head.encode(), patience=20)
    assert said.startswith(b"HTTP/1.1 408")
    assert registry.get(location).headers["range"] == "0-2"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
        b"GET /v2/ HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /v2/%ff%fe/manifests/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v2/a/manifests/v1%0d%0aX:%20y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET //v2/../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://elsewhere/v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v2/a/tags/list?n=%0d%0aX:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 500 + b"Connection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 100,
    ],
)
def test_requests_that_are_none_are_refused(registry: Served, head: bytes) -> None:
    said = raw_request(registry.port, head, patience=4)
    # two lengths: the one that counts is taken, and nothing after it (RFC 9112, section 6.3)
    closed = b"Transfer-Encoding" in head and b"connection: close" in said
    assert not said or closed or said.split()[1][:1] == b"4", said[:200]
    assert b"\r\nX: y" not in said
    assert registry.get("/v2/").status == 200


def test_500_clients_at_once(registry: Served) -> None:
    data = samples.noise(1 << 20)
    digest = registry.push_blob("many", data)
    sockets: list[socket.socket] = []
    try:
        for _ in range(500):
            sockets.append(socket.create_connection(("127.0.0.1", registry.port), timeout=30))
            # at once, for who says nothing is cut off
            sockets[-1].sendall(f"GET /v2/many/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for one in sockets:
            assert one.recv(12) == b"HTTP/1.1 200"
        children = (
            Path(f"/proc/{registry.process.pid}/task/{registry.process.pid}/children").read_text().split()
        )
        status = Path(f"/proc/{children[-1]}/status").read_text()
        resident = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        assert resident < 250_000, f"{resident} kB"
    finally:
        for one in sockets:
            one.close()


def test_its_log_is_json_with_the_names_of_requests(registry: Served) -> None:
    registry.get("/v2/log/manifests/v1", x_request_id="look-for-me")
    deadline = time.monotonic() + 20
    while "look-for-me" not in registry.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lines = [json.loads(line) for line in registry.log.read_text().splitlines()]
    line = next(line for line in lines if line.get("id") == "look-for-me")
    assert (line["status"], line["method"], line["path"]) == (404, "GET", "/v2/log/manifests/v1")


def metrics(registry: Served, awaited: str) -> str:
    """What is counted, once a line of it begins so: a request is counted when its answer is on its way."""
    deadline = time.monotonic() + 20
    while True:
        text = registry.get("/metrics").body.decode()
        if any(line.startswith(awaited) for line in text.splitlines()) or time.monotonic() > deadline:
            return text
        time.sleep(0.05)


def test_its_metrics_count(registry: Served) -> None:
    registry.get("/v2/none/manifests/v1")
    counted = 'ramekin_requests_total{kind="manifest",method="GET",status="404"}'
    text = metrics(registry, counted)
    assert counted in text
    assert "ramekin_request_seconds_bucket" in text
    assert registry.get("/readyz").body == registry.get("/healthz").body == b"ok\n"


def test_workers_count_together(tmp_path: Path) -> None:
    with serving(tmp_path, {"workers": 2}) as registry:
        registry.push_image("a", "v1", b"1")
        for _ in range(20):
            registry.get("/v2/a/manifests/v1")
        counted = 'ramekin_requests_total{kind="manifest",method="GET",status="200"} '
        assert f"\n{counted}20.0\n" in metrics(registry, f"{counted}20.0")


def test_it_sweeps_while_it_serves(tmp_path: Path) -> None:
    cleaning = {"every": 1, "grace": 0, "untagged": 0}
    with serving(tmp_path, {"cleaning": cleaning}) as registry:
        lone = registry.push_blob("a", b"lone")
        deadline = time.monotonic() + 20
        while registry.get(f"/v2/a/blobs/{lone}").status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "ramekin_swept_total" in metrics(registry, "ramekin_swept_total")


def test_store_gc_says_what_it_would_remove_of_a_registry_and_why(tmp_path: Path) -> None:
    with serving(tmp_path) as registry:
        registry.push_image("a", "v1", b"kept")
        lone = registry.push_blob("a", b"lone")
        settings = tmp_path / "gc.yaml"
        settings.write_text("cleaning: {grace: 0}")
        time.sleep(0.1)
        words = ["store", "gc", "--store", registry.store, "--config", str(settings), "--keep-size", "0"]
        said = call("ramekin", *words, "--dry-run")
        assert f"blob {lone}: no repository names it any more" in said
        assert registry.get(f"/v2/a/blobs/{lone}").status == 200
        call("ramekin", *words)
        assert registry.get(f"/v2/a/blobs/{lone}").status == 404
        assert registry.get(f"/v2/a/blobs/{digest_of(b'kept')}").body == b"kept"
