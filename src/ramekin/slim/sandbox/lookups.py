"""Where a path leads in a container: every link on the way, and what is at the end.

Paths are looked at from outside, below the folder of the container's root, component by component, so that
the kernel never follows a link of the image. All paths here begin with a slash, and are the container's.
"""
# ruff: noqa: PTH115

from __future__ import annotations

import os
import stat
from collections.abc import Container
from dataclasses import dataclass

_LINKS = 40
"""Links that are followed before a path is taken for a loop, as Linux does."""


@dataclass(frozen=True, slots=True)
class Found:
    """`links` are those that were followed, `end` where they led or the first component that is not there.

    `rest` is what of the path was asked for below that.
    """

    links: tuple[str, ...]
    end: str
    exists: bool
    folder: bool = False
    rest: tuple[str, ...] = ()

    def among(self, removed: Container[str]) -> str | None:
        """Which of the `removed` paths was looked for, if one was: the farthest on the way.

        A program that asks for a file in a folder that is gone asks for the file. Links that are gone are not
        followed.
        """
        if self.exists or self.end not in removed:
            return None
        farthest = here = self.end
        for part in self.rest:
            if part == "..":
                break
            here = f"{here}/{part}"
            if here in removed:
                farthest = here
        return farthest


def absolute(path: str, base: str) -> str:
    """A path that a process names, `base` being its working folder or that of the descriptor it gave."""
    return path if path.startswith("/") else f"{base}/{path}"


def walk(root: str, path: str, *, follow: bool) -> Found:
    """Walk an absolute path below `root`; without `follow`, a link at its end is the end."""
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links: list[str] = []
    here = ""
    mode = stat.S_IFDIR
    while todo:
        part = todo.pop()
        if part == "..":
            here = here.rpartition("/")[0]
            mode = stat.S_IFDIR
            continue
        here = f"{here}/{part}"
        try:
            mode = os.lstat(root + here).st_mode
            if not stat.S_ISLNK(mode) or (not todo and not follow):
                continue
            target = os.readlink(root + here)
        except OSError:
            return Found(tuple(links), here, exists=False, rest=tuple(reversed(todo)))
        links.append(here)
        if len(links) > _LINKS:
            return Found(tuple(links), here, exists=False)
        here = "" if target.startswith("/") else here.rpartition("/")[0]
        mode = stat.S_IFDIR
        todo += [name for name in reversed(target.split("/")) if name not in ("", ".")]
    return Found(tuple(links), here or "/", exists=True, folder=stat.S_ISDIR(mode))
