"""An image of the files that stay, with layers that the original shares with others still shared.

| layers | what they are |
|---|---|
| `keep` | those of the original: one that stays whole keeps its digest, the others are written again |
| `one` | one with everything |
| `units` | one for each package, other unit and the author's files: images with the same units share them |

The configuration is the original's; what starts, how and as whom is never touched. History says which layers
were written again; files in those may lose their symbols. The same image and selection give the same digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import msgspec

from ramekin.image import layer, oci
from ramekin.image.compress import Compression
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor, History
from ramekin.image.sharing import linked
from ramekin.image.tree import Content, Entry, Inline, Kind, Tree, directory
from ramekin.progress import SILENT, Progress
from ramekin.slim import databases, explanation, symbols
from ramekin.slim.contents import Contents
from ramekin.slim.units.catalog import AUTHOR, SYSTEM, catalog
from ramekin.slim.units.model import Selection
from ramekin.store.digest import Digest
from ramekin.store.store import Store

SLIMMED = "io.ramekin.slimmed-from"
"""Annotation of a slim image's manifest: the digest of the original's."""

_MOST_LAYERS = 60
_DEFAULT = Compression("gzip", 6)


class Layers(StrEnum):
    """How the files that stay are laid out."""

    KEEP = "keep"
    ONE = "one"
    UNITS = "units"


@dataclass(frozen=True)
class Rebuilt:
    """A slim image in a store. `shared` are layers that it has in common with the original; `size` counts the
    bytes of its files, each content once. `leaner` are files that were written without their symbols, with
    the bytes that this saved.
    """

    image: Image
    shared: tuple[Digest, ...]
    size: int
    leaner: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Part:
    """A layer of the slim image: one of the original, or a tree to be written."""

    made_by: str
    tree: Tree | None = None
    original: int | None = None


def rebuild(
    contents: Contents,
    selection: Selection,
    *,
    layers: Layers = Layers.KEEP,
    store: Store,
    compression: Compression = _DEFAULT,
    progress: Progress = SILENT,
) -> Rebuilt:
    """Write the slim image into `store`, with its explanation as a referrer."""
    files = _Staying(contents, selection, layers)
    match layers:
        case Layers.KEEP:
            parts = files.by_layer()
        case Layers.ONE:
            parts = [_Part("all files that stay", files.tree(files.paths, files.folders))]
        case Layers.UNITS:
            parts = files.by_unit()
    return _assemble(contents, selection, files.saved, parts, store, compression, progress)


class _Staying:
    """The entries that stay: files with the records of package managers made true, and their folders."""

    def __init__(self, contents: Contents, selection: Selection, layers: Layers) -> None:
        self.contents, self.selection = contents, selection
        self.catalog = catalog(contents)
        kept = selection.kept
        present = databases.present(contents, kept, self.catalog.owned)
        self.folders = self._folders_that_stay()

        def stays(path: str) -> bool:
            return path in kept or path in self.folders

        records = databases.records(contents, stays, present, {})
        self.changed = records.changed
        self.paths = [
            path
            for path in contents.paths
            if (path in kept or path in records.changed) and path not in records.gone
        ]
        self._set = frozenset(self.paths)
        self.leaner: Mapping[str, Content] = {}
        leaner = symbols.leaner(contents, selection, self.catalog)
        if leaner and layers is Layers.KEEP:
            whole = self._whole_layers()
            leaner = {path: content for path, content in leaner.items() if self._owner.get(path) not in whole}
        if leaner:
            self.leaner = leaner
            self.changed = databases.records(contents, stays, present, leaner).changed

    @property
    def saved(self) -> Mapping[str, int]:
        """Bytes that files lost as symbols, those of a file with several names once."""
        found: dict[str, int] = {}
        seen: set[int] = set()
        for path, new in self.leaner.items():
            inode = id(self.contents.files[path].inode)
            if inode not in seen:
                seen.add(inode)
                found[path] = self.contents.size(path) - new.size
        return found

    def _whole_layers(self) -> frozenset[int]:
        """Layers of the original that all stay: what they share with other images is worth more."""
        trees = enumerate(self.contents.trees)
        return frozenset(number for number, tree in trees if self._is_whole(number, tree))

    def _folders_that_stay(self) -> frozenset[str]:
        """Folders that hold something that stays, and those that were empty for programs to fill."""
        found: set[str] = set()
        for path in self.selection.kept:
            _add_folder(found, path.rpartition("/")[0])
        for folder, names in self.contents.children.items():
            if not names and _NEEDLESS.match(folder) is None:
                _add_folder(found, folder)
        for folder in self._seen_folders():
            _add_folder(found, folder)
        shallow = {
            one
            for one in self.contents.children
            if one and one.count("/") < _SHALLOW and _OF_PACKAGES.match(one) is None
        }
        return frozenset(found | shallow | _emptied(self.contents))

    def _seen_folders(self) -> Iterator[str]:
        """Folders that the program looked for, whose files it then had no use for."""
        observation = self.selection.observation
        used = observation.used if observation is not None else ()
        return (path for path in used if path in self.contents.children)

    def entry(self, path: str) -> Entry:
        """What stands at a path in the slim image."""
        entry = self.contents.entry(path)
        data = self.changed.get(path)
        if data is not None:
            entry = replace(entry, content=Inline(data))
        elif path in self.leaner:
            entry = replace(entry, content=self.leaner[path])
        return entry

    def tree(self, paths: Iterable[str], folders: Iterable[str] = ()) -> Tree:
        """`paths` and `folders`, with the folders above them as the image has them.

        Further names of a file are hard links.
        """
        entries: dict[str, Entry] = {}
        first: dict[int, str] = {}
        for path in paths:
            entry = self.entry(path)
            inode = self.contents.files[path].inode
            if inode is not None and inode.names > 1 and path not in self.changed:
                known = first.setdefault(id(inode), path)
                if known != path:
                    entry = Entry(path=path, kind=Kind.HARDLINK, target=known)
            entries[path] = entry
        return Tree([*entries.values(), *self._folders(entries, folders)])

    def _folders(self, paths: Iterable[str], also: Iterable[str] = ()) -> list[Entry]:
        wanted: set[str] = set(also)
        for path in paths:
            _add_folder(wanted, path.rpartition("/")[0])
        return [self._folder(path) for path in wanted]

    def _folder(self, path: str) -> Entry:
        return self.contents.entry(path) if path in self.contents.files else directory(path)

    # --- layers of the original

    def by_layer(self) -> list[_Part]:
        """One layer for each of the original that still has something."""
        parts: list[_Part] = []
        described: dict[str, Entry] = {}
        for number, tree in enumerate(self.contents.trees):
            paths = [path for path in self.paths if self._owner[path] == number]
            command = self.contents.outline.commands[number]
            if self._is_whole(number, tree):
                parts.append(_Part(command, original=number))
                continue
            made = self.tree(paths)
            empty = [path for path in self.folders if path in tree and tree[path].kind is Kind.DIRECTORY]
            folders = {path: tree[path] for path in empty}
            above = {e.path: self._as_of(e.path, number) for e in made.entries() if e.kind is Kind.DIRECTORY}
            made = made.plus([*above.values(), *folders.values()])
            news = [e for e in made.entries() if e.kind is not Kind.DIRECTORY or described.get(e.path) != e]
            if not news:
                continue
            described.update((e.path, e) for e in made.entries() if e.kind is Kind.DIRECTORY)
            parts.append(_Part(command, made))
        return parts

    def _as_of(self, path: str, number: int) -> Entry:
        """A folder as the layers up to one have it."""
        for tree in reversed(self.contents.trees[: number + 1]):
            entry = tree.get(path)
            if entry is not None and entry.kind is Kind.DIRECTORY:
                return entry
        return self._folder(path)

    @cached_property
    def _owner(self) -> Mapping[str, int]:
        """The layer that each path is written to: that of its content, so that no layer needs another's."""
        placed: dict[str, int] = {}
        for path in self.paths:
            known = self.contents.files[path]
            shared = known.inode is not None and known.inode.names > 1
            placed[path] = known.inode.layer if shared and known.inode is not None else known.layer
        return placed

    def _is_whole(self, number: int, tree: Tree) -> bool:
        """Whether a layer of the original does its part as it is: all that it has stays, unchanged."""
        files = self.contents.files
        for path, entry in tree.items():
            name = path.rpartition("/")[2]
            if name.startswith(layer.WHITEOUT):
                return False
            if entry.kind is Kind.HARDLINK and entry.target not in tree:
                return False  # its file is a lower layer's, which may have another now
            if entry.kind is Kind.DIRECTORY:
                if path and path not in self.folders:
                    return False
                continue
            if path not in self._set or path in self.changed or path in self.leaner:
                return False
            if files[path].layer != number:
                return False
            if self._owner[path] != number:
                return False
        return all(path in tree for path in self.paths if self._owner[path] == number)

    # --- a layer a group of units

    def by_unit(self) -> list[_Part]:
        """Base, then packages of the system, then other units, largest first, and what the author made."""
        groups: dict[str, list[str]] = {}
        kinds: dict[str, str] = {}
        for path in self.paths:
            name = self.selection.of[path]
            unit = self.catalog.units[name]
            group = _group(name, unit.kind, path)
            if path in self.changed or databases.is_record(path):
                group = "records"
            groups.setdefault(group, []).append(path)
            kinds[group] = unit.kind
        self._join_names(groups)
        sized = {name: sum(self.contents.size(path) for path in paths) for name, paths in groups.items()}
        order = sorted(groups, key=lambda name: (_rank(name, kinds[name]), name))
        small = [name for name in order if kinds[name] != AUTHOR and name not in ("records", "base")]
        small.sort(key=lambda name: (sized[name], name))
        joined = set(small[: max(0, len(order) - _MOST_LAYERS + 1)])
        parts: list[_Part] = []
        rest = [path for name in joined for path in groups[name]]
        folders = self._folders((), self.folders)
        for place, name in enumerate(order):
            if name in joined:
                continue
            tree = self.tree(sorted(groups[name], key=oci_order))
            if place == 0 or not parts:
                tree = Tree([*folders, *tree.entries()])
            parts.append(_Part(name, tree))
        if rest:
            at = max(0, len(parts) - 1)
            parts.insert(at, _Part("small units", self.tree(sorted(rest, key=oci_order))))
        return parts

    def _join_names(self, groups: dict[str, list[str]]) -> None:
        """Names of one file go to one group, the first's."""
        first: dict[int, str] = {}
        for name in list(groups):
            staying = []
            for path in groups[name]:
                inode = self.contents.files[path].inode
                if inode is not None and inode.names > 1 and path not in self.changed:
                    home = first.setdefault(id(inode), name)
                    if home != name:
                        groups[home].append(path)
                        continue
                staying.append(path)
            groups[name] = staying


