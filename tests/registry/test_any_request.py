"""Thousands of requests at every route: each gets an answer of the specification, never a 500."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.archive import SigningKey
from support.larder import SETTINGS, open_larder
from support.ramekin_registry import INDEX, MANIFEST, Direct, digest_of, image, index

from ramekin.registry.ondemand.provider import OnDemandProvider
from ramekin.registry.ondemand_config import OnDemand
from ramekin.store.store import Store

REQUESTS = int(os.environ.get("RAMEKIN_REQUESTS", "10000"))
"""How many; `RAMEKIN_REQUESTS=100000` for a thorough run."""

CODES = {
    *(
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
    ),
    *("MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED"),
    *("DENIED", "UNSUPPORTED", "TOOMANYREQUESTS", "PAGINATION_NUMBER_INVALID"),
}
LAYERS = [b"", b"one", b"two" * 1000]
IMAGES = [image(), image(b"one"), image(b"one", b"two" * 1000), index(image(b"one"))]
DIGESTS = [digest_of(data) for data in (*LAYERS, b"{}", *IMAGES)]
METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND"]
NAMES = [
    "a",
    "a/b",
    "r2/d2",
    "A",
    "..",
    "a//b",
    "",
    "a" * 300,
    "_x",
    "a/manifests/b",
    "blobs/uploads",
    "v2",
    "é",
    "%00",
    "gratin",
    "shell/leek",
    "arm64/leek/pan_p_p",
    "nix/leek",
    "x_x",
]
API = ["status", "search", "view", "graph", "build", "progress", "repositories", "tags", "report", "", "none"]
TAGS = ["latest", "v1", "", ".", "..", "a" * 129, "a:b", "%2e", "\n", "sha256:", "💥"]
QUERIES = ["n", "last", "digest", "mount", "from", "artifactType", "scope", "service", "x"]
QUERIES += ["name", "tag", "q", "architecture"]
WORDS = [
    "",
    "0",
    "-1",
    "1",
    "5",
    "999999999999999999999",
    "a",
    "é",
    "\0",
    "%",
    "%ff",
    "&",
    "=",
    "bytes=0-5",
    "x" * 3000,
]
HEADERS = ["range", "content-range", "content-type", "accept", "authorization", "if-none-match", "if-range"]
HEADERS += ["x-request-id", "host", "origin", "expect", "content-length", "transfer-encoding", "cookie"]
VALUES = [
    "bytes=0-5",
    "bytes=5-",
    "bytes=-1",
    "bytes=99-",
    "0-4",
    "0-0",
    "5-9",
    MANIFEST,
    INDEX,
    "*/*",
    "text/html",
]
VALUES += [
    "Basic YTpi",
    "Basic !",
    "Bearer a.b.c",
    "Bearer",
    '"x"',
    "http://x",
    "100-continue",
    "\xff\xfe",
    "-",
    "1e3",
]


class Monkey:
    """Makes requests of parts that work and parts that do not; knows where uploads are."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sessions = ["0" * 32, "x", "..", "a/b"]

    def pick(self, sensible: list[str], other: list[str]) -> str:
        return self.chance.choice(sensible if self.chance.random() < 0.7 else other)

    def path(self) -> str:
        name = self.pick(NAMES[:3], NAMES)
        reference = self.pick([*TAGS[:2], *DIGESTS], [*TAGS, *WORDS])
        session = self.chance.choice(self.sessions)
        shapes = [f"/v2/{name}/manifests/{reference}"] * 4 + [f"/v2/{name}/blobs/{reference}"] * 3
        shapes += (
            [f"/v2/{name}/blobs/uploads/{session}"] * 3 + [session] * 2 + [f"/v2/{name}/blobs/uploads/"] * 3
        )
        shapes += [
            f"/v2/{name}/tags/list",
            f"/v2/{name}/referrers/{reference}",
            "/v2/_catalog",
            "/v2/",
            "/token",
        ]
        shapes += [
            f"/v2/{name}",
            f"/{reference}",
            "/metrics",
            "/healthz",
            "/readyz",
            "/v2",
            "//",
            "/v2/%",
            "*",
            "/",
            "/assets/page.js",
        ]
        shapes += [f"/api/{api}" for api in self.chance.sample(API, 4)]
        path = self.chance.choice(shapes).replace("?", "%3F").replace("\n", "%0A").replace("\0", "%00")
        if self.chance.random() < 0.1 and path:
            place = self.chance.randrange(len(path))
            path = (
                path[:place]
                + self.chance.choice(["%00", "%2F", "/", "..", "%25", "", "%e2%80%ae"])
                + path[place:]
            )
        return path

    def query(self) -> str:
        if self.chance.random() < 0.5:
            return ""
        pairs = []
        for _ in range(self.chance.randrange(1, 4)):
            value = self.pick([*DIGESTS, "1", "a", "gratin", "amd64", "latest"], [*WORDS, *NAMES])
            pairs.append(f"{self.chance.choice(QUERIES)}={value}")
        return "?" + "&".join(pairs)

    def request(self) -> tuple[str, str, list[bytes], dict[str, str]]:
        method = self.pick(METHODS[:6], METHODS)
        bodies = [*LAYERS, *IMAGES, b"{}", b"[" * 5000, b"\xff", json.dumps({"schemaVersion": 2}).encode()]
        bodies.append(
            json.dumps({"name": self.chance.choice(NAMES), "tag": self.chance.choice(TAGS)}).encode()
        )
        body = self.chance.choice(bodies)
        if self.chance.random() < 0.1:
            body = bytes(self.chance.randrange(256) for _ in range(50))
        headers = {}
        if self.chance.random() < 0.5:
            headers["content-type"] = self.chance.choice([MANIFEST, INDEX, "application/json", "", "x"])
        for _ in range(self.chance.randrange(3)):
            headers[self.chance.choice(HEADERS)] = self.chance.choice(VALUES)
        split = self.chance.randrange(len(body) + 1)
        return method, self.path() + self.query(), [body[:split], body[split:]], headers


