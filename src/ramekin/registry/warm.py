"""Answers to pulls of manifests that are kept in memory, ready to send.

An answer is good while the record that it follows from is the one that was read: on a local disk that is one
`stat` a request, so that what another process writes shows at once; an object store is asked again when
`until` has passed.
"""
# ruff: noqa: PTH116

from __future__ import annotations

import math
import os
import time
from collections import OrderedDict
from dataclasses import dataclass

from ramekin.registry.records import Version

LIMIT = 64 << 20
"""Bytes of manifests that are kept."""
OVERHEAD = 2048
"""Bytes that an answer costs beside its body."""


@dataclass(slots=True)
class Ready:
    """An answer to GET of a path. `follows` is the local file of the record behind it.

    `subject` is the record that is told when the answer was `used`, in seconds since 1970.
    """

    headers: list[tuple[bytes, bytes]]
    body: bytes
    follows: str
    version: Version
    until: float
    subject: str
    used: float
    is_index: bool
    etag: bytes

    def holds(self) -> bool:
        """Whether the record is as it was; another look at it costs a system call."""
        if self.until is not math.inf and time.monotonic() >= self.until:
            return False
        if not self.follows:
            return True
        try:
            status = os.stat(self.follows)
        except OSError:
            return False
        return (status.st_ino, status.st_mtime_ns, status.st_size) == self.version


class Warm:
    """Answers by the path that asks for them; those used longest ago go first."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._ready: OrderedDict[str, Ready] = OrderedDict()
        self._size, self._limit = 0, limit
        self._looks = 0

    def get(self, path: str) -> Ready | None:
        """The answer for a path, when it still holds."""
        found = self._ready.get(path)
        if found is None:
            return None
        if not found.holds():
            self.drop(path)
            return None
        self._looks += 1
        if not self._looks & 63:
            # now and then is enough for what is asked for often to stay
            self._ready.move_to_end(path)
        return found

    def put(self, path: str, ready: Ready) -> None:
        self.drop(path)
        self._ready[path] = ready
        self._size += len(ready.body) + OVERHEAD
        while self._size > self._limit and self._ready:
            self._forget(*self._ready.popitem(last=False))

    def drop(self, path: str) -> None:
        found = self._ready.pop(path, None)
        if found is not None:
            self._forget(path, found)

    def clear(self, prefix: str) -> None:
        """Forget the answers of all paths that begin with `prefix`."""
        for path in [path for path in self._ready if path.startswith(prefix)]:
            self.drop(path)

    def _forget(self, path: str, ready: Ready) -> None:
        self._size -= len(ready.body) + OVERHEAD
