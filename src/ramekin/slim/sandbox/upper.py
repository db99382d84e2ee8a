"""What a container has written, by the upper layer of its overlay file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress


def written(upper: str, lower: str) -> Iterator[str]:
    """Paths (`/var/run/x.pid`) that were made, changed or removed; of folders, only those that are new.

    `upper` and `lower` are the folders of the overlay's two layers.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        # what a program that runs still removes meanwhile, or what is deeper than a path is long, is no path
        with suppress(OSError), os.scandir(upper + folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                    if os.path.lexists(lower + path):
                        continue
                # what was removed is here too, as a device 0:0
                yield path
