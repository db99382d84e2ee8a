"""A store in an object store (S3, Google, Azure, or memory), through obstore.

Needs conditional writes (`If-None-Match`, `If-Match`), which S3, Google and Azure have. What is written
becomes visible in one atomic request.
"""

from __future__ import annotations

import io
import secrets
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import MemoryStore, from_url

from ramekin.chunks import Chunks
from ramekin.store.backend import Stored, StoreError, failure

LEASE = 30.0
"""Seconds after which a lock whose holder gives no sign of life is free."""

_memory: dict[str, Any] = {}


class Objects:
    """The backend on an object store."""

    root = None

    def __init__(self, location: str, bucket: Any, *, lease: float = LEASE) -> None:
        self.location = location
        self._bucket = bucket
        self._lease = lease
        self._guard = threading.Lock()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def at(cls, url: str, **settings: Any) -> Objects:
        """The objects below a URL. All of one process that open the same `memory://` URL share it.

        `settings` are obstore's own, and count before those of the environment.
        """
        if url.startswith("memory://"):
            return cls(url, _memory.setdefault(url, MemoryStore()))
        try:
            return cls(url, from_url(url, **settings))
        except BaseError as error:
            raise StoreError(f"store {url}: {_reason(error)}") from None

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """`StoreError` for what goes wrong; `FileNotFoundError` for what is not there passes."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            raise StoreError(
                f"store {self.location}: cannot {what}: {_reason(error)}",
                hint="check the URL, the credentials and the region in the environment",
            ) from None

    def _put(self, name: str, data: bytes | Path, **options: Any) -> str | None:
        """Write an object and give its tag. What is written cannot be missing, so the bucket is."""
        try:
            tag: str | None = obstore.put(self._bucket, name, data, **options)["e_tag"]
        except FileNotFoundError as error:
            raise OSError(str(error)) from None
        return tag

    def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Write an object in place of the one with an entity tag; `PreconditionError` if it is another."""
        try:
            return self._put(name, data, mode={"e_tag": tag})
        except PreconditionError:
            if tag is None or not tag.startswith('"'):
                raise
            # Ceph up to 18 takes the quotes (RFC 9110, section 8.8.3) for a part of the tag
            return self._put(name, data, mode={"e_tag": tag.strip('"')})

    def size(self, name: str) -> int | None:
        try:
            with self._failures(f"look for {name}"):
                return int(obstore.head(self._bucket, name)["size"])
        except FileNotFoundError:
            return None

    def open(self, name: str, *, use: bool = True) -> tuple[BinaryIO, int] | None:
        try:
            with self._failures(f"read {name}"):
                found = obstore.get(self._bucket, name)
                raw = Chunks(_pieces(found.stream(min_chunk_size=1 << 20), self, name))
                return io.BufferedReader(raw, 1 << 17), int(found.meta["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str, *, use: bool = True) -> bytes | None:
        try:
            with self._failures(f"read {name}"):
                return bytes(obstore.get(self._bucket, name).bytes())
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        with self._failures(f"write {name}"):
            self._put(name, data)

    def stage(self) -> StagedUpload:
        return StagedUpload(self)

    def flush(self) -> None: ...

    def delete(self, name: str) -> None:
        try:
            with self._failures(f"remove {name}"):
                obstore.delete(self._bucket, name)
        except FileNotFoundError:
            pass

    def move(self, name: str, other: str) -> None:
        try:
            with self._failures(f"move {name}"):
                obstore.rename(self._bucket, name, other, overwrite=True)
        except FileNotFoundError:
            pass

    def list(self, folder: str) -> Iterator[Stored]:
        with self._failures(f"list {folder}"):
            for page in obstore.list(self._bucket, folder):
                for meta in page:
                    yield Stored(meta["path"], int(meta["size"]), meta["last_modified"].timestamp())

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """A lease: an object that its holder rewrites as a sign of life.

        Clocks of different machines are never compared: whoever waits takes the lease over when it has
        not changed for `LEASE` seconds of its own clock.
        """
        token = secrets.token_hex(16).encode()
        tag = self._acquire(name, token)
        over = threading.Event()

        def renew() -> None:
            nonlocal tag
            count = 0
            while not over.wait(self._lease / 3):
                count += 1
                try:
                    # other bytes each time: S3's entity tag is the same for the same bytes
                    tag = self.replace(name, b"%b %d" % (token, count), tag)
                except PreconditionError:
                    return
                except (BaseError, OSError):
                    # tried again at the next turn; if that is too late someone else works on the key
                    # too, and records the same result
                    continue

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            held = self.read(name)
            if held is not None and held.startswith(token):
                self.delete(name)

    def _acquire(self, name: str, token: bytes) -> str | None:
        seen: str | None = None
        since, pause = time.monotonic(), 0.02
        while True:
            try:
                with self._failures(f"lock {name}"):
                    try:
                        return self._put(name, token, mode="create")
                    except AlreadyExistsError:
                        found = obstore.head(self._bucket, name)["e_tag"]
                    if found != seen:
                        seen, since = found, time.monotonic()
                    elif time.monotonic() - since > self._lease:
                        try:
                            return self.replace(name, token, found)
                        except PreconditionError:
                            continue
            except FileNotFoundError:
                continue
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        yield False

    def scratch(self) -> Path:
        with self._guard:
            if self._scratch is None:
                try:
                    self._scratch = tempfile.TemporaryDirectory(prefix="ramekin-")
                except OSError as error:
                    raise failure(error, tempfile.gettempdir(), "make a temporary folder") from None
            return Path(self._scratch.name)

    def sweep(self, *, dry_run: bool) -> tuple[int, int]:
        stale = [found for found in self.list("locks") if time.time() - found.used > 24 * 3600]
        for found in stale:
            if not dry_run:
                self.delete(found.name)
        return len(stale), sum(found.size for found in stale)


class StagedUpload:
    """A temporary file that is uploaded when it is complete."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._path = objects.scratch() / f"blob-{secrets.token_hex(8)}"
        try:
            self._file = self._path.open("xb")
        except OSError as error:
            raise failure(error, str(self._path), "write") from None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise failure(error, str(self._path), "write") from None

    def commit(self, name: str) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise failure(error, str(self._path), "write") from None
        if self._objects.size(name) == self._path.stat().st_size:
            return
        with self._objects._failures(f"write {name}"):
            self._objects._put(name, self._path)

    def discard(self) -> None:
        try:
            self._file.close()
        except OSError:
            # what was still buffered did not fit on the disk, and nobody wants it any more
            pass
        self._path.unlink(missing_ok=True)


def _pieces(chunks: Iterable[Any], objects: Objects, name: str) -> Iterator[bytes]:
    """The pieces of an object; what goes wrong on the way is told by its name."""
    iterator = iter(chunks)
    while True:
        with objects._failures(f"read {name}"):
            chunk = next(iterator, None)
        if chunk is None:
            return
        yield bytes(chunk)


def _reason(error: BaseException) -> str:
    """The first line of obstore's long explanations."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
