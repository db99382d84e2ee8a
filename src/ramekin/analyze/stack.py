"""Layers on one another: the files that are left, and what each layer adds, changes and deletes.

image-spec, layer.md, Applying Changesets and Whiteouts, as engines with an overlay file system carry it out:

    layer 2   a'  .wh.b  d/.wh..wh..opq  d/z      the image   a' c d/z
    layer 1   a   b   c   d/x                     lost        a (overwritten), b and d/x (deleted)

Whiteouts act on lower layers only. What stands at a path is replaced with all below it, unless both are
folders. Bytes of a file with several names (hard links) are there once, until its last name is gone.
Parents without an entry are root-owned 0755 folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from ramekin.analyze.model import Count as Count
from ramekin.analyze.model import File, LayerFiles, ReadImage, Traits
from ramekin.errors import FormatError
from ramekin.image.tree import Kind, sort_key

OVERWRITTEN, TOUCHED, DELETED, REPEATED = "overwritten", "touched", "deleted", "repeated"
"""How bytes are lost: a later layer has other content, or the same again (a change of mode, owner or time);
it deletes the file; the layer itself has the file more than once."""

_LINKS = 40
"""Symbolic links that are followed before a path is taken for a loop, as Linux does."""
_NO_TRAITS: Traits = {}


class Inode(msgspec.Struct, gc=False):
    """One content, under all its names. `layer` counts from the lowest, 0."""

    file: File
    layer: int
    names: int = 0


class Placed(msgspec.Struct, frozen=True, gc=False):
    """What is at a path of the image, and the layer that put it there; `inode` for files and hard links."""

    file: File
    layer: int
    inode: Inode | None = None

    @property
    def content(self) -> File:
        """The file that has the content, of which a hard link is another name."""
        return self.inode.file if self.inode is not None else self.file

    @property
    def size(self) -> int:
        """Bytes of content that the path leads to; each hard link has them too."""
        return self.inode.file.size if self.inode is not None else 0


class LayerChange(msgspec.Struct, frozen=True):
    """What one layer does to those below it. `size` counts all contents in it, `lost` those of them that the
    image has no more, by whatever later layer.
    """

    size: int
    lost: int
    added: Count
    changed: Count
    deleted: Count


class Lost(msgspec.Struct, frozen=True):
    """A content in layer `layer` that layer `by` takes away from the image."""

    path: str
    size: int
    layer: int
    by: int
    how: str


@dataclass(frozen=True)
class Stack:
    """The files of an image by path, in canonical order, folders among them.

    `size` counts each content once for all its names. `efficiency` is dive's score: the least that each path
    could have cost, by what all layers spend on it.
    """

    image: ReadImage
    files: Mapping[str, Placed]
    layers: tuple[LayerChange, ...]
    lost: tuple[Lost, ...]
    size: int
    efficiency: float

    @cached_property
    def names(self) -> Mapping[int, tuple[str, ...]]:
        """By the identity of each content (`id(placed.inode)`) all paths that have it, in order."""
        found: dict[int, list[str]] = {}
        for path, placed in self.files.items():
            if placed.inode is not None:
                found.setdefault(id(placed.inode), []).append(path)
        return {number: tuple(paths) for number, paths in found.items()}

    def traits(self, path: str) -> Traits:
        """What is known of the content at `path`."""
        placed = self.files.get(path)
        if placed is None or placed.inode is None:
            return _NO_TRAITS
        return self.image.layers[placed.inode.layer].traits.get(placed.inode.file.path, _NO_TRAITS)

    def kept(self, path: str) -> bytes | None:
        """The bytes at `path`, if they were kept when its layer was read (`examine.keeping`)."""
        found = self.resolve(path)
        placed = self.files.get(found) if found is not None else None
        if placed is None or placed.inode is None:
            return None
        return self.image.layers[placed.inode.layer].kept.get(placed.inode.file.path)

    def resolve(self, path: str) -> str | None:
        """Where `path` leads when links are followed, the image's root being the root; None for nowhere."""
        return self.way(path)[1]

    def way(self, path: str) -> tuple[tuple[str, ...], str | None]:
        """The symbolic links that are passed on the way to where a path leads, and that place, or None."""
        return _way(self.files, path)


def stack(image: ReadImage) -> Stack:
    """The layers of an image applied. `FormatError` when a hard link leads to no file."""
    state = _State()
    changes = [state.apply(layer, number) for number, layer in enumerate(image.layers)]
    contents = [sum(file.size for file in layer.files) + layer.repeated for layer in image.layers]
    lost = [0] * len(image.layers)
    for loss in state.lost:
        lost[loss.layer] += loss.size
    return Stack(
        image=image,
        files={path: state.files[path] for path in sorted(state.files, key=sort_key)},
        layers=tuple(
            LayerChange(size, gone, added, changed, deleted)
            for size, gone, (added, changed, deleted) in zip(contents, lost, changes, strict=True)
        ),
        lost=tuple(sorted(state.lost, key=lambda loss: (-loss.size, sort_key(loss.path), loss.layer))),
        size=sum(contents) - sum(lost),
        efficiency=state.efficiency(),
    )


