"""Upload sessions on the store's own disk: `registry/uploads/SESSION/R` is the file that grows into the blob.

Whoever writes to it holds it by flock. The finished file is flushed and renamed to the blob's name: no byte
is written twice. Chunks are not flushed: after a power failure a session is as long as what the disk has,
which a client learns when it asks.
"""
# ruff: noqa: PTH103, PTH106, PTH108, PTH116

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ramekin.registry import faults
from ramekin.registry.catalog import Catalog, link_name
from ramekin.registry.faults import failed
from ramekin.registry.folder_records import FolderRecords
from ramekin.registry.hashes import Hashes
from ramekin.registry.names import flat, unflat
from ramekin.store.digest import Digest
from ramekin.store.store import blob_name

if TYPE_CHECKING:
    from hashlib import _Hash


WRITEBACK = 4 << 20
"""Bytes after which the disk is asked to begin, so that the last flush has little left to wait for."""


def _begin_writing(descriptor: int, first: int, count: int) -> None:
    """Have the disk write a part of a file, without waiting for it (Linux's sync_file_range)."""
    if _sync_file_range is not None:
        _sync_file_range(descriptor, first, count, _SYNC_FILE_RANGE_WRITE)


_SYNC_FILE_RANGE_WRITE = 2
try:
    _sync_file_range: Any = ctypes.CDLL(None).sync_file_range
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
except (OSError, AttributeError):
    _sync_file_range = None


class FolderUploads:
    """See `uploads.Uploads`."""

    def __init__(self, catalog: Catalog, records: FolderRecords) -> None:
        self._catalog, self._records = catalog, records
        self._base = f"{records.base}registry/uploads/"
        self.hashes = Hashes()

    def _path(self, repository: str, session: str) -> str:
        return f"{self._base}{session}/{flat(repository)}"

    def start(self, repository: str) -> str:
        session = secrets.token_hex(16)
        try:
            with self._records.steady():
                os.makedirs(f"{self._base}{session}")
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                os.close(os.open(self._path(repository, session), flags, 0o644))
        except OSError as error:
            failed(error, self._records.location, "begin an upload")
        return session

    def offset(self, repository: str, session: str) -> int | None:
        try:
            return os.stat(self._path(repository, session)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            failed(error, self._records.location, "look for an upload")

    def open(self, repository: str, session: str) -> FolderIntake | None:
        path = self._path(repository, session)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            failed(error, self._records.location, "go on with an upload")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise faults.BusyError from None
        try:
            # finished or swept between open and flock
            if os.fstat(descriptor).st_nlink == 0:
                os.close(descriptor)
                return None
            return FolderIntake(self, session, descriptor)
        except OSError as error:
            os.close(descriptor)
            failed(error, self._records.location, "go on with an upload")

    def finish(self, repository: str, session: str, digest: Digest) -> int:
        intake = self.open(repository, session)
        if intake is None:
            raise faults.upload_unknown(session)
        try:
            size = intake.offset
            found = "sha256:" + intake.digest()
            if found != digest:
                self._drop(repository, session)
                raise faults.digest_invalid(digest, f"what was uploaded has the digest {found}")
            self._keep(repository, session, digest, size)
        finally:
            intake.release()
        self._drop(repository, session)
        return size

    def _keep(self, repository: str, session: str, digest: Digest, size: int) -> None:
        records, link = self._records, link_name(repository, digest)
        with records.steady():
            # made before the blob's own fsync, which has a journal carry both
            records.begin(link, b"")
            records.touch(link)
            if self._catalog.size(digest) == size:
                records.sync_blob(blob_name(digest))
            else:
                records.keep_file(self._path(repository, session), blob_name(digest))
            records.settle(link)

    def cancel(self, repository: str, session: str) -> bool:
        if self.offset(repository, session) is None:
            return False
        self._drop(repository, session)
        return True

    def _drop(self, repository: str, session: str) -> None:
        self.hashes.drop(session)
        with suppress(OSError):
            os.unlink(self._path(repository, session))
        with suppress(OSError):
            os.rmdir(f"{self._base}{session}")

    def sweep(self, older_than: float, *, dry_run: bool = False) -> list[str]:
        gone = []
        for found in list(self._records.walk("registry/uploads")):
            session, _, name = found.name.removeprefix("registry/uploads/").partition("/")
            if time.time() - found.written <= older_than:
                continue
            try:
                intake = self.open(unflat(name), session)
            except faults.BusyError:
                continue
            if intake is None:
                continue
            gone.append(session)
            if not dry_run:
                self._drop(unflat(name), session)
            intake.release()
        return gone


class FolderIntake:
    """See `uploads.Intake`."""

    def __init__(self, uploads: FolderUploads, session: str, descriptor: int) -> None:
        self._uploads, self._session, self._descriptor = uploads, session, descriptor
        self.offset = os.fstat(descriptor).st_size
        self._begun = self.offset
        self._state: _Hash | None = uploads.hashes.take(session, self.offset)

    def write(self, data: bytes) -> None:
        self._hashed().update(data)
        try:
            view = memoryview(data)
            while view:
                count = os.write(self._descriptor, view)
                self.offset += count
                view = view[count:]
            if self.offset - self._begun >= WRITEBACK:
                _begin_writing(self._descriptor, self._begun, self.offset - self._begun)
                self._begun = self.offset
        except OSError as error:
            # what is in the file is more than what is known to be hashed
            self._state = None
            failed(error, self._uploads._records.location, "take in an upload")

    def _hashed(self) -> _Hash:
        """The hash of all bytes so far, read again where this process did not see them come."""
        if self._state is None:
            import hashlib

            state, place = hashlib.sha256(), 0
            while chunk := os.pread(self._descriptor, 1 << 20, place):
                state.update(chunk)
                place += len(chunk)
            self._state = state
        return self._state

    def digest(self) -> str:
        """The hex digest of all bytes."""
        return self._hashed().hexdigest()

    def close(self) -> None:
        if self._state is not None:
            self._uploads.hashes.put(self._session, self.offset, self._state)
        self.release()

    def release(self) -> None:
        """Let others go on with the session."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
