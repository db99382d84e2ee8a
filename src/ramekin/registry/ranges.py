"""Ranges of bytes: of downloads (RFC 9110, 14) and of chunks (spec.md, Pushing a blob in chunks)."""

from __future__ import annotations

import re

from ramekin.registry.faults import AnswerError, upload_invalid

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_CHUNK = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d{1,18}|\*))?", re.ASCII)


def requested(header: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last of a `Range` header; None when all bytes are to be sent.

    What is not one range of bytes is ignored, as RFC 9110 allows; a range that holds no byte of the
    `size` that there are is an `AnswerError` 416.
    """
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if found[1]:
        first = int(found[1])
        last = min(int(found[2]), size - 1) if found[2] else size - 1
        if found[2] and int(found[2]) < first:
            return None
    else:
        first, last = max(size - int(found[2]), 0), size - 1
        if int(found[2]) == 0:
            first = size
    if first >= size:
        detail = {"range": header[:100], "size": size}
        raise AnswerError(
            416, "SIZE_INVALID", "range not satisfiable", detail, {"Content-Range": f"bytes */{size}"}
        )
    return first, last + 1


def chunk(header: str, length: int | None) -> int:
    """Where the chunk of a `Content-Range` header begins; its length has to be `length` where known."""
    found = _CHUNK.fullmatch(header.strip())
    if found is None:
        raise upload_invalid("Content-Range is FIRST-LAST, both inclusive")
    first, last = int(found[1]), int(found[2])
    if last < first or (length is not None and last - first + 1 != length):
        detail = {"content-range": header[:100], "content-length": length}
        raise AnswerError(400, "SIZE_INVALID", "Content-Range and Content-Length do not agree", detail)
    return first
