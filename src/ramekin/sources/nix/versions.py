"""The order of versions in Nix (Nix manual, builtins.compareVersions)."""

from __future__ import annotations

import re
from functools import cmp_to_key

_COMPONENT = re.compile(r"[0-9]+|[^0-9.\-]+")


def compare(one: str, other: str) -> int:
    """-1, 0 or 1 as `one` is older than, as old as or newer than `other`.

    Versions are cut at dots, dashes and between digits and letters. `pre` is older than anything, numbers are
    newer than words, and what ends is older than what goes on, but with a word.
    """
    mine, others = _COMPONENT.findall(one), _COMPONENT.findall(other)
    for place in range(max(len(mine), len(others))):
        first = mine[place] if place < len(mine) else ""
        second = others[place] if place < len(others) else ""
        if first != second:
            if _older(first, second):
                return -1
            if _older(second, first):
                return 1
    return 0


key = cmp_to_key(compare)
"""For sorting versions, the oldest first."""


def _older(one: str, other: str) -> bool:
    first, second = one.isdigit(), other.isdigit()
    if first and second:
        return int(one) < int(other)
    if not one and second:
        return True
    if one == "pre":
        return other != "pre"
    if other == "pre":
        return False
    if second:
        return True
    if first:
        return False
    return one < other
