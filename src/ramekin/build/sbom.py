"""The software bill of materials of an image: SPDX 2.3 or CycloneDX 1.6 JSON, to be attached as a referrer.

The document is made from the same packages as the image and nothing else, so the same image has the same
bill: its identity is derived from the manifest's digest and its time is the image's own.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ramekin.image.oci import Descriptor
from ramekin.sources.protocol import Package

if TYPE_CHECKING:
    from packageurl import PackageURL

MEDIA_TYPES = {"spdx": "application/spdx+json", "cyclonedx": "application/vnd.cyclonedx+json"}

_NAMESPACE = uuid.UUID("6f2c6d0e-6c0e-5d0c-9a54-9c1f4a0f6c55")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a bill says: the image called `name`, its packages and who of them needs whom.

    `distribution` is as in `debian:bookworm`, `created` in seconds since 1970.
    """

    name: str
    image: Descriptor
    packages: Sequence[Package]
    edges: Mapping[str, Sequence[str]]
    distribution: str
    created: int

    @property
    def serial(self) -> uuid.UUID:
        return uuid.uuid5(_NAMESPACE, self.image.digest)

    def needs(self, package: Package) -> list[str]:
        """The names of packages of the image that `package` depends on."""
        there = {other.name for other in self.packages}
        return sorted(there.intersection(self.edges.get(package.name, ())))

    def purl(self, package: Package) -> PackageURL:
        """The package URL of a package."""
        from packageurl import PackageURL

        if package.kind == "nix":
            # the store path tells outputs and builds of one version apart
            qualifiers = {"arch": package.architecture, "store-path": package.name}
            return PackageURL("nix", None, package.origin, package.version or None, qualifiers=qualifiers)
        system, _, suite = self.distribution.partition(":")
        qualifiers = {"arch": package.architecture, "distro": suite or system}
        return PackageURL("deb", system, package.name, package.version, qualifiers=qualifiers)


def document(bill: Bill, kind: str) -> bytes:
    """The bytes of `bill` as `kind`, a key of `MEDIA_TYPES`; the same for equal bills."""
    tidy = _spdx(bill) if kind == "spdx" else _cyclonedx(bill)
    return json.dumps(tidy, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _spdx(bill: Bill) -> dict[str, Any]:
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
    from spdx_tools.spdx.model import (
        Actor,
        ActorType,
        Checksum,
        ChecksumAlgorithm,
        CreationInfo,
        Document,
        ExternalPackageRef,
        ExternalPackageRefCategory,
        PackagePurpose,
        Relationship,
        RelationshipType,
        SpdxNoAssertion,
    )
    from spdx_tools.spdx.model import Package as SpdxPackage

    def sha256(digest: str) -> Checksum:
        return Checksum(ChecksumAlgorithm.SHA256, digest.removeprefix("sha256:"))

    root = "SPDXRef-image"
    names = {
        package.name: f"SPDXRef-{re.sub(r'[^A-Za-z0-9.-]', '-', package.name)}" for package in bill.packages
    }
    packages = [
        SpdxPackage(
            spdx_id=root,
            name=bill.name,
            version=bill.image.digest,
            download_location=SpdxNoAssertion(),
            files_analyzed=False,
            checksums=[sha256(bill.image.digest)],
            primary_package_purpose=PackagePurpose.CONTAINER,
        )
    ]
    relationships = [Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, root)]
    for package in bill.packages:
        spdx_id = names[package.name]
        packages.append(
            SpdxPackage(
                spdx_id=spdx_id,
                name=package.name,
                version=package.version,
                download_location=SpdxNoAssertion(),
                files_analyzed=False,
                checksums=[sha256(package.digest)],
                source_info=_source_info(package),
                summary=package.description or None,
                external_references=[
                    ExternalPackageRef(
                        ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", bill.purl(package).to_string()
                    )
                ],
            )
        )
        relationships.append(Relationship(root, RelationshipType.CONTAINS, spdx_id))
        relationships += [
            Relationship(spdx_id, RelationshipType.DEPENDS_ON, names[other]) for other in bill.needs(package)
        ]
    about = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=bill.name,
        document_namespace=f"urn:uuid:{bill.serial}",
        creators=[Actor(ActorType.TOOL, "ramekin")],
        created=datetime.fromtimestamp(bill.created, UTC).replace(tzinfo=None),
    )
    converted: dict[str, Any] = DocumentConverter().convert(
        Document(about, packages=packages, relationships=relationships)
    )
    return converted


def _source_info(package: Package) -> str:
    if package.kind == "nix":
        return f"the store path {package.location}"
    return f"built from {package.origin} {package.origin_version}, found in {package.suite}"


def _cyclonedx(bill: Bill) -> dict[str, Any]:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    def sha256(digest: str) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))]

    root = Component(
        name=bill.name,
        version=bill.image.digest,
        type=ComponentType.CONTAINER,
        bom_ref=bill.image.digest,
        hashes=sha256(bill.image.digest),
    )
    bom = Bom(serial_number=bill.serial)
    bom.metadata = BomMetaData(component=root, timestamp=datetime.fromtimestamp(bill.created, UTC))
    components: dict[str, Component] = {}
    for package in bill.packages:
        purl = bill.purl(package)
        component = Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            bom_ref=purl.to_string(),
            purl=purl,
            description=package.description or None,
            hashes=sha256(package.digest),
            properties=[
                Property(name="ramekin:source:package", value=package.origin or package.name),
                Property(name="ramekin:source:version", value=package.origin_version or package.version),
                Property(name="ramekin:store-path", value=package.location)
                if package.kind == "nix"
                else Property(name="ramekin:suite", value=package.suite),
            ],
        )
        components[package.name] = component
        bom.components.add(component)
    for package in bill.packages:
        needed = [components[name] for name in bill.needs(package)]
        bom.register_dependency(components[package.name], needed)
    bom.register_dependency(root, components.values())
    tidy: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    # the library lists itself as the tool: its version must not move the bytes
    tidy["metadata"].pop("tools", None)
    return tidy
