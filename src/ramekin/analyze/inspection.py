"""What `ramekin inspect` tells of one image, as one value that all its views show, and where it is kept.

Every list is bounded, so that the value is small whatever the image; the store has it by the image's digest,
which makes the second look immediate. What finds all this out is `inspect`, which is not imported for that.
"""

from __future__ import annotations

import msgspec

from ramekin.analyze import revision
from ramekin.analyze.model import Count, Outline
from ramekin.analyze.treemap import Node
from ramekin.store.action import Key, key
from ramekin.store.store import Store


class Layer(msgspec.Struct, frozen=True):
    """A layer. `stored` is the blob's size, `size` its contents', `lost` those that the image has no more."""

    number: int
    digest: str
    command: str
    stored: int
    size: int
    lost: int
    added: Count
    changed: Count
    deleted: Count
    absent: str = ""


class Loss(msgspec.Struct, frozen=True):
    """A content that a lower layer holds and the image has not. Layers count from 1."""

    path: str
    size: int
    layer: int
    by: int
    how: str


class Copies(msgspec.Struct, frozen=True):
    """One content in `copies` files that are not hard links of one another; all but one are waste."""

    size: int
    copies: int
    wasted: int
    paths: tuple[str, ...]


class Share(msgspec.Struct, frozen=True):
    """Some of the image's files: those of a category, a packaging system, a folder."""

    name: str
    files: int
    size: int


class PackageRow(msgspec.Struct, frozen=True):
    system: str
    name: str
    version: str
    files: int
    size: int


class FileRow(msgspec.Struct, frozen=True):
    """`owner` is a package, or empty; `waste` a category of what images can do without, or empty."""

    path: str
    size: int
    layer: int
    owner: str
    waste: str


class Savings(msgspec.Struct, frozen=True):
    """Bytes that a rebuild could save, uncompressed; no byte is counted twice.

    `lost` by deleting in the step that makes, and by not writing twice; `duplicates` by links; `symbols` by
    stripping ELF files; `unneeded` by leaving out the categories of `waste`.
    """

    lost: int
    duplicates: int
    symbols: int
    unneeded: int

    @property
    def total(self) -> int:
        return self.lost + self.duplicates + self.symbols + self.unneeded


class Inspection(msgspec.Struct, frozen=True):
    """All of an image. `size` counts each content once for all its names; `stored` is what the place keeps
    that it was read from, compressed but in archives of Docker's; `efficiency` is dive's score, from 0 to 1.
    """

    image: str
    digest: str
    platform: str
    created: str
    stored: int
    size: int
    files: int
    folders: int
    efficiency: float
    savings: Savings
    layers: tuple[Layer, ...]
    losses: dict[str, Count]
    lost: tuple[Loss, ...]
    duplicates: Count
    copies: tuple[Copies, ...]
    categories: tuple[Share, ...]
    systems: tuple[Share, ...]
    packages: tuple[PackageRow, ...]
    biggest_folders: tuple[Share, ...]
    biggest_files: tuple[FileRow, ...]
    by_folder: tuple[Node, ...]
    by_package: tuple[Node, ...]


def known(told: Outline, store: Store) -> Inspection | None:
    """What was found of the image before."""
    data = store.result(_key(told))
    if data is None:
        return None
    found = msgspec.msgpack.decode(data, type=Inspection)
    return msgspec.structs.replace(found, image=told.name)


def keep(found: Inspection, told: Outline, store: Store) -> None:
    """Have `found` known of the image of `told`."""
    store.record(_key(told), msgspec.msgpack.encode(found))


def _key(told: Outline) -> Key:
    return key("analyze.inspect", told.root.digest, revision(".", *_PARTS))


_PARTS = ("examine", "owners")
