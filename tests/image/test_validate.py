"""Every rule of the specifications has an image that breaks it, and all that is broken is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import samples

from ramekin.image import compress, layer, oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, History, Index, Manifest, Runtime
from ramekin.image.tree import Entry, Kind, Tree, file
from ramekin.image.validate import validate
from ramekin.store.store import Store

replace = msgspec.structs.replace


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def messages(image: Image) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in validate(image)]


def with_manifest(store: Store, **changes: Any) -> Image:
    return samples.of_manifest(store, replace(samples.image(store).manifest(), **changes))


def with_config(store: Store, change: Callable[[Config], Config]) -> Image:
    image = samples.image(store)
    data = oci.encode(change(image.config(image.manifest())))
    return with_manifest(store, config=samples.keep(store, data, oci.CONFIG))


def with_runtime(store: Store, **changes: Any) -> Image:
    return with_config(store, lambda config: replace(config, config=replace(config.config, **changes)))


def with_layer(store: Store, blob: Descriptor) -> Image:
    manifest = samples.image(store).manifest()
    return samples.of_manifest(store, replace(manifest, layers=(manifest.layers[0], blob)))


def test_sound_images_have_no_problem(store: Store) -> None:
    both = [samples.image(store, platform=one) for one in (samples.AMD64, samples.ARM64)]
    for image in (
        samples.image(store),
        samples.image(store, compression="zstd"),
        samples.image(store, compression="none"),
        samples.image(store, []),
        samples.with_sbom(store, samples.image(store)),
        samples.index(store, both),
    ):
        assert messages(image) == []


def test_a_layer_that_is_not_its_diff_id_is_told(store: Store) -> None:
    other = layer.write(Tree([file("a", b"a")]), store, compress.parse("gzip"))
    (found,) = messages(with_layer(store, other.descriptor))
    assert "layers[1]" in found
    assert f"unpacks to {other.diff_id}" in found


def test_damaged_and_missing_blobs_are_told_together(store: Store) -> None:
    image = samples.image(store)
    first, second = image.manifest().layers
    path = store.path(first.digest)
    gone = store.path(second.digest)
    assert path is not None
    assert gone is not None
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)
    gone.unlink()
    found = messages(image)
    assert len(found) == 2
    assert "layers[0]" in found[0]
    assert "layers[1]" in found[1]
    assert "not in the store" in found[1]


def test_a_wrong_size_is_told(store: Store) -> None:
    manifest = samples.image(store).manifest()
    wrong = replace(manifest.layers[1], size=manifest.layers[1].size + 1)
    assert "bytes" in messages(with_layer(store, wrong))[0]


def test_a_layer_that_is_no_tar_is_told(store: Store) -> None:
    blob = samples.keep(store, b"not a tar at all" * 100, oci.LAYER)
    assert any("tar" in message for message in messages(with_layer(store, blob)))


def test_a_layer_that_leads_out_is_told(store: Store) -> None:
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    blob = samples.keep(store, out.getvalue(), oci.LAYER)
    assert any("../evil" in message for message in messages(with_layer(store, blob)))


def test_a_layer_that_is_compressed_otherwise_is_told(store: Store) -> None:
    image = samples.image(store)
    wrong = replace(image.manifest().layers[1], media_type=oci.LAYER_ZSTD)
    assert any("gzip" in m and "zstd" in m for m in messages(with_layer(store, wrong)))


def test_a_layer_of_no_known_kind_is_told(store: Store) -> None:
    image = samples.image(store)
    wrong = replace(image.manifest().layers[1], media_type="text/plain")
    assert any("text/plain" in message for message in messages(with_layer(store, wrong)))


def test_a_hard_link_to_nothing_is_told(store: Store) -> None:
    link = Entry(path="link", kind=Kind.HARDLINK, target="gone")
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(link.path)
        info.type, info.linkname = tarfile.LNKTYPE, link.target
        archive.addfile(info)
    blob = samples.keep(store, out.getvalue(), oci.LAYER)
    assert any("cannot be applied" in message for message in messages(with_layer(store, blob)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, architecture=""), "architecture is empty"),
        (lambda c: replace(c, os=""), "os is empty"),
        (lambda c: replace(c, rootfs=replace(c.rootfs, type="x")), "rootfs.type"),
        (
            lambda c: replace(c, rootfs=replace(c.rootfs, diff_ids=c.rootfs.diff_ids[:1])),
            "1 diff_ids for 2 layers",
        ),
        (lambda c: replace(c, rootfs=replace(c.rootfs, diff_ids=("x", "y"))), "which is no digest"),
        (lambda c: replace(c, history=c.history[:1]), "history has 1"),
        (lambda c: replace(c, history=(*c.history, History(empty_layer=True))), ""),
        (lambda c: replace(c, history=()), ""),
        (lambda c: replace(c, created="yesterday"), "created"),
        (lambda c: replace(c, created="2023-02-30T00:00:00Z"), "created"),
        (lambda c: replace(c, created="2023-02-03T00:00:00.123456789+02:00"), ""),
        (lambda c: replace(c, history=(History(created="x"), History())), "history[0].created"),
        (lambda c: replace(c, config=None), ""),
    ],
)
def test_a_config_is_checked(store: Store, change: Callable[[Config], Config], message: str) -> None:
    found = messages(with_config(store, change))
    if message:
        assert any(message in one for one in found), found
    else:
        assert found == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": ("A=1", "B")}, "config.Env[1]"),
        ({"env": ("=1",)}, "config.Env[0]"),
        ({"exposed_ports": {"80": {}, "53/udp": {}}}, ""),
        ({"exposed_ports": {"http": {}}}, "config.ExposedPorts"),
        ({"exposed_ports": {"70000/tcp": {}}}, "config.ExposedPorts"),
        ({"working_dir": "srv"}, "config.WorkingDir"),
        ({"volumes": {"data": {}}}, "config.Volumes"),
        ({"labels": {"": "x"}}, "config.Labels"),
        ({"stop_signal": "kill"}, "config.StopSignal"),
        ({"stop_signal": "SIGRTMIN+3"}, ""),
    ],
)
def test_what_a_container_is_started_with_is_checked(
    store: Store, changes: Mapping[str, Any], message: str
) -> None:
    found = messages(with_runtime(store, **changes))
    if message:
        assert any(message in one for one in found), found
    else:
        assert found == []
    assert isinstance(Runtime(), Runtime)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 1}, "schemaVersion is 1"),
        ({"config": None}, "no config"),
        ({"annotations": {"": "x"}}, "empty name"),
        ({"annotations": {"org.opencontainers.image.created": "today"}}, "RFC 3339"),
        ({"artifact_type": "no type"}, "artifactType"),
    ],
)
def test_a_manifest_is_checked(store: Store, changes: Mapping[str, Any], message: str) -> None:
    assert any(message in one for one in messages(with_manifest(store, **changes)))


def test_a_manifest_of_another_media_type_is_told(store: Store) -> None:
    image = samples.image(store)
    data = oci.encode(replace(image.manifest(), media_type=oci.DOCKER_MANIFEST))
    assert any("mediaType" in one for one in messages(Image(samples.keep(store, data, oci.MANIFEST), store)))


def test_broken_json_is_told(store: Store) -> None:
    assert messages(Image(samples.keep(store, b"{", oci.MANIFEST), store))
    assert messages(Image(samples.keep(store, b'{"schemaVersion":2,"layers":{}}', oci.MANIFEST), store))
    image = with_manifest(store, config=samples.keep(store, b"[]", oci.CONFIG))
    assert any("config" in one for one in messages(image))


def test_embedded_data_is_checked(store: Store) -> None:
    image = samples.image(store)
    config = image.manifest().config
    for data, message in [("e30=", "data is not what"), ("###", "base64")]:
        assert any(
            message in one for one in messages(with_manifest(store, config=replace(config, data=data)))
        )


def index_of(store: Store, *entries: Descriptor) -> Image:
    document = Index(schema_version=2, media_type=oci.INDEX, manifests=entries)
    return Image(samples.keep(store, oci.encode(document), oci.INDEX), store)


def test_an_index_is_checked(store: Store) -> None:
    amd64 = samples.image(store).root
    assert any("same platform" in one for one in messages(index_of(store, amd64, amd64)))
    wrong = replace(amd64, platform=samples.ARM64)
    assert any("listed for linux/arm64" in one for one in messages(index_of(store, wrong)))
    text = samples.keep(store, b"hello", "text/plain")
    assert any("text/plain" in one for one in messages(index_of(store, amd64, text)))
    gone = oci.describe(b"gone", oci.MANIFEST)
    assert any("not in the store" in one for one in messages(index_of(store, amd64, gone)))


def test_referrers_are_checked(store: Store) -> None:
    image = samples.with_sbom(store, samples.image(store))
    other = samples.image(store, [samples.GREETING])
    strange = Image(other.root, store, referrers=image.referrers)
    assert any("is not a manifest of this image" in one for one in messages(strange))
    assert any("has no subject" in one for one in messages(Image(image.root, store, referrers=(other.root,))))
    manifest = oci.decode(image.document(image.referrers[0]), Manifest, where="it")
    untyped = samples.keep(store, oci.encode(replace(manifest, artifact_type="")), oci.MANIFEST)
    assert any(
        "artifactType must be set" in one for one in messages(Image(image.root, store, referrers=(untyped,)))
    )
    full = replace(manifest, config=samples.keep(store, b"{ }", oci.EMPTY))
    said = messages(
        Image(image.root, store, referrers=(samples.keep(store, oci.encode(full), oci.MANIFEST),))
    )
    assert any("two bytes" in one for one in said)


def test_problems_come_in_the_same_order_always(store: Store) -> None:
    trees = [Tree([file(f"f{n}", b"x" * n)]) for n in range(12)]
    image = samples.image(store, trees)
    for blob in image.manifest().layers:
        path = store.path(blob.digest)
        assert path is not None
        path.unlink()
    found = messages(image)
    assert [f"layers[{n}]" in found[n] for n in range(12)] == [True] * 12
    assert found == messages(image)
