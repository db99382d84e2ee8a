"""What a fleet's images have inside: by package, by file, and the memory of what they map."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ramekin.analyze import loading
from ramekin.analyze.fleet.sharing import Member
from ramekin.analyze.model import ReadImage
from ramekin.analyze.owners import Owners
from ramekin.analyze.stack import Stack
from ramekin.image.tree import Kind

PAGE = 4096
_WRITABLE = 2
_TEXT = ("utf-8", "surrogateescape")
SHOWN = 200
"""Rows that lists of packages and files have at most."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files of one image that belong together: a package, or what no package owns (`package` is empty).

    Bundles with one `key` have the same files; `home` names the layers that they lie in. `unpacked` is bytes
    of content, `stored` those that a registry keeps, by the image's own ratio.
    """

    key: str
    package: str
    kind: str
    home: str
    stored: int
    unpacked: int


@dataclass(frozen=True)
class PackageUse:
    """A package by its files: in how many images, the bytes of one copy, and what the fleet's layers hold."""

    package: str
    kind: str
    images: int
    size: int
    copies: int

    @property
    def wasted(self) -> int:
        """Bytes of the copies beyond the first."""
        return self.size * (self.copies - 1)


@dataclass(frozen=True)
class FileUse:
    """A content that several layers hold: its bytes, in how many layers, and one of its paths."""

    path: str
    size: int
    layers: int

    @property
    def wasted(self) -> int:
        return self.size * (self.layers - 1)


@dataclass(frozen=True)
class ByFile:
    """Bytes of file content: in all images, in all layers each once, each content once."""

    alone: int
    layers: int
    contents: int
    files: int
    repeated: tuple[FileUse, ...]


@dataclass(frozen=True)
class ByPackage:
    """Bytes of packages: in all images, in all layers each once, each package once; `unowned` beside them."""

    alone: int
    layers: int
    packages: int
    count: int
    unowned: int
    repeated: tuple[PackageUse, ...]


@dataclass(frozen=True)
class ImageMemory:
    """Pages that one container of an image maps when it starts: of files as they are, and of its own.

    `packed` are bytes that a packed program unpacks into its own pages.
    """

    name: str
    program: str
    files: int
    mapped: int
    private: int
    packed: int


@dataclass(frozen=True)
class Memory:
    """Bytes of mapped programs and libraries on a node that runs one container of each image.

    A page of a file is in memory once for all who map that file, and a file is one file for all images that
    have its layer above the same chain. `alone` is without any sharing, `shared` as it is, `ideal` if equal
    files were one file. Pages that are written to (`private`) are each container's own.
    """

    alone: int
    shared: int
    ideal: int
    private: int
    images: tuple[ImageMemory, ...]
    unknown: tuple[str, ...]


def bundles(read: ReadImage, stack: Stack, owners: Owners) -> tuple[Bundle, ...]:
    """The files of an image by package, and all others as one."""
    plain = sum(layer.size for layer in read.layers) or 1
    ratio = min(1.0, sum(layer.size for layer in read.outline.layers) / plain)
    files: dict[int, list[tuple[str, bytes, int, int]]] = defaultdict(list)
    homes: dict[int, set[str]] = defaultdict(set)
    for path, placed in stack.files.items():
        file = placed.file
        if file.kind is Kind.DIRECTORY:
            continue
        number = owners.of.get(path, -1)
        content = placed.inode.file.digest if placed.inode is not None else file.target.encode(*_TEXT)
        files[number].append((path, content, file.size, file.mode))
        homes[number].add(read.layers[placed.layer].digest)
    found = []
    for number, rows in sorted(files.items()):
        state = hashlib.sha256()
        for path, content, _, mode in rows:
            state.update(f"{path}\0{mode}\0".encode(*_TEXT) + content + b"\0")
        name, kind = "", ""
        if number >= 0:
            package = owners.packages[number]
            kind, name = package.system, f"{package.name} {package.version}".strip()
        size = sum(row[2] for row in rows)
        key = f"{kind}:{name}:{state.hexdigest()[:16]}"
        home = " ".join(sorted(homes[number]))
        found.append(Bundle(key, name, kind, home, round(size * ratio), size))
    return tuple(found)


