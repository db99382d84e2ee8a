"""Packages that are folders: a file belongs to the nearest one above it."""

from __future__ import annotations

from collections.abc import Iterable

from ramekin.analyze.stack import Stack
from ramekin.image.tree import Kind


def beneath(stack: Stack, folders: Iterable[str], *, within: str = "") -> dict[str, list[str]]:
    """The files below each of `folders`, but for those that lie below a nearer one.

    Only paths that hold the text `within` are looked at.
    """
    found: dict[str, list[str]] = {folder: [] for folder in folders}
    if not found:
        return {}
    nearest: dict[str, str] = {"": ""}

    def root_of(folder: str) -> str:
        passed = []
        while folder not in nearest and folder not in found:
            passed.append(folder)
            folder = folder.rpartition("/")[0]
        root = nearest.get(folder, folder)
        nearest.update((one, root) for one in passed)
        return root

    for path, placed in stack.files.items():
        if placed.file.kind is Kind.DIRECTORY or within not in path:
            continue
        if root := root_of(path.rpartition("/")[0]):
            found[root].append(path)
    return found
