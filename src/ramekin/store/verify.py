"""The one stream that does not believe what it reads."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

from ramekin.errors import DigestMismatchError
from ramekin.store.digest import Digest


class _Verified(io.RawIOBase):
    def __init__(self, source: BinaryIO, digest: Digest, size: int | None, where: str, hint: str) -> None:
        self._source = source
        self._digest = digest
        self._size = size
        self._where = where
        self._hint = hint
        self._state = hashlib.sha256()
        self._done = 0
        self._over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._over:
            return 0
        data = self._source.read(len(buffer))
        self._state.update(data)
        self._done += len(data)
        if self._size is not None and self._done > self._size:
            self._refuse(f"has more than its {self._size} bytes")
        # the last bytes are handed out only once they are known to be the last and right
        if not data or (self._done == self._size and not self._source.read(1)):
            self._finish()
        elif self._done == self._size:
            self._refuse(f"has more than its {self._size} bytes")
        buffer[: len(data)] = data
        return len(data)

    def _finish(self) -> None:
        if self._size is not None and self._done != self._size:
            self._refuse(f"has {self._done} bytes instead of {self._size}")
        found = "sha256:" + self._state.hexdigest()
        if found != self._digest:
            self._refuse(f"has the digest {found}")
        self._over = True

    def _refuse(self, what: str) -> None:
        place = f" from {self._where}" if self._where else ""
        raise DigestMismatchError(f"blob {self._digest}{place} {what}", hint=self._hint)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


def verified(
    source: BinaryIO,
    digest: Digest,
    size: int | None = None,
    *,
    where: str = "",
    hint: str = "it was damaged on the way or where it is kept",
) -> BinaryIO:
    """`source` as a stream that raises `DigestMismatchError` before its end unless digest and size agree.

    `size` is in bytes, None when it is not known. The stream that is returned closes `source`; `where` says
    in errors where the blob came from, `hint` what to do. Closing early is not an error: nothing was
    believed then.
    """
    return io.BufferedReader(_Verified(source, digest, size, where, hint), 1 << 18)
