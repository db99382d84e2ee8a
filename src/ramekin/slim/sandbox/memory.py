"""What other processes have in memory (process_vm_readv(2))."""

from __future__ import annotations

import ctypes

_PAGE = 4096
_SHORT = 512
"""Bytes that are read at once of a text: most paths are shorter."""


class _Span(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Memory:
    """Reads from other processes. Each thread needs one of its own."""

    def __init__(self) -> None:
        self._read = ctypes.CDLL(None).process_vm_readv
        self._read.restype = ctypes.c_ssize_t
        self._read.argtypes = [
            *(ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong),
            ctypes.c_ulong,
        ]
        # one more than is ever read, for a zero after it
        self._buffer = ctypes.create_string_buffer(_PAGE + 1)
        self._ours = _Span(ctypes.addressof(self._buffer), 0)
        self._theirs = _Span(0, 0)
        self._spans = ctypes.addressof(self._ours), ctypes.addressof(self._theirs)

    def block(self, pid: int, address: int, size: int) -> bytes:
        """So many bytes, at most a page, at an address of a process; fewer when they are not there."""
        count = self._take(pid, address, min(size, _PAGE))
        return ctypes.string_at(self._buffer, count)

    def text(self, pid: int, address: int) -> bytes:
        """The zero-ended bytes at an address of a process; nothing when it cannot be read."""
        read = b""
        while len(read) < _PAGE:
            count = self._take(pid, address, min(_SHORT, _PAGE - address % _PAGE))
            if not count:
                return b""
            self._buffer[count] = b"\0"
            text = self._buffer.value
            read += text
            if len(text) < count:
                return read
            address += count
        return b""

    def _take(self, pid: int, address: int, size: int) -> int:
        self._ours.size = self._theirs.size = size
        self._theirs.base = address
        ours, theirs = self._spans
        return max(0, int(self._read(pid, ours, 1, theirs, 1, 0)))
