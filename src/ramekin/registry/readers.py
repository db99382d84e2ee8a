"""Clients that ask for much and take little: their connections end, for each is one of a bounded number.

The server below has no time-out for what it sends. What the kernel knows of a connection is enough: how many
bytes wait to be sent, and how many the other side has acknowledged. A client has to take `RATE` bytes a
second on average over each stretch of the configured time in which something waited for it all along. It
makes no difference whether it is TLS or HTTP/2, or who writes, Python or the server's own threads. An answer
that is still being made leaves nothing waiting to be sent: nobody is cut off who waits for this side.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ramekin.registry.exchange import RATE

_ACKNOWLEDGED = struct.Struct("=Q")
_ACKNOWLEDGED_AT = 120
"""Where `tcpi_bytes_acked` is in `struct tcp_info` (linux/tcp.h)."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a client has taken until a moment (monotonic): all bytes that were acknowledged."""

    at: float
    acknowledged: int


def watch(port: int, patience: float, said: Callable[[str, int], None] = lambda who, size: None) -> None:
    """End connections of this process to `port` whose clients take too little, from a thread of its own.

    `patience` is in seconds. `said` hears of each that was ended: its address, and the bytes that waited.
    """

    def run() -> None:
        known: Mapping[int, Taken] = {}
        while True:
            time.sleep(max(patience / 4, 0.05))
            known = look(port, known, patience, time.monotonic(), said)

    threading.Thread(target=run, name="readers", daemon=True).start()


def look(
    port: int,
    known: Mapping[int, Taken],
    patience: float,
    now: float,
    said: Callable[[str, int], None] = lambda who, size: None,
) -> dict[int, Taken]:
    """One look at all connections; gives what is to be known at the next, by the sockets' inodes."""
    found: dict[int, Taken] = {}
    for inode, connection in _connections(port):
        with connection:
            waiting = _waiting(connection)
            if not waiting:
                continue
            taken = _acknowledged(connection)
            before = known.get(inode)
            if before is None or taken - before.acknowledged >= RATE * patience:
                found[inode] = Taken(now, taken)
            elif now - before.at < patience:
                found[inode] = before
            else:
                with suppress(OSError):
                    said(str(connection.getpeername()[0]), waiting)
                with suppress(OSError):
                    # the server finds it ended and closes it; then the kernel need not try to send what waits
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.shutdown(socket.SHUT_RDWR)
    return found


def _connections(port: int) -> Iterator[tuple[int, socket.socket]]:
    """This process's connections to a port of its own: duplicates, so that each stays what it is."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
            if not target.startswith("socket:["):
                continue
            descriptor = os.dup(int(name))
            try:
                one = socket.socket(fileno=descriptor)
            except OSError:
                os.close(descriptor)
                continue
            inode = os.fstat(descriptor).st_ino
            try:
                if (
                    one.type == socket.SOCK_STREAM
                    and one.family in (socket.AF_INET, socket.AF_INET6)
                    and one.getsockname()[1] == port
                    and not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                ):
                    yield inode, one
            finally:
                one.close()


def _waiting(connection: socket.socket) -> int:
    """Bytes that the other side has not acknowledged yet, sent or not (SIOCOUTQ)."""
    return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])


def _acknowledged(connection: socket.socket) -> int:
    data = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED_AT + 8)
    return int(_ACKNOWLEDGED.unpack_from(data, _ACKNOWLEDGED_AT)[0])