def by_package(ones: Sequence[Sequence[Bundle]]) -> ByPackage:
    """How often the fleet's layers hold each package; images that have it in the same layers share a copy."""
    users: Counter[str] = Counter()
    known: dict[str, Bundle] = {}
    copies: dict[str, set[str]] = defaultdict(set)
    for own in ones:
        for bundle in own:
            if bundle.package:
                known[bundle.key] = bundle
                users[bundle.key] += 1
                copies[bundle.key].add(bundle.home)
    repeated = [
        PackageUse(one.package, one.kind, users[key], one.unpacked, len(copies[key]))
        for key, one in known.items()
        if len(copies[key]) > 1
    ]
    repeated.sort(key=lambda use: (-use.wasted, -use.size, use.package))
    return ByPackage(
        alone=sum(known[key].unpacked * count for key, count in users.items()),
        layers=sum(known[key].unpacked * len(copies[key]) for key in known),
        packages=sum(one.unpacked for one in known.values()),
        count=len(known),
        unowned=sum(bundle.unpacked for own in ones for bundle in own if not bundle.package),
        repeated=tuple(repeated[:SHOWN]),
    )


def by_file(images: Sequence[ReadImage]) -> ByFile:
    """How often the fleet's layers hold each content; layers that several images have count once."""
    users = Counter(digest for image in images for digest in {layer.digest for layer in image.layers})
    layers = {layer.digest: layer for image in images for layer in image.layers}
    holders: Counter[bytes] = Counter()
    known: dict[bytes, tuple[int, str]] = {}
    alone = held = 0
    for digest, layer in sorted(layers.items()):
        size = sum(file.size for file in layer.files)
        alone += size * users[digest]
        held += size
        for file in layer.files:
            if file.size:
                holders[file.digest] += 1
                known.setdefault(file.digest, (file.size, file.path))
    repeated = [
        FileUse(known[digest][1], known[digest][0], count) for digest, count in holders.items() if count > 1
    ]
    repeated.sort(key=lambda use: (-use.wasted, use.path))
    return ByFile(
        alone=alone,
        layers=held,
        contents=sum(size for size, _ in known.values()),
        files=len(known),
        repeated=tuple(repeated[:SHOWN]),
    )


@dataclass(frozen=True)
class Mapping:
    """What one container of an image maps when it starts; `image` is None when its program is not known.

    `files` are pages (in bytes) of each file by its chain and path, and its content.
    """

    name: str
    image: ImageMemory | None
    files: tuple[tuple[tuple[str, str], bytes, int], ...] = ()


def mapping(image: ReadImage, stack: Stack, member: Member) -> Mapping:
    """What one container of an image maps of its files when it starts."""
    line = loading.words(image.outline.config)
    start = loading.program(stack, image.outline.config)
    loader = loading.Loader(stack, image.outline.config)
    if start is not None and not loader.elf(start):
        start = _interpreter(stack, image, start)
    if start is None:
        return Mapping(member.name, None)
    files = []
    shared = private = packed = 0
    paths = loader.closure(start)
    for path in paths:
        placed = stack.files[path]
        assert placed.inode is not None
        loads = loader.elf(path).get("loads", ())
        pages = sum(_pages(size) for flags, size, _ in loads if not flags & _WRITABLE)
        own = sum(_pages(size) for flags, _, size in loads if flags & _WRITABLE)
        if grown := stack.traits(path).get("packed", {}).get("unpacked", 0):
            packed += _pages(grown)
            own = max(own, _pages(grown))
        inode = placed.inode
        files.append(((member.chains[inode.layer], inode.file.path), inode.file.digest, pages))
        shared += pages
        private += own
    told = ImageMemory(member.name, line[0], len(paths), shared, private, packed)
    return Mapping(member.name, told, tuple(files))


def memory(mappings: Sequence[Mapping]) -> Memory:
    """The mappings of one container of each image, on one node."""
    as_laid: dict[tuple[str, str], int] = {}
    by_content: dict[bytes, int] = {}
    for one in mappings:
        for laid, content, pages in one.files:
            as_laid[laid] = pages
            by_content[content] = pages
    found = [one.image for one in mappings if one.image is not None]
    private = sum(one.private for one in found)
    return Memory(
        alone=sum(one.mapped for one in found) + private,
        shared=sum(as_laid.values()) + private,
        ideal=sum(by_content.values()) + private,
        private=private,
        images=tuple(sorted(found, key=lambda one: (-one.mapped - one.private, one.name))),
        unknown=tuple(one.name for one in mappings if one.image is None),
    )


def _interpreter(stack: Stack, image: ReadImage, path: str) -> str | None:
    """The program that runs the script at `path`."""
    for _ in range(4):
        line = stack.traits(path).get("script", {}).get("interpreter", ())
        if not line:
            return None
        name = line[1] if len(line) > 1 and line[0].endswith("/env") else line[0]
        found = loading.find_command(stack, image.outline.config, name)
        if found is None or "elf" in stack.traits(found):
            return found
        path = found
    return None


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
