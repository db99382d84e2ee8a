"""Contents read where they are: most trees have all theirs in one file, which is then opened once."""

from __future__ import annotations

import os

from ramekin.errors import RamekinError
from ramekin.image.tree import Span

_OPEN_FILES = 8


class Spans:
    """The last few files that spans were read from, kept open. For one thread; closed by `close`."""

    def __init__(self) -> None:
        self._open: dict[os.PathLike[str], int] = {}

    def read(self, span: Span, offset: int, size: int) -> bytes:
        """At most `size` bytes of a span from `offset` on; fewer only where its file ends."""
        descriptor = self._open.get(span.path)
        try:
            if descriptor is None:
                if len(self._open) >= _OPEN_FILES:
                    os.close(self._open.pop(next(iter(self._open))))
                descriptor = os.open(span.path, os.O_RDONLY | os.O_CLOEXEC)
                self._open[span.path] = descriptor
            return os.pread(descriptor, size, span.offset + offset)
        except OSError as error:
            raise RamekinError(f"cannot read {span.path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the files; the next read opens what it needs."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
