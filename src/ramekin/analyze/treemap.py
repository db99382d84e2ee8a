"""A tree of bytes small enough to be drawn: what is too small to be seen is put together.

Folders with one folder in them and nothing else are one node (`usr/lib/x`); in every folder, what is below a
share of the whole becomes one node that says how many files it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

MOST = 3000
"""Nodes that a browser draws without a pause."""
REST = "…"


class Node(msgspec.Struct, frozen=True, array_like=True):
    """A folder or file. `parent` is the place of its folder in the list, -1 for the root, which is first.

    `systems` are the bytes of each packaging system in it, `waste` those of each category of waste.
    """

    name: str
    parent: int
    size: int
    files: int
    systems: dict[str, int]
    waste: dict[str, int]


class _Folder:
    __slots__ = ("children", "files", "size", "systems", "waste")

    def __init__(self) -> None:
        self.children: dict[str, _Folder] = {}
        self.size = self.files = 0
        self.systems: dict[str, int] = {}
        self.waste: dict[str, int] = {}

    def add(self, size: int, system: str, waste: str) -> None:
        self.size += size
        self.files += 1
        self.systems[system] = self.systems.get(system, 0) + size
        if waste:
            self.waste[waste] = self.waste.get(waste, 0) + size

    def merge(self, other: _Folder) -> None:
        self.size += other.size
        self.files += other.files
        for mine, its in ((self.systems, other.systems), (self.waste, other.waste)):
            for name, size in its.items():
                mine[name] = mine.get(name, 0) + size


def treemap(rows: Iterable[tuple[list[str], int, str, str]], *, most: int = MOST) -> tuple[Node, ...]:
    """Nodes of rows of path, bytes, packaging system and waste; a folder stands before what is in it."""
    root = _Folder()
    for path, size, system, waste in rows:
        here = root
        here.add(size, system, waste)
        for name in path:
            below = here.children.get(name)
            if below is None:
                below = here.children[name] = _Folder()
            below.add(size, system, waste)
            here = below
    smallest = _threshold(root, most)
    nodes: list[Node] = []
    waiting: list[tuple[str, _Folder, int]] = [("", root, -1)]
    while waiting:
        name, folder, parent = waiting.pop()
        while len(folder.children) == 1:
            (below_name, below), *_ = folder.children.items()
            if not below.children or parent < 0:
                break
            name, folder = f"{name}/{below_name}", below
        number = len(nodes)
        nodes.append(Node(name, parent, folder.size, folder.files, folder.systems, folder.waste))
        rest = _Folder()
        shown = []
        for below_name, below in folder.children.items():
            if below.size >= smallest:
                shown.append((below_name, below, number))
            else:
                rest.merge(below)
        if rest.size and shown:
            shown.append((REST, rest, number))
        waiting += sorted(shown, key=lambda one: one[1].size)
    return tuple(nodes)


def _threshold(root: _Folder, most: int) -> int:
    """The least bytes that a node must have for there to be at most about `most` of them."""
    sizes: list[int] = []
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        sizes.append(folder.size)
        waiting += folder.children.values()
    sizes.sort(reverse=True)
    return max(1, sizes[most] + 1 if len(sizes) > most else 1)
