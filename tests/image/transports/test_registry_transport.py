"""Pushing and pulling when registry and network misbehave."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import samples
from support.fake_registry import FakeRegistry, Seen

from ramekin.errors import DigestMismatchError, FormatError, NetworkError, NotFoundError, UsageError
from ramekin.http import Client
from ramekin.image import oci, transports
from ramekin.image.image import Image
from ramekin.image.reference import parse
from ramekin.image.transports import registry, upload
from ramekin.image.tree import Tree, file
from ramekin.image.validate import validate
from ramekin.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


@pytest.fixture
def large(store: Store) -> Image:
    """An image with one layer that goes up in a PATCH."""
    return samples.image(store, [samples.BASE, Tree([file("noise", samples.noise(6 << 20))])])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries are short."""
    original, upload_original = Client.__init__, upload.Upload.__init__

    def client(self: Client, **options: object) -> None:
        original(self, **{"backoff": 0.01, "timeout": 5.0, **options})  # type: ignore[arg-type]

    def begin(self: upload.Upload, *arguments: object, **options: object) -> None:
        upload_original(self, *arguments, **{**options, "backoff": 0.01})  # type: ignore[arg-type]

    monkeypatch.setattr(Client, "__init__", client)
    monkeypatch.setattr(upload.Upload, "__init__", begin)


def at(server: FakeRegistry, rest: str = "team/web:1") -> str:
    return f"docker://{server.host}/{rest}"


def is_request(method: str, part: str = "") -> Callable[[Seen], bool]:
    return lambda seen: seen.method == method and part in seen.path


def pull(server: FakeRegistry, tmp_path: Path, rest: str = "team/web:1") -> None:
    transports.copy(parse(at(server, rest)), parse(f"oci:{tmp_path}/pulled:1"))


