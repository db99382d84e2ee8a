"""An image's files laid out for a throw-away run."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from ramekin.image.image import Image
from ramekin.progress import Progress, Task


def lay_out(image: Image, root: Path, *, progress: Progress) -> None:
    """Write the files of a single image to `root`, which is not there yet.

    As root they have the image's owners; otherwise they are the user's. Raises what reading the image raises.
    """
    from ramekin.image import transports
    from ramekin.image.reference import Reference

    transports.write(image, Reference("rootfs", str(root)), progress=_WithoutNotes(progress))


class _WithoutNotes:
    """Progress without notes: whose files a throw-away copy has is nobody's concern."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> AbstractContextManager[Task]:
        return self._progress.task("laying out files", total=total, unit=unit)

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self._progress.warn(text)
