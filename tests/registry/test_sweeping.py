"""What a registry removes and what it must not, with clients at work meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from support.ramekin_registry import INDEX, MANIFEST, Direct, digest_of, image, index

from ramekin.registry import manifests
from ramekin.registry.provider import Asker, Provided
from ramekin.registry.sweeping import Policy, Swept, roots, sweep
from ramekin.store import cleaning
from ramekin.store.digest import Digest
from ramekin.store.store import blob_name

HOUR = 3600.0
LATER = 3 * HOUR
POLICY = Policy(grace=HOUR, uploads=1e9, untagged=HOUR, made_keep=HOUR, made_size=0)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Direct]:
    with Direct(tmp_path / "store") as direct:
        yield direct


def run(registry: Direct, policy: Policy = POLICY, after: float = 0.0, **how: Any) -> Swept:
    """Sweep, so many seconds from now."""
    site = registry.site
    swept = sweep(site.catalog, site.uploads, policy, now=time.time() + after, **how)

    async def forget() -> None:
        site.warm.clear("")

    # what is kept in memory belongs to the event loop
    asyncio.run_coroutine_threadsafe(forget(), registry.loop).result()
    return swept


def blobs(registry: Direct) -> set[str]:
    """The digests of all blobs in the store."""
    return {"sha256:" + path.name for path in (Path(registry.store.location) / "blobs").rglob("?" * 64)}


def make(registry: Direct, repository: str, *layers: bytes) -> bytes:
    """Have an image as the provider makes it, and adopt it."""
    for data in (b"{}", *layers):
        registry.store.put(data)
    manifest = image(*layers)
    registry.site.catalog.adopt(repository, [manifests.read(manifest, MANIFEST)])
    return manifest


def test_nothing_that_is_young_or_named_goes(registry: Direct) -> None:
    registry.push_image("a", "v1", b"layer")
    lone = registry.push_blob("a", b"lone")
    assert run(registry).removed == ()
    swept = run(registry, after=LATER)
    assert {(one.kind, one.name) for one in swept.removed} == {("link", f"a@{lone}"), ("blob", lone)}
    assert registry.get("/v2/a/manifests/v1").status == 200
    assert registry.get(f"/v2/a/blobs/{digest_of(b'layer')}").status == 200
    assert registry.get(f"/v2/a/blobs/{lone}").status == 404


def test_a_dry_run_says_what_and_why_and_does_nothing(registry: Direct) -> None:
    lone = registry.push_blob("a", b"lone")
    swept = run(registry, after=LATER, dry_run=True)
    assert [one.kind for one in swept.removed] == ["link", "blob"]
    assert swept.size == 4
    assert "no manifest of a names it" in swept.removed[0].why
    assert registry.get(f"/v2/a/blobs/{lone}").status == 200


def test_what_a_client_has_asked_for_is_young_again(registry: Direct) -> None:
    lone = registry.push_blob("a", b"lone")
    link = Path(registry.store.location) / "registry/links" / lone[7:9] / lone[7:] / "a"
    long_ago = time.time() - 90 * 86400
    os.utime(link, (long_ago, long_ago))
    assert registry.head(f"/v2/a/blobs/{lone}").status == 200
    assert run(registry).removed == ()


def test_a_blob_stays_while_another_repository_has_it(registry: Direct) -> None:
    digest, _ = registry.push_image("a", "v1", b"layer")
    registry.push_image("b", "v1", b"layer")
    registry.delete(f"/v2/a/manifests/{digest}")
    run(registry, after=LATER)
    assert registry.get(f"/v2/a/blobs/{digest_of(b'layer')}").status == 404
    assert registry.get(f"/v2/b/blobs/{digest_of(b'layer')}").body == b"layer"
    digest, _ = registry.push_image("b", "v1", b"layer")
    registry.delete(f"/v2/b/manifests/{digest}")
    run(registry, after=LATER)
    assert blobs(registry) == set()


def test_a_deleted_blob_is_freed(registry: Direct) -> None:
    lone = registry.push_blob("a", b"lone")
    registry.delete(f"/v2/a/blobs/{lone}")
    run(registry, after=LATER)
    assert blobs(registry) == set()


def test_untagged_manifests_go_when_the_policy_says_so(registry: Direct) -> None:
    first, _ = registry.push_image("a", "v1", b"1")
    _, two = registry.push_image("a", "v1", b"2")
    assert run(registry, Policy(untagged=None), after=1e9).removed == ()
    assert registry.get(f"/v2/a/manifests/{first}").status == 200
    assert run(registry).removed == ()
    run(registry, after=LATER)
    assert registry.get(f"/v2/a/manifests/{first}").status == 404
    assert registry.get("/v2/a/manifests/v1").body == two


def test_what_a_tag_holds_indirectly_stays(registry: Direct) -> None:
    child, one = registry.push_image("a", None, b"1")
    both = index(one)
    registry.put("/v2/a/manifests/v1", both, content_type=INDEX)
    described = {"mediaType": MANIFEST, "digest": child, "size": len(one)}
    bill, _ = registry.push_image("a", None, b"bill", subject=described)
    run(registry, after=LATER)
    assert registry.get(f"/v2/a/manifests/{child}").status == 200
    assert registry.get(f"/v2/a/manifests/{bill}").status == 200
    registry.delete("/v2/a/manifests/v1")
    run(registry, after=LATER)
    for digest in (child, bill, digest_of(both)):
        assert registry.get(f"/v2/a/manifests/{digest}").status == 404
    run(registry, after=LATER)
    assert blobs(registry) == set()


def test_images_on_demand_go_from_the_longest_unused(registry: Direct) -> None:
    names = [f"made/{number}" for number in range(4)]
    made = [make(registry, name, name.encode() * 100) for name in names]
    now = time.time()
    for number, (name, manifest) in enumerate(zip(names, made, strict=True)):
        record = (
            registry.store.location + f"/registry/repositories/{name}/_manifests/{digest_of(manifest)[7:]}"
        )
        os.utime(record, (now, now + number))
    size = len(names[0]) * 100
    policy = Policy(grace=HOUR, made_keep=HOUR, made_size=2 * size + 10)
    assert run(registry, policy).removed == ()
    swept = run(registry, policy, after=LATER)
    gone = [one.name.partition("@")[0] for one in swept.removed if one.kind == "manifest"]
    assert gone == names[:2]
    for name, manifest in zip(names, made, strict=True):
        there = 404 if name in gone else 200
        assert registry.get(f"/v2/{name}/manifests/{digest_of(manifest)}").status == there
        assert registry.get(f"/v2/{name}/blobs/{digest_of(name.encode() * 100)}").status == there
    # what they all have stays
    assert digest_of(b"{}") in blobs(registry)


def test_a_pushed_image_is_never_evicted(registry: Direct) -> None:
    digest, manifest = registry.push_image("a", "v1", b"layer")
    registry.site.catalog.adopt("a", [manifests.read(manifest, MANIFEST)])
    run(registry, Policy(made_size=0, made_keep=0), after=LATER)
    assert registry.get(f"/v2/a/manifests/{digest}").status == 200


def test_forgotten_uploads_go(registry: Direct) -> None:
    location = registry.begin("a")
    registry.patch(location, b"12345")
    policy = Policy(uploads=HOUR)
    assert run(registry, policy).removed == ()
    assert run(registry, policy, after=LATER, dry_run=True).removed[0].kind == "upload"
    assert registry.get(location).status == 204
    run(registry, policy, after=LATER)
    assert registry.get(location).status == 404
    assert not list((Path(registry.store.location) / "registry/uploads").glob("*"))


def test_empty_folders_go(registry: Direct) -> None:
    digest, _ = registry.push_image("a/b/c", "v1", b"layer")
    registry.delete(f"/v2/a/b/c/manifests/{digest}")
    run(registry, after=LATER)
    assert not (Path(registry.store.location) / "registry/repositories/a").exists()
    registry.push_image("a/b/c", "v1", b"layer")
    assert registry.get("/v2/a/b/c/manifests/v1").status == 200


def test_making_room_in_the_store_leaves_what_the_registry_has(registry: Direct) -> None:
    registry.push_image("a", "v1", b"layer")
    cached = registry.store.put(b"cached")
    kept = roots(registry.site.catalog)
    long_ago = time.time() - 90 * 86400
    for path in (Path(registry.store.location) / "blobs").rglob("?" * 64):
        os.utime(path, (long_ago, long_ago))
    collected = cleaning.collect(registry.store, size_limit=0, grace=0, roots=kept)
    assert collected.removed == (blob_name(cached),)
    assert registry.get(f"/v2/a/blobs/{digest_of(b'layer')}").body == b"layer"


class Maker:
    """A provider of one image, which can be made again."""

    def __init__(self, registry: Direct) -> None:
        self.registry = registry
        self.asked: list[bool] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def provide(self, repository: str, reference: str, asker: Asker, *, anew: bool = False) -> Any:
        self.asked.append(anew)
        if anew or len(self.asked) == 1:
            for data in (b"{}", b"made"):
                self.registry.store.put(data)
        manifest = image(b"made")
        return Provided(Digest(digest_of(manifest)), MANIFEST, manifest, fresh=60.0)

    async def tags(self, repository: str, asker: Asker) -> tuple[str, ...] | None:
        return None


def test_what_was_evicted_is_made_again(registry: Direct) -> None:
    registry.site.provider = maker = Maker(registry)
    assert registry.get("/v2/on/demand/manifests/latest").status == 200
    assert registry.get("/v2/on/demand/manifests/latest").status == 200
    assert maker.asked == [False]
    run(registry, after=LATER)
    assert blobs(registry) == set()
    assert registry.get("/v2/on/demand/manifests/latest").status == 200
    assert maker.asked == [False, False, True]
    assert registry.get(f"/v2/on/demand/blobs/{digest_of(b'made')}").body == b"made"


def test_pushes_and_pulls_go_on_while_sweeps_run(tmp_path: Path) -> None:
    """Clients push, check, pull and delete; sweepers with a short grace never take what is in flight."""
    grace, over, failures = 4.0, threading.Event(), list[str]()
    policy = Policy(grace=grace, untagged=0.0, made_keep=0.0, made_size=0)
    with Direct(tmp_path / "store", {"cleaning": {"grace": grace}}) as registry:

        def work(seed: int) -> None:
            chance = random.Random(seed)
            while not over.is_set():
                repository, tag = f"r{chance.randrange(2)}", f"t{chance.randrange(3)}"
                layers = [b"layer %d" % chance.randrange(6) for _ in range(2)]
                began = time.monotonic()
                for data in (b"{}", *layers):
                    if registry.head(f"/v2/{repository}/blobs/{digest_of(data)}").status != 200:
                        registry.push_blob(repository, data)
                reply = registry.put(
                    f"/v2/{repository}/manifests/{tag}", image(*layers), content_type=MANIFEST
                )
                if time.monotonic() - began < grace / 2 and reply.status != 201:
                    failures.append(f"push: {reply}")
                reply = registry.get(f"/v2/{repository}/manifests/{tag}")
                if reply.status == 200:
                    for layer in json.loads(reply.body)["layers"]:
                        found = registry.get(f"/v2/{repository}/blobs/{layer['digest']}")
                        again = registry.get(f"/v2/{repository}/manifests/{tag}")
                        if found.status != 200 and again.body == reply.body:
                            failures.append(f"pull: {found}")
                if chance.random() < 0.3:
                    registry.delete(f"/v2/{repository}/manifests/{tag}")

        def clean() -> None:
            while not over.is_set():
                run(registry, policy)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        threads += [threading.Thread(target=clean) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(6)
        over.set()
        for thread in threads:
            thread.join()
        assert failures == []


NAMES = st.sampled_from(["a", "b/c"])
TAGS = st.sampled_from(["v1", "v2"])
CONTENTS = st.sampled_from([b"one", b"two", b"three", b"four"])


class Model(RuleBasedStateMachine):
    """A registry beside a plain description of what it should have."""

    images = Bundle("images")
    uploads = Bundle("uploads")

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.registry = Direct(self.folder.name)
        self.links: set[tuple[str, str]] = set()
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.made: set[tuple[str, str]] = set()
        self.tags: dict[tuple[str, str], str] = {}
        self.sent: dict[str, tuple[str, bytes]] = {}

    def teardown(self) -> None:
        if hasattr(self, "registry"):
            self.registry.close()
            self.folder.cleanup()

    def needs(self, manifest: bytes) -> set[str]:
        document = json.loads(manifest)
        return {entry["digest"] for entry in [*document.get("layers", ()), document.get("config")] if entry}

    def has(self, repository: str, digest: str) -> bool:
        made = (
            m for (name, one), m in self.manifests.items() if name == repository and (name, one) in self.made
        )
        return (repository, digest) in self.links or any(digest in self.needs(m) for m in made)

    @rule(repository=NAMES, data=CONTENTS)
    def push_blob(self, repository: str, data: bytes) -> None:
        self.links.add((repository, self.registry.push_blob(repository, data)))

    @rule(target=uploads, repository=NAMES)
    def begin_upload(self, repository: str) -> str:
        location = self.registry.begin(repository)
        self.sent[location] = (repository, b"")
        return location

    @rule(location=uploads, data=CONTENTS)
    def send_chunk(self, location: str, data: bytes) -> None:
        reply = self.registry.patch(location, data)
        assert (reply.status == 202) == (location in self.sent)
        if location in self.sent:
            repository, before = self.sent[location]
            self.sent[location] = (repository, before + data)

    @rule(location=uploads)
    def finish_upload(self, location: str) -> None:
        repository, data = self.sent.pop(location, ("", b""))
        reply = self.registry.put(f"{location}?digest={digest_of(data)}")
        assert (reply.status == 201) == bool(repository)
        if repository:
            self.links.add((repository, digest_of(data)))

    @rule(target=images, layers=st.lists(CONTENTS, max_size=2))
    def describe(self, layers: list[bytes]) -> bytes:
        return image(*layers, config=b"one")

    @rule(repository=NAMES, tag=st.none() | TAGS, manifest=images)
    def push_manifest(self, repository: str, tag: str | None, manifest: bytes) -> None:
        digest = digest_of(manifest)
        path = f"/v2/{repository}/manifests/{tag or digest}"
        reply = self.registry.put(path, manifest, content_type=MANIFEST)
        if all(self.has(repository, blob) for blob in self.needs(manifest)):
            assert reply.status == 201
            self.manifests[repository, digest] = manifest
            self.made.discard((repository, digest))
            if tag:
                self.tags[repository, tag] = digest
        else:
            assert reply.code == "MANIFEST_BLOB_UNKNOWN"

    @rule(repository=NAMES, layers=st.lists(CONTENTS, max_size=2))
    def compose(self, repository: str, layers: list[bytes]) -> None:
        manifest = make(self.registry, repository, *layers)
        if (repository, digest_of(manifest)) not in self.manifests:
            self.manifests[repository, digest_of(manifest)] = manifest
            self.made.add((repository, digest_of(manifest)))

    @rule(repository=NAMES, other=NAMES, data=CONTENTS)
    def mount(self, repository: str, other: str, data: bytes) -> None:
        digest = digest_of(data)
        reply = self.registry.post(f"/v2/{repository}/blobs/uploads/?mount={digest}&from={other}")
        # what was made may be remembered for a moment after it has gone
        if reply.status == 201:
            self.links.add((repository, digest))
        else:
            assert not self.has(other, digest)

    @rule(repository=NAMES, tag=TAGS)
    def delete_tag(self, repository: str, tag: str) -> None:
        reply = self.registry.delete(f"/v2/{repository}/manifests/{tag}")
        assert (reply.status == 202) == (self.tags.pop((repository, tag), None) is not None)

    @rule(repository=NAMES, manifest=images)
    def delete_manifest(self, repository: str, manifest: bytes) -> None:
        digest = digest_of(manifest)
        reply = self.registry.delete(f"/v2/{repository}/manifests/{digest}")
        assert (reply.status == 202) == (self.manifests.pop((repository, digest), None) is not None)
        self.made.discard((repository, digest))
        self.tags = {k: v for k, v in self.tags.items() if (k[0], v) != (repository, digest)}

    @rule(repository=NAMES, data=CONTENTS)
    def delete_blob(self, repository: str, data: bytes) -> None:
        place = (repository, digest_of(data))
        named = any(
            place[1] in self.needs(m) for (name, _), m in self.manifests.items() if name == repository
        )
        if named:
            # it would break an image, which clients may do and this description cannot say
            return
        reply = self.registry.delete(f"/v2/{repository}/blobs/{place[1]}")
        assert (reply.status == 202) == (place in self.links)
        self.links.discard(place)

    @rule()
    def sweep_at_once(self) -> None:
        assert [one for one in run(self.registry).removed if one.kind != "blob"] == []

    @rule()
    def sweep_later(self) -> None:
        run(self.registry, after=LATER)
        tagged = {(repository, digest) for (repository, _), digest in self.tags.items()}
        self.manifests = {place: m for place, m in self.manifests.items() if place in tagged}
        self.made &= self.manifests.keys()
        named = {(name, blob) for (name, _), m in self.manifests.items() for blob in self.needs(m)}
        self.links &= named
        run(self.registry, after=LATER)
        there = {digest for _, digest in named}
        assert blobs(self.registry) == there

    @invariant()
    def everything_is_there_and_nothing_else(self) -> None:
        if not hasattr(self, "registry"):
            return
        for (repository, digest), manifest in self.manifests.items():
            assert self.registry.get(f"/v2/{repository}/manifests/{digest}").body == manifest
            for blob in self.needs(manifest):
                assert self.registry.get(f"/v2/{repository}/blobs/{blob}").status == 200
        for repository, digest in self.links:
            assert digest_of(self.registry.get(f"/v2/{repository}/blobs/{digest}").body) == digest
        for repository in ("a", "b/c"):
            for tag in ("v1", "v2"):
                reply = self.registry.get(f"/v2/{repository}/manifests/{tag}")
                wanted = self.tags.get((repository, tag))
                assert reply.headers.get("docker-content-digest") == wanted
        names = sorted({repository for repository, _ in self.manifests})
        assert self.registry.get("/v2/_catalog").json["repositories"] == names


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=int(os.environ.get("RAMEKIN_EXAMPLES", "25")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
