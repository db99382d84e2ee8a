"""Upload sessions: bytes that clients send, in any number of requests, until they are a blob.

A session belongs to one repository. What was taken in is kept over restarts and may be continued by any
worker or replica; the hash is kept in memory, and made again from the bytes by who has it not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ramekin.store.digest import Digest

if TYPE_CHECKING:
    from ramekin.registry.catalog import Catalog


class Intake(Protocol):
    """Takes bytes into one session, alone. All methods block."""

    @property
    def offset(self) -> int:
        """Bytes that the session has."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Keep what was written, so that any worker can go on with it."""


class Uploads(Protocol):
    """All sessions of a store. All methods block and raise `StoreError`."""

    def start(self, repository: str) -> str:
        """Begin a session and return its name."""

    def offset(self, repository: str, session: str) -> int | None:
        """Bytes that a session has; None when there is no such session of that repository."""

    def open(self, repository: str, session: str) -> Intake | None:
        """Go on with a session; `BusyError` while another request does."""

    def finish(self, repository: str, session: str, digest: Digest) -> int:
        """Make the session's bytes a blob that the repository has, and return their number.

        `DIGEST_INVALID`, and the session is no more, when they are not the digest's.
        """

    def cancel(self, repository: str, session: str) -> bool:
        """Forget a session; whether there was one."""

    def sweep(self, older_than: float, *, dry_run: bool = False) -> list[str]:
        """Forget sessions that took nothing in for so many seconds; returns their names."""


def of(catalog: Catalog) -> Uploads:
    """The sessions of the catalog's store."""
    from ramekin.registry.folder_records import FolderRecords

    if isinstance(catalog.records, FolderRecords):
        from ramekin.registry.folder_uploads import FolderUploads

        return FolderUploads(catalog, catalog.records)
    from ramekin.registry.object_records import ObjectRecords
    from ramekin.registry.object_uploads import ObjectUploads

    assert isinstance(catalog.records, ObjectRecords)
    return ObjectUploads(catalog, catalog.records)
