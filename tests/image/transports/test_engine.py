"""Images of a container engine on this machine, by its socket."""

from __future__ import annotations

import http.server
import os
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from support import samples
from support.containers import forget, need, podman, podman_image, stop

from ramekin.errors import NetworkError, NotFoundError, RamekinError, UsageError
from ramekin.image import transports
from ramekin.image.reference import parse
from ramekin.store.store import Store


class Handler(http.server.BaseHTTPRequestHandler):
    """An engine with one image, `team/web:1`."""

    archive = b""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/images/broken:latest/get":
            self.send_response(500)
            self.end_headers()
            self.wfile.write(b'{"message": "no disk"}')
        elif self.path == "/images/short:latest/get":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.archive)))
            self.end_headers()
            self.wfile.write(self.archive[:1000])
        elif self.path in ("/images/team/web:1/get", "/images/localhost:5000/team/web:1/get"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.archive)
        else:
            self.send_response(404)
            self.end_headers()

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    store = Store.at(tmp_path / "made")
    transports.write(samples.image(store), parse(f"docker-archive:{tmp_path}/saved.tar:team/web:1"))
    handler = type("OneEngine", (Handler,), {"archive": (tmp_path / "saved.tar").read_bytes(), "asked": []})
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
        yield handler
        server.shutdown()
        thread.join()


def test_the_engine_is_asked_for_the_image_by_its_name(engine: type[Handler]) -> None:
    for name in ("team/web:1", "localhost:5000/team/web:1"):
        with transports.read(parse(f"docker-daemon:{name}")) as image:
            assert len(image.manifest().layers) == 2
    assert engine.asked[0] == "/images/team/web:1/get"


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nothing", NotFoundError, "no such image"),
        ("broken", NetworkError, "500.*no disk"),
        ("short", RamekinError, "truncated|broke off"),
    ],
)
def test_what_goes_wrong_names_the_image(
    engine: type[Handler], name: str, error: type[RamekinError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught, transports.read(parse(f"docker-daemon:{name}")):
        pass
    assert f"docker-daemon:{name}" in caught.value.message


def test_without_an_engine_the_socket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    with pytest.raises(NetworkError, match="no engine at"), transports.read(parse("docker-daemon:web")):
        pass
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(UsageError, match="on this machine only"), transports.read(parse("docker-daemon:web")):
        pass


def test_nothing_is_written_to_an_engine(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        transports.write(samples.image(Store.at(tmp_path)), parse("docker-daemon:web"))


@contextmanager
def podman_service(folder: Path) -> Iterator[Path]:
    """podman's service on what is in `folder`, by its socket."""
    socket = folder / "engine.sock"
    service = subprocess.Popen(
        [*podman(folder), "system", "service", "--time=0", f"unix://{socket}"], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield socket
    finally:
        stop(service)


@pytest.mark.runtime
def test_podman_answers_as_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("podman")
    if os.geteuid() != 0:
        pytest.skip("podman's store is made by root here")
    store = Store.at(tmp_path / "store")
    made = samples.image(store)
    transports.write(made, parse(f"oci:{tmp_path}/layout:it"))
    with tempfile.TemporaryDirectory(prefix="rk-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            identity = podman_image(folder, "pull", "-q", f"oci:{tmp_path}/layout:it")
            subprocess.run([*podman(folder), "tag", identity, "localhost/web:1"], check=True)
            with podman_service(folder) as socket:
                monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
                for text in ("web:1", f"sha256:{identity}"):
                    with transports.read(parse(f"docker-daemon:{text}")) as image:
                        found = image.config(image.manifest())
                        assert found.rootfs == made.config(made.manifest()).rootfs
        finally:
            forget(folder)