class _State:
    """The files of the layers so far."""

    def __init__(self) -> None:
        self.files: dict[str, Placed] = {}
        self.lost: list[Lost] = []
        self._children: dict[str, dict[str, None]] = {"": {}}
        self._gone: dict[str, Placed] = {}
        # per path: what all layers spend on it, and the least that one does
        self._spent: dict[str, tuple[int, int]] = {}

    def apply(self, layer: LayerFiles, number: int) -> tuple[Count, Count, Count]:
        """Put a layer on top; what it added, changed and deleted."""
        self._gone = {}
        for path in layer.whiteouts:
            placed = self.files.get(path)
            whole = self._below(path) if placed is not None and placed.file.kind is Kind.DIRECTORY else 0
            self._spend(path, whole)
            self._remove(path)
        for folder in layer.opaques:
            for path in list(self._children.get(folder, ())):
                self._remove(path)
        added = changed = added_size = changed_size = 0
        links = []
        for file in layer.files:
            if file.kind is Kind.HARDLINK:
                links.append(file)
                continue
            inode = Inode(file, number) if file.kind is Kind.FILE else None
            known = self._put(file, number, inode)
            if file.kind is not Kind.DIRECTORY:
                self._spend(file.path, file.size)
                if known:
                    changed, changed_size = changed + 1, changed_size + file.size
                else:
                    added, added_size = added + 1, added_size + file.size
        for file in links:
            found = self.files.get(file.target)
            if found is None or found.inode is None:
                where = f"layer {layer.digest}: entry {file.path!r}"
                raise FormatError(f"{where} is a hard link to {file.target!r}, which is no file")
            known = self._put(file, number, found.inode)
            self._spend(file.path, 0)
            changed, added = (changed + 1, added) if known else (changed, added + 1)
        deleted = Count(
            sum(1 for placed in self._gone.values() if placed.file.kind is not Kind.DIRECTORY),
            sum(placed.file.size for placed in self._gone.values()),
        )
        self._settle(number)
        if layer.repeated:
            self.lost.append(Lost("", layer.repeated, number, number, REPEATED))
        return Count(added, added_size), Count(changed, changed_size), deleted

    def _put(self, file: File, number: int, inode: Inode | None) -> bool:
        """Put an entry at its path; whether a lower layer had one there that is no folder."""
        path = file.path
        before = self.files.get(path)
        if before is None:
            known = self._gone.pop(path, None) if path in self._gone else None
            if path:
                self._enter(path, number)
            if known is not None:
                self._lose(known, number, file)
        else:
            known = before
            if before.file.kind is Kind.DIRECTORY:
                if file.kind is Kind.DIRECTORY:
                    self.files[path] = Placed(file, number)
                    return False
                self._remove(path)
                self._gone.pop(path, None)
                self._enter(path, number)
            else:
                self._lose(before, number, file)
        if inode is not None:
            inode.names += 1
        elif file.kind is Kind.DIRECTORY:
            self._children.setdefault(path, {})
        self.files[path] = Placed(file, number, inode)
        return known is not None and known.file.kind is not Kind.DIRECTORY

    def _enter(self, path: str, number: int) -> None:
        """Have the folder of `path` know it, and exist."""
        while True:
            parent = path.rpartition("/")[0]
            siblings = self._children.get(parent)
            if siblings is not None:
                siblings[path] = None
                return
            if parent in self.files:
                self._remove(parent)
            self.files[parent] = Placed(File(parent, Kind.DIRECTORY, 0o755), number)
            self._children[parent] = {path: None}
            path = parent

    def _remove(self, path: str) -> None:
        """Take a path away with all below it."""
        placed = self.files.get(path)
        if placed is None:
            return
        self._children.get(path.rpartition("/")[0], {}).pop(path, None)
        waiting = [path]
        while waiting:
            path = waiting.pop()
            self._gone[path] = self.files.pop(path)
            waiting += self._children.pop(path, ())

    def _settle(self, number: int) -> None:
        """The layer is over: what is gone is lost."""
        for placed in self._gone.values():
            self._lose(placed, number, None)

    def _lose(self, placed: Placed, number: int, heir: File | None) -> None:
        """One name of a content is gone, in favour of `heir`; with the last name its bytes are lost."""
        inode = placed.inode
        if inode is None:
            return
        inode.names -= 1
        if inode.names or not inode.file.size:
            return
        how = DELETED
        if heir is not None:
            how = TOUCHED if heir.digest == inode.file.digest else OVERWRITTEN
        self.lost.append(Lost(placed.file.path, inode.file.size, inode.layer, number, how))

    def _below(self, path: str) -> int:
        """Bytes of all files in a folder, as their archive entries say."""
        total, waiting = 0, [path]
        while waiting:
            path = waiting.pop()
            total += self.files[path].file.size
            waiting += self._children.get(path, ())
        return total

    def _spend(self, path: str, size: int) -> None:
        known = self._spent.get(path)
        self._spent[path] = (size, size) if known is None else (known[0] + size, min(known[1], size))

    def efficiency(self) -> float:
        spent = sum(total for total, _ in self._spent.values())
        return sum(least for _, least in self._spent.values()) / spent if spent else 1.0


def _way(files: Mapping[str, Placed], path: str) -> tuple[tuple[str, ...], str | None]:
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    found = ""
    passed: list[str] = []
    while todo:
        part = todo.pop()
        if part == "..":
            found = found.rpartition("/")[0]
            continue
        here = f"{found}/{part}" if found else part
        placed = files.get(here)
        if placed is None:
            return tuple(passed), None
        if placed.file.kind is not Kind.SYMLINK:
            found = here
            continue
        passed.append(here)
        if len(passed) > _LINKS:
            return tuple(passed), None
        target = placed.file.target
        if target.startswith("/"):
            found = ""
        todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return tuple(passed), found
