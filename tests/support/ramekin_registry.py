"""The registry under test: in this process over ASGI, or as the program on loopback.

registry = Direct(tmp_path)                       # fast, for what one request answers
registry.put("/v2/a/manifests/1", body, content_type=oci.MANIFEST).status

with serving(tmp_path) as registry:               # `ramekin serve`, for clients and signals
    skopeo("copy", "oci:…", f"docker://{registry.host}/a:1")
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from support.containers import free_port, stop, wait_for_port

OPEN: dict[str, Any] = {
    "on-demand": {"enabled": False},
    "anonymous": ["pull", "push", "build", "delete"],
    "log": {"requests": False},
}
"""A configuration that lets everybody do everything on loopback."""

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Reply:
    """What a registry answered. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The specification's code of an error."""
        return str(self.json["errors"][0]["code"])


class Client:
    """Pushes and pulls as the specification has them, over whatever `request` talks to."""

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        raise NotImplementedError

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, headers=_named(headers))

    def head(self, path: str, **headers: str) -> Reply:
        return self.request("HEAD", path, headers=_named(headers))

    def post(self, path: str, body: bytes = b"", **headers: str) -> Reply:
        return self.request("POST", path, body, _named(headers))

    def put(self, path: str, body: bytes = b"", **headers: str) -> Reply:
        return self.request("PUT", path, body, _named(headers))

    def patch(self, path: str, body: bytes = b"", **headers: str) -> Reply:
        return self.request("PATCH", path, body, _named(headers))

    def delete(self, path: str, **headers: str) -> Reply:
        return self.request("DELETE", path, headers=_named(headers))

    def begin(self, repository: str) -> str:
        """Start an upload; its location."""
        reply = self.post(f"/v2/{repository}/blobs/uploads/")
        assert reply.status == 202, reply
        return reply.headers["location"]

    def push_blob(self, repository: str, data: bytes) -> str:
        digest = digest_of(data)
        reply = self.post(f"/v2/{repository}/blobs/uploads/?{urlencode({'digest': digest})}", data)
        assert reply.status == 201, reply
        return digest

    def push_image(
        self, repository: str, reference: str | None, *layers: bytes, **fields: Any
    ) -> tuple[str, bytes]:
        """Push an image of these layers; its digest and its manifest. Without a tag, by digest."""
        for data in (b"{}", *layers):
            self.push_blob(repository, data)
        manifest = image(*layers, **fields)
        digest = digest_of(manifest)
        reply = self.put(f"/v2/{repository}/manifests/{reference or digest}", manifest, content_type=MANIFEST)
        assert reply.status == 201, reply
        return digest, manifest


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def image(*layers: bytes, config: bytes = b"{}", **fields: Any) -> bytes:
    """A manifest of blobs."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _describe(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [_describe(data, "application/vnd.oci.image.layer.v1.tar") for data in layers],
    }
    return json.dumps(document | fields).encode()


def index(*manifests: bytes, platforms: tuple[str, ...] = (), **fields: Any) -> bytes:
    """An index of manifests."""
    entries = [_describe(data, MANIFEST) for data in manifests]
    for entry, platform in zip(entries, platforms, strict=False):
        entry["platform"] = {"os": "linux", "architecture": platform}
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries} | fields).encode()


def _describe(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


class Direct(Client):
    """The application in this process, its event loop in a thread of its own."""

    def __init__(
        self,
        store: Path | str,
        settings: Mapping[str, Any] | None = None,
        provider: Any = None,
        address: str = "127.0.0.1",
        *,
        page: bool = False,
    ) -> None:
        """With `page`, what people look at is served too."""
        from ramekin.registry import app
        from ramekin.registry import page as pages
        from ramekin.registry.config import Config
        from ramekin.store.store import Store

        self.config = Config.model_validate({**OPEN, **(settings or {})})
        self.store = Store.at(store)
        extra = pages.routes(self.config, self.store, provider) if page else ()
        self.app = app.create(self.config, self.store, provider, extra)
        self.address = address
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def site(self) -> Any:
        return self.app.state.registry

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.site.pool.shutdown()

    def __enter__(self) -> Direct:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        return self.begin_request(method, path, [body], headers, length=len(body)).result(60)

    def begin_request(
        self,
        method: str,
        path: str,
        chunks: list[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
        cut: bool = False,
    ) -> Future[Reply]:
        """Send a request; with `cut`, the client goes away after its chunks."""
        named = {"host": "127.0.0.1:5000"} | {k.lower(): v for k, v in (headers or {}).items()}
        if length is not None and (length or method in ("POST", "PUT", "PATCH")):
            named.setdefault("content-length", str(length))
        return asyncio.run_coroutine_threadsafe(self._call(method, path, chunks, named, cut), self.loop)

    async def _call(
        self, method: str, target: str, chunks: list[bytes], headers: dict[str, str], cut: bool
    ) -> Reply:
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1", "replace"),
            "query_string": query.encode("latin-1", "replace"),
            "root_path": "",
            "headers": [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in headers.items()],
            "client": (self.address, 40000),
            "server": ("127.0.0.1", 5000),
            "extensions": {"http.response.pathsend": {}},
        }
        pending = list(chunks)
        reply = Reply(0, {}, b"")

        async def receive() -> dict[str, Any]:
            if pending:
                data = pending.pop(0)
                return {"type": "http.request", "body": data, "more_body": bool(pending) or cut}
            return {"type": "http.disconnect"}

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {k.decode(): v.decode("latin-1") for k, v in message["headers"]}
            elif message["type"] == "http.response.pathsend":
                reply.body += Path(message["path"]).read_bytes()
            else:
                reply.body += message.get("body", b"")

        await self.app(scope, receive, send)
        return reply


@dataclass
class Served(Client):
    """A registry that another process serves."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    store: str
    authorization: str = ""
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = dict(headers or {})
        if self.authorization:
            named.setdefault("authorization", self.authorization)
        try:
            connection.request(method, path, body or None, named)
            response = connection.getresponse()
            data = response.read()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
        finally:
            connection.close()

    def kill(self) -> None:
        """End all of the server's processes as a power failure of the program would: at once."""
        os.killpg(self.process.pid, 9)
        self.process.wait()
        # its workers take a moment longer
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                return


@contextmanager
def serving(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    store: str | None = None,
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[Served]:
    """`ramekin serve` with a configuration, on a free port of loopback, its store below `folder`."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"registry-{port}.yaml"
    path.write_text(json.dumps({**OPEN, **(settings or {})}))
    place = store or str(folder / "store")
    log = folder / f"registry-{port}.log"
    command = [sys.executable, "-m", "ramekin", "serve", "--config", str(path), "--port", str(port)]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--store", place, *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        wait_for_port(port, process, log)
        yield Served(port, process, log, place)
    finally:
        stop(process, patience=20)
