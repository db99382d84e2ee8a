"""What BuildKit attests beside an image counts: a bill of materials, and not just how the image was made."""

from __future__ import annotations

import msgspec
import pytest
from handmade import image_of, tar_of
from support import samples

from ramekin.analyze import reading
from ramekin.analyze.checks.model import Subject
from ramekin.analyze.checks.table import RULES
from ramekin.image import oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, Manifest, Platform, RootFS
from ramekin.image.tree import file
from ramekin.store.store import Store

IN_TOTO = "application/vnd.in-toto+json"
RULE = next(rule for rule in RULES if rule.code == "R309")


def attested(store: Store, predicate: str, *, of: str = "", lost: bool = False) -> Image:
    """An index as `docker buildx build --attest` makes it: the image, and a manifest of statements of it."""
    image = image_of(store, [tar_of([file("a", b"a")])])
    entry = msgspec.structs.replace(image.root, platform=Platform(architecture="amd64", os="linux"))
    statement = samples.keep(store, b'{"_type": "https://in-toto.io/Statement/v0.1"}', IN_TOTO)
    statement = msgspec.structs.replace(statement, annotations={"in-toto.io/predicate-type": predicate})
    config = Config(architecture="unknown", os="unknown", rootfs=RootFS("layers", (statement.digest,)))
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=samples.keep(store, oci.encode(config), oci.CONFIG),
        layers=(statement,),
    )
    beside = oci.describe(oci.encode(manifest), oci.MANIFEST)
    if not lost:
        store.put(oci.encode(manifest))
    annotations = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": of or entry.digest,
    }
    unknown = Platform(architecture="unknown", os="unknown")
    beside = msgspec.structs.replace(beside, platform=unknown, annotations=annotations)
    document = oci.Index(schema_version=2, media_type=oci.INDEX, manifests=(entry, beside))
    return Image(samples.keep(store, oci.encode(document), oci.INDEX), store)


def judged(store: Store, image: Image) -> list[str]:
    assert RULE.find is not None
    return [found.message for found in RULE.find(Subject.of(reading.read(image, store, name="it")))]


@pytest.mark.parametrize("predicate", ["https://spdx.dev/Document", "https://cyclonedx.org/bom"])
def test_an_attested_bill_of_materials_is_one(predicate: str, store: Store) -> None:
    assert judged(store, attested(store, predicate)) == []


def test_how_an_image_was_made_is_no_bill_of_materials(store: Store) -> None:
    assert len(judged(store, attested(store, "https://slsa.dev/provenance/v1"))) == 1


def test_a_bill_of_another_image_or_one_that_is_lost_is_none(store: Store) -> None:
    spdx = "https://spdx.dev/Document"
    assert len(judged(store, attested(store, spdx, lost=True))) == 1
    assert len(judged(store, attested(store, spdx, of="sha256:" + "1" * 64))) == 1


def test_the_only_image_of_an_index_needs_no_choice_whatever_stands_beside_it(store: Store) -> None:
    told = reading.outline(attested(store, "https://spdx.dev/Document"), name="it")
    assert isinstance(told.root, Descriptor)
    assert told.manifest.layers[0].media_type == oci.LAYER_GZIP
