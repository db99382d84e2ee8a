"""Upload sessions in an object store.

    registry/uploads/SESSION/R/start     the session
    registry/uploads/SESSION/R/OFFSET    what one request took in, from this byte on (20 digits)

A request is one multipart upload, which becomes an object when the request ends; what a replica that is
killed was taking in is lost, and its client goes on from the object before. A session of one object becomes
a blob by a copy within the store; several are put together first.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import obstore

from ramekin.registry import faults
from ramekin.registry.catalog import Catalog
from ramekin.registry.hashes import Hashes
from ramekin.registry.names import flat
from ramekin.registry.object_records import ObjectRecords
from ramekin.registry.records import Listed
from ramekin.store.digest import Digest
from ramekin.store.store import blob_name

if TYPE_CHECKING:
    from hashlib import _Hash

PART = 8 << 20
"""Bytes of a part of a multipart upload; two are in memory for each request."""
COPY_LIMIT = 5 << 30
"""Bytes that S3 copies in one request."""


class ObjectUploads:
    """See `uploads.Uploads`."""

    def __init__(self, catalog: Catalog, records: ObjectRecords) -> None:
        self._catalog, self._records = catalog, records
        self.hashes = Hashes()

    def _folder(self, repository: str, session: str) -> str:
        return f"registry/uploads/{session}/{flat(repository)}"

    def start(self, repository: str) -> str:
        session = secrets.token_hex(16)
        self._records.write(f"{self._folder(repository, session)}/start", b"")
        return session

    def _chunks(self, repository: str, session: str) -> list[Listed] | None:
        folder = self._folder(repository, session)
        found = sorted(self._records.walk(folder), key=lambda one: one.name)
        if not any(one.name.endswith("/start") for one in found):
            return None
        chunks, offset = [], 0
        for one in found:
            # of two that began at once where only one could, the name says which follows the last
            if one.name == f"{folder}/{offset:020}":
                chunks.append(one)
                offset += one.size
        return chunks

    def offset(self, repository: str, session: str) -> int | None:
        chunks = self._chunks(repository, session)
        return sum(one.size for one in chunks) if chunks is not None else None

    def open(self, repository: str, session: str) -> ObjectIntake | None:
        offset = self.offset(repository, session)
        if offset is None:
            return None
        return ObjectIntake(self, self._folder(repository, session), session, offset)

    def finish(self, repository: str, session: str, digest: Digest) -> int:
        chunks = self._chunks(repository, session)
        if chunks is None:
            raise faults.upload_unknown(session)
        size = sum(one.size for one in chunks)
        state = self.hashes.take(session, size)
        if state is None:
            state = hashlib.sha256()
            for data in self._read(chunks):
                state.update(data)
        found = "sha256:" + state.hexdigest()
        if found != digest:
            self.cancel(repository, session)
            raise faults.digest_invalid(digest, f"what was uploaded has the digest {found}")
        while True:
            if self._catalog.size(digest) != size:
                self._keep(chunks, size, blob_name(digest))
            # false when a sweep took the blob between the two
            if self._catalog.link(repository, digest):
                break
        self.cancel(repository, session)
        return size

    def _keep(self, chunks: list[Listed], size: int, name: str) -> None:
        with self._records.objects._failures(f"write {name}"):
            if not chunks:
                obstore.put(self._records.bucket, name, b"")
            elif len(chunks) == 1 and size <= COPY_LIMIT:
                obstore.copy(self._records.bucket, chunks[0].name, name)
            else:
                # not visible before `close`; an iterator for `put` could not read from the store itself
                writer = obstore.open_writer(self._records.bucket, name, buffer_size=PART, max_concurrency=2)
                for data in self._read(chunks):
                    writer.write(data)
                writer.close()

    def _read(self, chunks: list[Listed]) -> Iterator[bytes]:
        for one in chunks:
            with self._records.objects._failures(f"read {one.name}"):
                for data in obstore.get(self._records.bucket, one.name).stream(min_chunk_size=1 << 20):
                    yield bytes(data)

    def cancel(self, repository: str, session: str) -> bool:
        self.hashes.drop(session)
        folder = self._folder(repository, session)
        names = [one.name for one in self._records.walk(folder)]
        # the session ends with its first record, whatever comes of the others
        for name in sorted(names, key=lambda one: not one.endswith("/start")):
            self._records.delete(name)
        return bool(names)

    def sweep(self, older_than: float, *, dry_run: bool = False) -> list[str]:
        newest: dict[str, float] = {}
        names: dict[str, list[str]] = {}
        for one in self._records.walk("registry/uploads"):
            session = one.name.split("/")[2]
            newest[session] = max(newest.get(session, 0.0), one.written)
            names.setdefault(session, []).append(one.name)
        gone = [session for session, written in newest.items() if time.time() - written > older_than]
        for session in gone:
            for name in names[session] if not dry_run else ():
                self._records.delete(name)
        return gone


class ObjectIntake:
    """See `uploads.Intake`."""

    def __init__(self, uploads: ObjectUploads, folder: str, session: str, offset: int) -> None:
        self._uploads, self._folder, self._session = uploads, folder, session
        self._begin = self.offset = offset
        self._state: _Hash | None = uploads.hashes.take(session, offset)
        self._writer: Any = None

    def write(self, data: bytes) -> None:
        records = self._uploads._records
        with records.objects._failures("take in an upload"):
            if self._writer is None:
                self._writer = obstore.open_writer(
                    records.bucket, f"{self._folder}/{self._begin:020}", buffer_size=PART, max_concurrency=2
                )
            self._writer.write(data)
        self.offset += len(data)
        if self._state is not None:
            self._state.update(data)

    def close(self) -> None:
        if self._writer is not None:
            with self._uploads._records.objects._failures("take in an upload"):
                self._writer.close()
        if self._state is not None:
            self._uploads.hashes.put(self._session, self.offset, self._state)
