"""Speaking with a command that runs elsewhere, over pipes, until it has ended or time is up."""

from __future__ import annotations

import os
import selectors
import time
from contextlib import suppress

from ramekin.slim.sandbox import pipes

OUTPUT = 64 << 20
"""Bytes of each stream of a command that are kept."""

_GRACE = 0.2
"""Seconds in which output may still come after the command's end, from children that it left behind."""


def communicate(
    sink: int, data: bytes, sources: tuple[int, int], status: int, timeout: float
) -> tuple[int | None, bytes, bytes]:
    """Write `data` to `sink` and read two `sources` and the wait status, closing all four.

    Gives the wait status (None when `timeout` seconds were over before it came) and what was read.
    """
    read: dict[int, bytearray] = {source: bytearray() for source in (*sources, status)}
    deadline = time.monotonic() + timeout
    unsent = memoryview(data)
    with selectors.DefaultSelector() as waiting:
        for descriptor in read:
            waiting.register(descriptor, selectors.EVENT_READ)
        if data:
            os.set_blocking(sink, False)
            waiting.register(sink, selectors.EVENT_WRITE)
        else:
            os.close(sink)
        while waiting.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                descriptor = key.fd
                if descriptor == sink:
                    with suppress(BrokenPipeError):
                        unsent = unsent[os.write(sink, unsent[: pipes.BLOCK]) :]
                        if unsent:
                            continue
                    waiting.unregister(sink)
                    os.close(sink)
                    continue
                block = os.read(descriptor, pipes.BLOCK)
                if len(read[descriptor]) < OUTPUT:
                    read[descriptor] += block
                if not block or descriptor == status:
                    waiting.unregister(descriptor)
                    os.close(descriptor)
                if descriptor == status:
                    deadline = min(deadline, time.monotonic() + _GRACE)
        for key in list(waiting.get_map().values()):
            if key.fd in sources:
                # written in time, however late we come to it
                os.set_blocking(key.fd, False)
                read[key.fd] += pipes.held(key.fd) or b""
            os.close(key.fd)
    code = int(read[status]) if read[status] else None
    return code, bytes(read[sources[0]]), bytes(read[sources[1]])
