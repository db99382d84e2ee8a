"""The compressions of Debian's files (deb(5); DebianRepository/Format), as streams in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO

from ramekin.errors import FormatError

SUFFIXES = (".xz", ".gz", ".zst", ".bz2", ".lzma", "")
"""In the order in which indexes are preferred; "" is for plain files."""

MEMORY = 256 << 20
"""Bytes that one decompressor may take: xz -9 needs 65 MiB, a hostile header could ask for 4 GiB."""

_CHUNK = 1 << 18


def decompressed(stream: BinaryIO, suffix: str, *, where: str) -> BinaryIO:
    """The plain bytes of `stream`, compressed as `suffix` says; several streams behind each other are one.

    `FormatError` names `where` when it is not that or is cut. Does not close `stream`.
    """
    match suffix:
        case "":
            return io.BufferedReader(_Plain(stream), _CHUNK)
        case ".xz" | ".lzma":
            import lzma

            form = lzma.FORMAT_XZ if suffix == ".xz" else lzma.FORMAT_ALONE
            return _buffered(stream, lambda: lzma.LZMADecompressor(form, memlimit=MEMORY), where)
        case ".gz":
            return _buffered(stream, _Gzip, where)
        case ".bz2":
            import bz2

            return _buffered(stream, bz2.BZ2Decompressor, where)
        case ".zst":
            return _buffered(stream, _Zstandard, where)
    raise FormatError(f"{where} is compressed in an unknown way ({suffix})")


def _buffered(stream: BinaryIO, make: Callable[[], Any], where: str) -> BinaryIO:
    return io.BufferedReader(_Decompressed(stream, make, where), 1 << 18)


class _Plain(io.RawIOBase):
    """The stream itself, but for being closed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Gzip:
    """zlib behind the interface of lzma's and bz2's decompressors."""

    def __init__(self) -> None:
        import zlib

        self._state = zlib.decompressobj(31)
        self._held = b""
        self._may_hold = False

    def decompress(self, data: bytes, most: int) -> bytes:
        plain = self._state.decompress(self._held + data, most)
        self._held = self._state.unconsumed_tail
        self._may_hold = len(plain) == most
        return plain

    @property
    def needs_input(self) -> bool:
        return not self._held and not self._may_hold

    @property
    def eof(self) -> bool:
        return self._state.eof

    @property
    def unused_data(self) -> bytes:
        return self._state.unused_data


class _Zstandard:
    """zstandard behind the same interface; one call may give more than `most` bytes, by a factor at most."""

    def __init__(self) -> None:
        import zstandard

        self._state = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        self._held = b""

    def decompress(self, data: bytes, most: int) -> bytes:
        # zstd expands up to some thousandfold, so that the input is cut to keep the output small
        data = self._held + data
        head, self._held = data[:1024], data[1024:]
        return self._state.decompress(head)

    @property
    def needs_input(self) -> bool:
        return not self._held

    @property
    def eof(self) -> bool:
        return self._state.eof

    @property
    def unused_data(self) -> bytes:
        return self._state.unused_data + self._held


class _Decompressed(io.RawIOBase):
    def __init__(self, source: BinaryIO, make: Callable[[], Any], where: str) -> None:
        self._source, self._make, self._where = source, make, where
        self._state: Any = make()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        if not self._ready:
            self._ready = self._more(len(view))
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _more(self, most: int) -> bytes:
        """Some plain bytes; none only at the end."""
        while True:
            data = b""
            if self._state.eof:
                data = self._state.unused_data or self._source.read(_CHUNK)
                # xz and gzip files may be padded with zeros
                if not data.strip(b"\0"):
                    if not data:
                        return b""
                    continue
                self._state = self._make()
            elif self._state.needs_input:
                data = self._source.read(_CHUNK)
                if not data:
                    raise FormatError(f"{self._where} is truncated", hint="fetch it again")
            try:
                plain: bytes = self._state.decompress(data, most)
            except Exception as error:
                # each library has errors of its own, and EOFError or MemoryError beside them
                if isinstance(error, FormatError):
                    raise
                raise FormatError(f"{self._where} cannot be decompressed: {error}") from None
            if plain:
                return plain
