"""Bills of materials say what is in an image, in both formats, always in the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ramekin.build.sbom import MEDIA_TYPES, Bill, document
from ramekin.image import oci
from ramekin.image.artifact import attach
from ramekin.image.image import Image
from ramekin.sources.protocol import Package
from ramekin.store.digest import of
from ramekin.store.store import Store


def package(name: str) -> Package:
    return Package(
        name=name,
        version="1:2.0-3",
        architecture="amd64",
        digest=of(name.encode()),
        size=10,
        origin=f"src-{name}",
        origin_version="2.0-3",
        suite="bookworm",
    )


@pytest.fixture
def bill() -> Bill:
    return Bill(
        name="redis",
        image=oci.describe(b"{}", oci.MANIFEST),
        packages=[package("libc6"), package("libstdc++6"), package("redis-server")],
        edges={"redis-server": ("libc6", "libstdc++6", "perl")},
        distribution="debian:bookworm",
        created=1_700_000_000,
    )


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_the_same_image_has_the_same_bill(bill: Bill, kind: str) -> None:
    assert document(bill, kind) == document(bill, kind)


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_every_package_is_named_with_its_version_and_package_url(bill: Bill, kind: str) -> None:
    text = document(bill, kind).decode()
    for name in ("libc6", "libstdc%2B%2B6", "redis-server"):
        assert f"pkg:deb/debian/{name}@1:2.0-3?arch=amd64&distro=bookworm" in text


def test_an_spdx_bill_is_valid_by_its_own_library(bill: Bill) -> None:
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    parsed = JsonLikeDictParser().parse(json.loads(document(bill, "spdx")))
    assert validate_full_spdx_document(parsed) == []
    needs = [r for r in parsed.relationships if r.relationship_type.name == "DEPENDS_ON"]
    assert sorted(str(r.related_spdx_element_id) for r in needs) == ["SPDXRef-libc6", "SPDXRef-libstdc--6"]


def test_a_cyclonedx_bill_is_valid_by_its_own_schema(bill: Bill) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document(bill, "cyclonedx").decode())
    assert found is None


def test_an_attached_bill_refers_to_the_image(bill: Bill, tmp_path: Path) -> None:
    store = Store.at(tmp_path / "store")
    data = document(bill, "spdx")
    attached = attach(data, MEDIA_TYPES["spdx"], bill.image, store, created="2023-11-14T22:13:20Z")
    manifest = Image(attached, store).manifest()
    assert manifest.subject is not None and manifest.subject.digest == bill.image.digest
    assert manifest.artifact_type == attached.artifact_type == "application/spdx+json"
    assert store.read(manifest.layers[0].digest) == data
