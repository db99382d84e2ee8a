"""Hash states of uploads that this process has begun to hash, by session."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

KEPT = 4096
"""States that are remembered; who comes back after more others is hashed again."""


class Hashes:
    """What was hashed of each session, and up to which byte."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, tuple[int, _Hash]] = OrderedDict()
        self._guard = threading.Lock()

    def take(self, session: str, offset: int) -> _Hash | None:
        """The state after `offset` bytes, for the caller alone from now on; None when it is not known."""
        if offset == 0:
            return hashlib.sha256()
        with self._guard:
            known = self._states.pop(session, None)
        return known[1] if known is not None and known[0] == offset else None

    def put(self, session: str, offset: int, state: _Hash) -> None:
        with self._guard:
            self._states[session] = (offset, state)
            while len(self._states) > KEPT:
                self._states.popitem(last=False)

    def drop(self, session: str) -> None:
        with self._guard:
            self._states.pop(session, None)
