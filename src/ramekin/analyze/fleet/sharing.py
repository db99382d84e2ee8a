"""What sharing layers costs and saves: the figures of a set of images, from sizes alone.

Three places keep bytes, and each shares differently:

- a registry keeps a blob once, whatever image it is of (distribution-spec);
- a node fetches a blob once;
- a node's disk keeps an unpacked layer once for each *chain* of layers below it: engines name an unpacked
  layer by its chain ID (image-spec, config.md, Layer ChainID), so the same layer above another one lies
  there twice. A node here is one that has all images of the fleet.

      image 1   A B C        registry and network   A B C X     each once
      image 2   A B X        disk                   A, AB, ABC, ABX
      image 3   X B          X, XB: B lies there a second time
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ramekin.analyze.model import Outline


@dataclass(frozen=True, slots=True)
class Part:
    """A layer as the figures see it.

    Parts with one `blob` are one blob; parts with one `content` are one unpacked layer wherever the same
    lies below. `stored` is bytes in a registry, `unpacked` bytes on a disk. `packages` is how many packages
    a layer is made of that changes with them only; None for one that changes with each build.
    """

    blob: str
    content: str
    stored: int
    unpacked: int
    packages: int | None = None


@dataclass(frozen=True)
class Member:
    """An image of the fleet: its parts lowest first, and the bytes of its manifest and config by digest."""

    name: str
    parts: tuple[Part, ...]
    documents: tuple[tuple[str, int], ...] = ()

    @property
    def stored(self) -> int:
        """Bytes that a node without any of it pulls."""
        return sum({part.blob: part.stored for part in self.parts}.values())

    @property
    def chains(self) -> tuple[str, ...]:
        """A name for each layer together with all below it."""
        return chains(part.content for part in self.parts)


@dataclass(frozen=True)
class Figures:
    """Bytes of a set of images. `alone` is what they would have without any sharing.

    `registry` are blobs, each once, and `documents` the manifests and configs beside them. `transfer` is
    what a node pulls that takes all images, `cold` what one pulls that takes one, on average, and
    `coldest` at most. `disk` are layers unpacked, each chain once; `chain_loss` is how much less that
    would be if engines shared a layer whatever lies below. Engines that keep the pulled blobs as well
    (containerd does unless told otherwise) have `disk` and `transfer` together.
    """

    images: int
    layers: int
    alone: int
    registry: int
    documents: int
    transfer: int
    cold: int
    coldest: int
    disk: int
    chain_loss: int


@dataclass(frozen=True)
class Payer:
    """What one image costs: bytes that only it has, and its share of those that it has with others."""

    name: str
    size: int
    own: int
    share: int

    @property
    def pays(self) -> int:
        return self.own + self.share


@dataclass(frozen=True)
class SharedLayer:
    """A blob that several images have."""

    blob: str
    stored: int
    images: int
    chains: int
    made_by: str = ""

    @property
    def saved(self) -> int:
        """Bytes that sharing keeps out of a registry."""
        return self.stored * (self.images - 1)


def chains(contents: Iterable[str]) -> tuple[str, ...]:
    """A name for each layer together with all below it (as config.md, Layer ChainID)."""
    found: list[str] = []
    for content in contents:
        below = f"{found[-1]} " if found else ""
        found.append(hashlib.sha256(f"{below}{content}".encode()).hexdigest() if below else content)
    return tuple(found)


def member(outline: Outline, unpacked: Sequence[int] = ()) -> Member:
    """The image that a manifest tells of; without `unpacked` sizes the stored ones stand in for them."""
    sizes = unpacked or [layer.size for layer in outline.layers]
    parts = tuple(
        Part(str(layer.digest), str(diff_id), layer.size, size, _packages(command))
        for layer, diff_id, size, command in zip(
            outline.layers, outline.diff_ids, sizes, outline.commands, strict=True
        )
    )
    config = outline.manifest.config
    documents = [(str(outline.root.digest), outline.root.size)]
    if config is not None:
        documents.append((str(config.digest), config.size))
    return Member(outline.name, parts, tuple(documents))


def _packages(command: str) -> int | None:
    """How many packages a layer has that Ramekin made."""
    if not command.startswith("ramekin: "):
        return None
    found = command.count(" (source: ")
    # the two layers that are made for the image as a whole hardly have any bytes
    return found if found or command in ("ramekin: base", "ramekin: finish") else None


def figures(members: Sequence[Member]) -> Figures:
    """The figures of a fleet."""
    blobs: dict[str, int] = {}
    unpacked: dict[str, int] = {}
    contents: dict[str, int] = {}
    documents: dict[str, int] = {}
    for one in members:
        documents.update(one.documents)
        for part, chain in zip(one.parts, one.chains, strict=True):
            blobs[part.blob] = part.stored
            unpacked[chain] = part.unpacked
            contents[part.content] = part.unpacked
    registry, disk = sum(blobs.values()), sum(unpacked.values())
    sizes = [one.stored for one in members]
    return Figures(
        images=len(members),
        layers=len(blobs),
        alone=sum(sizes),
        registry=registry,
        documents=sum(documents.values()),
        transfer=registry,
        cold=round(sum(sizes) / len(sizes)) if sizes else 0,
        coldest=max(sizes, default=0),
        disk=disk,
        chain_loss=disk - sum(contents.values()),
    )


def payers(members: Sequence[Member]) -> tuple[Payer, ...]:
    """Who pays for the registry's bytes, the dearest first; all of `pays` together are those bytes."""
    users = Counter(blob for one in members for blob in {part.blob for part in one.parts})
    found = []
    for one in members:
        sizes = {part.blob: part.stored for part in one.parts}
        own = sum(size for blob, size in sizes.items() if users[blob] == 1)
        share = sum(size / users[blob] for blob, size in sizes.items() if users[blob] > 1)
        found.append(Payer(one.name, sum(sizes.values()), own, round(share)))
    return tuple(sorted(found, key=lambda payer: (-payer.pays, payer.name)))


def matrix(members: Sequence[Member]) -> tuple[tuple[int, ...], ...]:
    """Stored bytes that each two images have in common; the diagonal is the size of each."""
    sizes: dict[str, int] = {}
    users: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(members):
        for blob, size in {part.blob: part.stored for part in one.parts}.items():
            sizes[blob] = size
            users[blob].append(number)
    # layers that stand in the same images are added up first: fleets have few such groups
    groups: Counter[tuple[int, ...]] = Counter()
    for blob, holders in users.items():
        groups[tuple(holders)] += sizes[blob]
    rows = [[0] * len(members) for _ in members]
    for images, size in groups.items():
        for one_image in images:
            row = rows[one_image]
            for other in images:
                row[other] += size
    return tuple(tuple(row) for row in rows)


def shared_layers(
    members: Sequence[Member], made_by: dict[str, str] | None = None
) -> tuple[SharedLayer, ...]:
    """Blobs of more than one image, those that save most first."""
    users: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    where: dict[str, set[str]] = defaultdict(set)
    for one in members:
        for part, chain in zip(one.parts, one.chains, strict=True):
            sizes[part.blob] = part.stored
            where[part.blob].add(chain)
        users.update({part.blob for part in one.parts})
    found = [
        SharedLayer(blob, sizes[blob], count, len(where[blob]), (made_by or {}).get(blob, ""))
        for blob, count in users.items()
        if count > 1
    ]
    return tuple(sorted(found, key=lambda layer: (-layer.saved, layer.blob)))
