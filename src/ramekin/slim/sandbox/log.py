"""What a container prints, kept within a bound: the beginning and the end of it."""

from __future__ import annotations

import os
import select
import threading
from collections import deque

from ramekin.slim.sandbox import pipes

_LINES, _WIDTH = 20, 500
"""Lines, and characters of each, that people are shown."""


class Log:
    """Reads a pipe until it ends, in a thread of its own. `limit` is how many bytes are kept at most."""

    def __init__(self, descriptor: int, limit: int) -> None:
        self._descriptor = descriptor
        self._first = limit // 4
        self._last = limit - self._first
        self._head = b""
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._left_out = 0
        self._over = False
        os.set_blocking(descriptor, False)
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._read, name="container log", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        readable = select.poll()
        readable.register(self._descriptor, select.POLLIN)
        while not self._over:
            readable.poll()
            with self._guard:
                if not self._take():
                    self._over = True
                    os.close(self._descriptor)

    def _take(self) -> bool:
        """Keep what the pipe holds; whether more may come."""
        data = pipes.held(self._descriptor)
        if data:
            self._keep(data)
        return data != b""

    def _keep(self, data: bytes) -> None:
        room = self._first - len(self._head)
        self._head += data[:room]
        data = data[room:]
        if not data:
            return
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0]) >= self._last:
            gone = len(self._tail.popleft())
            self._tail_size -= gone
            self._left_out += gone

    def text(self) -> bytes:
        """All that was printed so far, within the bound, though our thread may not have come to it yet."""
        with self._guard:
            if not self._over:
                self._take()
            gap = f"\n… {self._left_out} bytes are left out …\n".encode() if self._left_out else b""
            return self._head + gap + b"".join(self._tail)

    def finish(self, patience: float = 1.0) -> None:
        """Wait for the end of the pipe, for so many seconds: whoever holds it may live on."""
        self._thread.join(patience)


def tail(text: str) -> str:
    """The last lines of what was printed, indented, and before them how many they are; of nothing nothing."""
    lines = text.splitlines()
    if not lines:
        return ""
    before = f" (the last {_LINES} lines)" if len(lines) > _LINES else ""
    shown = (line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…" for line in lines[-_LINES:])
    return f"{before}:\n" + "\n".join(f"    {line}" for line in shown)
