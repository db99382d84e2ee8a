"""An image as its descriptor and the place where its blobs are.

What every transport reads and writes. Documents are small and read when asked for; layers are streamed
only to the one who opens them. Nothing here is trusted before its digest was checked: `Blobs.open` of every
implementation yields verified bytes or raises `DigestMismatchError` before the end of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from ramekin.errors import FormatError, NotFoundError
from ramekin.image import oci
from ramekin.image.oci import Config, Descriptor, Index, Manifest, Platform

DOCUMENT_LIMIT = 16 << 20
"""Bytes that a manifest, index or config may have (distribution-spec asks for at least 4 MiB)."""


class Blobs(Protocol):
    """A place that holds blobs: a store, a layout, an archive, a repository of a registry."""

    def open(self, blob: Descriptor) -> BinaryIO:
        """A verifying stream of the blob's bytes; `NotFoundError` when it is not there."""


@dataclass(frozen=True)
class Image:
    """An image, an index of images, or any other artifact, wherever its blobs are.

    `root` describes the manifest or index. `name` is the repository-like name and tag that it had where
    it was read, if any. `referrers` describe manifests whose subject is `root` or a manifest below it.
    """

    root: Descriptor
    blobs: Blobs
    name: str = ""
    referrers: tuple[Descriptor, ...] = field(default=())

    @property
    def is_index(self) -> bool:
        return self.root.media_type in oci.INDEXES

    def document(self, blob: Descriptor) -> bytes:
        """All bytes of a manifest, index or config; `FormatError` when it is too large to be one."""
        if blob.size > DOCUMENT_LIMIT:
            raise FormatError(f"{blob.digest} has {blob.size} bytes, too many for a {blob.media_type}")
        with self.blobs.open(blob) as stream:
            return stream.read()

    def index(self) -> Index:
        """The index that `root` describes."""
        return oci.decode(self.document(self.root), Index, where=f"index {self.root.digest}")

    def manifests(self) -> tuple[Descriptor, ...]:
        """The manifest's own descriptor, or those of the index in its order."""
        return self.index().manifests if self.is_index else (self.root,)

    def manifest(self, blob: Descriptor | None = None) -> Manifest:
        """The manifest that `blob` (default: `root`) describes."""
        blob = blob or self.root
        return oci.decode(self.document(blob), Manifest, where=f"manifest {blob.digest}")

    def config(self, manifest: Manifest) -> Config:
        """The image configuration of a manifest."""
        if manifest.config is None:
            raise FormatError("the manifest has no config")
        return oci.decode(self.document(manifest.config), Config, where=f"config {manifest.config.digest}")

    def choose(self, platform: Platform) -> Image:
        """The image for one platform; the same image when it is not an index.

        An index entry without a variant matches any variant. `NotFoundError` names what there is.
        """
        if not self.is_index:
            return self
        entries = [entry for entry in self.manifests() if entry.platform is not None]
        for entry in entries:
            assert entry.platform is not None
            same = (entry.platform.os, entry.platform.architecture) == (platform.os, platform.architecture)
            if same and (not platform.variant or entry.platform.variant in ("", platform.variant)):
                return Image(entry, self.blobs, self.name, self.referrers)
        there = ", ".join(str(entry.platform) for entry in entries) or "none"
        raise NotFoundError(f"{self.name or self.root.digest} has no image for {platform}; it has {there}")
