"""Images as analysis sees them: descriptors, and what is known of every file of every layer.

Paths are as in `image.tree`: relative, no trailing `/`, bytes that are not UTF-8 as surrogate escapes.
Sizes are bytes of content, uncompressed, unless a name says `stored`: those are what a registry keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ramekin.image.oci import Config, Descriptor, Manifest, Platform
from ramekin.image.tree import Kind
from ramekin.store.digest import Digest

Traits = Mapping[str, Any]
"""What examiners learnt of one file, by the examiner's name (`elf`, `jar`, `node`, `secret`, …)."""


class File(msgspec.Struct, frozen=True, gc=False):
    """One path of a layer.

    `digest` is the 32 bytes of the content's SHA-256 (files only). A hard link has `target`, the path of the
    file that it is another name of, and no size of its own.
    """

    path: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    digest: bytes = b""
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    device: tuple[int, int] = (0, 0)


class Count(msgspec.Struct, frozen=True):
    """Paths that are no folders, and the bytes of their contents."""

    files: int = 0
    size: int = 0


@dataclass(frozen=True)
class LayerFiles:
    """All that is known of one layer's content, wherever the layer stands.

    `digest` is the blob's. `size` is that of the uncompressed tar. `files` are in canonical order, one a
    path; `whiteouts` are paths that the layer deletes of lower ones, `opaques` folders that it empties;
    `repeated` counts the bytes of files that the layer's own later entries replace. `kept` are contents that
    later questions need: package databases, account files. `absent` is why a layer could not be read, as for
    foreign layers that no one serves.
    """

    digest: Digest
    diff_id: Digest
    size: int
    files: tuple[File, ...]
    whiteouts: tuple[str, ...] = ()
    opaques: tuple[str, ...] = ()
    repeated: int = 0
    traits: Mapping[str, Traits] = field(default_factory=dict)
    kept: Mapping[str, bytes] = field(default_factory=dict)
    absent: str = ""


@dataclass(frozen=True)
class Outline:
    """An image as its manifest tells it: enough for all figures of sharing by layer.

    `name` is the reference that it was read by. `diff_ids` are those of the config, lowest first.
    """

    name: str
    root: Descriptor
    platform: Platform | None
    manifest: Manifest
    config: Config
    referrers: tuple[Descriptor, ...] = ()

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """Lowest first; several may have one digest."""
        return self.manifest.layers

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        return self.config.rootfs.diff_ids

    @property
    def stored(self) -> int:
        """Bytes that a registry keeps for the layers, each once."""
        return sum({layer.digest: layer.size for layer in self.layers}.values())

    @property
    def commands(self) -> tuple[str, ...]:
        """What the history says that made each layer; empty texts where it does not say."""
        said = [step.created_by for step in self.config.history if not step.empty_layer]
        return tuple(said) if len(said) == len(self.layers) else ("",) * len(self.layers)


@dataclass(frozen=True)
class ReadImage:
    """An image all of whose layers were read: `layers[i]` is the content of `outline.layers[i]`."""

    outline: Outline
    layers: tuple[LayerFiles, ...]
