"""The loopback network of a sandbox: bringing it up, what listens on it, and a way in from outside."""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1
_LISTEN = "0A"
_ACCEPTS = 0x10000
"""__SO_ACCEPTCON in the flags of /proc/net/unix: the socket listens."""

_BLOCK = 1 << 16


def raise_loopback() -> None:
    """Bring `lo` up in this network namespace, where every user may then listen on any port.

    Engines have the latter so, and programs of other users than root count on it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
    with suppress(OSError):
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")


def listening() -> dict[str, set[str]]:
    """What this network namespace listens on, in order: `tcp:8080`, `udp:53`, `unix:/run/x.sock`,
    `unix:@abstract`; each with the numbers of its sockets' inodes. The kernel takes milliseconds to tell.
    """
    found: dict[str, set[str]] = {}
    for name, inode in _sockets():
        found.setdefault(name, set()).add(inode)
    return dict(sorted(found.items()))


def has(pid: int, sockets: Iterable[set[str]]) -> bool:
    """Whether a process has one of these sockets open, by the numbers of their inodes."""
    inodes = {f"socket:[{inode}]" for inode in set().union(*sockets)}
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in inodes:
                    return True
    return False


def _sockets() -> Iterator[tuple[str, str]]:
    """All that listens, with the numbers of their inodes."""
    for kind in ("tcp", "udp"):
        for name in (kind, f"{kind}6"):
            for row in _rows(f"/proc/self/net/{name}"):
                # a UDP socket that was bound and not connected is in state 7 and has no other side
                if row[3] == _LISTEN or (kind == "udp" and row[3] == "07" and row[2].endswith(":0000")):
                    yield f"{kind}:{int(row[1].rpartition(':')[2], 16)}", row[7].split()[2]
    for row in _rows("/proc/self/net/unix"):
        if len(row) > 7 and int(row[3], 16) & _ACCEPTS:
            yield f"unix:{row[7]}", row[6]


def _rows(path: str) -> Iterator[list[str]]:
    with suppress(OSError):
        for line in Path(path).read_text(errors="backslashreplace").splitlines()[1:]:
            yield line.split(maxsplit=7)


def forward(listener: socket.socket, target: str, root: str) -> None:
    """Carry what connects to `listener` to `target` in this network namespace, for ever.

    `target` is as `listening` has it; Unix sockets are looked for below `root`. A connection that the target
    does not take is reset, as a port that nothing listens on would do it.
    """
    while True:
        try:
            outer, _ = listener.accept()
        except OSError:
            # out of descriptors, or the other side is gone already
            continue
        threading.Thread(target=_carry, args=(outer, target, root), daemon=True).start()


def _carry(outer: socket.socket, target: str, root: str) -> None:
    with outer:
        try:
            inner = _connected(target, root)
        except OSError:
            outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        with inner:
            back = threading.Thread(target=_pour, args=(inner, outer), daemon=True)
            back.start()
            _pour(outer, inner)
            back.join()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way until the source ends; the sink then hears of no more."""
    try:
        while data := source.recv(_BLOCK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # one side has broken off, which the other has to know
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _connected(target: str, root: str) -> socket.socket:
    kind, _, name = target.partition(":")
    if kind == "unix":
        plain = socket.socket(socket.AF_UNIX)
        try:
            plain.connect("\0" + name[1:] if name.startswith("@") else root + name)
        except OSError:
            plain.close()
            raise
        return plain
    # addresses and no names: looking one up would load more of Python, which may be out of sight by now
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        plain = socket.socket(family)
        try:
            plain.connect((host, int(name)))
        except OSError:
            plain.close()
        else:
            return plain
    raise ConnectionRefusedError(target)
