"""How often one client may have something made."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

CLIENTS = 10_000
"""Clients that are remembered at most; the one that asked longest ago is forgotten first."""


class Rate:
    """A bucket for each client: `amount` at once, filled up again evenly within `seconds`."""

    def __init__(
        self, amount: int, seconds: float = 60.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._amount, self._seconds, self._clock = amount, seconds, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one; 0 when there was one, else the seconds until there will be."""
        now = self._clock()
        left, since = self._left.pop(client, (float(self._amount), now))
        left = min(left + (now - since) * self._amount / self._seconds, float(self._amount))
        wait = 0.0 if left >= 1 else (1 - left) * self._seconds / self._amount
        self._left[client] = (left - 1 if left >= 1 else left, now)
        while len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return wait
