"""Images of layers made by hand, as raw tars or as trees with whiteouts in them."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import msgspec
from support import samples

from ramekin.analyze import reading
from ramekin.analyze.model import ReadImage
from ramekin.analyze.stack import Stack, stack
from ramekin.image import oci, tar
from ramekin.image.image import Blobs, Image
from ramekin.image.oci import Config, Descriptor, History, Manifest, RootFS, Runtime
from ramekin.image.tree import Entry, Tree
from ramekin.store.store import Store


def tar_of(entries: Iterable[Entry]) -> bytes:
    """A tar of a tree."""
    out = io.BytesIO()
    tar.write(Tree(entries), out.write)
    return out.getvalue()


def raw_tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar whose entries stand as they are given, whatever they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def image_of(
    store: Store,
    tars: Sequence[bytes],
    *,
    run: Runtime | None = None,
    history: Sequence[History] | None = None,
    compress: bool = True,
    diff_ids: Sequence[str] | None = None,
) -> Image:
    """An image of layers given as tars."""
    layers = []
    for data in tars:
        packed = gzip.compress(data, 1, mtime=0) if compress else data
        layers.append(samples.keep(store, packed, oci.LAYER_GZIP if compress else oci.LAYER))
    config = Config(
        architecture="amd64",
        os="linux",
        config=run,
        rootfs=RootFS(
            type="layers",
            diff_ids=tuple(diff_ids or [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in tars]),  # type: ignore[arg-type]
        ),
        history=tuple(
            history if history is not None else [History(created_by=f"step {n}") for n, _ in enumerate(tars)]
        ),
    )
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=samples.keep(store, oci.encode(config), oci.CONFIG),
        layers=tuple(layers),
    )
    return samples.of_manifest(store, manifest, platform=samples.AMD64)


def read(store: Store, image: Image) -> ReadImage:
    return reading.read(image, store, name="the image")


def stacked(store: Store, *tars: bytes) -> Stack:
    """The stack of layers given as tars."""
    return stack(read(store, image_of(store, tars, compress=False)))


@dataclass
class Counting:
    """Blobs that note which of them are opened."""

    blobs: Blobs
    opened: list[str] = field(default_factory=list)

    def open(self, blob: Descriptor) -> BinaryIO:
        self.opened.append(blob.media_type)
        return self.blobs.open(blob)


def with_blobs(image: Image, blobs: Blobs) -> Image:
    return Image(image.root, blobs, image.name, image.referrers)


def described(descriptor: Descriptor, **changes: object) -> Descriptor:
    return msgspec.structs.replace(descriptor, **changes)
