"""Nix's own base 32: the bytes as one little-endian number, most significant digit first."""

from __future__ import annotations

from ramekin.errors import FormatError

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
"""Digits without e, o, t and u, so that no hash spells a word."""

_DIGITS = bytes.maketrans(ALPHABET.encode(), b"0123456789ABCDEFGHIJKLMNOPQRSTUV")
_VALUES = {ord(letter): value for value, letter in enumerate(ALPHABET)}


def length(size: int) -> int:
    """How many digits `size` bytes have."""
    return (size * 8 + 4) // 5


def encode(data: bytes) -> str:
    """`data` in base 32; 20 bytes have 32 digits, 32 bytes 52."""
    number = int.from_bytes(data, "little")
    digits = length(len(data))
    return "".join(ALPHABET[number >> (5 * place) & 31] for place in range(digits - 1, -1, -1))


def decode(text: str, size: int) -> bytes:
    """The `size` bytes that `text` stands for; `FormatError` when it is not the digits of so many."""
    if len(text) != length(size) or not all(ord(letter) in _VALUES for letter in text):
        raise FormatError(f"{text!r} is not {size} bytes in Nix's base 32")
    number = int(text.encode().translate(_DIGITS), 32)
    if number >> (8 * size):
        raise FormatError(f"{text!r} is more than {size} bytes in Nix's base 32")
    return number.to_bytes(size, "little")