_SHALLOW = 3
"""Levels of folders that stay though nothing in them does: programs look for these at their start (search
paths of commands and modules), and an empty folder takes no bytes."""

_NEEDLESS = re.compile(
    r"(?:usr/(?:local/)?share/(?:doc|man|info|locale|lintian)|usr/(?:local/)?include|var/cache|usr/local/lib/node_modules"
    r"|.*/node_modules|.*/__pycache__|.*/(?:site|dist)-packages|var/lib/(?:apt|dpkg)|usr/share/[^/]+)/.+",
    re.DOTALL,
)


_OF_PACKAGES = re.compile(r"(?:.*/)?node_modules/.+", re.DOTALL)
"""Folders that are packages by being there: npm lists empty ones, and calls them extraneous or invalid."""


def _add_folder(found: set[str], path: str) -> None:
    """Add a folder and all above it to `found`, where each is with those above it."""
    while path and path not in found:
        found.add(path)
        path = path.rpartition("/")[0]


def _emptied(contents: Contents) -> set[str]:
    """Folders that programs write to, though all that was in them goes."""
    found: set[str] = set()
    for path in (
        "tmp",
        "var/tmp",
        "var/cache",
        "var/log",
        "var/lib",
        "run",
        "var/lock",
        "var/run",
        "home",
        "root",
    ):
        if path in contents.children:
            _add_folder(found, path)
    for path, placed in contents.files.items():
        file = placed.file
        if file.kind is not Kind.DIRECTORY or not (file.uid or file.gid or file.mode & 0o1022):
            continue
        if _NEEDLESS.match(path) is None or path.startswith("var/cache/"):
            _add_folder(found, path)
    return found


