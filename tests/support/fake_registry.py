"""A registry on loopback that keeps everything in memory and misbehaves on request.

with FakeRegistry() as registry:
    registry.fail(lambda request: request.method == "GET", status=503, times=2)
    ... docker://{registry.host}/a:1 ...
    assert registry.count("PATCH") == 1
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)


@dataclass
class Fault:
    """What to do wrong for requests that match, and how often."""

    matches: Callable[[Seen], bool]
    times: int = 1
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Read or send only so many bytes of the body, then drop the connection."""
    stall: bool = False
    """Do not drop the connection then, but leave the client waiting."""
    damage: bool = False
    """Send a body of the right size whose first byte is wrong."""
    forget: bool = False
    """Lose the upload session."""


class FakeRegistry:
    def __init__(
        self,
        *,
        referrers_api: bool = True,
        basic: tuple[str, str] | None = None,
        tokens: bool = False,
        blob_host: str = "",
        body_limit: int | None = None,
    ) -> None:
        self.referrers_api = referrers_api
        self.basic = basic
        self.tokens = tokens
        self.blob_host = blob_host
        self.body_limit = body_limit
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.scopes: list[str] = []
        self.given: dict[str, set[str]] = {}
        self.grants: Callable[[str, str], bool] = lambda user, scope: True
        self._lock = threading.Lock()
        registry = self

        class Handler(_Handler):
            owner = registry

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.host = f"127.0.0.1:{self.port}"

    def fail(self, matches: Callable[[Seen], bool], **fault: object) -> None:
        self.faults.append(Fault(matches, **fault))  # type: ignore[arg-type]

    def fault_for(self, seen: Seen) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            for fault in self.faults:
                if fault.times > 0 and fault.matches(seen):
                    fault.times -= 1
                    return fault
        return None

    def count(self, method: str, pattern: str = "") -> int:
        return sum(seen.method == method and bool(re.search(pattern, seen.path)) for seen in self.seen)

    def __enter__(self) -> FakeRegistry:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: FakeRegistry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        self.fault = self.owner.fault_for(Seen(self.command, self.path, dict(self.headers.items())))
        if self.fault is not None and self.fault.status:
            self._body()
            self._answer(self.fault.status, headers=self.fault.headers)
            return
        if self.path.startswith("/token"):
            self._token()
            return
        if not self._allowed():
            self._body()
            return
        parts = urlsplit(self.path)
        if parts.path == "/v2/":
            self._answer(200)
        elif found := re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", parts.path):
            self._upload(found[1], found[2])
        elif found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:.+)", parts.path):
            self._blob(found[1], found[2])
        elif found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", parts.path):
            self._manifest(found[1], found[2])
        elif found := re.fullmatch(r"/v2/(.+)/referrers/(.+)", parts.path):
            self._referrers(found[1], found[2])
        else:
            self._answer(404)

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.owner.basic is not None and not self.owner.tokens:
            if given == _basic(*self.owner.basic):
                return True
            self._answer(401, headers={"WWW-Authenticate": 'Basic realm="here, and there"'})
            return False
        if not self.owner.tokens:
            return True
        found = re.match(r"/v2/(.+?)/(blobs|manifests|referrers)/", self.path)
        repository = found[1] if found else ""
        action = "pull" if self.command in ("GET", "HEAD") and "uploads" not in self.path else "push"
        wanted = {f"{repository}:{action}"} if repository else set()
        if origin := parse_qs(urlsplit(self.path).query).get("from"):
            wanted.add(f"{origin[0]}:pull")
        if given.startswith("Bearer ") and wanted <= self.owner.given.get(given[7:], set()):
            return True
        challenge = f'Bearer realm="http://{self.owner.host}/token",service="fake",scope="repository:{repository}:pull"'
        self._answer(401, headers={"WWW-Authenticate": challenge})
        return False

    def _token(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        user = ""
        if self.command == "POST":
            query = parse_qs(self._body().decode())
            query["scope"] = query.get("scope", [""])[0].split()
            user = query["refresh_token"][0]
        elif self.owner.basic is not None:
            if self.headers.get("Authorization") != _basic(*self.owner.basic):
                self._answer(401)
                return
            user = self.owner.basic[0]
        self.owner.scopes += query.get("scope", [])
        given: set[str] = set()
        for scope in query.get("scope", []):
            _, repository, actions = scope.split(":")
            if self.owner.grants(user, scope):
                given |= {f"{repository}:{action}" for action in actions.split(",")}
        token = uuid.uuid4().hex
        self.owner.given[token] = given
        self._answer(200, json.dumps({"token": token, "expires_in": 300}).encode())

    def _blob(self, repository: str, digest: str) -> None:
        data = self.owner.blobs.get((repository, digest))
        if data is None:
            self._answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}')
        elif self.owner.blob_host and self.command == "GET":
            self._answer(307, headers={"Location": f"{self.owner.blob_host}/v2/{repository}/blobs/{digest}"})
        else:
            self._ranged(data, {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"})

    def _manifest(self, repository: str, reference: str) -> None:
        key = (repository, reference)
        if self.command == "PUT":
            data = self._body()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            kind = self.headers["Content-Type"]
            self.owner.manifests[key] = self.owner.manifests[repository, digest] = (kind, data)
            headers = {"Docker-Content-Digest": digest, "Location": self.path}
            subject = json.loads(data).get("subject")
            if subject and self.owner.referrers_api:
                headers["OCI-Subject"] = subject["digest"]
            self._answer(201, headers=headers)
        elif key not in self.owner.manifests:
            self._answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        else:
            kind, data = self.owner.manifests[key]
            self._ranged(data, {"Content-Type": kind})

    def _referrers(self, repository: str, digest: str) -> None:
        if not self.owner.referrers_api:
            self._answer(404)
            return
        found = {}
        for (where, _), (kind, data) in self.owner.manifests.items():
            document = json.loads(data)
            if where == repository and (document.get("subject") or {}).get("digest") == digest:
                own = "sha256:" + hashlib.sha256(data).hexdigest()
                found[own] = {
                    "mediaType": kind,
                    "digest": own,
                    "size": len(data),
                    "artifactType": document.get("artifactType", ""),
                }
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [found[key] for key in sorted(found)]}
        self._answer(200, json.dumps(body).encode(), {"Content-Type": INDEX})

    def _upload(self, repository: str, session: str) -> None:
        uploads, query = self.owner.uploads, parse_qs(urlsplit(self.path).query)
        if self.command == "POST":
            self._body()
            if (
                "mount" in query
                and (data := self.owner.blobs.get((query["from"][0], query["mount"][0]))) is not None
            ):
                self.owner.blobs[repository, query["mount"][0]] = data
                self._answer(201, headers={"Location": f"/v2/{repository}/blobs/{query['mount'][0]}"})
                return
            session = uuid.uuid4().hex
            uploads[session] = bytearray()
            self._answer(202, headers={"Location": self._session(repository, session)})
            return
        if self.fault is not None and self.fault.forget:
            uploads.pop(session, None)
        if session not in uploads:
            self._body()
            self._answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"upload unknown"}]}')
            return
        limit = self.owner.body_limit
        if limit is not None and int(self.headers.get("Content-Length", 0)) > limit:
            self._body()
            self._answer(413)
            return
        held = uploads[session]
        start = self.headers.get("Content-Range", "").partition("-")[0]
        if start and int(start) != len(held):
            self._body()
            self._answer(416, headers={"Range": f"0-{max(len(held) - 1, 0)}"})
            return
        held += self._body()
        if self.close_connection:
            return
        place = {"Location": self._session(repository, session), "Range": f"0-{max(len(held) - 1, 0)}"}
        if self.command == "PATCH":
            self._answer(202, headers=place)
        elif self.command == "GET":
            self._answer(204, headers=place)
        elif self.command == "DELETE":
            del uploads[session]
            self._answer(204)
        else:
            digest = query["digest"][0]
            if "sha256:" + hashlib.sha256(held).hexdigest() != digest:
                self._answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"wrong digest"}]}')
                return
            self.owner.blobs[repository, digest] = bytes(held)
            del uploads[session]
            self._answer(201, headers={"Location": f"/v2/{repository}/blobs/{digest}"})

    def _session(self, repository: str, session: str) -> str:
        return f"/v2/{repository}/blobs/uploads/{session}?_state=a%2Bb"

    def _body(self) -> bytes:
        size = int(self.headers.get("Content-Length", 0))
        if self.fault is not None and self.fault.cut_after is not None and self.command in ("PATCH", "PUT"):
            data = self.rfile.read(min(size, self.fault.cut_after))
            self.close_connection = True
            return data
        return self.rfile.read(size)

    def _ranged(self, data: bytes, headers: Mapping[str, str]) -> None:
        status, body, extra = 200, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"'}
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(found[1])
            status, body = 206, data[start:]
            extra["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._answer(status, body, {**headers, **extra})

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> None:
        fault = self.fault
        if fault is not None and fault.damage and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.cut_after is not None and self.command == "GET":
            self.wfile.write(body[: fault.cut_after])
            self.wfile.flush()
            while fault.stall and self.connection.recv(1 << 12):
                pass
            self.close_connection = True
            return
        self.wfile.write(body)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
