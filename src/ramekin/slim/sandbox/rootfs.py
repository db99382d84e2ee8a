"""An image's files, laid out once for all the sandboxes that run it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ramekin.image.image import Image
from ramekin.image.removal import remove
from ramekin.progress import SILENT, Progress, Task


@dataclass(frozen=True, slots=True)
class Rootfs:
    """The folder of an image's files, which no sandbox writes to, and the folder that goes away with it."""

    path: Path
    scratch: Path


@contextmanager
def unpacked(image: Image, scratch: Path, *, progress: Progress = SILENT) -> Iterator[Rootfs]:
    """The files of a single image in a new folder in `scratch`, removed at the end.

    As root they have the image's owners; otherwise they are the user's. Raises what reading the image raises.
    """
    from ramekin.image import transports
    from ramekin.image.reference import Reference

    folder = Path(tempfile.mkdtemp(prefix="rootfs-", dir=scratch))
    try:
        root = folder / "rootfs"
        transports.write(image, Reference("rootfs", str(root)), progress=_WithoutNotes(progress))
        yield Rootfs(root, folder)
    finally:
        remove(folder)


class _WithoutNotes:
    """Progress without notes: whose files a throw-away copy has is nobody's concern."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> AbstractContextManager[Task]:
        return self._progress.task("laying out files", total=total, unit=unit)

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self._progress.warn(text)
