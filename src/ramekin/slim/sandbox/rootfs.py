"""An image's files, laid out once for all the sandboxes that run it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ramekin.image.image import Image
from ramekin.image.removal import remove
from ramekin.image.running.files import lay_out
from ramekin.progress import SILENT, Progress


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
    folder = Path(tempfile.mkdtemp(prefix="rootfs-", dir=scratch))
    try:
        root = folder / "rootfs"
        lay_out(image, root, progress=progress)
        yield Rootfs(root, folder)
    finally:
        remove(folder)
