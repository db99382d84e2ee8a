"""Images from any place as values: the manifest alone, or every file of every layer.

Layers are read side by side, each once: what was learnt of one is in the store when the next image has it.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ramekin import workers
from ramekin.analyze.model import LayerFiles, Outline, ReadImage
from ramekin.errors import DigestMismatchError, FormatError, NotFoundError
from ramekin.image import oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, Manifest, Platform, RootFS
from ramekin.image.reference import Reference
from ramekin.image.transports import platforms
from ramekin.progress import SILENT, Progress
from ramekin.store.digest import Digest
from ramekin.store.store import Store

MOST_BESIDE = 1000
"""Entries of an index that are looked at for attestations."""
DEPTH = 4
"""Indexes of indexes that are followed until an image is met."""


def outline(image: Image, *, name: str, platform: Platform | None = None, attested: bool = False) -> Outline:
    """The image, or of an index the one for `platform` (default: this machine's), by its documents alone.

    With `attested` its referrers include what the index itself attests of it. `FormatError` when it is no
    image of files, or when its config has not as many layers as its manifest.
    """
    beside: tuple[Descriptor, ...] = ()
    for _ in range(DEPTH):
        if not image.is_index:
            break
        index, image = image, platforms.single(image, platform)
        if attested:
            beside += _attestations(index, image.root.digest)
    if image.root.media_type not in oci.MANIFESTS:
        what = image.root.media_type or "document without a type"
        raise FormatError(f"{name}: {image.root.digest} is a {what}, not an image")
    manifest = image.manifest()
    config = _config(image, manifest, name)
    for layer in manifest.layers:
        if "tar" not in layer.media_type:
            raise FormatError(f"{name}: layer {layer.digest} is a {layer.media_type}, not files")
    if len(config.rootfs.diff_ids) != len(manifest.layers):
        raise FormatError(
            f"{name}: the manifest has {len(manifest.layers)} layers where the config has"
            f" {len(config.rootfs.diff_ids)}"
        )
    where = Platform(architecture=config.architecture, os=config.os, variant=config.variant)
    return Outline(name, image.root, where, manifest, config, (*image.referrers, *beside))


def _attestations(index: Image, subject: Digest) -> tuple[Descriptor, ...]:
    """What BuildKit attests of one image of an index: statements of in-toto, in manifests beside the image
    (its "Attestation storage"). A manifest that cannot be had attests nothing.
    """
    found: list[Descriptor] = []
    for entry in index.manifests()[:MOST_BESIDE]:
        if entry.annotations.get(platforms.ATTESTED) == subject and entry.media_type in oci.MANIFESTS:
            try:
                statements = index.manifest(entry).layers
            except (NotFoundError, FormatError):
                continue
            found += [replace(one, artifact_type=one.media_type) for one in statements]
    return tuple(found)


def _config(image: Image, manifest: Manifest, name: str) -> Config:
    if manifest.config is None:
        raise FormatError(f"{name}: the manifest has no config")
    if manifest.config.media_type not in (oci.CONFIG, oci.DOCKER_CONFIG):
        if manifest.layers:
            raise FormatError(f"{name} is an artifact ({manifest.config.media_type}), not an image")
        return Config(architecture="", os="", rootfs=RootFS(type="layers", diff_ids=()))
    return image.config(manifest)


def open_outline(
    reference: Reference,
    *,
    platform: Platform | None = None,
    plain_http: bool = False,
    progress: Progress = SILENT,
) -> Outline:
    """The outline of what `reference` names; no layer is fetched."""
    from ramekin.image import transports

    with transports.read(reference, plain_http=plain_http, progress=progress) as image:
        return outline(image, name=str(reference), platform=platform)


def read(
    image: Image,
    store: Store,
    *,
    name: str,
    platform: Platform | None = None,
    jobs: int = 2,
    progress: Progress = SILENT,
    held: dict[Digest, LayerFiles] | None = None,
) -> ReadImage:
    """Every file of every layer, `jobs` layers at once; layers that the store knows are not fetched.

    With `held`, a layer that several images have is one value. `DigestMismatchError` when a layer unpacks to
    another diff_id than the config says.
    """
    return read_layers(
        outline(image, name=name, platform=platform, attested=True),
        image,
        store,
        jobs=jobs,
        progress=progress,
        held=held,
    )


def read_layers(
    told: Outline,
    image: Image,
    store: Store,
    *,
    jobs: int = 2,
    progress: Progress = SILENT,
    held: dict[Digest, LayerFiles] | None = None,
) -> ReadImage:
    """The layers of an image whose outline is known."""
    # not needed for outlines, nor for what is known of an image already
    from ramekin.analyze.layer import known_layer, read_layer

    blobs = {layer.digest: layer for layer in told.layers}
    have = {} if held is None else held
    found = {
        digest: known
        for digest, blob in blobs.items()
        if (known := have.get(digest) or known_layer(blob, store)) is not None
    }
    unknown = [blob for digest, blob in blobs.items() if digest not in found]
    with progress.task(f"reading {told.name}", total=sum(blob.size for blob in unknown)) as task:

        def learn(blob: Descriptor, check: Callable[[], None]) -> None:
            found[blob.digest] = read_layer(blob, image.blobs, store, check=check)
            task.advance(blob.size)

        # the largest first, so that none is left to read alone at the end
        workers.each(learn, sorted(unknown, key=lambda blob: -blob.size), jobs=jobs)
    for digest, layer in found.items():
        if not layer.absent:
            found[digest] = have.setdefault(digest, layer)
    layers = []
    for blob, diff_id in zip(told.layers, told.diff_ids, strict=True):
        layer = found[blob.digest]
        if layer.diff_id and layer.diff_id != diff_id:
            raise DigestMismatchError(
                f"{told.name}: layer {blob.digest} unpacks to {layer.diff_id}, not to {diff_id}",
                hint="its config does not belong to its layers; build or push it again",
            )
        layers.append(layer)
    return ReadImage(told, tuple(layers))


def open_image(
    reference: Reference,
    store: Store,
    *,
    platform: Platform | None = None,
    jobs: int = 2,
    plain_http: bool = False,
    progress: Progress = SILENT,
    held: dict[Digest, LayerFiles] | None = None,
) -> ReadImage:
    """Every file of what `reference` names; `held` as for `read`."""
    from ramekin.image import transports

    with transports.read(reference, plain_http=plain_http, progress=progress) as image:
        name = str(reference)
        return read(image, store, name=name, platform=platform, jobs=jobs, progress=progress, held=held)
