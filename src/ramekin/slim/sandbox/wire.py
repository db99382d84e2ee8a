"""Messages with descriptors beside them, over Unix sockets."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence


def send(channel: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send one message."""
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    channel.sendmsg([data], beside)


def receive(channel: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """One message of at most `size` bytes and `most` descriptors; no bytes when the other side is gone."""
    data, descriptors, _, _ = socket.recv_fds(channel, size, most)
    for descriptor in descriptors:
        # they are not for the programs that we start
        os.set_inheritable(descriptor, False)
    return data, descriptors
