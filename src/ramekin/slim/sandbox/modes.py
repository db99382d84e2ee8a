"""Whether root makes use of CAP_DAC_OVERRIDE: its right to files that their modes would keep from it.

That is told by the files that it opens, as the kernel reports them, and by those that it has written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from ramekin.slim.sandbox import status

OVERRIDE = "CAP_DAC_OVERRIDE"


def closed(file: os.stat_result, rights: int) -> bool:
    """Whether a file's mode keeps `rights` (4 to read, 2 to write, 1 to execute) from root, and its group."""
    shift = 6 if file.st_uid == 0 else 3 if file.st_gid == 0 else 0
    return file.st_mode >> shift & rights != rights


class Modes:
    """What root opens of the files below `root`, and could not without CAP_DAC_OVERRIDE."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._doors: dict[str, bool] = {}
        self._others: set[int] = set()
        self.overridden = False
        """Whether root has opened what is closed to it."""
        self.by_root: set[str] = set()
        """Files of others that root has opened, and that it may only read."""

    def opened(self, path: str, descriptor: int, pid: int, *, executed: bool) -> None:
        """Note that a process has opened or executed what a descriptor of ours is of."""
        if self.overridden:
            return
        file = os.fstat(descriptor)
        if not closed(file, 6) and not self._behind(path):
            return
        barred = closed(file, 1 if executed else 4) or self._behind(path)
        if (barred or (closed(file, 2) and path not in self.by_root)) and self._is_root(pid):
            self.overridden = barred
            self.by_root.add(path)

    def _behind(self, path: str) -> bool:
        """Whether a folder on the way is closed to root."""
        folder = path.rpartition("/")[0]
        if not folder:
            return False
        known = self._doors.get(folder)
        if known is None:
            known = self._behind(folder)
            with suppress(OSError):
                known = known or closed(os.lstat(self._root + folder), 1)
            self._doors[folder] = known
        return known

    def _is_root(self, pid: int) -> bool:
        """Whether a process is root's; one that has ended may have been. Who is not will never be again."""
        if pid in self._others:
            return False
        identities = status.numbers(pid, "Uid")
        if not identities or identities[3] == 0:
            return True
        self._others.add(pid)
        return False

    def wrote(self, paths: Iterable[str], upper: str, lower: str, *, chowns: bool) -> bool:
        """Whether root has written what is closed to it, or it cannot be ruled out.

        `paths` are those that were made, changed or removed; `upper` and `lower` the folders of the overlay's
        layers. When root `chowns`, files of others may have been made by it.
        """
        return any(self._wrote(path, upper, lower, chowns) for path in paths)

    def _wrote(self, path: str, upper: str, lower: str, chowns: bool) -> bool:
        before, after = _at(lower + path), _at(upper + path)
        if before is not None and after is not None and not stat.S_ISCHR(after.st_mode):
            # changed in its place, by those who opened it; or in its mode alone, which cannot be told apart
            return closed(before, 2) and not stat.S_ISLNK(before.st_mode) and path in self.by_root
        folder = path.rpartition("/")[0]
        there = _at(lower + folder) or _at(upper + folder)
        if there is None or not closed(there, 3):
            return False
        # a new file is whose it is; who removed one is not known
        if after is None or stat.S_ISCHR(after.st_mode):
            return True
        return chowns or after.st_uid == 0 or path in self.by_root


def _at(path: str) -> os.stat_result | None:
    with suppress(OSError):
        return os.lstat(path)
    return None


def others(root: str, paths: set[str]) -> bool:
    """Whether one of the files at `paths`, or a folder that one is in, is another user's than root's."""
    for path in paths:
        for place in (path, path.rpartition("/")[0]):
            with suppress(OSError):
                if os.lstat(root + place).st_uid != 0:
                    return True
    return False
