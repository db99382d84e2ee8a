"""A temporary file that holds contents for as long as any tree refers to them."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from ramekin.errors import RamekinError


class Owner:
    """Kept by every span of a spool; the file is removed when it dies, at the latest when Python exits."""

    __slots__ = ("__weakref__",)

    def __init__(self, path: Path) -> None:
        weakref.finalize(self, _remove, path)


class Spool:
    """A file in `folder` that bytes are appended to; `size` is where the next ones go."""

    __slots__ = ("_descriptor", "owner", "path", "size")

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"spool-{os.urandom(8).hex()}"
        self.size = 0
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failure(error, folder) from None
        self.owner = Owner(self.path)

    def write(self, data: memoryview) -> None:
        """Append `data`; it can be read from the file when this returns."""
        try:
            while data:
                count = os.write(self._descriptor, data)
                self.size += count
                data = data[count:]
        except OSError as error:
            raise _failure(error, self.path.parent) from None

    def skip(self, size: int) -> None:
        """Append `size` zeros, which take no room where the file system knows holes."""
        try:
            os.ftruncate(self._descriptor, self.size + size)
            self.size = os.lseek(self._descriptor, size, os.SEEK_CUR)
        except OSError as error:
            raise _failure(error, self.path.parent) from None

    def close(self) -> None:
        """Stop writing. The file stays until its owner dies."""
        os.close(self._descriptor)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _failure(error: OSError, folder: Path) -> RamekinError:
    return RamekinError(
        f"cannot write temporary files in {folder}: {error.strerror}",
        hint="free some space there",
    )
