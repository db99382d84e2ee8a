"""What was promised by tags that never move: kept as records of the registry, for making room touches none.

    registry/promises/locks/HEX     a lock by its digest
    registry/promises/days/HEX      which state of a source's indexes stands for a day
    registry/promises/images/HEX    the image that a lock or day tag stands for, and all its blobs
    registry/promises/tags/HEX      the tags of an image that were given out

Everything else that an image is made from can be made or fetched again, as long as somebody has it; these say
what has to come out. Blobs of images that were asked for by such a tag are no cache either: `blobs` names
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import msgspec

from ramekin.registry.records import of
from ramekin.store.action import Key
from ramekin.store.digest import Digest

if TYPE_CHECKING:
    from ramekin.registry.records import Records
    from ramekin.store.store import Store

Kind = Literal["locks", "days", "images", "tags"]
_ROOT = "registry/promises"


class _Blobs(msgspec.Struct, frozen=True):
    blobs: tuple[Digest, ...]
    given: bool


class Promised(_Blobs, frozen=True):
    """An image that a tag stands for. `given` is whether anybody has asked for it by that tag.

    `answer` is the JSON of an `orders.Answer`, of `digest`; who only counts blobs need not know such.
    """

    digest: Digest
    answer: msgspec.Raw


_ENCODER = msgspec.json.Encoder(order="deterministic")
_PROMISED = msgspec.json.Decoder(Promised)
_BLOBS = msgspec.json.Decoder(_Blobs)


class Promises:
    """The promises of a registry's store. Methods block and may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: Records = of(store)

    def read(self, kind: Kind, name: Key) -> bytes | None:
        """What was promised, or None."""
        found = self._records.read(f"{_ROOT}/{kind}/{name.hex}")
        return found.data if found is not None else None

    def keep(self, kind: Kind, name: Key, data: bytes) -> None:
        """Promise something, for good when this returns."""
        self._records.write(f"{_ROOT}/{kind}/{name.hex}", data)

    def image(self, name: Key) -> Promised | None:
        """The image of a tag that never moves, or None."""
        data = self.read("images", name)
        return _PROMISED.decode(data) if data is not None else None

    def keep_image(self, name: Key, promised: Promised) -> None:
        """Promise an image."""
        self.keep("images", name, _ENCODER.encode(promised))

    def whole(self, promised: Promised) -> bool:
        """Whether all of an image is still in the store."""
        return all(self._store.has(digest) for digest in promised.blobs)


def blobs(records: Records) -> Iterator[Digest]:
    """The blobs of all images that were given by tags that never move."""
    for listed in records.walk(f"{_ROOT}/images"):
        found = records.read(listed.name)
        if found is None:
            continue
        try:
            promised = _BLOBS.decode(found.data)
        except msgspec.DecodeError:
            continue
        if promised.given:
            yield from promised.blobs
