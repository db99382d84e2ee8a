"""Narinfos that were believed, kept between runs: one SQLite file, for a closure has them by the thousand.

A row belongs to the caches and keys that it was believed by. The file can be deleted at any time, and one
that cannot be read or written is done without: everything in it can be asked again.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from ramekin.sources.nix.narinfo import NarInfo

REVISION = 1

_UNUSED = 90 * 86400
"""Seconds after which a narinfo that nobody asked the caches for again is forgotten."""

_AT_ONCE = 500

_TABLE = """
CREATE TABLE IF NOT EXISTS narinfo
    (believed BLOB, hash TEXT, info BLOB, written INTEGER, PRIMARY KEY (believed, hash)) WITHOUT ROWID
"""


class Kept:
    """The narinfos that were believed by one set of caches and keys. For use by many threads."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._path = folder / f"narinfos-{REVISION}.sqlite"
        self._believed = hashlib.sha256(identity.encode()).digest()
        self._lock = threading.Lock()
        self._base: sqlite3.Connection | None = None
        self._broken = False

    def get(self, asked: Iterable[str]) -> dict[str, NarInfo]:
        """Those narinfos of paths with these hashes that are kept."""
        wanted = list(asked)
        rows: list[tuple[str, bytes]] = []

        def read(base: sqlite3.Connection) -> None:
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT hash, info FROM narinfo WHERE believed = ? AND hash IN ({marks})"
                rows.extend(base.execute(query, (self._believed, *some)))

        self._use(read, write=False)
        found: dict[str, NarInfo] = {}
        for name, data in rows:
            with suppress(msgspec.DecodeError):
                found[name] = msgspec.msgpack.decode(data, type=NarInfo)
        return found

    def put(self, infos: Iterable[NarInfo]) -> None:
        """Keep narinfos that are believed."""
        now = int(time.time())
        rows = [(self._believed, info.base[:32], msgspec.msgpack.encode(info), now) for info in infos]

        def write(base: sqlite3.Connection) -> None:
            base.execute("BEGIN IMMEDIATE")
            base.executemany("INSERT OR REPLACE INTO narinfo VALUES (?, ?, ?, ?)", rows)
            base.execute("DELETE FROM narinfo WHERE written < ?", (now - _UNUSED,))
            base.execute("COMMIT")

        if rows:
            self._use(write, write=True)

    def _use(self, work: Callable[[sqlite3.Connection], None], *, write: bool) -> None:
        """Do `work` on the file; one that fails is not used again, and removed if it is damaged."""
        with self._lock:
            try:
                if self._base is None and not self._broken and (write or self._path.is_file()):
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._base = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                    # a power failure may cost the file, and that costs questions only
                    self._base.execute("PRAGMA synchronous=OFF")
                    self._base.execute(_TABLE)
                if self._base is not None:
                    work(self._base)
            except (OSError, sqlite3.Error) as error:
                self._broken, self._base = True, None
                if isinstance(error, sqlite3.DatabaseError) and not isinstance(
                    error, sqlite3.OperationalError
                ):
                    with suppress(OSError):
                        self._path.unlink(missing_ok=True)
