"""What clients must not do, each with the answer that the specification has for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ramekin_registry import INDEX, MANIFEST, Direct, Reply, digest_of, image, index

LAYER = b"layer" * 1000
NONE = digest_of(b"there is no such thing")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Direct]:
    with Direct(tmp_path / "store", {"limits": {"blob": 1 << 20}}) as direct:
        yield direct


def is_error(reply: Reply, status: int, code: str) -> bool:
    return (reply.status, reply.code) == (status, code)


def test_a_digest_that_does_not_match(registry: Direct) -> None:
    location = registry.begin("a")
    registry.patch(location, LAYER)
    assert is_error(registry.put(f"{location}?digest={NONE}"), 400, "DIGEST_INVALID")
    assert registry.get(f"/v2/a/blobs/{NONE}").status == 404
    assert registry.get(f"/v2/a/blobs/{digest_of(LAYER)}").status == 404
    # what was sent is no more, so that nobody goes on with it
    assert registry.get(location).status == 404


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:abc",
        "sha256:" + "A" * 64,
        "sha512:" + "a" * 128,
        "md5:" + "a" * 32,
        "a" * 64,
        "sha256:" + "0" * 65,
        "sha256%00:" + "0" * 64,
        "sha256:" + "../" * 21 + "0",
    ],
)
def test_a_digest_that_is_none(registry: Direct, digest: str) -> None:
    location = registry.begin("a")
    assert is_error(registry.put(f"{location}?digest={digest}", b"x"), 400, "DIGEST_INVALID")
    assert registry.get(f"/v2/a/blobs/{digest or 'x'}").status in (400, 404)


def test_a_manifest_with_missing_blobs(registry: Direct) -> None:
    registry.push_blob("a", b"{}")
    reply = registry.put("/v2/a/manifests/v1", image(LAYER), content_type=MANIFEST)
    assert is_error(reply, 400, "MANIFEST_BLOB_UNKNOWN")
    assert reply.json["errors"][0]["detail"] == [{"digest": digest_of(LAYER)}]
    assert registry.get("/v2/a/manifests/v1").status == 404


def test_a_manifest_with_blobs_of_another_repository(registry: Direct) -> None:
    registry.push_image("a", "v1", LAYER)
    reply = registry.put("/v2/b/manifests/v1", image(LAYER), content_type=MANIFEST)
    assert is_error(reply, 400, "MANIFEST_BLOB_UNKNOWN")


def test_an_index_with_missing_manifests(registry: Direct) -> None:
    reply = registry.put("/v2/a/manifests/v1", index(image(LAYER)), content_type=INDEX)
    assert is_error(reply, 400, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_that_lies_about_a_size(registry: Direct) -> None:
    registry.push_image("a", "v1", LAYER)
    document = json.loads(image(LAYER))
    document["layers"][0]["size"] += 1
    reply = registry.put("/v2/a/manifests/v2", json.dumps(document).encode(), content_type=MANIFEST)
    assert is_error(reply, 400, "MANIFEST_INVALID")


def test_a_manifest_of_50_megabytes(registry: Direct) -> None:
    reply = registry.put("/v2/a/manifests/v1", b" " * 50_000_000, content_type=MANIFEST)
    assert is_error(reply, 413, "MANIFEST_INVALID")
    # without a length it is no better
    chunks = registry.begin_request("PUT", "/v2/a/manifests/v1", [b" " * 1_000_000] * 6)
    assert is_error(chunks.result(20), 413, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"schemaVersion":1}',
        b"\xff\xfe",
        b"[" * 100000,
        b'{"schemaVersion":2}',
        b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"../../etc/passwd","size":1},"layers":[]}',
        b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"' + NONE.encode() + b'","size":-1}}',
        b'{"schemaVersion":2,"mediaType":"text/plain","config":{}}',
    ],
)
def test_a_manifest_that_is_none(registry: Direct, body: bytes) -> None:
    assert is_error(registry.put("/v2/a/manifests/v1", body, content_type=MANIFEST), 400, "MANIFEST_INVALID")


def test_a_manifest_of_another_media_type(registry: Direct) -> None:
    registry.push_blob("a", b"{}")
    for kind in ("text/html", "application/vnd.docker.distribution.manifest.v1+json", INDEX):
        reply = registry.put("/v2/a/manifests/v1", image(), content_type=kind)
        assert is_error(reply, 400, "MANIFEST_INVALID")


def test_a_manifest_that_is_an_index_too(registry: Direct) -> None:
    registry.push_image("a", "v1", LAYER)
    document = json.loads(image(LAYER)) | {"manifests": []}
    reply = registry.put("/v2/a/manifests/v1", json.dumps(document).encode(), content_type=MANIFEST)
    assert is_error(reply, 400, "MANIFEST_INVALID")


def test_a_manifest_under_a_digest_that_is_not_its_own(registry: Direct) -> None:
    registry.push_blob("a", b"{}")
    reply = registry.put(f"/v2/a/manifests/{NONE}", image(), content_type=MANIFEST)
    assert is_error(reply, 400, "DIGEST_INVALID")


@pytest.mark.parametrize("tag", [".hidden", "-x", "a" * 129, "a b", "ä", "%00", "a%0Ab"])
def test_a_tag_that_is_none(registry: Direct, tag: str) -> None:
    registry.push_blob("a", b"{}")
    path = f"/v2/a/manifests/{tag.replace(' ', '%20')}"
    assert is_error(registry.put(path, image(), content_type=MANIFEST), 400, "MANIFEST_INVALID")
    assert is_error(registry.get(path), 404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "a/../b",
        "../../etc",
        "a/..",
        ".",
        "a//b",
        "/a",
        "a/",
        "A",
        "a b",
        "_tags",
        "a/_manifests",
        "-a",
        "a-",
        "a@b",
        "a%2F..%2Fb",
        "%2e%2e",
        "%252e%252e",
        "a%00",
        "a%0A",
        "a%5C..",
        "ä",
        "a" * 256,
        "a/" * 150 + "a",
    ],
)
def test_a_repository_name_that_is_none(registry: Direct, name: str) -> None:
    name = name.replace(" ", "%20")
    for reply in (
        registry.get(f"/v2/{name}/manifests/v1"),
        registry.get(f"/v2/{name}/tags/list"),
        registry.post(f"/v2/{name}/blobs/uploads/"),
        registry.get(f"/v2/{name}/blobs/{NONE}"),
        registry.get(f"/v2/{name}/referrers/{NONE}"),
    ):
        assert is_error(reply, 400, "NAME_INVALID")


def test_an_encoded_slash_is_a_slash_and_nothing_more(registry: Direct) -> None:
    registry.push_image("a/b", "v1", LAYER)
    assert registry.get("/v2/a%2Fb/manifests/v1").status == 200
    assert registry.get(f"/v2/a/b/blobs/sha256%3A{digest_of(LAYER)[7:]}").status == 200
    assert registry.get("/v2/a%252Fb/manifests/v1").code == "NAME_INVALID"


def test_an_upload_of_another_repository(registry: Direct) -> None:
    location = registry.begin("a").replace("/v2/a/", "/v2/b/")
    for reply in (
        registry.patch(location, LAYER),
        registry.put(f"{location}?digest={digest_of(LAYER)}", LAYER),
        registry.get(location),
        registry.delete(location),
    ):
        assert is_error(reply, 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("session", ["x", "..", "%2e%2e", "0" * 32, "0" * 31 + "/", "a" * 5000, "%00" * 32])
def test_an_upload_that_is_none(registry: Direct, session: str) -> None:
    reply = registry.patch(f"/v2/a/blobs/uploads/{session}", LAYER)
    assert reply.status in (404, 405)


def test_chunks_out_of_order(registry: Direct) -> None:
    location = registry.begin("a")
    registry.patch(location, LAYER[:1000], content_range="0-999")
    for first in (1001, 2000, 0, 999):
        reply = registry.patch(location, LAYER[:1000], content_range=f"{first}-{first + 999}")
        assert is_error(reply, 416, "BLOB_UPLOAD_INVALID")
        assert reply.headers["range"] == "0-999"
        assert reply.headers["location"] == location


def test_a_chunk_that_is_sent_twice(registry: Direct) -> None:
    location = registry.begin("a")
    assert registry.patch(location, LAYER[:1000], content_range="0-999").status == 202
    assert registry.patch(location, LAYER[:1000], content_range="0-999").status == 416
    registry.patch(location, LAYER[1000:], content_range=f"1000-{len(LAYER) - 1}")
    assert registry.put(f"{location}?digest={digest_of(LAYER)}").status == 201
    assert is_error(registry.put(f"{location}?digest={digest_of(LAYER)}"), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize(
    "placed", ["", "x", "5", "-5", "5-", "9-0", "0-999999", "bytes 0-x/9", "0-18446744073709551616"]
)
def test_a_chunk_whose_range_is_none(registry: Direct, placed: str) -> None:
    location = registry.begin("a")
    reply = registry.patch(location, LAYER[:1000], content_range=placed)
    assert reply.status == 400
    assert reply.code in ("BLOB_UPLOAD_INVALID", "SIZE_INVALID")
    assert registry.get(location).headers["range"] == "0-0"


def test_a_blob_that_is_larger_than_allowed(registry: Direct) -> None:
    assert is_error(registry.patch(registry.begin("a"), b"x" * ((1 << 20) + 1)), 413, "SIZE_INVALID")
    location = registry.begin("a")
    for _ in range(2):
        registry.patch(location, b"x" * (1 << 19))
    assert is_error(registry.patch(location, b"x"), 413, "SIZE_INVALID")


def test_a_body_that_ends_too_early(registry: Direct) -> None:
    short = registry.begin_request(
        "POST", f"/v2/a/blobs/uploads/?digest={digest_of(LAYER)}", [LAYER[:10]], length=5000
    )
    assert short.result(10).status != 201
    assert registry.get(f"/v2/a/blobs/{digest_of(LAYER)}").status == 404


def test_a_body_that_stops(tmp_path: Path) -> None:
    with Direct(tmp_path, {"limits": {"body-seconds": 0.2}}) as registry:
        location = registry.begin("a")

        async def never() -> None:
            import asyncio

            await asyncio.sleep(60)

        async def call() -> Reply:
            sent = [{"type": "http.request", "body": LAYER[:100], "more_body": True}]
            reply = Reply(0, {}, b"")

            async def receive() -> object:
                if not sent:
                    await never()
                return sent.pop()

            async def send(message: dict[str, object]) -> None:
                reply.status = int(str(message.get("status", reply.status)))
                reply.body += bytes(message.get("body", b""))  # type: ignore[call-overload]

            scope = {"type": "http", "method": "PATCH", "path": location, "query_string": b"", "headers": []}
            await registry.app(scope, receive, send)
            return reply

        import asyncio

        reply = asyncio.run_coroutine_threadsafe(call(), registry.loop).result(10)
        assert reply.status == 408
        # what had come by then is kept
        assert registry.get(location).headers["range"] == "0-99"


def test_a_mount_of_what_one_may_not_pull(tmp_path: Path) -> None:
    rules = [
        {"repositories": "open", "users": "anonymous", "allow": ["pull", "push"]},
        {"repositories": "secret", "users": "anonymous", "allow": "push"},
    ]
    with Direct(tmp_path, {"anonymous": [], "rules": rules}) as registry:
        digest = registry.push_blob("secret", LAYER)
        for query in (f"mount={digest}&from=secret", f"mount={digest}"):
            assert registry.post(f"/v2/open/blobs/uploads/?{query}").status == 202
        assert registry.get(f"/v2/open/blobs/{digest}").status == 404


def test_a_mount_from_a_name_that_is_none(registry: Direct) -> None:
    reply = registry.post(f"/v2/a/blobs/uploads/?mount={NONE}&from=../../etc")
    assert is_error(reply, 400, "NAME_INVALID")


@pytest.mark.parametrize("n", ["-1", "x", "1e9", "", "1.5", "9" * 40, "%00", "٣"])
def test_pages_of_no_number(registry: Direct, n: str) -> None:
    registry.push_image("a", "v1", LAYER)
    for path in ("/v2/a/tags/list", "/v2/_catalog"):
        assert is_error(registry.get(f"{path}?n={n}"), 400, "PAGINATION_NUMBER_INVALID")


def test_pages_of_too_many_and_from_nowhere(registry: Direct) -> None:
    registry.push_image("a", "v1", LAYER)
    assert registry.get("/v2/a/tags/list?n=999999999999999999").json["tags"] == ["v1"]
    for last in ("..", "%00", "/etc/passwd", "ä", "x" * 5000):
        assert registry.get(f"/v2/a/tags/list?last={last}").status == 200


def test_queries_that_are_none(registry: Direct) -> None:
    registry.push_image("a", "v1", LAYER)
    assert registry.get("/v2/a/tags/list?" + "&".join(f"a{n}=1" for n in range(1000))).status == 400
    assert registry.get("/v2/a/tags/list?%zz=%").status == 200
    assert registry.get("/v2/a/tags/list?n=%ff").status == 400


@pytest.mark.parametrize("digest", ["x", "sha256:0", "latest", "sha512:" + "0" * 128])
def test_referrers_of_what_is_no_digest(registry: Direct, digest: str) -> None:
    assert is_error(registry.get(f"/v2/a/referrers/{digest}"), 400, "DIGEST_INVALID")


def test_heads_that_are_too_large(registry: Direct) -> None:
    reply = registry.get("/v2/", x_large="x" * 70_000)
    assert reply.status == 431
    assert registry.get("/healthz", x_large="x" * 70_000).status == 431


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/"),
        ("PUT", "/v2/a/tags/list"),
        ("PATCH", "/v2/a/manifests/v1"),
        ("BREW", "/v2/a/manifests/v1"),
        ("PUT", f"/v2/a/blobs/{NONE}"),
        ("GET", "/v2/a/blobs/uploads/"),
        ("DELETE", f"/v2/a/referrers/{NONE}"),
    ],
)
def test_methods_that_do_not_go_there(registry: Direct, method: str, path: str) -> None:
    reply = registry.request(method, path)
    assert is_error(reply, 405, "UNSUPPORTED")
    assert reply.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/v2/a", "/v2/a/b/c", "/v2//", "/v2/../v2/", "/v2/a/manifests/", "/v2/_other"]
)
def test_paths_that_lead_nowhere(registry: Direct, path: str) -> None:
    assert registry.get(path).status == 404


def test_a_page_in_a_browser_may_not_write(registry: Direct) -> None:
    reply = registry.post("/v2/a/blobs/uploads/", origin="http://127.0.0.1:5000")
    assert is_error(reply, 403, "DENIED")


def test_a_link_in_the_store_leads_nowhere(registry: Direct, tmp_path: Path) -> None:
    registry.push_image("a", "v1", LAYER)
    (tmp_path / "secret").write_text("secret")
    tags = tmp_path / "store/registry/repositories/a/_tags"
    (tags / "v2").symlink_to(tmp_path / "secret")
    assert registry.get("/v2/a/manifests/v2").status == 404
    manifests = tmp_path / "store/registry/repositories/a/_manifests"
    (manifests / NONE[7:]).symlink_to(tmp_path / "secret")
    assert registry.get(f"/v2/a/manifests/{NONE}").status == 404


def test_a_damaged_manifest_is_not_served(registry: Direct, tmp_path: Path) -> None:
    digest, _ = registry.push_image("a", "v1", LAYER)
    record = tmp_path / "store/registry/repositories/a/_manifests" / digest[7:]
    record.write_bytes(record.read_bytes().replace(b"layers", b"LAYERS"))
    assert registry.get("/v2/a/manifests/v1").status == 404


def test_two_requests_that_send_to_one_upload(registry: Direct) -> None:
    location = registry.begin("a")
    intake = registry.site.uploads.open("a", location.rpartition("/")[2])
    began = time.monotonic()
    reply = registry.patch(location, LAYER)
    assert is_error(reply, 409, "BLOB_UPLOAD_INVALID")
    assert time.monotonic() - began < 10
    intake.close()
    assert registry.patch(location, LAYER).status == 202
