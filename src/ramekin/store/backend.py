"""What a store needs of the place where it keeps things, and the failures that such a place can have.

A backend knows names and bytes, no digests. `folder.py` is the one on local files, `objects.py` the one
on S3, Google, Azure and memory.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ramekin.errors import RamekinError


class StoreError(RamekinError):
    """The store cannot be read or written; the message names the store and the reason."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One thing in a store. `size` is in bytes, `used` the time of its last use in seconds since 1970.

    A local folder knows the last use to ten minutes; an object store knows only when it was written.
    """

    name: str
    size: int
    used: float


class Staging(Protocol):
    """Bytes on their way into the store, under no name yet."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def commit(self, name: str) -> None:
        """Give the bytes their name, whole, flushed and at once; keeps what stands there already."""

    def discard(self) -> None:
        """Forget the bytes. Harmless after `commit`."""


class Backend(Protocol):
    """Names and bytes. All methods may be called from any thread and raise `StoreError`.

    With `use`, a look counts as a use.
    """

    @property
    def location(self) -> str: ...

    @property
    def root(self) -> Path | None:
        """The folder, when the store is one."""

    def size(self, name: str) -> int | None:
        """Bytes of `name`, or None when it is not there. Counts as a use."""

    def open(self, name: str, *, use: bool = True) -> tuple[BinaryIO, int] | None:
        """A stream of `name` and its size, or None when it is not there."""

    def read(self, name: str, *, use: bool = True) -> bytes | None:
        """All bytes of a small thing, or None when it is not there."""

    def write(self, name: str, data: bytes) -> None:
        """Set `name` to `data` at once; after a power failure either, neither or a torn one may stand."""

    def stage(self) -> Staging: ...

    def flush(self) -> None:
        """Have the names of all that was committed on disk too."""

    def delete(self, name: str) -> None:
        """Remove `name`; no error when it is not there."""

    def move(self, name: str, other: str) -> None: ...

    def list(self, folder: str) -> Iterator[Stored]:
        """All things whose names begin with `folder` and a slash, in no particular order."""

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold `name` alone, among threads, processes and (for object stores) machines."""

    def alone(self) -> AbstractContextManager[bool]:
        """Whether nobody else has the store open, which then stays so until the end of the context."""

    def scratch(self) -> Path:
        """A local folder for temporary files of this process."""

    def sweep(self, *, dry_run: bool) -> tuple[int, int]:
        """Remove what processes that died have left behind; gives the number of things and their bytes."""


def failure(error: OSError, location: str, what: str) -> StoreError:
    """The `StoreError` for an operating system error, with the way out where there is one."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "run `ramekin store gc`, free some space, or choose another store with --store or RAMEKIN_HOME"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = "choose a store that you may write with --store or RAMEKIN_HOME"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        hint = "something that is not a store is in the way; choose another with --store or RAMEKIN_HOME"
    else:
        hint = None
    reason = error.strerror or str(error)
    return StoreError(f"store {location}: cannot {what}: {reason}", hint=hint)