def login(home: Path, server: FakeRegistry, user: str, password: str) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (home / ".docker/config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))


def test_an_image_goes_there_and_comes_back(
    server: FakeRegistry, store: Store, large: Image, tmp_path: Path
) -> None:
    image = samples.with_sbom(store, large)
    assert transports.write(image, parse(at(server))) == image.root
    pull(server, tmp_path)
    with transports.read(parse(f"oci:{tmp_path}/pulled:1")) as back:
        assert back.root.digest == image.root.digest
        assert [one.digest for one in back.referrers] == [one.digest for one in image.referrers]
        assert validate(back) == []


def test_an_index_goes_with_all_its_images(server: FakeRegistry, store: Store, tmp_path: Path) -> None:
    image = samples.index(store, [samples.image(store, platform=p) for p in (samples.AMD64, samples.ARM64)])
    transports.write(image, parse(at(server)))
    pull(server, tmp_path)
    with transports.read(parse(f"oci:{tmp_path}/pulled:1")) as back:
        assert len(back.manifests()) == 2
    # the tag comes last, when all that it names is there
    puts = [seen.path for seen in server.seen if seen.method == "PUT" and "manifests" in seen.path]
    assert puts[-1] == "/v2/team/web/manifests/1"
    assert len(puts) == 3


def test_what_is_there_is_not_sent_again(server: FakeRegistry, store: Store, large: Image) -> None:
    transports.write(large, parse(at(server)))
    server.seen.clear()
    transports.write(large, parse(at(server, "team/web:2")))
    assert (server.count("POST"), server.count("PATCH"), server.count("PUT")) == (0, 0, 1)
    server.blobs.pop(("team/web", large.manifest().layers[1].digest))
    server.seen.clear()
    transports.write(large, parse(at(server)))
    assert (server.count("POST"), server.count("PATCH"), server.count("PUT", "uploads")) == (1, 1, 1)


def test_blobs_of_another_repository_are_mounted(server: FakeRegistry, store: Store, large: Image) -> None:
    transports.write(large, parse(at(server)))
    server.seen.clear()
    registry._known.clear()
    transports.copy(parse(at(server)), parse(at(server, "other:1")))
    assert server.count("POST", "mount=sha256%3A.*&from=team%2Fweb") == 3
    assert (server.count("PATCH"), server.count("PUT", "uploads"), server.count("GET", "/blobs/")) == (
        0,
        0,
        0,
    )


def test_blobs_pushed_before_are_mounted_for_the_next_image(
    server: FakeRegistry, store: Store, large: Image
) -> None:
    transports.write(large, parse(at(server)))
    server.seen.clear()
    transports.write(samples.image(store), parse(at(server, "other:1")))
    # the base layer is common to both
    assert server.count("POST", "mount=") == 1
    assert server.count("PUT", "uploads") == 2


def test_a_mount_that_is_refused_becomes_an_upload(server: FakeRegistry, store: Store, large: Image) -> None:
    transports.write(large, parse(at(server)))
    server.fail(lambda seen: "mount=" in seen.path, status=403, times=99)
    transports.copy(parse(at(server)), parse(at(server, "other:1")))
    assert ("other", large.manifest().layers[1].digest) in server.blobs


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_overloaded_registry_is_asked_again(
    server: FakeRegistry, store: Store, large: Image, tmp_path: Path, status: int
) -> None:
    for method in ("HEAD", "POST", "PATCH", "PUT", "GET"):
        server.fail(is_request(method), status=status, times=2)
    transports.write(large, parse(at(server)))
    pull(server, tmp_path)


def test_retry_after_is_kept_in_an_upload(server: FakeRegistry, store: Store, large: Image) -> None:
    server.fail(is_request("PATCH"), status=429, headers={"Retry-After": "1"})
    start = time.monotonic()
    transports.write(large, parse(at(server)))
    assert time.monotonic() - start >= 1


def test_a_broken_upload_goes_on_where_it_stopped(server: FakeRegistry, store: Store, large: Image) -> None:
    server.fail(is_request("PATCH"), cut_after=2 << 20)
    transports.write(large, parse(at(server)))
    patches = [seen.headers.get("Content-Range") for seen in server.seen if seen.method == "PATCH"]
    size = large.manifest().layers[1].size
    assert patches == [None, f"{2 << 20}-{size - 1}"]
    assert server.blobs["team/web", large.manifest().layers[1].digest]


def test_an_upload_that_the_registry_forgot_begins_anew(
    server: FakeRegistry, store: Store, large: Image
) -> None:
    server.fail(is_request("PATCH"), forget=True)
    transports.write(large, parse(at(server)))
    assert server.count("PATCH") == 2
    assert server.blobs["team/web", large.manifest().layers[1].digest]


def test_a_small_upload_that_breaks_is_sent_again(server: FakeRegistry, store: Store) -> None:
    server.fail(is_request("PUT", "uploads"), cut_after=10, times=2)
    image = samples.image(store)
    transports.write(image, parse(at(server)))
    assert all(("team/web", layer.digest) in server.blobs for layer in image.manifest().layers)


def test_a_proxy_that_takes_no_large_bodies_gets_smaller_ones(
    store: Store, large: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "PART", 1 << 20)
    with FakeRegistry(body_limit=1 << 20) as server:
        # small blobs go whole, and are smaller than that here
        transports.write(large, parse(at(server)))
        assert server.count("PATCH") == 8
        assert server.blobs["team/web", large.manifest().layers[1].digest]


def test_an_upload_that_breaks_always_is_an_error(server: FakeRegistry, store: Store, large: Image) -> None:
    server.fail(is_request("PATCH"), cut_after=1000, times=99)
    with pytest.raises(NetworkError):
        transports.write(large, parse(at(server)))
    assert not server.manifests


def test_a_refusal_says_what_the_registry_said(server: FakeRegistry, store: Store, large: Image) -> None:
    server.fail(is_request("PUT", "manifests"), status=403)
    with pytest.raises(NetworkError, match="403"):
        transports.write(large, parse(at(server)))


def test_a_blob_with_wrong_bytes_is_refused(
    server: FakeRegistry, store: Store, large: Image, tmp_path: Path
) -> None:
    transports.write(large, parse(at(server)))
    server.fail(is_request("GET", large.manifest().layers[1].digest), damage=True)
    with pytest.raises(DigestMismatchError, match=large.manifest().layers[1].digest):
        pull(server, tmp_path)
    assert not (tmp_path / "pulled").exists()


def test_a_manifest_with_wrong_bytes_is_refused(
    server: FakeRegistry, store: Store, large: Image, tmp_path: Path
) -> None:
    transports.write(large, parse(at(server)))
    kind, data = server.manifests["team/web", large.root.digest]
    server.manifests["team/web", large.root.digest] = (kind, data + b" ")
    with pytest.raises(DigestMismatchError, match="docker://"):
        pull(server, tmp_path, f"team/web@{large.root.digest}")


def test_a_truncated_blob_is_taken_up_or_refused(
    server: FakeRegistry, store: Store, large: Image, tmp_path: Path
) -> None:
    transports.write(large, parse(at(server)))
    layer = large.manifest().layers[1]
    server.fail(is_request("GET", layer.digest), cut_after=1 << 20, times=2)
    pull(server, tmp_path)
    assert [s.headers.get("Range") for s in server.seen if s.method == "GET" and layer.digest in s.path] == [
        None,
        f"bytes={1 << 20}-",
        f"bytes={2 << 20}-",
    ]
    digest = layer.digest
    server.blobs["team/web", digest] = server.blobs["team/web", digest][:-5]
    with pytest.raises(DigestMismatchError, match=f"has {layer.size - 5} bytes instead of {layer.size}"):
        transports.copy(parse(at(server)), parse(f"oci:{tmp_path}/again"))
    server.blobs["team/web", digest] = samples.noise(layer.size + 9)
    with pytest.raises(DigestMismatchError, match="more than"):
        transports.copy(parse(at(server)), parse(f"oci:{tmp_path}/again"))


def test_a_tag_that_is_not_there_is_named(server: FakeRegistry) -> None:
    with pytest.raises(NotFoundError, match="team/web:1"), transports.read(parse(at(server))):
        pass


def test_no_registry_is_a_short_error(store: Store) -> None:
    with pytest.raises(NetworkError, match="refused"):
        transports.write(samples.image(store), parse("docker://127.0.0.1:1/web"))


def test_a_digest_that_is_another_is_wrong_use(server: FakeRegistry, store: Store) -> None:
    image = samples.image(store)
    with pytest.raises(UsageError, match="digest"):
        transports.write(image, parse(at(server, f"web@sha256:{'0' * 64}")))
    transports.write(image, parse(at(server, f"web@{image.root.digest}")))
    assert list(server.manifests) == [("web", image.root.digest)]


def test_manifests_of_no_known_type_are_refused(server: FakeRegistry) -> None:
    for data, message in [
        (b'{"schemaVersion":1}', "schema 1"),
        (b"{}", "not an image"),
        (b"<html>", "not a manifest"),
    ]:
        server.manifests["a", "1"] = ("text/html", data)
        with pytest.raises(FormatError, match=message), transports.read(parse(at(server, "a:1"))):
            pass


def test_a_manifest_tells_its_type_when_nothing_else_does(
    server: FakeRegistry, store: Store, large: Image
) -> None:
    transports.write(large, parse(at(server)))
    manifest = large.manifest()
    bare = oci.encode(oci.Manifest(schema_version=2, config=manifest.config, layers=manifest.layers))
    server.manifests["team/web", "bare"] = ("application/octet-stream", bare)
    with transports.read(parse(at(server, "team/web:bare"))) as image:
        assert image.root.media_type == oci.MANIFEST


def test_referrers_use_the_tag_where_there_is_no_api(store: Store, tmp_path: Path) -> None:
    image = samples.with_sbom(store, samples.image(store))
    with FakeRegistry(referrers_api=False) as server:
        transports.write(image, parse(at(server)))
        tag = f"sha256-{image.root.digest[7:]}"
        kind, data = server.manifests["team/web", tag]
        assert kind == oci.INDEX
        (entry,) = json.loads(data)["manifests"]
        assert (entry["digest"], entry["artifactType"]) == (image.referrers[0].digest, samples.SPDX)
        transports.write(image, parse(at(server)))
        assert server.manifests["team/web", tag] == (kind, data)
        pull(server, tmp_path)
    with transports.read(parse(f"oci:{tmp_path}/pulled")) as back:
        assert [one.digest for one in back.referrers] == [image.referrers[0].digest]


def test_referrers_of_others_stay_under_the_tag(store: Store) -> None:
    image = samples.with_sbom(store, samples.image(store))
    with FakeRegistry(referrers_api=False) as server:
        other = oci.describe(b"{}", oci.MANIFEST, artifact_type="application/x")
        listed = oci.encode(oci.Index(schema_version=2, media_type=oci.INDEX, manifests=(other,)))
        tag = registry.fallback_tag(image.root.digest)
        server.manifests["team/web", tag] = (oci.INDEX, listed)
        transports.write(image, parse(at(server)))
        digests = [one["digest"] for one in json.loads(server.manifests["team/web", tag][1])["manifests"]]
    assert digests == [other.digest, image.referrers[0].digest]


def test_a_name_and_password_are_sent_when_asked_for(home: Path, store: Store, tmp_path: Path) -> None:
    with FakeRegistry(basic=("me", "secret")) as server:
        with pytest.raises(NetworkError) as caught:
            transports.write(samples.image(store), parse(at(server)))
        assert f"docker login {server.host}" in (caught.value.hint or "")
        login(home, server, "me", "secret")
        transports.write(samples.image(store), parse(at(server)))
        pull(server, tmp_path)


def test_wrong_credentials_are_an_error_not_a_loop(home: Path, store: Store) -> None:
    with FakeRegistry(basic=("me", "secret")) as server:
        login(home, server, "me", "wrong")
        with pytest.raises(NetworkError, match="credentials"):
            transports.write(samples.image(store), parse(at(server)))
        assert len(server.seen) < 20


def test_tokens_are_fetched_once_a_scope(home: Path, store: Store, large: Image, tmp_path: Path) -> None:
    with FakeRegistry(tokens=True, basic=("me", "secret")) as server:
        login(home, server, "me", "secret")
        transports.write(large, parse(at(server)))
        assert server.scopes == ["repository:team/web:pull,push"]
        token = next(seen for seen in server.seen if seen.path.startswith("/token"))
        assert token.query["service"] == ["fake"]
        assert token.query["account"] == ["me"]
        pull(server, tmp_path)
        assert server.scopes[1:] == ["repository:team/web:pull"]


def test_tokens_are_given_to_anyone_for_public_images(store: Store, large: Image, tmp_path: Path) -> None:
    with FakeRegistry(tokens=True) as server:
        server.grants = lambda user, scope: scope.endswith(":pull")
        with pytest.raises(NetworkError, match="credentials"):
            transports.write(large, parse(at(server)))
        server.grants = lambda user, scope: True
        transports.write(large, parse(at(server)))
        server.grants = lambda user, scope: scope.endswith(":pull")
        pull(server, tmp_path)


def test_an_identity_token_is_exchanged(home: Path, store: Store, large: Image) -> None:
    with FakeRegistry(tokens=True) as server:
        auths = {server.host: {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "long-lived"}}
        (home / ".docker").mkdir()
        (home / ".docker/config.json").write_text(json.dumps({"auths": auths}))
        users: list[str] = []
        server.grants = lambda user, scope: bool(users.append(user) or True)
        transports.write(large, parse(at(server)))
    assert set(users) == {"long-lived"}
    assert server.count("POST", "^/token") == 1


def test_mounting_asks_for_the_right_to_read_there(home: Path, store: Store, large: Image) -> None:
    with FakeRegistry(tokens=True) as server:
        transports.write(large, parse(at(server)))
        server.scopes.clear()
        transports.copy(parse(at(server)), parse(at(server, "other:1")))
        assert {"repository:other:pull,push", "repository:team/web:pull"} <= set(server.scopes)
        assert server.count("PATCH") == 1


def test_tokens_do_not_follow_a_redirect(store: Store, large: Image, tmp_path: Path) -> None:
    with FakeRegistry(tokens=True) as front, FakeRegistry() as storage:
        transports.write(large, parse(at(front)))
        storage.blobs.update(front.blobs)
        front.blob_host = f"http://{storage.host}"
        pull(front, tmp_path)
        assert storage.count("GET", "/blobs/") == 3
        assert all("Authorization" not in seen.headers for seen in storage.seen)


def test_a_redirect_to_wrong_bytes_is_refused(store: Store, large: Image, tmp_path: Path) -> None:
    with FakeRegistry() as front, FakeRegistry() as storage:
        transports.write(large, parse(at(front)))
        storage.blobs.update({key: b"x" * len(data) for key, data in front.blobs.items()})
        front.blob_host = f"http://{storage.host}"
        with pytest.raises(DigestMismatchError):
            pull(front, tmp_path)


def test_a_damaged_source_is_not_pushed(
    server: FakeRegistry, store: Store, large: Image, tmp_path: Path
) -> None:
    path = store.path(large.manifest().layers[1].digest)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(DigestMismatchError):
        transports.write(large, parse(at(server)))
    assert ("team/web", large.manifest().layers[1].digest) not in server.blobs
    assert not server.manifests
    assert not server.uploads or all(not held for held in server.uploads.values())


def test_uploads_go_side_by_side(server: FakeRegistry, store: Store) -> None:
    trees = [Tree([file(f"f{n}", samples.noise(1000, n))]) for n in range(20)]
    image = samples.image(store, trees)
    transports.write(image, parse(at(server)), jobs=8)
    assert len(server.blobs) == 21


def test_pushing_and_pulling_need_little_memory(
    server: FakeRegistry, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tracemalloc

    image = samples.image(store, [Tree([file("noise", samples.noise(24 << 20))])])
    size = image.manifest().layers[0].size

    # the server in this process holds the blob, so it is the client's own share that is counted
    tracemalloc.start()
    try:
        transports.write(image, parse(at(server)), jobs=1)
        tracemalloc.reset_peak()
        held, _ = tracemalloc.get_traced_memory()
        transports.copy(parse(at(server)), parse(f"oci:{tmp_path}/pulled"), jobs=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - held < size // 2


def test_plain_http_elsewhere_needs_leave(store: Store) -> None:
    with pytest.raises(NetworkError) as caught:
        transports.write(samples.image(store), parse("docker://registry.invalid/web"))
    assert caught.value.message.startswith(("HEAD https://", "docker://registry.invalid"))


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive", "rootfs", "dir", "oci"])
def test_every_place_takes_an_image_from_a_registry(
    server: FakeRegistry, store: Store, large: Image, tmp_path: Path, transport: str
) -> None:
    transports.write(large, parse(at(server)))
    (tmp_path / "out").mkdir()
    target = parse(f"{transport}:{tmp_path}/out/web")
    digest = large.manifest().layers[1].digest
    server.fail(is_request("GET", digest), damage=True)
    with pytest.raises(DigestMismatchError):
        transports.copy(parse(at(server)), target)
    assert list((tmp_path / "out").iterdir()) == []
    transports.copy(parse(at(server)), target)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["web"]
    if transport != "rootfs":
        with transports.read(target) as back:
            assert validate(back) == []
