"""Manifests and indexes as clients push them, read and checked (image-spec, manifest.md, image-index.md)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ramekin.errors import FormatError
from ramekin.image import oci
from ramekin.image.oci import Descriptor, Index, Manifest
from ramekin.registry import faults
from ramekin.store.digest import Digest, of

MEDIA_TYPES = oci.MANIFESTS | oci.INDEXES

_FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)
REFERENCE_LIMIT = 4096
"""Things that one manifest may name."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a registry has to know of a manifest. `blobs` and `children` have to be there before it.

    `descriptor` is how listings of referrers describe it (spec.md, Listing Referrers).
    """

    digest: Digest
    media_type: str
    data: bytes
    blobs: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Digest | None
    descriptor: Descriptor

    @property
    def is_index(self) -> bool:
        return self.media_type in oci.INDEXES


def read(data: bytes, media_type: str) -> Document:
    """Read a manifest of the media type that a client (or a record) gives; `MANIFEST_INVALID` otherwise.

    An empty media type is taken from the document.
    """
    try:
        said = msgspec.json.decode(data, type=_Kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise faults.manifest_invalid(f"not a JSON manifest: {error}") from None
    kind = media_type or said.media_type or (oci.INDEX if said.manifests is not None else oci.MANIFEST)
    if kind not in MEDIA_TYPES:
        raise faults.manifest_invalid(f"the media type {kind[:100]!r} is not one that this registry keeps")
    if said.media_type and said.media_type != kind:
        raise faults.manifest_invalid(f"Content-Type is {kind!r} and mediaType is {said.media_type[:100]!r}")
    if said.schema_version != 2:
        raise faults.manifest_invalid("schemaVersion is not 2")
    if said.manifests is not None and (said.layers is not None or kind in oci.MANIFESTS):
        # what is read as the one by some and as the other by others is neither (image-spec, manifest.md)
        raise faults.manifest_invalid("it has both what a manifest and what an index has")
    try:
        return _index(data, kind) if kind in oci.INDEXES else _manifest(data, kind)
    except FormatError as error:
        raise faults.manifest_invalid(error.message) from None


class _Kind(msgspec.Struct, rename="camel"):
    schema_version: int
    media_type: str = ""
    manifests: list[msgspec.Raw] | None = None
    layers: list[msgspec.Raw] | None = None


def _manifest(data: bytes, kind: str) -> Document:
    document = oci.decode(data, Manifest, where="the manifest")
    if document.config is None:
        raise faults.manifest_invalid("there is no config")
    blobs = (document.config, *document.layers)
    needed = tuple(blob for blob in blobs if not (blob.urls and blob.media_type.startswith(_FOREIGN)))
    artifact = document.artifact_type or document.config.media_type
    return _document(data, kind, document, artifact, blobs=needed)


def _index(data: bytes, kind: str) -> Document:
    document = oci.decode(data, Index, where="the index")
    return _document(data, kind, document, document.artifact_type, children=document.manifests)


def _document(
    data: bytes,
    kind: str,
    document: Manifest | Index,
    artifact: str,
    *,
    blobs: tuple[Descriptor, ...] = (),
    children: tuple[Descriptor, ...] = (),
) -> Document:
    if len(blobs) + len(children) > REFERENCE_LIMIT:
        raise faults.manifest_invalid(f"it names more than {REFERENCE_LIMIT} things")
    descriptor = oci.describe(data, kind, artifact_type=artifact, annotations=document.annotations)
    subject = document.subject.digest if document.subject is not None else None
    return Document(of(data), kind, data, blobs, children, subject, descriptor)
