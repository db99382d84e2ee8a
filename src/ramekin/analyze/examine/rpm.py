"""RPM databases: packages and their files (rpm's header format; the tables of its SQLite backend).

Databases in Berkeley DB or ndb, which older and SUSE systems have, are noted and not read.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "rpm"
_MOST = 512 << 20
_TAG_NAME, _TAG_VERSION, _TAG_RELEASE, _TAG_EPOCH, _TAG_ARCH, _TAG_SOURCE = 1000, 1001, 1002, 1003, 1022, 1044
_TAG_INDEXES, _TAG_BASENAMES, _TAG_FOLDERS = 1116, 1117, 1118
_INT32, _STRING, _STRINGS, _I18N = 4, 6, 8, 9
_BACKENDS = {"rpmdb.sqlite": "sqlite", "Packages": "bdb", "Packages.db": "ndb"}


def wants(path: str, size: int, head: bytes) -> bool:
    folder, _, name = path.rpartition("/")
    return name in _BACKENDS and folder in ("var/lib/rpm", "usr/lib/sysimage/rpm") and size <= _MOST


def examine(path: str, data: Data) -> dict[str, Any] | None:
    backend = _BACKENDS[path.rpartition("/")[2]]
    if backend != "sqlite":
        return {"backend": backend, "packages": []}
    import sqlite3

    # a database in write-ahead mode (format 2) cannot be opened in memory; one without its log is as format 1
    image = bytearray(data)
    image[18:20] = b"\x01\x01"
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(bytes(image))
        packages = [
            found
            for (blob,) in connection.execute("SELECT blob FROM Packages ORDER BY hnum")
            if isinstance(blob, bytes) and (found := _package(blob)) is not None
        ]
    except (sqlite3.Error, OverflowError, MemoryError):
        return {"backend": "damaged", "packages": []}
    finally:
        connection.close()
    return {"backend": backend, "packages": packages}


def _package(blob: bytes) -> dict[str, Any] | None:
    try:
        tags = _tags(blob)
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    name = tags.get(_TAG_NAME, [""])[0]
    if not name:
        return None
    version = f"{tags.get(_TAG_VERSION, [''])[0]}-{tags.get(_TAG_RELEASE, [''])[0]}"
    if epoch := tags.get(_TAG_EPOCH, [0])[0]:
        version = f"{epoch}:{version}"
    folders = tags.get(_TAG_FOLDERS, [])
    files = [
        folders[index] + base
        for index, base in zip(tags.get(_TAG_INDEXES, []), tags.get(_TAG_BASENAMES, []), strict=False)
        if index < len(folders)
    ]
    return {
        "name": name,
        "version": version,
        "architecture": tags.get(_TAG_ARCH, [""])[0],
        "source": tags.get(_TAG_SOURCE, [""])[0],
        "files": files,
    }


def _tags(blob: bytes) -> dict[int, list[Any]]:
    """The tags that are used here, of a header: two lengths, an index of 16 bytes an entry, the data."""
    count, length = struct.unpack_from(">II", blob, 0)
    start = 8 + 16 * count
    if count > 1 << 16 or start + length > len(blob) + 16:
        raise IndexError("its index leads out of the header")
    wanted = {
        _TAG_NAME,
        _TAG_VERSION,
        _TAG_RELEASE,
        _TAG_EPOCH,
        _TAG_ARCH,
        _TAG_SOURCE,
        _TAG_INDEXES,
        _TAG_BASENAMES,
        _TAG_FOLDERS,
    }
    found: dict[int, list[Any]] = {}
    for place in range(8, start, 16):
        tag, kind, offset, number = struct.unpack_from(">IIII", blob, place)
        if tag not in wanted or number > len(blob):
            continue
        if kind == _INT32:
            found[tag] = list(struct.unpack_from(f">{number}I", blob, start + offset))
        elif kind in (_STRING, _STRINGS, _I18N):
            texts = (
                blob[start + offset :].split(b"\0", number)[:number]
                if number > 1
                else [blob[start + offset : blob.index(b"\0", start + offset)]]
            )
            found[tag] = [text.decode("utf-8", "replace") for text in texts]
    return found
