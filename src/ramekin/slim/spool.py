"""An image's files while it is slimmed: in memory where there is room, else on the disk.

How much it is shows only while it is read, for layers may be packed a thousand times tighter than most are.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ramekin.errors import RamekinError
from ramekin.image.image import Image
from ramekin.progress import Progress
from ramekin.slim import contents as contents_of
from ramekin.slim import scratch as scratches
from ramekin.slim.contents import Contents
from ramekin.slim.scratch import scratch
from ramekin.slim.slimmed import SlimRequest
from ramekin.store.store import Store

_TIGHT = 4
"""How many times smaller layers are when they are packed, at most as a rule."""
_COPIES = 3
"""Times an image's bytes are laid out at once: layers, the original's files, and the slim ones."""


@contextmanager
def spooled(
    image: Image, request: SlimRequest, store: Store, stored: int, progress: Progress
) -> Iterator[tuple[Contents, Path]]:
    """The files of an image whose layers are `stored` bytes, and a folder to lay them out in twice.

    Raises what reading the image raises.
    """
    with ExitStack() as stack:
        folder, contents = _read(image, request, store, stored, progress, stack)
        stack.callback(contents.close)
        size = sum(tree.size for tree in contents.trees)
        if size > _plain_size(stored):
            folder = stack.enter_context(scratch((_COPIES - 1) * size, store.scratch()))
        yield contents, folder


def _read(
    image: Image, request: SlimRequest, store: Store, stored: int, progress: Progress, stack: ExitStack
) -> tuple[Path, Contents]:
    """The files and the folder that they are in, which goes with `stack`."""
    for needed in (_COPIES * _plain_size(stored), sys.maxsize):
        with ExitStack() as tried:
            folder = tried.enter_context(scratch(needed, store.scratch()))
            try:
                contents = contents_of.read(
                    image,
                    name=request.name,
                    spool=folder,
                    platform=request.platform,
                    jobs=request.jobs,
                    progress=progress,
                )
            except RamekinError as error:
                if needed == sys.maxsize or folder.parent != scratches.MEMORY or not _want_of_room(error):
                    raise
                continue
            stack.push(tried.pop_all())
            return folder, contents
    raise AssertionError


def _want_of_room(error: BaseException | None) -> bool:
    """Whether an error came of a full file system."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return True
        error = error.__context__
    return False


def _plain_size(stored: int) -> int:
    """About how many bytes layers have when they are unpacked."""
    return _TIGHT * stored
