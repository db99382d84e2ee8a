"""Nix's own base 32: the bytes as one little-endian number, most significant digit first."""

from __future__ import annotations

import base64
import re

from ramekin.errors import FormatError

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
"""Digits without e, o, t and u, so that no hash spells a word."""

_TO_RFC = bytes.maketrans(ALPHABET.encode(), b"0123456789ABCDEFGHIJKLMNOPQRSTUV")
_FROM_RFC = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ALPHABET.encode())
_DIGITS = re.compile(f"[{ALPHABET}]*")


def length(size: int) -> int:
    """How many digits `size` bytes have."""
    return (size * 8 + 4) // 5


def encode(data: bytes) -> str:
    """`data` in base 32; 20 bytes have 32 digits, 32 bytes 52."""
    # RFC 4648 has the same digits of the same number, once it fills whole groups of five bytes from the left
    groups = bytes(-len(data) % 5) + data[::-1]
    digits = base64.b32encode(groups).translate(_FROM_RFC).decode()
    return digits[len(digits) - length(len(data)) :]


def decode(text: str, size: int) -> bytes:
    """The `size` bytes that `text` stands for; `FormatError` when it is not the digits of so many."""
    if len(text) != length(size) or not _DIGITS.fullmatch(text):
        raise FormatError(f"{text!r} is not {size} bytes in Nix's base 32")
    number = int(text.encode().translate(_TO_RFC), 32) if text else 0
    if number >> (8 * size):
        raise FormatError(f"{text!r} is more than {size} bytes in Nix's base 32")
    return number.to_bytes(size, "little")
