"""Java archives: the name and version that their manifest or Maven properties give, and what is within."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "jar"
_SUFFIXES = (".jar", ".war", ".ear")
_MOST_MEMBERS = 100_000
_MOST_DIRECTORY = 32 << 20
_MOST_DOCUMENT = 1 << 16


def wants(path: str, size: int, head: bytes) -> bool:
    return head[:4] == b"PK\x03\x04" and path.endswith(_SUFFIXES)


def examine(path: str, data: Data) -> dict[str, Any] | None:
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - 65557))
    if end < 0 or len(data) - end < 22:
        return None
    members, length = struct.unpack_from("<HI", data, end + 10)
    if members > _MOST_MEMBERS or length > _MOST_DIRECTORY:
        return None
    try:
        with zipfile.ZipFile(_View(data)) as archive:
            return _read(archive)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, OSError, KeyError):
        return None
    except struct.error:
        return None


def _read(archive: zipfile.ZipFile) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "", "version": ""}
    inner: list[list[str]] = []
    for member in archive.infolist():
        if member.filename == "META-INF/MANIFEST.MF":
            fields = _fields(_document(archive, member), ":")
            found["name"] = found["name"] or fields.get("Bundle-SymbolicName", "").partition(";")[0]
            found["name"] = found["name"] or fields.get("Implementation-Title", "")
            found["version"] = found["version"] or fields.get("Implementation-Version", "")
            found["version"] = found["version"] or fields.get("Bundle-Version", "")
        elif member.filename.startswith("META-INF/maven/") and member.filename.endswith("/pom.properties"):
            fields = _fields(_document(archive, member), "=")
            group, artifact = fields.get("groupId", ""), fields.get("artifactId", "")
            if artifact and len(inner) < 1000:
                inner.append([f"{group}:{artifact}".strip(":"), fields.get("version", "")])
    if len(inner) == 1:
        found["name"], found["version"] = inner[0]
    if len(inner) > 1:
        found["maven"] = inner
    return found


def _document(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    with archive.open(member) as stream:
        return stream.read(_MOST_DOCUMENT).decode("utf-8", "replace")


def _fields(document: str, mark: str) -> dict[str, str]:
    lines = document.replace("\r\n", "\n").replace("\n ", "").split("\n")
    return {
        key.strip(): value.strip() for key, found, value in (line.partition(mark) for line in lines) if found
    }


class _View(io.RawIOBase):
    """Bytes or mapped memory as a file, without a copy of them."""

    def __init__(self, data: Data) -> None:
        self._data, self._place = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._data[self._place : self._place + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
