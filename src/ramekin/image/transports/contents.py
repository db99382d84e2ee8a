"""All that belongs to an image: its manifests and indexes, the blobs below them, and its referrers.

Every writer asks for this first, so that it knows each digest and size before it moves a byte.
"""

from __future__ import annotations

from dataclasses import dataclass

from ramekin.errors import DigestMismatchError, FormatError
from ramekin.image import oci
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor, Index, Manifest
from ramekin.store.digest import Digest

MAX_DOCUMENTS = 4096
"""Manifests and indexes that one image may have: more is taken for an attack."""


UNLISTED = "io.ramekin.unlisted"
"""Annotation of an artifact that layouts hold without listing it in index.json.

Many tools take a layout for one image only if its index has one entry, so what comes with every image must
not be a second one; `layout.choose` finds it by its subject.
"""


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index with the bytes that its digest is of, and what it points to."""

    descriptor: Descriptor
    data: bytes
    blobs: tuple[Descriptor, ...]
    subject: Digest | None = None
    artifact_type: str = ""
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def is_listed(self) -> bool:
        """Whether a layout's index.json names this referrer."""
        return UNLISTED not in dict(self.annotations)

    def as_referrer(self) -> Descriptor:
        """The entry for this document in a list of referrers (distribution-spec, Listing Referrers)."""
        return Descriptor(
            media_type=self.descriptor.media_type,
            digest=self.descriptor.digest,
            size=self.descriptor.size,
            artifact_type=self.artifact_type,
            annotations=dict(self.annotations),
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """An image taken apart. Each digest stands once.

    `documents` are those of the image, each after the ones that it points to, so `root` is the last;
    `referrers` likewise, for the image's referrers. `blobs` are all configs and layers of both.
    """

    documents: tuple[Document, ...]
    referrers: tuple[Document, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def root(self) -> Document:
        return self.documents[-1]

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)


def contents(image: Image) -> Contents:
    """Read all documents of `image` (and no layer).

    `FormatError` when one is broken; `DigestMismatchError` when two descriptors of one digest give it
    different sizes, or a document is not what its descriptor says. Layers that only their vendor may
    distribute (image-spec, layer.md, Non-Distributable Layers) are left where their `urls` say.
    """
    blobs: dict[Digest, Descriptor] = {}
    documents = _walk(image, [image.root], blobs)
    own = {document.descriptor.digest for document in documents}
    referrers = [
        document
        for document in _walk(image, image.referrers, blobs)
        if document.subject in own and document.descriptor.digest not in own
    ]
    return Contents(tuple(documents), tuple(referrers), tuple(blobs.values()))


def _walk(
    image: Image, roots: tuple[Descriptor, ...] | list[Descriptor], blobs: dict[Digest, Descriptor]
) -> list[Document]:
    done: dict[Digest, Document] = {}
    seen: set[Digest] = set()

    def visit(blob: Descriptor, depth: int) -> None:
        if blob.digest in seen:
            return
        seen.add(blob.digest)
        if len(seen) > MAX_DOCUMENTS or depth > 8:
            raise FormatError(f"{image.root.digest} has too many manifests, or too deep a tree of them")
        document, children = _read(image, blob)
        for child in children:
            if child.media_type in oci.MANIFESTS or child.media_type in oci.INDEXES:
                visit(child, depth + 1)
            else:
                _add(blobs, child)
        for child in document.blobs:
            _add(blobs, child)
        done[blob.digest] = document

    for root in roots:
        visit(root, 0)
    return list(done.values())


def _read(image: Image, blob: Descriptor) -> tuple[Document, tuple[Descriptor, ...]]:
    data = image.document(blob)
    if blob.media_type in oci.INDEXES:
        index = oci.decode(data, Index, where=f"index {blob.digest}")
        subject = index.subject.digest if index.subject else None
        notes = tuple(sorted(index.annotations.items()))
        return Document(blob, data, (), subject, index.artifact_type, notes), index.manifests
    manifest = oci.decode(data, Manifest, where=f"manifest {blob.digest}")
    below = [layer for layer in manifest.layers if not is_foreign(layer)]
    if manifest.config is not None:
        below.insert(0, manifest.config)
    # image-spec, manifest.md, Guidelines for Artifact Usage: without an artifactType the config's type is it
    kind = manifest.artifact_type or (manifest.config.media_type if manifest.config else "")
    subject = manifest.subject.digest if manifest.subject else None
    notes = tuple(sorted(manifest.annotations.items()))
    return Document(blob, data, tuple(below), subject, kind, notes), ()


def _add(blobs: dict[Digest, Descriptor], blob: Descriptor) -> None:
    known = blobs.setdefault(blob.digest, blob)
    if known.size != blob.size:
        raise DigestMismatchError(
            f"blob {blob.digest} is said to have both {known.size} and {blob.size} bytes"
        )


def is_foreign(blob: Descriptor) -> bool:
    """Whether `blob` is a layer that is fetched from its vendor and kept in no registry."""
    return bool(blob.urls) and ("nondistributable" in blob.media_type or "foreign" in blob.media_type)
