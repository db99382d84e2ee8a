"""Digests as the OCI image specification writes them (descriptor.md, Digests). Only SHA-256 is accepted."""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO, NewType

from ramekin.errors import FormatError

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hex digits."""

_FORM = re.compile(r"sha256:[0-9a-f]{64}")


def parse(text: str) -> Digest:
    """Check that `text` is a SHA-256 digest; `FormatError` when it is not."""
    if not _FORM.fullmatch(text):
        raise FormatError(
            f"{text!r} is not a digest", hint="a digest is 'sha256:' followed by 64 lower-case hex digits"
        )
    return Digest(text)


def from_hex(text: str) -> Digest:
    """A digest from the bare hex form that Debian's indexes use."""
    return parse("sha256:" + text.lower())


def hex_of(digest: Digest) -> str:
    """The bare hex digits of `digest`."""
    return digest[7:]


def of(data: bytes | memoryview) -> Digest:
    """The digest of bytes in memory."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def of_stream(stream: BinaryIO) -> tuple[Digest, int]:
    """The digest and the size in bytes of what is left of `stream`, read in bounded memory."""
    state, size = hashlib.sha256(), 0
    while chunk := stream.read(1 << 20):
        state.update(chunk)
        size += len(chunk)
    return Digest("sha256:" + state.hexdigest()), size
