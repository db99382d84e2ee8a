"""Keys of actions: pure functions from digests to digests, whose results the store finds again.

A key names the action and everything that its result depends on. The parts are encoded so that no two
lists of parts look alike: each has its type and its length before it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """The key of one action with its inputs; made by `key` only. `name` is for people to read."""

    name: str
    hex: str


def key(name: str, *parts: str | int | bytes) -> Key:
    """The key of action `name` on `parts`: equal only for the same name and the same parts in order.

    `1`, `"1"` and `b"1"` are different parts, and `("ab", "c")` differs from `("a", "bc")`.
    """
    state = hashlib.sha256()
    for part in (name, *parts):
        if isinstance(part, str):
            kind, data = b"s", part.encode("utf-8", "surrogateescape")
        elif isinstance(part, int):
            kind, data = b"i", b"%d" % part
        else:
            kind, data = b"b", part
        state.update(b"%b%d:" % (kind, len(data)))
        state.update(data)
    return Key(name, state.hexdigest())
