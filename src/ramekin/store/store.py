"""Blobs by digest and action results by key.

A local store is a folder:

    STORE/
      lock                              held shared by every process that has the store open
      blobs/sha256/ab/ab01…             a blob under the 64 hex digits of its digest; always whole
      results/cd/cd23…                  the result of an action under the hex digits of its key:
                                        one line with the value's digest and the blobs that it lives
                                        with, then the value
      locks/cd23…                       held while one process works on a key
      staging/PID-RANDOM/               one folder a process, locked for as long as it lives:
                               blob-…   blobs that are still being written
                               scratch/ temporary files
      bad/ab01…                         blobs that `verify` found damaged

Staging is on the same file system as the blobs, so that giving a blob its name is one rename. A blob is
hashed while it is written, flushed to disk and only then renamed: whatever is visible under a digest is
whole, even after a power failure. Names are not flushed with every blob, which would cost as much again;
a failure of power then only has work done again, unless `Store.flush` was called. Results are not flushed
at all: they carry their own digest, and one that is torn or whose blobs are missing does not exist.

The last use of a blob or result is its modification time, brought up to date at most every ten minutes.

An object store has the same names below its URL's prefix, without `staging/`: blobs are staged in
the system's folder for temporary files and uploaded in one atomic request.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from ramekin.errors import DigestMismatchError, NotFoundError, UsageError
from ramekin.store import digest as digests
from ramekin.store.action import Key
from ramekin.store.backend import Backend, Staging, StoreError
from ramekin.store.digest import Digest
from ramekin.store.verify import verified

__all__ = ["Stage", "Store", "StoreError", "blob_name", "default_location", "result_name"]

_DAMAGED = "`ramekin store verify` takes what is damaged out of use; it is then made or fetched again"

_SCHEMES = ("s3", "gs", "az", "memory")


class Described(Protocol):
    """What an OCI descriptor tells of a blob."""

    @property
    def digest(self) -> Digest: ...

    @property
    def size(self) -> int: ...


def blob_name(digest: Digest) -> str:
    """Where a blob is below the root of a store."""
    return f"blobs/sha256/{digest[7:9]}/{digest[7:]}"


def result_name(key: Key) -> str:
    """Where an action's result is below the root of a store."""
    return f"results/{key.hex[:2]}/{key.hex}"


def default_location() -> str:
    """RAMEKIN_HOME, else `ramekin` in the XDG cache folder (XDG Base Directory Specification)."""
    if home := os.environ.get("RAMEKIN_HOME"):
        return home
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification has relative paths ignored
    return str(Path(cache if cache.startswith("/") else Path("~/.cache").expanduser()) / "ramekin")


