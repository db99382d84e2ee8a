"""Compressing layers to the same bytes always, and decompressing whatever layers and packages come in.

gzip (RFC 1952) is written by libdeflate in members of 4 MiB of input, which bounds memory and lets a few
be compressed at once; of 40 MiB of libraries they make 0.07 % more than one member would. zstd (RFC 8878)
by the reference library, streaming, in one thread. Both depend on the library's version, which is part of
`Compression.identity` and so of every action key.
"""

from __future__ import annotations

import io
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from ramekin.errors import FormatError, RamekinError, UsageError
from ramekin.image import oci

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_MEMBER = 4 << 20
_PIECE = 1 << 20
_AHEAD = 2
"""Members of one layer that may be compressed while the next is gathered."""
_INPUT = 1 << 17
_WINDOW_LOG = 23
"""Decoders must accept windows of 8 MiB (RFC 8878, 3.1.1.1.2); many refuse larger ones."""
_LARGEST_WINDOW = 128 << 20
_MEMORY = 256 << 20
"""Bytes that one xz or lzma decoder may take: xz -9 needs 65 MiB, a hostile header could ask for 4 GiB."""

# known without importing the libraries, for a warm build needs nothing but the identity
_VERSIONS = {"gzip": "deflate-0.9.0", "zstd": "zstandard-0.25.0", "none": ""}
_LEVELS = {"gzip": (1, 6, 12), "zstd": (1, 3, 22), "none": (0, 0, 0)}
_MEDIA_TYPES = {"gzip": oci.LAYER_GZIP, "zstd": oci.LAYER_ZSTD, "none": oci.LAYER}


@dataclass(frozen=True, slots=True)
class Compression:
    """A way to compress: `name` is `gzip` (levels 1 to 12), `zstd` (1 to 22) or `none`."""

    name: str
    level: int

    @property
    def media_type(self) -> str:
        """The OCI media type of a layer that is compressed so."""
        return _MEDIA_TYPES[self.name]

    @property
    def identity(self) -> str:
        """All that the compressed bytes depend on beside the input."""
        return f"{self.name}:{self.level}:{_VERSIONS[self.name]}"

    def __str__(self) -> str:
        return self.name if self.name == "none" else f"{self.name}:{self.level}"


def parse(text: str) -> Compression:
    """Read `gzip`, `gzip:9`, `zstd`, `zstd:19` or `none`; `UsageError` for anything else."""
    name, colon, level = text.partition(":")
    if name not in _LEVELS:
        raise UsageError(f"{text!r} is not a compression", hint="choose gzip, zstd or none")
    lowest, usual, highest = _LEVELS[name]
    if not colon:
        return Compression(name, usual)
    if name == "none" or not level.isascii() or not level.isdigit() or not lowest <= int(level) <= highest:
        hint = "write it without a level" if name == "none" else f"{name} has levels {lowest} to {highest}"
        raise UsageError(f"{text!r} is not a compression", hint=hint)
    return Compression(name, int(level))


