"""What static programs have in common: a sketch of the texts in each.

Two programs that have the same library inside have its texts too. The sketch holds the smallest hashes of
all texts (bottom-k sampling), from which the part that two sets share can be estimated.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "kin"
SKETCH = 256
SMALLEST = 256 << 10
_LARGEST = 64 << 20
_TEXT = re.compile(rb"[\x20-\x7e]{10,200}")
_PT_INTERP = b"\x03\0\0\0"


def wants(path: str, size: int, head: bytes) -> bool:
    # a program for the loader has an entry for its interpreter among its first headers
    return (
        head[:4] == b"\x7fELF"
        and size >= SMALLEST
        and all(head[place : place + 4] != _PT_INTERP for place in range(64, min(len(head), 64 + 56 * 4), 56))
        and head[16:17] in (b"\x02", b"\x03")
        and ".so" not in path.rpartition("/")[2]
    )


def examine(path: str, data: Data) -> list[int] | None:
    """The smallest hashes, sorted; fewer than `SKETCH` when there are no more texts."""
    hashes: set[int] = set()
    for match in _TEXT.finditer(data[:_LARGEST]):
        hashes.add(zlib.crc32(match[0]))
    return sorted(hashes)[:SKETCH] or None


def common(one: list[int], other: list[int]) -> float:
    """The estimated part (0 to 1) of all texts of both that both have (Jaccard)."""
    union = sorted({*one, *other})[:SKETCH]
    both = {*one} & {*other}
    return sum(value in both for value in union) / len(union) if union else 0.0
