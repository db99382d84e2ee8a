"""`docker-archive:FILE[:NAME[:TAG]]`: what `docker save` writes and `docker load` and `podman load` take.

    manifest.json        the images: config, names, layers from the lowest up
    repositories         the same names in the form of Docker before 1.10
    CONFIG-HEX.json      the config
    DIFF-ID-HEX/layer.tar  a layer, uncompressed

Such an archive has no manifest, so its image's digest arises here. Read, a config keeps its bytes and hence
its digest; a layer is the bytes in the archive: an uncompressed one has the diff_id of the config as its
digest, a compressed one (some tools write them) that of its bytes; the manifest is the canonical encoding of
those. Reading the same archive twice gives the same digest, but not the one that the image had in a registry,
whose layers were compressed.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from ramekin import workers
from ramekin.errors import DigestMismatchError, FormatError, NotFoundError, UsageError
from ramekin.image import oci, tar, tree
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, Manifest, Platform
from ramekin.image.reference import Reference, split_name
from ramekin.image.transports import platforms, target
from ramekin.image.transports.archive import counted, member, small_file, unpacked
from ramekin.image.tree import Content, Entry, Inline, Kind, Span, Tree
from ramekin.progress import SILENT, Progress, Task
from ramekin.store import digest as digests
from ramekin.store.digest import Digest
from ramekin.store.verify import verified

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class _Saved(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of manifest.json."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Members:
    """Members of an archive by digest; implements `image.Blobs`."""

    contents: dict[Digest, Content]
    where: str
    files: Tree = field(repr=False)

    def open(self, blob: Descriptor) -> BinaryIO:
        content = self.contents.get(blob.digest)
        if content is None:
            raise NotFoundError(f"{self.where} does not hold {blob.digest} ({blob.media_type})")
        return verified(content.open(), blob.digest, blob.size, where=self.where)


def read(reference: Reference, *, spool: Path) -> Image:
    """The image of the archive, or the one of several that is named; `NotFoundError` says what there is."""
    where = reference.location
    files = unpacked(Path(where), spool)
    data = small_file(files, "manifest.json", where=where)
    try:
        images = msgspec.json.decode(data, type=tuple[_Saved, ...])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{where}: manifest.json is not valid: {error}") from None
    saved, name = _choose(images, reference)
    config_data = small_file(files, saved.config, where=where)
    config = oci.decode(config_data, Config, where=f"{where}: {saved.config}")
    paths = saved.layers or ()
    if len(paths) != len(config.rootfs.diff_ids):
        raise FormatError(
            f"{where}: manifest.json has {len(paths)} layers where {saved.config} has"
            f" {len(config.rootfs.diff_ids)}"
        )
    described = oci.describe(config_data, oci.CONFIG)
    members: dict[Digest, Content] = {described.digest: Inline(config_data)}
    layers = []
    for path, diff_id in zip(paths, config.rootfs.diff_ids, strict=True):
        content = member(files, path)
        if content is None:
            raise FormatError(f"{where} has no {path}, which manifest.json names")
        layer = _describe_layer(content, digests.parse(diff_id))
        members[layer.digest] = content
        layers.append(layer)
    manifest = Manifest(schema_version=2, media_type=oci.MANIFEST, config=described, layers=tuple(layers))
    manifest_data = oci.encode(manifest)
    platform = Platform(architecture=config.architecture, os=config.os, variant=config.variant)
    root = oci.describe(manifest_data, oci.MANIFEST, platform=platform)
    members[root.digest] = Inline(manifest_data)
    return Image(root, _Members(members, where, files), name)


def _choose(images: tuple[_Saved, ...], reference: Reference) -> tuple[_Saved, str]:
    names = [name for saved in images for name in saved.repo_tags or ()]
    hint = f"it has {', '.join(names) or 'no named image'}"
    if not reference.name:
        if len(images) != 1:
            raise NotFoundError(f"{reference}: {len(images)} images are there", hint=hint)
        return images[0], (names[0] if names else "")
    wanted = f"{reference.name}:{reference.tag or 'latest'}"
    for saved in images:
        # podman writes names with the host that it takes for granted
        for name in saved.repo_tags or ():
            if name == wanted or name.endswith(f"/{wanted}"):
                return saved, name
    raise NotFoundError(f"{reference}: no such image there", hint=hint)


def _describe_layer(content: Content, diff_id: Digest) -> Descriptor:
    with content.open() as stream:
        start = stream.read(4)
    media_type = oci.LAYER_GZIP if start[:2] == _GZIP else oci.LAYER_ZSTD if start == _ZSTD else oci.LAYER
    if media_type == oci.LAYER:
        return Descriptor(media_type=media_type, digest=diff_id, size=content.size)
    with content.open() as stream:
        digest, size = digests.of_stream(stream)
    return Descriptor(media_type=media_type, digest=digest, size=size)


def write(
    image: Image,
    reference: Reference,
    *,
    jobs: int = 8,
    progress: Progress = SILENT,
    platform: Platform | None = None,
) -> Descriptor:
    """Write the image for one platform into FILE, under the reference's name or its own, if it has one.

    `DigestMismatchError` when a layer's bytes are not those of its diff_id.
    """
    image = platforms.single(image, platform)
    manifest = image.manifest()
    config = image.config(manifest)
    assert manifest.config is not None
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise FormatError(
            f"{image.root.digest} has {len(manifest.layers)} layers where its config has {len(diff_ids)}"
        )
    for layer in manifest.layers:
        if "tar" not in layer.media_type:
            raise UsageError(f"{image.root.digest} has a {layer.media_type}: it is no image of files")
    path = Path(reference.location)
    layers = {digests.parse(diff): layer for diff, layer in zip(diff_ids, manifest.layers, strict=True)}
    # beside the target, for there is room for the archive or nothing will do
    with target.explained(path), target.scratch(path.resolve().parent) as scratch:
        size = sum(layer.size for layer in layers.values())
        with progress.task(f"unpacking layers for {reference}", total=size) as task:
            entries = _layers(image, layers, scratch, jobs, task)
        config_path = f"{digests.hex_of(manifest.config.digest)}.json"
        entries.append(tree.file(config_path, image.document(manifest.config)))
        entries += _listing(config_path, diff_ids, _full_name(image, reference))
        with target.new_file(path) as stream, progress.task(f"writing {reference}") as task:
            tar.write(Tree(entries), counted(stream, task))
    return image.root


def _full_name(image: Image, reference: Reference) -> str:
    """The NAME:TAG for the archive; empty when there is none."""
    if reference.name:
        return f"{reference.name}:{reference.tag or 'latest'}"
    name, tag = split_name(image.name)
    return f"{name}:{tag or 'latest'}" if name else ""


def _listing(config_path: str, diff_ids: tuple[Digest, ...], name: str) -> list[Entry]:
    """manifest.json and, for a named image with layers, `repositories`."""
    saved = {
        "Config": config_path,
        "RepoTags": [name] if name else None,
        "Layers": [_layer_path(diff_id) for diff_id in diff_ids],
    }
    entries = [tree.file("manifest.json", msgspec.json.encode([saved]))]
    if name and diff_ids:
        repository, tag = split_name(name)
        data = msgspec.json.encode({repository: {tag: digests.hex_of(diff_ids[-1])}})
        entries.append(tree.file("repositories", data))
    return entries


def _layer_path(diff_id: Digest) -> str:
    return f"{digests.hex_of(diff_id)}/layer.tar"


def _layers(
    image: Image, layers: dict[Digest, Descriptor], scratch: Path, jobs: int, task: Task
) -> list[Entry]:
    """The layers uncompressed, as entries of the archive. A tar says sizes first, so they are spooled."""
    sizes: dict[Digest, int] = {}

    def unpack(diff_id: Digest, check: workers.Check) -> None:
        sizes[diff_id] = _decompress(image, layers[diff_id], diff_id, scratch, check)
        task.advance(layers[diff_id].size)

    workers.each(unpack, sorted(layers, key=lambda diff: -layers[diff].size), jobs=jobs)
    entries: list[Entry] = []
    for diff_id in layers:
        content = Span(scratch / digests.hex_of(diff_id), 0, sizes[diff_id])
        entries.append(tree.directory(digests.hex_of(diff_id)))
        entries.append(Entry(path=_layer_path(diff_id), kind=Kind.FILE, content=content))
    return entries


def _decompress(image: Image, layer: Descriptor, diff_id: Digest, scratch: Path, check: workers.Check) -> int:
    """Write a layer's tar into `scratch`; its size in bytes."""
    from ramekin.image import compress

    state, size = hashlib.sha256(), 0
    path = scratch / digests.hex_of(diff_id)
    with (
        image.blobs.open(layer) as packed,
        closing(compress.decompress(packed, where=str(layer.digest))) as plain,
    ):
        with target.create(path) as out:
            while chunk := plain.read(1 << 18):
                check()
                state.update(chunk)
                size += len(chunk)
                out.write(chunk)
        # what stands after the compressed stream is part of the blob, and verified with it
        while packed.read(1 << 18):
            check()
    if (found := f"sha256:{state.hexdigest()}") != diff_id:
        raise DigestMismatchError(
            f"layer {layer.digest} unpacks to {found}, where the config has the diff_id {diff_id}"
        )
    return size
