"""What is learnt of a file's content while it streams by: there is no second reading.

Each examiner is a module with `NAME` (the trait's key), `wants(path, size, head)`, which is asked for every
file of every layer and must be cheap, and `examine(path, data)`, which gets the whole content and gives what
it learnt as plain values that msgpack can hold, or None. `data` is as good as bytes: slices, `find` and
`len` work on it. An examiner must take any bytes and never raise; what it learns is kept with the layer.
"""

from __future__ import annotations

import mmap
from typing import Any, Protocol

from ramekin.analyze.examine import (
    clock,
    elf,
    jar,
    kin,
    media,
    node,
    packed,
    python,
    rpm,
    script,
    secret,
    squeezed,
)

Data = bytes | bytearray | mmap.mmap
HEAD = 512
"""Bytes of a file that `wants` sees."""


class Examiner(Protocol):
    NAME: str

    def wants(self, path: str, size: int, head: bytes) -> bool:
        """Whether `examine` is worth its time; `head` is the start of the content, at most `HEAD` bytes."""

    def examine(self, path: str, data: Data) -> Any:
        """What the content tells, or None."""


EXAMINERS: tuple[Examiner, ...] = (
    elf,
    jar,
    node,
    python,
    rpm,
    clock,
    kin,
    media,
    packed,
    script,
    secret,
    squeezed,
)