class Stage:
    """A blob on its way into the store: a context manager that forgets it unless it was committed."""

    def __init__(self, staging: Staging, location: str) -> None:
        self._staging, self._location = staging, location
        self._state = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes, hashing them on the way."""
        self._state.update(data)
        self.size += len(data)
        self._staging.write(data)

    def commit(self, expected: Digest | None = None, size: int | None = None) -> Digest:
        """Give the blob its name and return it.

        `DigestMismatchError` when it has not the digest or the size (bytes) that it should have; it is then
        not kept.
        """
        found = Digest("sha256:" + self._state.hexdigest())
        if size is not None and size != self.size:
            raise DigestMismatchError(
                f"{expected or 'a blob'} has {self.size} bytes where {size} were expected"
            )
        if expected is not None and found != expected:
            raise DigestMismatchError(f"a blob has digest {found} where {expected} was expected")
        self._staging.commit(blob_name(found))
        return found

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._staging.discard()


class Store:
    """Content-addressed blobs and the results of actions; see the module's text for the layout.

    All methods may be called from any thread, and any number of processes may use one store at once.
    Everything raises `StoreError` when the place itself fails (disk full, not writable, no network).
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.location = backend.location
        self.root = backend.root

    @classmethod
    def at(cls, location: str | os.PathLike[str] | None = None) -> Store:
        """Open the store in a folder or below a URL (`s3://`, `gs://`, `az://`, `memory://`).

        None is the default of `default_location`. A folder is made when something is first written.
        Settings of object stores (region, endpoint, credentials) come from the environment variables
        that their own tools use. `UsageError` for a URL of another kind.
        """
        text = default_location() if location is None else os.fspath(location)
        scheme, mark, _ = text.partition("://")
        if mark and scheme in _SCHEMES:
            from ramekin.store.objects import Objects

            return cls(Objects.at(text))
        if mark:
            raise UsageError(
                f"{text!r} is not a place for a store", hint="give a folder, or an s3://, gs:// or az:// URL"
            )
        if not text:
            raise UsageError("the store's location is empty", hint="give a folder or a URL")
        from ramekin.store.folder import Folder

        return cls(Folder(Path(text).absolute()))

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self.backend.size(blob_name(digest)) is not None

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob, or None when it is not there."""
        return self.backend.size(blob_name(digest))

    def open(self, blob: Described | Digest) -> BinaryIO:
        """A verifying stream of a blob; `NotFoundError` when it is not there.

        `DigestMismatchError` at once when the size is not the descriptor's, and before the last byte when
        the content is not the digest's.
        """
        digest = blob if isinstance(blob, str) else blob.digest
        found = self.backend.open(blob_name(digest))
        if found is None:
            raise NotFoundError(f"{digest} is not in the store {self.location}")
        stream, size = found
        if not isinstance(blob, str) and blob.size != size:
            stream.close()
            raise DigestMismatchError(
                f"{digest} in the store {self.location} has {size} bytes where {blob.size} were expected",
                hint=_DAMAGED,
            )
        return verified(stream, digest, size, where=f"the store {self.location}", hint=_DAMAGED)

    def path(self, digest: Digest) -> Path | None:
        """The local file of a whole blob, for hard links and mmap; None when there is none.

        The file must not be written to, and its bytes are as good as the disk: `open` verifies.
        """
        if self.root is None or self.backend.size(blob_name(digest)) is None:
            return None
        return self.root / blob_name(digest)

    def read(self, digest: Digest) -> bytes:
        """All bytes of a small blob, verified; `NotFoundError` when it is not there."""
        with self.open(digest) as stream:
            return stream.read()

    def put(self, data: bytes) -> Digest:
        """Keep bytes in memory as a blob."""
        digest = digests.of(data)
        if self.backend.size(blob_name(digest)) != len(data):
            with self.stage() as stage:
                stage.write(data)
                stage.commit()
        return digest

    def stage(self) -> Stage:
        """Begin a blob; leaving the context without `commit` forgets it."""
        return Stage(self.backend.stage(), self.location)

    def flush(self) -> None:
        """Have all that was committed still there after a power failure (after a crash it is anyway)."""
        self.backend.flush()

    def result(self, key: Key) -> bytes | None:
        """What `record` was given for `key`, or None when there is none or one of its blobs is gone."""
        data = self.backend.read(result_name(key))
        if data is None:
            return None
        parsed = parse_result(data)
        if parsed is None:
            return None
        value, blobs = parsed
        for digest in blobs:
            if self.backend.size(blob_name(digest)) is None:
                return None
        return value

    def record(self, key: Key, value: bytes, *, blobs: Sequence[Digest] = ()) -> None:
        """Keep an action's result, which lives only as long as all of `blobs` do."""
        line = " ".join([digests.of(value), *blobs])
        self.backend.write(result_name(key), line.encode() + b"\n" + value)

    def exclusive(self, key: Key) -> AbstractContextManager[None]:
        """Be the only one, of all threads and processes, that works on `key`; waits for its turn.

        A holder that dies frees the key.
        """
        return self.backend.lock(f"locks/{key.hex}")

    def scratch(self) -> Path:
        """A folder for temporary files, on the store's disk where it has one.

        It is this process's own, removed when the process ends, or by another when it was killed.
        """
        return self.backend.scratch()


def parse_result(data: bytes) -> tuple[bytes, tuple[Digest, ...]] | None:
    """The value and the blobs of a result's bytes, or None when they are torn."""
    head, mark, value = data.partition(b"\n")
    try:
        first, *blobs = head.decode("ascii").split(" ")
    except UnicodeDecodeError:
        return None
    if not mark or first != digests.of(value):
        return None
    return value, tuple(map(Digest, blobs))
