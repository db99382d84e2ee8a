"""Artifacts that refer to an image (image-spec manifest.md, Guidelines for Artifact Usage)."""

from __future__ import annotations

from collections.abc import Mapping

from ramekin.image import oci
from ramekin.image.oci import Descriptor, Manifest
from ramekin.store.store import Store


def attach(
    data: bytes,
    media_type: str,
    subject: Descriptor,
    store: Store,
    *,
    created: str,
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """Put one blob into `store` as an artifact that refers to `subject`; `created` is RFC 3339.

    Gives the descriptor of the artifact's manifest.
    """
    annotations = {"org.opencontainers.image.created": created, **(annotations or {})}
    manifest = oci.encode(
        Manifest(
            schema_version=2,
            media_type=oci.MANIFEST,
            artifact_type=media_type,
            config=oci.describe(oci.EMPTY_BLOB, oci.EMPTY),
            layers=(oci.describe(data, media_type),),
            subject=Descriptor(subject.media_type, subject.digest, subject.size),
            annotations=dict(annotations),
        )
    )
    for blob in (data, oci.EMPTY_BLOB, manifest):
        store.put(blob)
    return oci.describe(manifest, oci.MANIFEST, artifact_type=media_type, annotations=dict(annotations))
