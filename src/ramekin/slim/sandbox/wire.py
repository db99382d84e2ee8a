"""Messages with descriptors beside them, over Unix sockets.

A message that is longer than a socket takes at once goes as a file in memory, whose descriptor is the last.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence

_INLINE = 1 << 15
_ELSEWHERE = b"\0"
"""What a message says that is in a file."""


def memory(data: bytes) -> int:
    """A descriptor of a file in memory with `data`, at its beginning."""
    descriptor = os.memfd_create("sandbox", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def send(channel: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send one message."""
    if len(data) > _INLINE:
        file = memory(data)
        try:
            send(channel, _ELSEWHERE, [*descriptors, file])
        finally:
            os.close(file)
        return
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    channel.sendmsg([data], beside)


def receive(channel: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """One message with at most `most` descriptors; no bytes when the other side is gone."""
    data, descriptors, _, _ = socket.recv_fds(channel, _INLINE, most + 1)
    for descriptor in descriptors:
        # they are not for the programs that we start
        os.set_inheritable(descriptor, False)
    if data == _ELSEWHERE and descriptors:
        with open(descriptors.pop(), "rb") as file:  # noqa: PTH123
            data = file.read()
    return data, descriptors
