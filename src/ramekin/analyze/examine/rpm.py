"""RPM databases: packages and their files, whatever the backend (rpm's header format).

- `rpmdb.sqlite`: the table Packages;
- `Packages`: a hash of Berkeley DB (db_page.h), as systems before 2020 have;
- `Packages.db`: slots and blobs of rpm's own ndb (rpmpkg.c), as SUSE has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "rpm"
_MOST = 128 << 20
_TAG_NAME, _TAG_VERSION, _TAG_RELEASE, _TAG_EPOCH, _TAG_ARCH, _TAG_SOURCE = 1000, 1001, 1002, 1003, 1022, 1044
_TAG_INDEXES, _TAG_BASENAMES, _TAG_FOLDERS = 1116, 1117, 1118
_INT32, _STRING, _STRINGS, _I18N = 4, 6, 8, 9
_BDB_HASH = 0x061561
_HASH_PAGES, _OVERFLOW_PAGE = (2, 13), 7
_KEY_DATA, _OFF_PAGE = 1, 3
_BACKENDS = {"rpmdb.sqlite": "sqlite", "Packages": "bdb", "Packages.db": "ndb"}


def wants(path: str, size: int, head: bytes) -> bool:
    folder, _, name = path.rpartition("/")
    return name in _BACKENDS and folder in ("var/lib/rpm", "usr/lib/sysimage/rpm") and size <= _MOST


def examine(path: str, data: Data) -> dict[str, Any] | None:
    """Keys: backend (`sqlite`, `bdb`, `ndb`; `damaged` when it cannot be read), packages."""
    backend = _BACKENDS[path.rpartition("/")[2]]
    try:
        blobs = {"sqlite": _sqlite, "bdb": _bdb, "ndb": _ndb}[backend](data)
        found = [told for blob in _bounded(blobs, len(data)) if (told := package(blob)) is not None]
    except (struct.error, IndexError, OverflowError, MemoryError):
        return {"backend": "damaged", "packages": []}
    return {"backend": backend, "packages": sorted(found, key=lambda told: str(told["name"]))}


def _bounded(blobs: Iterator[bytes], size: int) -> Iterator[bytes]:
    """No more bytes than the database has: its parts may name one another again and again."""
    spent = 0
    for blob in blobs:
        spent += len(blob)
        if spent > size:
            raise IndexError("its packages are larger than itself")
        yield blob


def _sqlite(data: Data) -> Iterator[bytes]:
    import sqlite3

    # a database in write-ahead mode (format 2) cannot be opened in memory; one without its log is as format 1
    image = bytearray(data)
    image[18:20] = b"\x01\x01"
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(bytes(image))
        rows = connection.execute("SELECT blob FROM Packages ORDER BY hnum")
        yield from (blob for (blob,) in rows if isinstance(blob, bytes))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise IndexError(str(error)) from None
    finally:
        connection.close()


def _bdb(data: Data) -> Iterator[bytes]:
    """The values of a hash of Berkeley DB, of which the keys are numbers; number 0 is the last one given."""
    sign = "<" if data[12:16] == b"\x61\x15\x06\x00" else ">"
    (magic,) = struct.unpack_from(sign + "I", data, 12)
    (size,) = struct.unpack_from(sign + "I", data, 20)
    if magic != _BDB_HASH or not 512 <= size <= 65536:
        raise IndexError("it is no hash of Berkeley DB")
    for start in range(size, len(data) - size + 1, size):
        if data[start + 25] not in _HASH_PAGES:
            continue
        (entries,) = struct.unpack_from(sign + "H", data, start + 20)
        places = struct.unpack_from(f"{sign}{min(entries, size // 2 - 13)}H", data, start + 26)
        for place, key in zip(places[1::2], places[::2], strict=False):
            if key >= size or place >= key:
                raise IndexError("a page names an item beyond it")
            at = start + place
            if data[at] == _OFF_PAGE:
                page, length = struct.unpack_from(sign + "II", data, at + 4)
                yield _overflow(data, sign, size, page, length)
            elif data[at] == _KEY_DATA and key - place > 16:
                yield bytes(data[at + 1 : start + key])


def _overflow(data: Data, sign: str, size: int, page: int, length: int) -> bytes:
    """A value on pages of its own, each of which names the next."""
    if length > len(data):
        raise IndexError("a value is larger than the database")
    found = bytearray()
    while page and len(found) < length:
        start = page * size
        page, _, count = struct.unpack_from(sign + "IHH", data, start + 16)
        if data[start + 25] != _OVERFLOW_PAGE or not 0 < count <= size - 26:
            raise IndexError("a value leads to a page of another kind")
        found += data[start + 26 : start + 26 + count]
    return bytes(found[:length])


def _ndb(data: Data) -> Iterator[bytes]:
    """The blobs of ndb: pages of slots at the start say where each one is, in blocks of 16 bytes."""
    magic, _, _, pages = struct.unpack_from("<4sIII", data, 0)
    if magic != b"RpmP" or not 0 < pages <= len(data) >> 12:
        raise IndexError("it is no database of ndb")
    for place in range(32, pages << 12, 16):
        slot, number, block, _ = struct.unpack_from("<4sIII", data, place)
        if slot != b"Slot" or not number:
            continue
        head, which, _, length = struct.unpack_from("<4sIII", data, block << 4)
        if head != b"BlbS" or which != number:
            raise IndexError("a slot leads to what is no blob")
        yield bytes(data[(block << 4) + 16 : (block << 4) + 16 + length])


def package(blob: bytes) -> dict[str, Any] | None:
    """What a header says: name, version, architecture, source, files; None when it cannot be read."""
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
