"""rpm's database (rpmdb.sqlite), cut down to the packages and files that stay.

| part | what becomes of it |
|---|---|
| `Packages`: a header a package | those of packages that stay, by their numbers (`hnum`) |
| every other table with an `hnum`: names, files, provides, … | the rows of those packages |
| FILESTATES of a header | files that went are *not installed* |
| the log and the index beside (`-wal`, `-shm`) | they go: what the log has is in the database |

A header is signed, and rpm checks that whenever it reads one; so its list of files, with their sizes and
digests, stays as it was. What rpm itself notes of a file that was not installed, as with `--excludedocs`, is
its state, which lies outside of what is signed: `rpm -qs` shows it, and `rpm -V` does not look for the file.
A file that has another content than the package's is one that `rpm -V` tells of, as it should. The database
is written without write-ahead mode, so that who may not write can read it.

The bytes are the same for the same database and the same library of SQLite, whose version number and count of
changes are not in them. Databases of Berkeley DB and ndb are left as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ramekin.analyze.examine import rpm
from ramekin.slim.contents import Contents

if TYPE_CHECKING:
    import sqlite3

DATABASES = ("var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite")
BESIDE = ("-wal", "-shm")
NOT_INSTALLED = 2
"""A state of a file (rpm's header format, RPMTAG_FILESTATES)."""

_MOST = 128 << 20
_TAG_STATES = 1029
_CHARS = (1, 2)
_CHANGES, _VALID_FOR, _VERSION = slice(24, 28), slice(92, 96), slice(96, 100)

There = Callable[[str], bool]


def records(
    contents: Contents, present: frozenset[str], there: There
) -> tuple[Mapping[str, bytes], frozenset[str]]:
    """New contents of databases by path, and the files beside them that go.

    `present` names the units of packages that stay, as `rpm:bash`; `there` says of a path as headers list it
    (`/usr/bin/bash`) whether it stays.
    """
    changed: dict[str, bytes] = {}
    gone: set[str] = set()
    for path in DATABASES:
        data = contents.read(path, _MOST)
        if not data or contents.size(path) > _MOST:
            continue
        new = cut_down(data, contents.read(path + "-wal", _MOST), present, there)
        if new is None:
            continue
        changed[path] = new
        if new != data:
            gone.update(path + end for end in BESIDE if path + end in contents.files)
    return changed, frozenset(gone)


def cut_down(data: bytes, log: bytes, present: frozenset[str], there: There) -> bytes | None:
    """The database with what stays; `data` itself where that is all, None where it cannot be read.

    `log` is its write-ahead log, as far as there is one.
    """
    import sqlite3

    try:
        connection = _opened(data, log)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            if not _is_of_rpm(connection):
                return None
            if not _cut(connection, present, there) and not log:
                return data
            connection.commit()
            connection.execute("VACUUM")
            made = bytearray(connection.serialize())
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeError, ValueError, struct.error, OSError):
        return None
    made[_CHANGES] = made[_VALID_FOR] = struct.pack(">I", 1)
    made[_VERSION] = data[_VERSION]
    return bytes(made)


def _opened(data: bytes, log: bytes) -> sqlite3.Connection:
    """The database in memory, with what its log has."""
    import sqlite3
    import tempfile

    image = bytearray(data)
    if log:
        with tempfile.TemporaryDirectory(prefix="rpmdb-") as folder:
            place = Path(folder) / "rpmdb.sqlite"
            place.write_bytes(data)
            Path(f"{place}-wal").write_bytes(log)
            disk = sqlite3.connect(place)
            try:
                disk.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                image = bytearray(disk.serialize())
            finally:
                disk.close()
    image[18:20] = b"\x01\x01"  # no write-ahead mode, in which nothing is opened in memory
    connection = sqlite3.connect(":memory:")
    connection.deserialize(bytes(image))
    return connection


def _is_of_rpm(connection: sqlite3.Connection) -> bool:
    """Whether it has tables and indexes alone: triggers and the like would run while rows are deleted."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    plain = all(kind in ("table", "index") and "VIRTUAL" not in (sql or "").upper() for kind, _, sql in rows)
    return plain and ("table", "Packages") in {(kind, name) for kind, name, _ in rows}


def _cut(connection: sqlite3.Connection, present: frozenset[str], there: There) -> bool:
    """Delete what goes and note the state of what stays; whether anything was another before."""
    changed = False
    for number, blob in connection.execute("SELECT hnum, blob FROM Packages ORDER BY hnum").fetchall():
        package = rpm.package(blob) if isinstance(blob, bytes) else None
        if package is None:
            continue  # what cannot be read is left as it is
        files: list[str] = package["files"]
        if f"rpm:{package['name']}" not in present or (files and not any(map(there, files))):
            connection.execute("DELETE FROM Packages WHERE hnum = ?", (number,))
            changed = True
            continue
        new = _with_states(blob, files, there)
        if new != blob:
            connection.execute("UPDATE Packages SET blob = ? WHERE hnum = ?", (new, number))
            changed = True
    for table in _tables_of_packages(connection) if changed else ():
        connection.execute(f"DELETE FROM {table} WHERE hnum NOT IN (SELECT hnum FROM Packages)")
    return changed


def _tables_of_packages(connection: sqlite3.Connection) -> Iterator[str]:
    """The quoted names of tables, besides that of packages, whose rows name a package."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    ).fetchall()
    for (name,) in tables:
        quoted = '"' + name.replace('"', '""') + '"'
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({quoted})")}
        if name != "Packages" and "hnum" in columns:
            yield quoted


def _with_states(blob: bytes, files: list[str], there: There) -> bytes:
    """A header with the states of its files; itself where it has none."""
    count, _ = struct.unpack_from(">II", blob, 0)
    start = 8 + 16 * count
    for place in range(8, start, 16):
        tag, kind, offset, number = struct.unpack_from(">IIII", blob, place)
        if tag == _TAG_STATES and kind in _CHARS and number == len(files) <= len(blob) - start - offset:
            break
    else:
        return blob
    made = bytearray(blob)
    for at, name in enumerate(files, start + offset):
        if not there(name) and "\ufffd" not in name:  # of a name in no encoding nobody knows
            made[at] = NOT_INSTALLED
    return bytes(made)
