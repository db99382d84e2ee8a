"""Scripts: what runs them, and the archives that they unpack when they are started."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "script"
_MOST = 256 << 10
_PACKED = r"[^\s\"';|&<>()]+\.(?:tar|tgz|tbz2?|txz|tar\.\w+|gz|bz2|xz|zst|lz4|zip|7z|jar|war)\b"
_UNPACKER = re.compile(
    r"(?:^|[\s;&|(`])(?:\S*/)?(?:tar\s+(?:-{0,2}\w*x\w*|--extract)|gunzip|gzip\s+-\w*d|zcat|unzip|xz\s+-\w*d|unxz|xzcat"
    r"|bunzip2|bzcat|bzip2\s+-\w*d|zstd\s+-\w*d|unzstd|zstdcat|lz4\s+-\w*d|7z\w?\s+[xe]|bsdtar\s+-?\w*x\w*|jar\s+-?x\w*)\b"
    rf"[^\n]*?({_PACKED})"
)


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
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return list(dict.fromkeys(match[1][:4096] for match in _UNPACKER.finditer(lines)))[:100]