class Compressor(Protocol):
    """Gives compressed bytes as they come."""

    def write(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


def compressor(compression: Compression) -> Compressor:
    """A new compressor. Its output depends on the bytes alone, not on how they were cut for `write`."""
    if compression.name == "gzip":
        return _Gzip(compression.level)
    if compression.name == "zstd":
        return _Zstd(compression.level)
    return _Plain()


class _Plain:
    def write(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Gathering:
    """Cuts input into pieces of one size, whatever pieces it came in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._buffer = bytearray()

    def pieces(self, data: bytes) -> Iterator[memoryview]:
        """Add input, and take out the pieces that are full; each is valid until the next is asked for."""
        buffer = self._buffer
        buffer += data
        start = 0
        with memoryview(buffer) as view:
            while len(view) - start >= self._size:
                with view[start : start + self._size] as piece:
                    yield piece
                start += self._size
        if start:
            del buffer[:start]

    def rest(self) -> bytearray:
        """What is left at the end, less than a full piece."""
        data, self._buffer = self._buffer, bytearray()
        return data


class _Gzip:
    """Full members are compressed in a few threads that all layers share, as long as one of them is free."""

    def __init__(self, level: int) -> None:
        import deflate

        _check("gzip", "deflate-" + deflate.__version__)
        self._level = level
        self._gzip = deflate.gzip_compress
        self._input = _Gathering(_MEMBER)
        self._members: deque[Future[bytearray] | bytearray] = deque()
        self._begun = False

    def write(self, data: bytes) -> bytes:
        for piece in self._input.pieces(data):
            self._begun = True
            if _workers.take():
                self._members.append(_workers.run(self._gzip, bytes(piece), self._level))
            else:
                self._members.append(self._gzip(piece, self._level))
        return self._done(wait=False)

    def finish(self) -> bytes:
        data = self._input.rest()
        if data or not self._begun:
            self._members.append(self._gzip(data, self._level))
        return self._done(wait=True)

    def _done(self, *, wait: bool) -> bytes:
        done: list[bytearray] = []
        while self._members:
            first = self._members[0]
            if isinstance(first, bytearray):
                done.append(first)
            elif wait or first.done() or len(self._members) > _AHEAD:
                done.append(first.result())
            else:
                break
            self._members.popleft()
        return b"".join(done)


class _Workers:
    """The threads that compress members, and how many of them are free."""

    def __init__(self) -> None:
        self._count = os.cpu_count() or 1
        self._free = threading.Semaphore(self._count)
        self._guard = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def take(self) -> bool:
        return self._free.acquire(blocking=False)

    def run(self, compress: Callable[[bytes, int], bytearray], data: bytes, level: int) -> Future[bytearray]:
        from concurrent.futures import ThreadPoolExecutor

        with self._guard:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="gzip")
        return self._pool.submit(self._work, compress, data, level)

    def _work(self, compress: Callable[[bytes, int], bytearray], data: bytes, level: int) -> bytearray:
        try:
            return compress(data, level)
        finally:
            self._free.release()


_workers = _Workers()


class _Zstd:
    def __init__(self, level: int) -> None:
        import zstandard

        _check("zstd", "zstandard-" + zstandard.__version__)
        usual = zstandard.ZstdCompressionParameters.from_level(level)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            window_log=min(usual.window_log, _WINDOW_LOG),
            write_content_size=False,
            write_checksum=True,
            threads=0,
        )
        self._frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self._input = _Gathering(_PIECE)

    def write(self, data: bytes) -> bytes:
        return b"".join([self._frame.compress(piece) for piece in self._input.pieces(data)])

    def finish(self) -> bytes:
        return self._frame.compress(self._input.rest()) + self._frame.flush()


def _check(name: str, found: str) -> None:
    if found != _VERSIONS[name]:
        raise RamekinError(
            f"{found} is installed where layers are made with {_VERSIONS[name]}",
            hint="other versions make other bytes; install Ramekin with the versions that it asks for",
        )


# --- decompressing ---------------------------------------------------------------------------------------


def sniff(head: bytes) -> str:
    """`gzip`, `zstd`, `xz` or `none` by the first bytes of a stream (six are enough)."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    if head[:6] == b"\xfd7zXZ\0":
        return "xz"
    return "none"


def decompress(stream: BinaryIO, *, where: str, name: str | None = None) -> BinaryIO:
    """The plain bytes of a stream that is compressed as `name` says: gzip, zstd, xz, lzma, bz2 or none.

    Without a name one of gzip, zstd, xz and none is told by the stream's start. Several gzip members, zstd
    frames or xz streams one after another are one stream. Memory is bounded whatever the bytes are.
    `FormatError`, naming `where`, when they are damaged or end too early. Closing the result closes `stream`.
    """
    head = b""
    if name is None:
        while len(head) < 6 and (more := stream.read(6 - len(head))):
            head += more
        name = sniff(head)
    whole = _Rejoined(head, stream)
    if name == "none":
        return io.BufferedReader(whole, _INPUT)
    if name == "zstd":
        return io.BufferedReader(_Frames(whole, where), _INPUT)
    return io.BufferedReader(_Members(whole, where, name), _INPUT)


class _Rejoined(io.RawIOBase):
    """A stream with the bytes put back that were read to tell what it is."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def readable(self) -> bool:
        return True

    def take(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end only."""
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        return self._stream.read(size)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class _Decompressing(io.RawIOBase):
    def __init__(self, source: _Rejoined, where: str) -> None:
        self._source, self._where = source, where

    def readable(self) -> bool:
        return True

    def _refuse(self, what: str) -> FormatError:
        return FormatError(f"{self._where}: {what}", hint="the file is damaged; fetch it again")

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


class _Members(_Decompressing):
    """gzip members (with zeros allowed after the last) or streams of xz (with padding), lzma or bzip2."""

    def __init__(self, source: _Rejoined, where: str, name: str) -> None:
        super().__init__(source, where)
        self._name = name
        self._state: Any = self._begin()
        self._input = b""
        self._begun = self._within = False
        self._over = False

    def _begin(self) -> Any:
        if self._name == "gzip":
            return zlib.decompressobj(wbits=31)
        if self._name == "bz2":
            import bz2

            return bz2.BZ2Decompressor()
        import lzma

        form = lzma.FORMAT_XZ if self._name == "xz" else lzma.FORMAT_ALONE
        return lzma.LZMADecompressor(form, memlimit=_MEMORY)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._over:
            if not self._input and (self._name == "gzip" or self._state.needs_input or not self._within):
                self._input = self._source.take(_INPUT)
                if not self._input:
                    if self._within or not self._begun:
                        raise self._refuse(f"the {self._name} stream is truncated")
                    break
            if not self._within:
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    continue
                self._state, self._within, self._begun = self._begin(), True, True
            try:
                data = self._state.decompress(self._input, len(buffer))
            except Exception as error:
                raise self._refuse(f"the {self._name} stream is damaged: {error}") from None
            if self._name == "gzip":
                self._input = self._state.unconsumed_tail
            else:
                self._input = b""
            if self._state.eof:
                self._input = self._state.unused_data
                self._within = False
            if data:
                buffer[: len(data)] = data
                return len(data)
        self._over = True
        return 0


class _Frames(_Decompressing):
    """zstd frames. The library says nothing about a last frame that is incomplete, so they are counted."""

    def __init__(self, source: _Rejoined, where: str) -> None:
        super().__init__(source, where)
        import zstandard

        self._error = zstandard.ZstdError
        self._outline = _Outline(source)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        self._stream: Any = decompressor.stream_reader(
            cast(BinaryIO, self._outline), read_size=_INPUT, read_across_frames=True
        )

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            count: int = self._stream.readinto(buffer)
        except self._error as error:
            raise self._refuse(f"the zstd stream is damaged: {error}") from None
        if not count and not self._outline.complete:
            raise self._refuse("the zstd stream is truncated")
        return count


class _Outline:
    """Passes zstd frames on and follows their outline (RFC 8878, 3.1): where blocks and frames end."""

    def __init__(self, source: _Rejoined) -> None:
        self._source = source
        self._skip = 0
        self._pending = b""
        self._begun = False
        self._want = 4
        self._step: Callable[[bytes], None] = self._magic
        self._checksum = 0

    @property
    def complete(self) -> bool:
        """Whether what has passed ends with the end of a frame."""
        return self._begun and self._step == self._magic and not self._skip and not self._pending

    def read(self, size: int) -> bytes:
        data = self._source.take(size)
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            taken = data[position : position + self._want - len(self._pending)]
            self._pending += taken
            position += len(taken)
            if len(self._pending) == self._want:
                pending, self._pending = self._pending, b""
                self._step(pending)
        return data

    def _next(self, step: Callable[[bytes], None], want: int) -> None:
        self._step, self._want = step, want

    def _magic(self, data: bytes) -> None:
        self._begun = True
        if data[1:] == b"\x2a\x4d\x18" and data[0] & 0xF0 == 0x50:
            self._next(self._skippable, 4)
        else:
            # a wrong magic number is the library's to refuse
            self._next(self._descriptor, 1)

    def _skippable(self, data: bytes) -> None:
        self._skip = int.from_bytes(data, "little")
        self._next(self._magic, 4)

    def _descriptor(self, data: bytes) -> None:
        flags = data[0]
        single = bool(flags & 0x20)
        self._checksum = 4 if flags & 4 else 0
        content = (1 if single else 0, 2, 4, 8)[flags >> 6]
        self._skip = (0 if single else 1) + (0, 1, 2, 4)[flags & 3] + content
        self._next(self._block, 3)

    def _block(self, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        last, kind, size = value & 1, value >> 1 & 3, value >> 3
        self._skip = 1 if kind == 1 else size
        if last:
            self._skip += self._checksum
            self._next(self._magic, 4)