SHARES = {"open": 0.4, "users": 0.4, "demand": 0.2}
"""Of all requests: to a registry that anybody may write to, one with users, one that makes images."""


@pytest.fixture(params=SHARES)
def registry(
    request: pytest.FixtureRequest, tmp_path: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Direct]:
    settings: dict[str, object] = {"limits": {"blob": 5000, "manifest": 4000}}
    if request.param == "users":
        users = tmp_path / "users"
        users.write_text("a:$2b$04$PfPNEUIMUbTWzOZpvQvJEOZLU6Q2nJzx2b2aGQX1Vv3rKxX5s6w1K\n")
        settings |= {
            "users": str(users),
            "anonymous": ["pull", "push"],
            "rules": [{"users": "a", "allow": "delete"}],
        }
    if request.param != "demand":
        with Direct(tmp_path / "store", settings, page=True) as direct:
            yield direct
        return
    for name, value in open_larder(tmp_path / "kitchen", signing_key).env().items():
        monkeypatch.setenv(name, value)
    store = Store.at(tmp_path / "store")
    provider = OnDemandProvider(OnDemand(**{**SETTINGS, "rate": 10**6}), store, ahead=False)
    with Direct(tmp_path / "store", settings, provider, page=True) as direct:
        try:
            asyncio.run_coroutine_threadsafe(provider.start(), direct.loop).result(30)
            yield direct
        finally:
            asyncio.run_coroutine_threadsafe(provider.stop(), direct.loop).result(30)


def test_every_request_gets_an_answer_of_the_specification(
    registry: Direct, request: pytest.FixtureRequest
) -> None:
    seed = random.randrange(10**9)
    monkey = Monkey(seed)
    seen: set[int] = set()
    for layer in LAYERS:
        registry.push_blob("a", layer)
    registry.push_image("a", "v1", b"one")
    share = SHARES[request.node.callspec.params["registry"]]
    for number in range(int(REQUESTS * share)):
        method, path, chunks, headers = monkey.request()
        reply = registry.begin_request(
            method, path, chunks, headers, cut=monkey.chance.random() < 0.05
        ).result(60)
        what = f"seed {seed}, request {number}: {method} {path[:200]} {headers}: {reply}"[:2000]
        # 0: the client was gone before its answer
        assert reply.status < 500, what
        seen.add(reply.status)
        if "location" in reply.headers and reply.status == 202:
            monkey.sessions.append(reply.headers["location"])
        if reply.status >= 400 and reply.body and path.startswith("/v2/"):
            assert reply.headers["content-type"] == "application/json", what
            assert reply.code in CODES, what
        if method == "HEAD" and path.startswith("/v2/"):
            assert reply.body == b"", what
    assert {200, 202, 204, 400, 404, 405} <= seen, seen
