"""Layers: written from trees, read back, stacked, and laid out in a folder (image-spec, layer.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ramekin.errors import FormatError
from ramekin.image import tar
from ramekin.image.compress import Compression, compressor, decompress
from ramekin.image.image import Blobs
from ramekin.image.oci import Descriptor
from ramekin.image.tree import Entry, Kind, Tree
from ramekin.store.digest import Digest
from ramekin.store.store import Store

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_METADATA = ".wh..wh."


@dataclass(frozen=True)
class Layer:
    """A layer that is in a store. `diff_id` is the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: Digest


def write(
    tree: Tree, store: Store, compression: Compression, *, annotations: Mapping[str, str] | None = None
) -> Layer:
    """Write a tree as a layer into the store, streamed: memory does not grow with the tree's bytes.

    Hashing, compressing and writing let other threads run, so layers can be written side by side.
    """
    # what is not compressed need not be hashed twice
    plain = hashlib.sha256() if compression.name != "none" else None
    squeeze = compressor(compression)
    with store.stage() as stage:

        def take(data: bytes) -> None:
            if plain is not None:
                plain.update(data)
            if done := squeeze.write(data):
                stage.write(done)

        tar.write(tree, take)
        stage.write(squeeze.finish())
        digest = stage.commit()
    descriptor = Descriptor(
        media_type=compression.media_type, digest=digest, size=stage.size, annotations=dict(annotations or {})
    )
    return Layer(descriptor, digest if plain is None else Digest("sha256:" + plain.hexdigest()))


def read(descriptor: Descriptor, blobs: Blobs, *, spool: Path, limits: tar.Limits = tar.LIMITS) -> Tree:
    """A layer's entries as they are, whiteouts among them as the files that they are written as.

    Contents are kept in a temporary file in `spool` for as long as the tree lives. `FormatError` names the
    layer and the entry at fault.
    """
    try:
        return _read(descriptor, blobs, tar.read_tree, spool, limits)
    except tar.SparseError:
        from ramekin.image.tar.filling import read_filled_tree

        return _read(descriptor, blobs, read_filled_tree, spool, limits)


def _read(
    descriptor: Descriptor, blobs: Blobs, reader: Callable[..., Tree], spool: Path, limits: tar.Limits
) -> Tree:
    where = f"layer {descriptor.digest}"
    with blobs.open(descriptor) as raw, decompress(raw, where=where) as plain:
        tree: Tree = reader(plain, where=where, spool=spool, closed=False, limits=limits)
        while raw.read(1 << 20):
            # the blob is verified at its end only
            pass
    return tree


def apply(layers: Iterable[Tree]) -> Tree:
    """The tree that layers make, lowest first (layer.md, Applying Changesets and Whiteouts).

    What a layer has takes the place of what lower ones have at its path, with all below it unless both are
    folders. Whiteouts act on lower layers only, wherever they stand in their own. A hard link may lead to a
    file of a lower layer. Parents without an entry are root-owned 0755 folders.
    """
    result = Tree()
    for number, layer in enumerate(layers):
        result = _over(result, layer, where=f"layer {number + 1}")
    return result.with_parents()


def _over(lower: Tree, layer: Tree, *, where: str) -> Tree:
    gone: set[str] = set()
    emptied: set[str] = set()
    added: dict[str, None] = {}
    entries = []
    for entry in layer.entries():
        folder, _, name = entry.path.rpartition("/")
        if not name.startswith(WHITEOUT):
            entries.append(entry)
            added[entry.path] = None
        elif name == OPAQUE:
            emptied.add(folder)
        elif not name.startswith(_METADATA):
            victim = name[len(WHITEOUT) :]
            if victim in ("", ".", ".."):
                raise FormatError(f"{where}: {entry.path!r} is a whiteout of nothing")
            gone.add(f"{folder}/{victim}" if folder else victim)
    if not len(lower):
        result = Tree(entries)
    else:
        folders = {""}
        for entry in entries:
            parent = entry.path if entry.kind is Kind.DIRECTORY else entry.path.rpartition("/")[0]
            while parent not in folders:
                folders.add(parent)
                parent = parent.rpartition("/")[0]
            if entry.kind is not Kind.DIRECTORY:
                gone.add(entry.path)
        lost = {
            path
            for path, entry in lower.items()
            if path in gone
            or path in added
            or (path in folders and entry.kind is not Kind.DIRECTORY)
            or _below(path, gone, emptied)
        }
        result = (lower.without(lambda entry: entry.path in lost) if lost else lower).plus(entries)
    for entry in entries:
        if entry.kind is Kind.HARDLINK and entry.target not in result:
            raise FormatError(
                f"{where}: entry {entry.path!r} is a hard link to {entry.target!r}, which is no file"
            )
    return result


def _below(path: str, gone: set[str], emptied: set[str]) -> bool:
    """Whether a folder above `path` is gone or emptied."""
    while path:
        path = path.rpartition("/")[0]
        if path in emptied or (path in gone and path):
            return True
    return False


def unpack(tree: Tree, root: Path, *, owners: bool) -> tuple[Entry, ...]:
    """Lay `tree` out in the existing folder `root`, whatever the tree says writing nothing outside it.

    What stands in the way of an entry is replaced, unless both are folders. Modes and times are set as the
    tree has them; owners, devices and attributes outside `user.` only with `owners`, which needs root.
    Gives the devices that were left out without it. `FormatError` for an entry that cannot exist,
    `RamekinError` naming the file when the system refuses.
    """
    from ramekin.image.unpack import unpack as lay_out

    return lay_out(tree, root, owners=owners)
