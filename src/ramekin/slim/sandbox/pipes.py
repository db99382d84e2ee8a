"""What a pipe holds, without waiting for more."""

from __future__ import annotations

import os

BLOCK = 1 << 16
"""Bytes that a pipe holds, which one read takes out of it."""


def held(descriptor: int) -> bytes | None:
    """What has been written to a pipe that does not block; nothing at its end, None while more may come."""
    try:
        return os.read(descriptor, BLOCK)
    except BlockingIOError:
        return None