def _is_document(path: str) -> bool:
    """Whether equal files may become one: copyright notices repeat, and nobody writes to them."""
    return path.startswith("usr/share/doc/")


def oci_order(path: str) -> bytes:
    """The order of paths in layers."""
    return path.encode("utf-8", "surrogateescape")


def _group(name: str, kind: str, path: str) -> str:
    if kind == AUTHOR:
        shared = "/" not in path or path.startswith(("etc/", "var/", "usr/share/", "usr/lib/"))
        return "base" if shared else name
    if kind == SYSTEM:
        return name
    if ":" in name and name.startswith("python3."):
        return name.partition(":")[0]
    if name.startswith(("runtime:python3.",)):
        return name.partition(":")[2]
    if name.startswith("links:"):
        return "base"
    return name


def _rank(name: str, kind: str) -> int:
    if name == "base":
        return 0
    if kind == SYSTEM:
        return 1
    if name == "records":
        return 3
    return 4 if kind == AUTHOR else 2


def _assemble(
    contents: Contents,
    selection: Selection,
    saved: Mapping[str, int],
    parts: Sequence[_Part],
    store: Store,
    compression: Compression,
    progress: Progress,
) -> Rebuilt:
    told = contents.outline
    original = contents.image
    descriptors: list[Descriptor] = []
    diff_ids: list[Digest] = []
    history: list[History] = []
    shared: list[Digest] = []
    size = 0
    created = told.config.created
    with progress.task("writing layers", total=sum(p.tree.size for p in parts if p.tree is not None)) as task:
        for part in parts:
            if part.original is not None:
                blob = told.layers[part.original]
                _carry(original, blob, store)
                descriptors.append(blob)
                diff_ids.append(told.diff_ids[part.original])
                shared.append(blob.digest)
                size += contents.trees[part.original].size
                said = part.made_by
            else:
                assert part.tree is not None
                tree = linked(part.tree, among=_is_document)
                size += tree.size
                made = layer.write(tree, store, compression)
                task.advance(part.tree.size)
                descriptors.append(made.descriptor)
                diff_ids.append(made.diff_id)
                said = f"ramekin slim: {part.made_by}" if part.made_by else "ramekin slim"
            history.append(History(created=created, created_by=said))
    raw = msgspec.json.decode(original.document(told.manifest.config)) if told.manifest.config else {}
    config = {
        **raw,
        "rootfs": {"type": "layers", "diff_ids": [str(one) for one in diff_ids]},
        "history": [*(_plain(one) for one in history), *_steps(told.config.history)],
    }
    if "created" not in raw and created:
        config["created"] = created
    data = msgspec.json.encode(config, order="deterministic")
    store.put(data)
    annotations = {
        key: value for key, value in told.manifest.annotations.items() if not key.startswith("io.ramekin.")
    }
    annotations |= {SLIMMED: str(told.root.digest)}
    reasons = explanation.encode(explanation.make(contents, selection, saved))
    annotations[explanation.ANNOTATION] = str(store.put(reasons))
    manifest = oci.Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=oci.describe(data, oci.CONFIG),
        layers=tuple(_as_oci(blob) for blob in descriptors),
        annotations=dict(sorted(annotations.items())),
    )
    document = oci.encode(manifest)
    store.put(document)
    root = oci.describe(document, oci.MANIFEST, platform=told.platform)
    referrer = explanation.attach(reasons, root, store, created=created or "1970-01-01T00:00:00Z")
    image = Image(root, store, original.name, (referrer,))
    return Rebuilt(image, tuple(shared), size, saved)


def _as_oci(blob: Descriptor) -> Descriptor:
    """A layer's descriptor in an OCI manifest, whatever Docker called its type; annotations that tell of
    packages go, for they tell of the original.
    """
    kinds = {
        oci.DOCKER_LAYER_GZIP: oci.LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar": oci.LAYER,
        "application/vnd.docker.image.rootfs.diff.tar.zstd": oci.LAYER_ZSTD,
    }
    return Descriptor(kinds.get(blob.media_type, blob.media_type), blob.digest, blob.size, blob.urls)


def _carry(image: Image, blob: Descriptor, store: Store) -> None:
    """Have a layer of the original in the store."""
    if store.has(blob.digest):
        return
    with image.blobs.open(blob) as stream, store.stage() as stage:
        while piece := stream.read(1 << 20):
            stage.write(piece)
        stage.commit()


def _plain(step: History) -> object:
    return msgspec.to_builtins(step)


def _steps(history: Sequence[History]) -> list[object]:
    """The steps of the original that made no layer: settings that still hold."""
    return [msgspec.to_builtins(step) for step in history if step.empty_layer]
