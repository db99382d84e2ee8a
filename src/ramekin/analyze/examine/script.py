"""Scripts: what runs them, and the archives that they unpack when they are started."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "script"
_MOST = 256 << 10
_SHOWN = 100
_UNPACKER = re.compile(
    r"(?:^|[\s(`/])(?:tar\s+(?:-{0,2}\w*x\w*|--extract)|bsdtar\s+-?\w*x\w*|jar\s+-?x\w*|7z\w?\s+[xe]"
    r"|(?:gzip|xz|bzip2|zstd|lz4)\s+-\w*d\w*|gunzip|zcat|unzip|unxz|xzcat|bunzip2|bzcat|unzstd|zstdcat)(?:\s|$)"
)
_ARCHIVE = re.compile(r"\.(?:tar|tgz|tbz2?|txz|tar\.\w{1,4}|gz|bz2|xz|zst|lz4|zip|7z|jar|war)\Z")
_APART = re.compile(r"[;&|\n]")


def wants(path: str, size: int, head: bytes) -> bool:
    return head[:2] == b"#!" and size <= _MOST


def examine(path: str, data: Data) -> dict[str, Any] | None:
    """Keys: interpreter (the words of the first line), unpacks (names of archives, as written)."""
    text = bytes(data).decode("utf-8", "replace")
    found: dict[str, Any] = {"interpreter": text[2:].partition("\n")[0].split()[:4]}
    if names := unpacked(text):
        found["unpacks"] = names
    return found


def unpacked(text: str) -> list[str]:
    """The archives that commands in `text` unpack, comments apart."""
    found: dict[str, None] = {}
    for command in _APART.split(
        "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    ):
        if _UNPACKER.search(command):
            words = (word.strip("\"'()`") for word in command.split())
            found.update((word, None) for word in words if len(word) < 4096 and _ARCHIVE.search(word))
    return list(found)[:_SHOWN]
