"""How NARs and a channel's files are compressed, by the names that narinfos have for it."""

from __future__ import annotations

import io
from types import MappingProxyType
from typing import Any, BinaryIO

from ramekin.errors import FormatError
from ramekin.image import compress

NAMES = ("none", "xz", "zstd", "bzip2", "br", "gzip", "lzma")
"""What can be read; the first five are what caches are made with."""

SUFFIXES = MappingProxyType(
    {".xz": "xz", ".zst": "zstd", ".bz2": "bzip2", ".br": "br", ".gz": "gzip", ".lzma": "lzma"}
)
"""By the endings of files' names."""

_INPUT = 1 << 17


def decompress(stream: BinaryIO, name: str, *, where: str) -> BinaryIO:
    """The plain bytes of `stream`; see `compress.decompress`. Brotli (RFC 7932) is one stream exactly."""
    if name == "br":
        return io.BufferedReader(_Brotli(stream, where), _INPUT)
    return compress.decompress(stream, where=where, name="bz2" if name == "bzip2" else name)


class _Brotli(io.RawIOBase):
    """Bounded memory: a window of at most 16 MiB, and what one call gives."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        import brotli  # type: ignore[import-untyped]

        self._stream, self._where = stream, where
        self._decoder: Any = brotli.Decompressor()
        self._error: type[Exception] = brotli.error
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            if self._decoder.is_finished():
                if self._stream.read(1):
                    raise self._refuse("has bytes after its end")
                return 0
            wants_more = self._decoder.can_accept_more_data()
            data = self._stream.read(_INPUT) if wants_more else b""
            try:
                self._rest = memoryview(self._decoder.process(data, output_buffer_limit=len(buffer)))
            except self._error:
                raise self._refuse("is damaged") from None
            # without more input, it may still have had output
            if wants_more and not data and not self._rest and not self._decoder.is_finished():
                raise self._refuse("is truncated")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _refuse(self, what: str) -> FormatError:
        return FormatError(f"{self._where}: the br stream {what}", hint="the file is damaged; fetch it again")

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
