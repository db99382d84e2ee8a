"""The files of an image in one: what stands at each path, who brought it, and its bytes.

Layers are unpacked once into a spool; nothing is examined before somebody asks. The values are those of
`analyze` (a `Stack` and what packaging systems claim), so that its rules hold here as they do there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ramekin import workers
from ramekin.analyze import reading
from ramekin.analyze.examine import elf, jar, keeping, node, python, rpm, script
from ramekin.analyze.model import File, LayerFiles, Outline, ReadImage, Traits
from ramekin.analyze.stack import Placed, Stack, stack
from ramekin.errors import FormatError
from ramekin.image import layer
from ramekin.image.image import Image
from ramekin.image.layer import OPAQUE, WHITEOUT
from ramekin.image.oci import Config, Descriptor, Platform
from ramekin.image.tree import Content, Entry, Kind, Span, Tree
from ramekin.progress import SILENT, Progress
from ramekin.store.digest import Digest

_EXAMINERS = (elf, jar, node, python, rpm, script)
_HEAD = 512
_MOST_EXAMINED = 1 << 30
_METADATA = ".wh..wh."


@dataclass(frozen=True)
class Contents:
    """An image with all its files at hand for as long as this value lives.

    `trees` are its layers as they are, lowest first, whiteouts among their entries.
    """

    image: Image
    outline: Outline
    trees: tuple[Tree, ...]
    stack: Stack
    _open: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def config(self) -> Config:
        return self.outline.config

    @property
    def files(self) -> Mapping[str, Placed]:
        """What is at each path, in canonical order, folders among them."""
        return self.stack.files

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """All paths that are no folders, in canonical order."""
        return tuple(path for path, placed in self.files.items() if placed.file.kind is not Kind.DIRECTORY)

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """The names that each folder holds."""
        found: dict[str, list[str]] = {"": []}
        for path, placed in self.files.items():
            if placed.file.kind is Kind.DIRECTORY:
                found.setdefault(path, [])
            if path:
                folder, _, name = path.rpartition("/")
                found.setdefault(folder, []).append(name)
        return {folder: tuple(names) for folder, names in found.items()}

    @cached_property
    def tree(self) -> Tree:
        """All files as one tree: what a container of the image sees."""
        return Tree(self.entry(path, links=True) for path in self.files if path)

    def kind(self, path: str) -> Kind | None:
        """What stands at a path: a hard link is a file; None for nothing."""
        placed = self.files.get(path)
        if placed is None:
            return None
        return Kind.FILE if placed.inode is not None else placed.file.kind

    def size(self, path: str) -> int:
        """Bytes of content at a path."""
        placed = self.files.get(path)
        return placed.size if placed is not None else 0

    def below(self, folder: str) -> Iterator[str]:
        """All paths that are no folders below one."""
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            for name in self.children.get(here, ()):
                path = f"{here}/{name}" if here else name
                if path in self.children:
                    waiting.append(path)
                else:
                    yield path

    def content(self, path: str) -> Content | None:
        """Where the bytes of a path are; None for all that is no file."""
        placed = self.files.get(path)
        if placed is None or placed.inode is None:
            return None
        return self.trees[placed.inode.layer][placed.inode.file.path].content

    def read(self, path: str, most: int = 1 << 26, start: int = 0) -> bytes:
        """At most `most` bytes at a path from `start` on; none where there is no file.

        Links are not followed.
        """
        content = self.content(path)
        if content is None:
            return b""
        if not isinstance(content, Span):
            with content.open() as stream:
                return stream.read(start + most)[start:]
        name = str(content.path)
        descriptor = self._open.get(name)
        if descriptor is None:
            descriptor = self._open[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(descriptor, max(0, min(most, content.size - start)), content.offset + start)

    def entry(self, path: str, *, links: bool = False) -> Entry:
        """The entry at a path with its content; with `links` other names of a file stay hard links to it.

        `KeyError` when there is none.
        """
        placed = self.files[path]
        file, inode = placed.file, placed.inode
        if inode is None:
            found = self.trees[placed.layer].get(path)
            if found is not None and found.kind is file.kind:
                return found
            return _entry(file)
        held = self.trees[inode.layer][inode.file.path]
        if not links:
            return held.at(path)
        first = self.names[id(inode)][0]
        if path == first:
            return held.at(path)
        return Entry(path=path, kind=Kind.HARDLINK, target=first, mode=held.mode, uid=held.uid)

    @property
    def names(self) -> Mapping[int, tuple[str, ...]]:
        """By the identity of each content (`id(placed.inode)`) all paths that have it, in order."""
        return self.stack.names

    def resolve(self, path: str) -> str | None:
        """Where a path leads when links are followed; None for nowhere."""
        return self.stack.resolve(path.strip("/"))

    def way(self, path: str) -> tuple[tuple[str, ...], str | None]:
        """The symbolic links that are passed on the way to where a path leads, and that place, or None."""
        return self.stack.way(path)

    def close(self) -> None:
        """Give back descriptors; the spool goes when the last tree does."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def read(
    image: Image,
    *,
    name: str,
    spool: Path,
    platform: Platform | None = None,
    jobs: int = 2,
    progress: Progress = SILENT,
) -> Contents:
    """Every file of an image (of an index the one for `platform`), `jobs` layers at once.

    `spool` is a folder for temporary files. `FormatError` names the layer and entry at fault.
    """
    told = reading.outline(image, name=name, platform=platform)
    blobs = {blob.digest: blob for blob in told.layers}
    found: dict[Digest, Tree] = {}
    with progress.task(f"unpacking {name}", total=sum(blob.size for blob in blobs.values())) as task:

        def unpack(blob: Descriptor, check: Callable[[], None]) -> None:
            found[blob.digest] = layer.read(blob, image.blobs, spool=spool)
            task.advance(blob.size)

        workers.each(unpack, sorted(blobs.values(), key=lambda blob: -blob.size), jobs=jobs)
    trees = tuple(found[blob.digest] for blob in told.layers)
    layers = tuple(
        _layer(tree, blob, diff_id)
        for tree, blob, diff_id in zip(trees, told.layers, told.diff_ids, strict=True)
    )
    chosen = Image(told.root, image.blobs, image.name, image.referrers)
    return Contents(chosen, told, trees, stack(ReadImage(told, layers)))


