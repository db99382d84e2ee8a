"""An image that is here, told in full: platforms, how it starts, its layers and what refers to it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ramekin.build.configure import LAYER_PACKAGES
from ramekin.errors import RamekinError
from ramekin.image import oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, History
from ramekin.registry.catalog import Catalog, Kept
from ramekin.store.digest import Digest
from ramekin.store.store import Store

PLATFORMS = 24
"""Platforms of an index that are told of."""


class Layer(msgspec.Struct, frozen=True):
    """A layer; `size` is in bytes as it travels. `packages` are `name=version`, `text` is its history."""

    digest: Digest
    size: int
    media_type: str
    packages: tuple[str, ...]
    text: str


class Started(msgspec.Struct, frozen=True):
    """How a container of it is started."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    env: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


class PlatformReport(msgspec.Struct, frozen=True):
    """The image for one platform; `problem` says what of it cannot be read."""

    platform: str
    architecture: str
    digest: Digest
    created: str = ""
    size: int = 0
    started: Started = Started()
    layers: tuple[Layer, ...] = ()
    annotations: dict[str, str] = {}
    referrers: tuple[str, ...] = ()
    problem: str = ""


class Report(msgspec.Struct, frozen=True):
    """An image or index. `origin` is `pushed` or `made`."""

    name: str
    tag: str
    digest: Digest
    media_type: str
    origin: str
    platforms: tuple[PlatformReport, ...]


msgspec.json.Encoder().encode(Report("", "", Digest(""), "", "", ()))


def report(name: str, tag: str, kept: Kept, catalog: Catalog, store: Store) -> Report:
    """The report of a manifest or index; it blocks."""
    root = Descriptor(kept.media_type, kept.digest, len(kept.data))
    platforms = tuple(_platforms(name, root, kept, catalog, store))
    return Report(name, tag, kept.digest, kept.media_type, kept.origin, platforms)


def _platforms(
    name: str, root: Descriptor, kept: Kept, catalog: Catalog, store: Store
) -> Iterator[PlatformReport]:
    entries = [root]
    if kept.media_type in oci.INDEXES:
        index = oci.decode(kept.data, oci.Index, where=str(kept.digest))
        entries = list(index.manifests)[:PLATFORMS]
    for entry in entries:
        found = kept if entry is root else catalog.manifest(name, entry.digest)
        platform = str(entry.platform) if entry.platform else ""
        architecture = entry.platform.architecture if entry.platform else ""
        if found is None:
            yield PlatformReport(platform, architecture, entry.digest, problem="it is not here")
            continue
        try:
            yield _platform(name, entry, found, catalog, store)
        except RamekinError as error:
            yield PlatformReport(platform, architecture, entry.digest, problem=error.message)


def _platform(name: str, entry: Descriptor, kept: Kept, catalog: Catalog, store: Store) -> PlatformReport:
    manifest = oci.decode(kept.data, oci.Manifest, where=str(kept.digest))
    image = Image(entry, store, name)
    is_image = manifest.config is not None and manifest.config.media_type in (oci.CONFIG, oci.DOCKER_CONFIG)
    config, problem = None, ""
    if is_image:
        try:
            config = image.config(manifest)
        except RamekinError as error:
            problem = error.message
    history = [line for line in config.history if not line.empty_layer] if config else []
    layers = tuple(
        Layer(
            layer.digest,
            layer.size,
            layer.media_type,
            tuple(layer.annotations.get(LAYER_PACKAGES, "").split()),
            _line(history, place),
        )
        for place, layer in enumerate(manifest.layers)
    )
    platform = entry.platform or (
        oci.Platform(config.architecture, config.os, variant=config.variant) if config else None
    )
    return PlatformReport(
        platform=str(platform) if platform else manifest.artifact_type or "unknown platform",
        architecture=platform.architecture if platform else "",
        digest=entry.digest,
        created=config.created if config else "",
        size=sum(layer.size for layer in layers),
        started=_started(config),
        layers=layers,
        annotations=manifest.annotations,
        referrers=tuple(
            sorted({one.artifact_type or one.media_type for one in catalog.referrers(name, entry.digest)})
        ),
        problem=problem,
    )


def _line(history: list[History], place: int) -> str:
    return history[place].created_by[:400] if place < len(history) else ""


def _started(config: Config | None) -> Started:
    runtime = config.config if config is not None else None
    if runtime is None:
        return Started()
    return Started(
        entrypoint=runtime.entrypoint or (),
        cmd=runtime.cmd or (),
        user=runtime.user,
        workdir=runtime.working_dir,
        env=runtime.env or (),
        ports=tuple(sorted(runtime.exposed_ports or ())),
        volumes=tuple(sorted(runtime.volumes or ())),
    )
