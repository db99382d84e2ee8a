"""Files that are compressed already, told by how they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "squeezed"
SMALLEST = 4096
_FORMS = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"OggS", "Ogg"),
    (b"fLaC", "FLAC"),
    (b"ID3", "MP3"),
    (b"wOF2", "WOFF2"),
    (b"wOFF", "WOFF"),
    (b"hsqs", "squashfs"),
    (b"!<arch>\ndebian-binary", "deb"),
)
_MARKS = tuple(mark for mark, _ in _FORMS)


def wants(path: str, size: int, head: bytes) -> bool:
    return size >= SMALLEST and (
        head.startswith(_MARKS) or head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    )


def examine(path: str, data: Data) -> str | None:
    """The name of the format."""
    head = bytes(data[:32])
    for mark, form in _FORMS:
        if head.startswith(mark):
            return form
    return "MP4" if head[4:8] == b"ftyp" else "WebP"
