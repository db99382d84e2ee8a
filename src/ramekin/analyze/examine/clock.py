"""Files that say when they were made: another build of the same gives other bytes.

Compiled Python that is checked by the time of its source (PEP 552, flags 0) and gzip files with a time (RFC
1952, MTIME).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "clock"


def wants(path: str, size: int, head: bytes) -> bool:
    if size <= 16:
        return False
    return path.endswith(".pyc") or (head[:3] == b"\x1f\x8b\x08" and head[4:8] != b"\0\0\0\0")


def examine(path: str, data: Data) -> dict[str, Any] | None:
    """Keys: form (`pyc` or `gzip`), time (seconds since 1970)."""
    head = bytes(data[:16])
    if head[:3] == b"\x1f\x8b\x08":
        return {"form": "gzip", "time": struct.unpack_from("<I", head, 4)[0]}
    flags, time = struct.unpack_from("<II", head, 4)
    return {"form": "pyc", "time": time} if flags == 0 and head[2:4] == b"\r\n" else None