def _layer(tree: Tree, blob: Descriptor, diff_id: Digest) -> LayerFiles:
    files: list[File] = []
    whiteouts: list[str] = []
    opaques: list[str] = []
    for path, entry in tree.items():
        folder, _, name = path.rpartition("/")
        if not name.startswith(WHITEOUT):
            files.append(_file(entry))
        elif name == OPAQUE:
            opaques.append(folder)
        elif not name.startswith(_METADATA):
            victim = name[len(WHITEOUT) :]
            if victim in ("", ".", ".."):
                raise FormatError(f"layer {blob.digest}: entry {path!r} is a whiteout of nothing")
            whiteouts.append(f"{folder}/{victim}" if folder else victim)
    return LayerFiles(
        digest=blob.digest,
        diff_id=diff_id,
        size=tree.size,
        files=tuple(files),
        whiteouts=tuple(whiteouts),
        opaques=tuple(opaques),
        traits=_LazyTraits(tree),
        kept=_LazyKept(tree),
    )


def _file(entry: Entry) -> File:
    return File(
        entry.path,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime,
        b"",
        entry.target,
        entry.xattrs,
        entry.device,
    )


def _entry(file: File) -> Entry:
    return Entry(
        path=file.path,
        kind=file.kind,
        mode=file.mode,
        uid=file.uid,
        gid=file.gid,
        mtime=file.mtime,
        target=file.target,
        device=file.device,
        xattrs=file.xattrs,
    )


class _LazyTraits(Mapping[str, Traits]):
    """What examiners learn of the files of a layer, learnt when it is asked for."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: dict[str, Traits] = {}

    def __getitem__(self, path: str) -> Traits:
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._learn(path)
        if not known:
            raise KeyError(path)
        return known

    def __iter__(self) -> Iterator[str]:
        return (path for path in self._tree if self.get(path))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _learn(self, path: str) -> Traits:
        entry = self._tree.get(path)
        if entry is None or entry.kind is not Kind.FILE or not 0 < entry.size <= _MOST_EXAMINED:
            return {}
        content = entry.content
        assert content is not None
        with content.open() as stream:
            head = stream.read(_HEAD)
        curious = [one for one in _EXAMINERS if one.wants(path, entry.size, head)]
        if not curious:
            return {}
        data = entry.read()
        found = {one.NAME: one.examine(path, data) for one in curious}
        return {name: value for name, value in found.items() if value is not None}


class _LazyKept(Mapping[str, bytes]):
    """The bytes of those files that `analyze` keeps, read when they are asked for."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def __getitem__(self, path: str) -> bytes:
        entry = self._tree[path]
        if entry.kind is not Kind.FILE or not keeping.wants(path, entry.size):
            raise KeyError(path)
        return entry.read()

    def __iter__(self) -> Iterator[str]:
        return (p for p, e in self._tree.items() if e.kind is Kind.FILE and keeping.wants(p, e.size))

    def __len__(self) -> int:
        return sum(1 for _ in self)
