"""Every end point of the distribution specification, by its number there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ramekin_registry import INDEX, MANIFEST, Direct, digest_of, image, index

LAYER = bytes(range(256)) * 40


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Direct]:
    with Direct(tmp_path / "store") as direct:
        yield direct


def test_end_1_says_that_it_speaks_the_specification(registry: Direct) -> None:
    reply = registry.get("/v2/")
    assert reply.status == 200
    assert reply.headers["docker-distribution-api-version"] == "registry/2.0"
    assert registry.get("/v2").status == 200


def test_end_2_gives_a_blob_and_its_digest(registry: Direct) -> None:
    digest = registry.push_blob("a/b", LAYER)
    reply = registry.get(f"/v2/a/b/blobs/{digest}")
    assert (reply.status, reply.body) == (200, LAYER)
    assert reply.headers["docker-content-digest"] == digest
    assert reply.headers["content-length"] == str(len(LAYER))
    head = registry.head(f"/v2/a/b/blobs/{digest}")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(LAYER)))


def test_end_2_gives_an_empty_blob(registry: Direct) -> None:
    digest = registry.push_blob("a", b"")
    reply = registry.get(f"/v2/a/blobs/{digest}")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=5-999999999", 206, slice(5, None)),
        ("bytes=0-10239", 206, slice(0, None)),
        ("bytes=0-1,4-5", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
        ("bytes=9-3", 200, slice(0, None)),
    ],
)
def test_end_2_gives_ranges(registry: Direct, wanted: str, status: int, part: slice) -> None:
    digest = registry.push_blob("a", LAYER)
    reply = registry.get(f"/v2/a/blobs/{digest}", range=wanted)
    assert (reply.status, reply.body) == (status, LAYER[part])
    if status == 206:
        first, end, _ = part.indices(len(LAYER))
        assert reply.headers["content-range"] == f"bytes {first}-{end - 1}/{len(LAYER)}"


@pytest.mark.parametrize("wanted", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
def test_end_2_refuses_ranges_past_the_end(registry: Direct, wanted: str) -> None:
    digest = registry.push_blob("a", LAYER)
    reply = registry.get(f"/v2/a/blobs/{digest}", range=wanted)
    assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(LAYER)}")


def test_end_2_does_not_give_blobs_of_other_repositories(registry: Direct) -> None:
    digest = registry.push_blob("a", LAYER)
    reply = registry.get(f"/v2/b/blobs/{digest}")
    assert (reply.status, reply.code) == (404, "BLOB_UNKNOWN")


def test_end_3_gives_a_manifest_as_it_was_pushed(registry: Direct) -> None:
    digest, manifest = registry.push_image("a/b", "v1", LAYER)
    for reference in ("v1", digest):
        for _ in range(2):
            reply = registry.get(f"/v2/a/b/manifests/{reference}")
            assert (reply.status, reply.body) == (200, manifest)
            assert reply.headers["content-type"] == MANIFEST
            assert reply.headers["docker-content-digest"] == digest
            head = registry.head(f"/v2/a/b/manifests/{reference}")
            assert (head.status, head.body) == (200, b"")
            assert head.headers["content-length"] == str(len(manifest))


def test_end_3_says_what_is_unknown(registry: Direct) -> None:
    registry.push_image("a", "v1", LAYER)
    assert registry.get("/v2/a/manifests/v2").code == "MANIFEST_UNKNOWN"
    assert registry.get("/v2/b/manifests/v1").code == "NAME_UNKNOWN"
    assert registry.get(f"/v2/a/manifests/{digest_of(b'none')}").code == "MANIFEST_UNKNOWN"
    assert registry.head("/v2/a/manifests/v2").status == 404


def test_end_3_gives_a_platform_to_who_understands_no_index(registry: Direct) -> None:
    _, arm = registry.push_image("a", None, b"arm")
    _, amd = registry.push_image("a", None, b"amd")
    both = index(arm, amd, platforms=("arm64", "amd64"))
    assert registry.put("/v2/a/manifests/v1", both, content_type=INDEX).status == 201
    assert registry.get("/v2/a/manifests/v1").body == both
    assert registry.get("/v2/a/manifests/v1", accept=f"{MANIFEST}, {INDEX}").body == both
    assert registry.get("/v2/a/manifests/v1", accept="*/*").body == both
    assert registry.get("/v2/a/manifests/v1", accept=MANIFEST).body == amd
    # by digest it is what the digest says
    assert registry.get(f"/v2/a/manifests/{digest_of(both)}", accept=MANIFEST).body == both


def test_end_3_says_that_nothing_has_changed(registry: Direct) -> None:
    digest, _ = registry.push_image("a", "v1", LAYER)
    etag = registry.get("/v2/a/manifests/v1").headers["etag"]
    reply = registry.get("/v2/a/manifests/v1", if_none_match=etag)
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["docker-content-digest"] == digest


def test_end_4a_5_and_6_take_a_blob_in_chunks(registry: Direct) -> None:
    location = registry.begin("a")
    for first in range(0, len(LAYER), 1000):
        chunk = LAYER[first : first + 1000]
        reply = registry.patch(location, chunk, content_range=f"{first}-{first + len(chunk) - 1}")
        assert reply.status == 202
        assert reply.headers["range"] == f"0-{first + len(chunk) - 1}"
        location = reply.headers["location"]
    reply = registry.put(f"{location}?digest={digest_of(LAYER)}")
    assert (reply.status, reply.headers["docker-content-digest"]) == (201, digest_of(LAYER))
    assert registry.get(reply.headers["location"]).body == LAYER
    assert registry.get(location).status == 404


def test_end_4a_and_6_take_a_blob_at_once(registry: Direct) -> None:
    location = registry.begin("a")
    assert registry.put(f"{location}?digest={digest_of(LAYER)}", LAYER).status == 201
    assert registry.get(f"/v2/a/blobs/{digest_of(LAYER)}").body == LAYER


def test_end_6_takes_the_last_chunk(registry: Direct) -> None:
    location = registry.begin("a")
    registry.patch(location, LAYER[:5000])
    reply = registry.put(
        f"{location}?digest={digest_of(LAYER)}", LAYER[5000:], content_range=f"5000-{len(LAYER) - 1}"
    )
    assert reply.status == 201
    assert registry.get(f"/v2/a/blobs/{digest_of(LAYER)}").body == LAYER


def test_end_4b_takes_a_blob_in_one_request(registry: Direct) -> None:
    reply = registry.post(f"/v2/a/blobs/uploads/?digest={digest_of(LAYER)}", LAYER)
    assert (reply.status, reply.headers["location"]) == (201, f"/v2/a/blobs/{digest_of(LAYER)}")
    reply = registry.post(f"/v2/a/blobs/uploads/?digest={digest_of(LAYER)}", LAYER[:-1])
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


def test_end_5_takes_a_stream_without_a_length(registry: Direct) -> None:
    location = registry.begin("a")
    future = registry.begin_request("PATCH", location, [LAYER[:3000], b"", LAYER[3000:]])
    assert future.result(10).headers["range"] == f"0-{len(LAYER) - 1}"
    assert registry.put(f"{location}?digest={digest_of(LAYER)}").status == 201


def test_end_5_goes_on_after_an_interruption(registry: Direct) -> None:
    location = registry.begin("a")
    cut = registry.begin_request("PATCH", location, [LAYER[:3000]], {"content-length": "9000"}, cut=True)
    cut.result(10)
    reply = registry.get(location)
    assert (reply.status, reply.headers["range"]) == (204, "0-2999")
    rest = registry.patch(location, LAYER[3000:], content_range=f"3000-{len(LAYER) - 1}")
    assert rest.status == 202
    assert registry.put(f"{location}?digest={digest_of(LAYER)}").status == 201


def test_end_5_and_13_go_on_in_another_process(registry: Direct, tmp_path: Path) -> None:
    location = registry.begin("a")
    registry.patch(location, LAYER[:3000])
    with Direct(tmp_path / "store") as other:
        assert other.get(location).headers["range"] == "0-2999"
        other.patch(location, LAYER[3000:4000])
    registry.patch(location, LAYER[4000:])
    assert registry.put(f"{location}?digest={digest_of(LAYER)}").status == 201
    assert registry.get(f"/v2/a/blobs/{digest_of(LAYER)}").body == LAYER


def test_uploads_can_be_cancelled(registry: Direct) -> None:
    location = registry.begin("a")
    assert registry.delete(location).status == 204
    assert registry.get(location).code == "BLOB_UPLOAD_UNKNOWN"
    assert registry.delete(location).status == 404


def test_end_7_keeps_manifests_by_tag_and_by_digest(registry: Direct) -> None:
    registry.push_blob("a", b"{}")
    manifest = image()
    for reference in ("latest", digest_of(manifest)):
        reply = registry.put(f"/v2/a/manifests/{reference}", manifest, content_type=MANIFEST)
        assert reply.status == 201
        assert reply.headers["docker-content-digest"] == digest_of(manifest)
        assert reply.headers["location"] == f"/v2/a/manifests/{digest_of(manifest)}"


def test_end_7_moves_a_tag(registry: Direct) -> None:
    first, one = registry.push_image("a", "v1", b"1")
    assert registry.get("/v2/a/manifests/v1").body == one
    second, two = registry.push_image("a", "v1", b"2")
    assert registry.get("/v2/a/manifests/v1").body == two
    assert registry.get(f"/v2/a/manifests/{first}").body == one
    assert first != second


def test_end_7_takes_schema_2_of_docker(registry: Direct) -> None:
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    registry.push_blob("a", b"{}")
    manifest = image(mediaType=kind)
    assert registry.put("/v2/a/manifests/v1", manifest, content_type=kind).status == 201
    assert registry.get("/v2/a/manifests/v1").headers["content-type"] == kind


def test_what_another_process_writes_shows_at_once(registry: Direct, tmp_path: Path) -> None:
    registry.push_image("a", "v1", b"1")
    assert registry.get("/v2/a/manifests/v1").status == 200
    with Direct(tmp_path / "store") as other:
        digest, two = other.push_image("a", "v1", b"2")
        assert registry.get("/v2/a/manifests/v1").body == two
        assert registry.get(f"/v2/a/manifests/{digest}").body == two
        other.delete(f"/v2/a/manifests/{digest}")
    assert registry.get("/v2/a/manifests/v1").status == 404
    assert registry.get(f"/v2/a/manifests/{digest}").status == 404


def test_end_8_lists_tags_in_order_and_by_pages(registry: Direct) -> None:
    for tag in ("b", "a", "C", "_x", "10", "2"):
        registry.push_image("a", tag, b"1")
    ordered = sorted(["b", "a", "C", "_x", "10", "2"])
    assert registry.get("/v2/a/tags/list").json == {"name": "a", "tags": ordered}
    reply = registry.get("/v2/a/tags/list?n=4")
    assert reply.json["tags"] == ordered[:4]
    assert reply.headers["link"] == f'</v2/a/tags/list?n=4&last={ordered[3]}>; rel="next"'
    following = registry.get(reply.headers["link"].partition(">")[0][1:])
    assert (following.json["tags"], "link" in following.headers) == (ordered[4:], False)
    assert registry.get("/v2/a/tags/list?n=0").json["tags"] == []
    assert registry.get("/v2/a/tags/list?last=b").json["tags"] == []
    assert registry.get("/v2/a/tags/list?last=B").json["tags"] == ["C", "_x", "a", "b"]
    assert registry.get("/v2/none/tags/list").code == "NAME_UNKNOWN"


def test_the_catalog_lists_repositories(registry: Direct) -> None:
    for name in ("b", "a/c", "a"):
        registry.push_image(name, "v1", b"1")
    assert registry.get("/v2/_catalog").json == {"repositories": ["a", "a/c", "b"]}
    reply = registry.get("/v2/_catalog?n=2")
    assert reply.json["repositories"] == ["a", "a/c"]
    assert registry.get(reply.headers["link"].partition(">")[0][1:]).json["repositories"] == ["b"]


def test_end_9_removes_a_tag_and_leaves_its_manifest(registry: Direct) -> None:
    digest, manifest = registry.push_image("a", "v1", LAYER)
    assert registry.delete("/v2/a/manifests/v1").status == 202
    assert registry.get("/v2/a/manifests/v1").status == 404
    assert registry.get(f"/v2/a/manifests/{digest}").body == manifest
    assert registry.delete("/v2/a/manifests/v1").code == "MANIFEST_UNKNOWN"


def test_end_9_removes_a_manifest_and_its_tags(registry: Direct) -> None:
    digest, _ = registry.push_image("a", "v1", LAYER)
    registry.push_image("a", "v2", LAYER)
    registry.push_image("a", "other", b"other")
    assert registry.delete(f"/v2/a/manifests/{digest}").status == 202
    assert registry.get("/v2/a/tags/list").json["tags"] == ["other"]
    assert registry.get(f"/v2/a/manifests/{digest}").status == 404
    assert registry.delete(f"/v2/a/manifests/{digest}").code == "MANIFEST_UNKNOWN"


def test_a_repository_without_manifests_is_not_listed(registry: Direct) -> None:
    digest, _ = registry.push_image("a", "v1", LAYER)
    registry.delete(f"/v2/a/manifests/{digest}")
    assert registry.get("/v2/_catalog").json == {"repositories": []}


def test_end_10_removes_a_blob_from_its_repository(registry: Direct) -> None:
    digest = registry.push_blob("a", LAYER)
    registry.push_blob("b", LAYER)
    assert registry.delete(f"/v2/a/blobs/{digest}").status == 202
    assert registry.get(f"/v2/a/blobs/{digest}").status == 404
    assert registry.get(f"/v2/b/blobs/{digest}").status == 200
    assert registry.delete(f"/v2/a/blobs/{digest}").code == "BLOB_UNKNOWN"


@pytest.mark.parametrize("source", ["&from=a", ""])
def test_end_11_mounts_blobs_of_other_repositories(registry: Direct, source: str) -> None:
    digest = registry.push_blob("a", LAYER)
    reply = registry.post(f"/v2/b/c/blobs/uploads/?mount={digest}{source}")
    assert (reply.status, reply.headers["location"]) == (201, f"/v2/b/c/blobs/{digest}")
    assert registry.get(f"/v2/b/c/blobs/{digest}").body == LAYER


def test_end_11_begins_an_upload_when_there_is_nothing_to_mount(registry: Direct) -> None:
    for query in (f"mount={digest_of(LAYER)}&from=a", f"mount={digest_of(LAYER)}"):
        reply = registry.post(f"/v2/b/blobs/uploads/?{query}")
        assert reply.status == 202
        assert (
            registry.put(
                f"{reply.headers['location']}?digest={digest_of(query.encode())}", query.encode()
            ).status
            == 201
        )


def test_end_12_lists_referrers(registry: Direct) -> None:
    subject, manifest = registry.push_image("a", "v1", LAYER)
    described = {"mediaType": MANIFEST, "digest": subject, "size": len(manifest)}
    notes = {"org.example.note": "x"}
    first, bill = registry.push_image(
        "a", None, b"bill", subject=described, artifactType="application/spdx+json", annotations=notes
    )
    second, _ = registry.push_image("a", None, b"signature", subject=described)
    registry.push_blob("a", b"{}")
    reply = registry.put(f"/v2/a/manifests/{first}", bill, content_type=MANIFEST)
    assert reply.headers["oci-subject"] == subject

    reply = registry.get(f"/v2/a/referrers/{subject}")
    assert (reply.status, reply.headers["content-type"]) == (200, INDEX)
    found = {entry["digest"]: entry for entry in reply.json["manifests"]}
    assert found.keys() == {first, second}
    assert found[first]["artifactType"] == "application/spdx+json"
    assert found[first]["annotations"] == notes
    assert found[second]["artifactType"] == "application/vnd.oci.image.config.v1+json"
    assert "oci-filters-applied" not in reply.headers

    reply = registry.get(f"/v2/a/referrers/{subject}?artifactType=application/spdx%2Bjson")
    assert [entry["digest"] for entry in reply.json["manifests"]] == [first]
    assert reply.headers["oci-filters-applied"] == "artifactType"

    registry.delete(f"/v2/a/manifests/{first}")
    found = registry.get(f"/v2/a/referrers/{subject}").json["manifests"]
    assert [entry["digest"] for entry in found] == [second]


def test_end_12_lists_nothing_for_what_is_not_there(registry: Direct) -> None:
    reply = registry.get(f"/v2/a/referrers/{digest_of(b'none')}")
    assert (reply.status, reply.json["manifests"]) == (200, [])


def test_end_12_takes_referrers_before_their_subject(registry: Direct) -> None:
    later = image(b"later")
    described = {"mediaType": MANIFEST, "digest": digest_of(later), "size": len(later)}
    digest, _ = registry.push_image("a", None, b"bill", subject=described)
    found = registry.get(f"/v2/a/referrers/{digest_of(later)}").json["manifests"]
    assert [entry["digest"] for entry in found] == [digest]


def test_end_13_says_how_far_an_upload_is(registry: Direct) -> None:
    location = registry.begin("a")
    assert registry.get(location).headers["range"] == "0-0"
    registry.patch(location, b"12345")
    reply = registry.get(location)
    assert (reply.status, reply.headers["range"], reply.headers["location"]) == (204, "0-4", location)


def test_answers_carry_the_name_of_their_request(registry: Direct) -> None:
    assert registry.get("/v2/", x_request_id="abc-1").headers["x-request-id"] == "abc-1"
    assert registry.get("/v2/", x_request_id='a"b').headers["x-request-id"] != 'a"b'
    registry.push_image("a", "v1", b"1")
    for _ in range(2):
        assert registry.get("/v2/a/manifests/v1", x_request_id="abc-2").headers["x-request-id"] == "abc-2"


def test_errors_are_json_with_a_code_and_a_detail(registry: Direct) -> None:
    reply = registry.get("/v2/UPPER/manifests/latest")
    assert reply.headers["content-type"] == "application/json"
    error = json.loads(reply.body)["errors"][0]
    assert error["code"] == "NAME_INVALID"
    assert error["message"]
    assert error["detail"]["name"] == "UPPER"
