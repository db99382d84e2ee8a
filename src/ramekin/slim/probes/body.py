"""Bodies of HTTP answers as text that can be compared.

Text is decoded, JSON written in one form with its keys sorted, and everything else named by its digest.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib

TEXT_LIMIT = 4 << 20
"""Bytes of a body up to which it is compared as text; a longer one by its digest."""

_TEXTS = re.compile(
    r"text/.*|application/(?:.*\+)?(?:json|xml|javascript|x-javascript|ecmascript|x-www-form-urlencoded|"
    r"x-yaml|yaml|graphql|x-ndjson)|image/svg\+xml"
)
_JSON = re.compile(r"(?:application|text)/(?:.*\+)?json")


UNPACKED_LIMIT = 64 << 20
"""Bytes that a body may unpack to."""


def unpack(data: bytes, coding: str) -> bytes:
    """A body without its Content-Encoding; `ValueError` when it is not what the header says, or too much."""
    match coding.strip().lower():
        case "" | "identity":
            return data
        case "gzip" | "x-gzip":
            wbits: tuple[int, ...] = (31,)
        case "deflate":
            # what the specification calls deflate is zlib; some servers send it bare
            wbits = (15, -15)
        case other:
            raise ValueError(f"the body is in the coding {other}, which was not asked for")
    for number, bits in enumerate(wbits):
        decoder = zlib.decompressobj(bits)
        try:
            plain = decoder.decompress(data, UNPACKED_LIMIT)
        except zlib.error:
            if number == len(wbits) - 1:
                raise ValueError(f"the body is not {coding}") from None
            continue
        if decoder.unconsumed_tail:
            raise ValueError(f"the body unpacks to more than {UNPACKED_LIMIT >> 20} MiB")
        return plain
    return data


def media_type(content_type: str) -> str:
    """`text/html` of `Text/HTML; charset=utf-8`."""
    return content_type.partition(";")[0].strip().lower()


def text(data: bytes, content_type: str) -> str | None:
    """A body as text, or None where it is none."""
    kind = media_type(content_type)
    if len(data) > TEXT_LIMIT or not (kind == "" or _TEXTS.fullmatch(kind)):
        return None
    found = re.search(r"charset=\"?([\w.:-]+)", content_type, re.IGNORECASE)
    try:
        plain = data.decode(found[1] if found else "utf-8")
        # some codings have characters that no text has
        plain.encode()
    except (LookupError, ValueError):
        return None
    return plain


def unicode(text: str) -> str:
    """A text with escapes in place of what is no character, which JSON's own escapes can say."""
    return text.encode("utf-8", "backslashreplace").decode()


def normal(data: bytes, content_type: str) -> str:
    """The text by which a body is compared."""
    if not data:
        return ""
    plain = text(data, content_type)
    if plain is None:
        # one word: where the digest varies, as that of an archive with times in it, so may the size
        return f"{len(data)}-bytes:sha256:{hashlib.sha256(data).hexdigest()}\n"
    if _JSON.fullmatch(media_type(content_type)):
        try:
            return unicode(json.dumps(json.loads(plain), indent=1, sort_keys=True, ensure_ascii=False)) + "\n"
        except (ValueError, RecursionError):
            return plain
    return plain
