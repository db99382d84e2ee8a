"""The order of Debian version numbers (Debian Policy, section 5.6.12; deb-version(7)).

A version is `[epoch:]upstream[-revision]`. `key` turns it into a text whose plain order, by code point, is
the order of the versions, so that sorting, comparing and a database's own index all agree; equal versions
(`1.0` and `0:1.0-0`) have equal keys. In the key each run of non-digits ends with `END`, `~` stands below
`END` and letters stand below all other characters; each run of digits stands as its length and its digits
without leading zeros. So `1.0~rc1` comes to stand before `1.0`, and that before `1.0+b1`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ramekin.errors import FormatError

_TILDE = "\x01"
_END = "\x02"
_DIGITS = 0x400  # above every code that a character of a version can have
_VERSION = re.compile(r"(?:([0-9]+):)?([0-9A-Za-z.+~:-]+?)(?:-([0-9A-Za-z+.~]*))?\Z")
_RUN = re.compile(r"([^0-9]*)([0-9]*)")
_ORDER = {code: chr(code + 0x100) for code in range(0x21, 0x7F) if not chr(code).isalnum()} | {
    ord("~"): _TILDE
}


def _part(text: str) -> str:
    pieces = []
    for other, digits in _RUN.findall(text) if text else [("", "")]:
        if not other and not digits:
            break
        digits = digits.lstrip("0")
        pieces.append(f"{other.translate(_ORDER)}{_END}{chr(_DIGITS + len(digits))}{digits}")
    if not pieces:
        pieces.append(f"{_END}{chr(_DIGITS)}")
    return "".join(pieces) + _END


@lru_cache(maxsize=1 << 17)
def key(version: str) -> str:
    """The text that stands for `version` in sorting; raises `FormatError` where it is none."""
    match = _VERSION.match(version)
    if match is None:
        raise FormatError(
            f"'{version}' is not a Debian version",
            hint="a version is [epoch:]upstream[-revision], in letters, digits and . + - ~",
        )
    epoch, upstream, revision = match.groups()
    return _part(epoch or "") + _part(upstream) + _part(revision or "")


def compare(left: str, right: str) -> int:
    """Below, at or above zero as `left` is older than, equal to or newer than `right`."""
    if left == right:
        return 0
    a, b = key(left), key(right)
    return (a > b) - (a < b)
