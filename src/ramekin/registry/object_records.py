"""Records of a store in an object store: one object a record.

`steady` and `sweeping` are marks below `registry/marks/`: whoever wants steadiness puts its mark and then
looks for a sweeper's; a sweeper puts its mark and then waits until no other is left. Each sees the other, as
these stores list what was written before. Clocks of different machines are never compared: a mark whose
owner died is taken away by whoever has seen it unchanged for `LEASE` seconds.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from ramekin.registry.records import Listed, Record, Version
from ramekin.store.backend import StoreError
from ramekin.store.objects import Objects
from ramekin.store.store import Store

LEASE = 30.0
"""Seconds without a sign of life after which the owner of a mark is taken for dead."""

_MARKS = "registry/marks"
_SWEEPER = f"{_MARKS}/sweeper"


class ObjectRecords:
    """See `records.Records`."""

    remote = True

    def __init__(self, store: Store, *, lease: float = LEASE) -> None:
        assert isinstance(store.backend, Objects)
        self.objects = store.backend
        self.bucket: Any = store.backend._bucket
        self.location = store.location
        self._lease = lease

    def read(self, name: str) -> Record | None:
        try:
            with self.objects._failures(f"read {name}"):
                found = obstore.get(self.bucket, name)
                meta = found.meta
                data = bytes(found.bytes())
        except FileNotFoundError:
            return None
        return Record(data, _version(meta), meta["last_modified"].timestamp())

    def _head(self, name: str) -> Any:
        try:
            with self.objects._failures(f"look for {name}"):
                return obstore.head(self.bucket, name)
        except FileNotFoundError:
            return None

    def version(self, name: str) -> Version | None:
        meta = self._head(name)
        return _version(meta) if meta is not None else None

    def written(self, name: str) -> float | None:
        meta = self._head(name)
        return meta["last_modified"].timestamp() if meta is not None else None

    def blob_size(self, name: str) -> int | None:
        meta = self._head(name)
        return int(meta["size"]) if meta is not None else None

    def write(self, name: str, data: bytes) -> None:
        with self.objects._failures(f"write {name}"):
            obstore.put(self.bucket, name, data, use_multipart=False)

    def create(self, name: str, data: bytes) -> bool:
        try:
            with self.objects._failures(f"write {name}"):
                try:
                    obstore.put(self.bucket, name, data, mode="create")
                except AlreadyExistsError:
                    return False
        except FileNotFoundError:
            raise StoreError(f"store {self.location}: there is no such bucket") from None
        return True

    def create_secret(self, name: str, data: bytes) -> None:
        self.create(name, data)

    def begin(self, name: str, data: bytes) -> None:
        self.write(name, data)

    def settle(self, name: str) -> None:
        """What was put is there."""

    def touch(self, name: str) -> None:
        """Write the record once more, unless it changed meanwhile, which is as good."""
        try:
            with self.objects._failures(f"touch {name}"):
                found = obstore.get(self.bucket, name)
                tag = found.meta["e_tag"]
                data = bytes(found.bytes())
                try:
                    self.objects.replace(name, data, tag)
                except PreconditionError:
                    return
        except FileNotFoundError:
            return

    def delete(self, name: str) -> None:
        self.objects.delete(name)

    def delete_blob(self, name: str) -> None:
        self.objects.delete(name)

    def names(self, folder: str) -> list[str]:
        with self.objects._failures(f"list {folder}"):
            found = obstore.list_with_delimiter(self.bucket, folder)
            return sorted(meta["path"].rpartition("/")[2] for meta in found["objects"])

    def listing(self, folder: str) -> object:
        return tuple(self.names(folder))

    def walk(self, folder: str) -> Iterator[Listed]:
        for found in self.objects.list(folder):
            yield Listed(found.name, found.size, found.used)

    @contextmanager
    def steady(self) -> Iterator[None]:
        name = f"{_MARKS}/{secrets.token_hex(12)}"
        while True:
            self.write(name, b"")
            if self._head(_SWEEPER) is None:
                break
            self.delete(name)
            self._await(_SWEEPER)
        began = time.monotonic()
        try:
            yield
        finally:
            self.delete(name)
        if time.monotonic() - began > self._lease:
            # a sweeper may have thought this process dead
            raise StoreError(f"store {self.location}: it is too slow; what was written may be swept")

    @contextmanager
    def sweeping(self) -> Iterator[Callable[[], bool]]:
        token = secrets.token_hex(12).encode()
        while not self.create(_SWEEPER, token):
            self._await(_SWEEPER)
        sign = _SignOfLife(self, token)
        sign.start()
        try:
            for name in self.names(_MARKS):
                if name != "sweeper":
                    self._await(f"{_MARKS}/{name}")
            yield sign.holds
        finally:
            sign.end()

    def _await(self, name: str) -> None:
        """Return when the mark is gone; one that stays unchanged for the lease is taken away."""
        seen: Version | None = None
        since, pause = time.monotonic(), 0.02
        while True:
            found = self.version(name)
            if found is None:
                return
            if found != seen:
                seen, since = found, time.monotonic()
            elif time.monotonic() - since > self._lease:
                self.delete(name)
                return
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def prune(self) -> None:
        """There are no folders."""


class _SignOfLife:
    """Rewrites the sweeper's mark, and knows whether it still is this one's."""

    def __init__(self, records: ObjectRecords, token: bytes) -> None:
        self._records, self._token = records, token
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._renewed = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def holds(self) -> bool:
        """Whether nobody can have taken this sweeper for dead yet."""
        return time.monotonic() - self._renewed < self._records._lease / 2

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        found = self._records.read(_SWEEPER)
        if found is not None and found.data.startswith(self._token):
            self._records.delete(_SWEEPER)

    def _run(self) -> None:
        count = 0
        while not self._over.wait(self._records._lease / 6):
            count += 1
            now = time.monotonic()
            try:
                found = self._records.read(_SWEEPER)
                if found is None or not found.data.startswith(self._token):
                    self._renewed = -self._records._lease
                    return
                self._records.write(_SWEEPER, b"%b %d" % (self._token, count))
            except StoreError:
                # tried again at the next turn
                continue
            self._renewed = now


def _version(meta: Any) -> str:
    # a write of the same bytes keeps the entity tag of some servers, but not the time
    return f"{meta['e_tag']} {meta['last_modified'].timestamp()}"
