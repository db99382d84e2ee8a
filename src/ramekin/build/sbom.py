"""The software bill of materials of an image: CycloneDX 1.6 JSON, attached as a referrer.

The document is made from the same packages as the image and nothing else, so the same image has the same
bill: its serial number is derived from the manifest's digest and its time is the image's own.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ramekin.image import oci
from ramekin.image.oci import Descriptor, Manifest
from ramekin.sources.protocol import Package
from ramekin.store.digest import hex_of
from ramekin.store.store import Store

MEDIA_TYPE = "application/vnd.cyclonedx+json"

_NAMESPACE = uuid.UUID("6f2c6d0e-6c0e-5d0c-9a54-9c1f4a0f6c55")


def document(
    name: str,
    image: Descriptor,
    packages: Sequence[Package],
    edges: Mapping[str, Sequence[str]],
    *,
    distribution: str,
    created: int,
) -> bytes:
    """The bill of `image` called `name`; `distribution` as in `debian:bookworm`, `created` in seconds."""
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    system, _, suite = distribution.partition(":")
    root = Component(
        name=name,
        version=image.digest,
        type=ComponentType.CONTAINER,
        bom_ref=image.digest,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hex_of(image.digest))],
    )
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, image.digest))
    bom.metadata = BomMetaData(component=root, timestamp=datetime.fromtimestamp(created, UTC))
    components = {}
    for package in packages:
        purl = PackageURL(
            "deb",
            system,
            package.name,
            package.version,
            qualifiers={"arch": package.architecture, "distro": suite or system},
        )
        component = Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            bom_ref=purl.to_string(),
            purl=purl,
            description=package.description or None,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hex_of(package.digest))],
            properties=[
                Property(name="ramekin:source:package", value=package.origin or package.name),
                Property(name="ramekin:source:version", value=package.origin_version or package.version),
                Property(name="ramekin:suite", value=package.suite),
            ],
        )
        components[package.name] = component
        bom.components.add(component)
    for needing, needed in edges.items():
        if needing in components:
            bom.register_dependency(
                components[needing], [components[other] for other in needed if other in components]
            )
    bom.register_dependency(root, components.values())
    tidy = json.loads(JsonV1Dot6(bom).output_as_string())
    # the library lists itself as the tool: its version must not move the bytes
    tidy["metadata"].pop("tools", None)
    return json.dumps(tidy, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def attach(bill: bytes, subject: Descriptor, store: Store, *, created: str) -> Descriptor:
    """Put a bill into `store` as an artifact manifest whose subject is an image's manifest.

    image-spec manifest.md, Guidelines for Artifact Usage. `created` is RFC 3339.
    """
    blob = oci.describe(bill, MEDIA_TYPE)
    annotations = {"org.opencontainers.image.created": created}
    manifest = oci.encode(
        Manifest(
            schema_version=2,
            media_type=oci.MANIFEST,
            artifact_type=MEDIA_TYPE,
            config=oci.describe(oci.EMPTY_BLOB, oci.EMPTY),
            layers=(blob,),
            subject=Descriptor(subject.media_type, subject.digest, subject.size),
            annotations=annotations,
        )
    )
    for data in (bill, oci.EMPTY_BLOB, manifest):
        store.put(data)
    return oci.describe(manifest, oci.MANIFEST, artifact_type=MEDIA_TYPE, annotations=annotations)
