"""Images by their manifests alone, of sizes that are said."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ramekin.analyze.model import Outline
from ramekin.image import oci
from ramekin.image.oci import Config, Descriptor, History, Manifest, RootFS, Runtime
from ramekin.store.digest import Digest

MB = 1_000_000


def digest(text: str) -> Digest:
    return Digest("sha256:" + hashlib.sha256(text.encode()).hexdigest())


def outline(
    name: str,
    layers: Sequence[tuple[str, int]],
    *,
    history: Sequence[str] = (),
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Outline:
    """An image of layers (what they are, bytes), lowest first."""
    config = Config(
        architecture="amd64",
        os="linux",
        config=Runtime(labels=labels),
        rootfs=RootFS(type="layers", diff_ids=tuple(digest(f"plain {what}") for what, _ in layers)),
        history=tuple(History(created_by=text) for text in history),
    )
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=Descriptor(media_type=oci.CONFIG, digest=digest(f"config {name}"), size=500),
        layers=tuple(
            Descriptor(media_type=oci.LAYER_GZIP, digest=digest(what), size=size) for what, size in layers
        ),
        annotations=annotations or {},
    )
    root = Descriptor(media_type=oci.MANIFEST, digest=digest(f"manifest {name}"), size=700)
    return Outline(name, root, None, manifest, config)
