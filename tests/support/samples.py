"""Small images for tests, made of trees and layers as the program makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from ramekin.image import compress, layer, oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, History, Index, Manifest, Platform, RootFS, Runtime
from ramekin.image.tree import Tree, directory, file, symlink
from ramekin.store.store import Store

AMD64 = Platform(architecture="amd64", os="linux")
ARM64 = Platform(architecture="arm64", os="linux")
SPDX = "application/spdx+json"

BASE = Tree(
    [
        directory("etc"),
        file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
        directory("tmp", mode=0o1777),
        symlink("bin", "usr/bin"),
    ]
).with_parents()
GREETING = Tree([file("srv/greeting", b"hello\n", mtime=1_700_000_000)]).with_parents()


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress, the same for one seed always."""
    import random

    return random.Random(seed).randbytes(size)


def image(
    store: Store,
    trees: Sequence[Tree] = (BASE, GREETING),
    *,
    platform: Platform = AMD64,
    compression: str = "gzip",
    cmd: Sequence[str] = ("/bin/greet",),
    name: str = "",
) -> Image:
    """An image of one layer a tree, all blobs in `store`."""
    layers = [layer.write(tree, store, compress.parse(compression)) for tree in trees]
    config = oci.encode(
        Config(
            architecture=platform.architecture,
            os=platform.os,
            created="2023-11-14T22:13:20Z",
            config=Runtime(env=("PATH=/usr/bin",), cmd=tuple(cmd)),
            rootfs=RootFS(type="layers", diff_ids=tuple(made.diff_id for made in layers)),
            history=tuple(History(created_by=f"layer {n}") for n in range(len(layers))),
        )
    )
    return of_manifest(
        store,
        Manifest(
            schema_version=2,
            media_type=oci.MANIFEST,
            config=keep(store, config, oci.CONFIG),
            layers=tuple(made.descriptor for made in layers),
        ),
        platform=platform,
        name=name,
    )


def keep(store: Store, data: bytes, media_type: str) -> Descriptor:
    store.put(data)
    return oci.describe(data, media_type)


def of_manifest(
    store: Store, manifest: Manifest, *, platform: Platform | None = None, name: str = ""
) -> Image:
    root = keep(store, oci.encode(manifest), manifest.media_type)
    return Image(msgspec.structs.replace(root, platform=platform), store, name)


def index(store: Store, images: Sequence[Image], *, name: str = "") -> Image:
    """An index of single images."""
    document = Index(schema_version=2, media_type=oci.INDEX, manifests=tuple(one.root for one in images))
    return Image(keep(store, oci.encode(document), oci.INDEX), store, name)


def with_sbom(store: Store, subject: Image) -> Image:
    """The image with a bill of materials attached as a referrer."""
    sbom = keep(store, b'{"spdxVersion":"SPDX-2.3"}', SPDX)
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        artifact_type=SPDX,
        config=keep(store, oci.EMPTY_BLOB, oci.EMPTY),
        layers=(sbom,),
        subject=Descriptor(
            media_type=subject.root.media_type, digest=subject.root.digest, size=subject.root.size
        ),
        annotations={"org.opencontainers.image.created": "2023-11-14T22:13:20Z"},
    )
    referrer = keep(store, oci.encode(manifest), oci.MANIFEST)
    return replace(subject, referrers=(*subject.referrers, referrer))
