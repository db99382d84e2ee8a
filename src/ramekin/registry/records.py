"""Small named values that survive: what repositories have, beside the blobs of the same store.

A record that was written is there after a crash and after a power failure, and is always one whole
value. All methods may be called from any thread, by any number of processes on the same store, and raise
`StoreError`.

Who makes records that keep blobs does so within `steady`; who removes what no record names does so within
`sweeping`. No two of these happen at once, on any machine, so that a blob that was found is still there when
the record that keeps it has been written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ramekin.store.store import Store

ROOT = "registry"
"""The folder below the store's root that has all records."""

Version = tuple[int, int, int] | str
"""Changes whenever a record is written."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record's value. `written` is the time of its last write or touch in seconds since 1970."""

    data: bytes
    version: Version
    written: float


@dataclass(frozen=True, slots=True)
class Listed:
    """A record in a listing."""

    name: str
    size: int
    written: float


class Records(Protocol):
    """Names are relative to the store's root and begin with `registry/`."""

    @property
    def remote(self) -> bool:
        """Whether every call is a round trip over a network."""

    def read(self, name: str) -> Record | None: ...

    def version(self, name: str) -> Version | None:
        """The version of a record without its value; None when it is not there."""

    def written(self, name: str) -> float | None:
        """When the record was last written or touched."""

    def write(self, name: str, data: bytes) -> None:
        """Set a record, in place of what it was, for good when this returns."""

    def create(self, name: str, data: bytes) -> bool:
        """Set a record unless there is one; whether this call was the one that did."""

    def create_secret(self, name: str, data: bytes) -> None:
        """Like `create`, for nobody else on the machine to read."""

    def begin(self, name: str, data: bytes) -> None:
        """Like `create`, but may be lost in a power failure until `settle`; for an empty record."""

    def settle(self, name: str) -> None:
        """Wait until what `begin` made is there for good."""

    def touch(self, name: str) -> None:
        """Bring `written` up to now; nothing when there is no such record."""

    def delete(self, name: str) -> None: ...

    def names(self, folder: str) -> list[str]:
        """The last parts of the names of the records right below `folder`, sorted."""

    def listing(self, folder: str) -> object:
        """What changes whenever a record right below `folder` is made, replaced or removed."""

    def walk(self, folder: str) -> Iterator[Listed]:
        """All records below `folder`, in no order."""

    def blob_size(self, name: str) -> int | None:
        """Bytes of a blob; not a use of it."""

    def delete_blob(self, name: str) -> None: ...

    def steady(self) -> AbstractContextManager[None]:
        """Nothing is swept meanwhile."""

    def sweeping(self) -> AbstractContextManager[Callable[[], bool]]:
        """Nobody is within `steady` or `sweeping` meanwhile, as long as what this gives says so."""

    def prune(self) -> None:
        """Remove folders that hold nothing any more."""


def of(store: Store) -> Records:
    """The records of a store, beside its blobs."""
    if store.root is not None:
        from ramekin.registry.folder_records import FolderRecords

        return FolderRecords(store)
    from ramekin.registry.object_records import ObjectRecords

    return ObjectRecords(store)
