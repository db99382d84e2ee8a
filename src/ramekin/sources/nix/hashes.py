"""Hashes as Nix writes them: `sha256:` in base 16, 32 or 64, or `sha256-` in base 64 (SRI)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from ramekin.errors import FormatError
from ramekin.sources.nix import base32
from ramekin.store.digest import Digest

SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
"""Bytes of the hashes that Nix knows."""


@dataclass(frozen=True, slots=True)
class Hash:
    """The value of a hash function."""

    algorithm: str
    value: bytes

    @property
    def base16(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"

    @property
    def base32(self) -> str:
        return f"{self.algorithm}:{base32.encode(self.value)}"


def parse(text: str, *, where: str) -> Hash:
    """A hash in any of its forms; `FormatError` naming `where`."""
    colon, dash = text.find(":"), text.find("-")
    end = dash if colon < 0 or 0 <= dash < colon else colon
    algorithm, digits = text[: max(end, 0)], text[end + 1 :]
    size = SIZES.get(algorithm)
    if size is None:
        raise FormatError(f"{where}: {text!r} is not a hash", hint="such as sha256: and 52 digits")
    try:
        if len(digits) == 2 * size and text[end] == ":":
            return Hash(algorithm, bytes.fromhex(digits))
        if len(digits) == base32.length(size) and text[end] == ":":
            return Hash(algorithm, base32.decode(digits, size))
        value = base64.b64decode(digits, validate=True)
    except (ValueError, binascii.Error, FormatError):
        value = b""
    if len(value) != size:
        raise FormatError(f"{where}: {text!r} is not a hash of {algorithm}")
    return Hash(algorithm, value)


def digest(text: str, *, where: str) -> Digest:
    """A SHA-256 as a `Digest`; `FormatError` for other hashes, which nothing here is known by."""
    found = parse(text, where=where)
    if found.algorithm != "sha256":
        raise FormatError(f"{where}: {text!r} is a hash of {found.algorithm}, where sha256 is wanted")
    return Digest(found.base16)


def nix_form(known: Digest) -> str:
    """A digest as narinfos and their fingerprints write it, in base 32."""
    return "sha256:" + base32.encode(bytes.fromhex(known[7:]))
