"""What npm and its like installed: every file below a package's folder in node_modules, but for those of the
packages that lie in it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack
from ramekin.image.tree import Kind


def claims(stack: Stack) -> Iterator[Claim]:
    """Every package that has a package.json."""
    roots: dict[str, list[str]] = {}
    packages: dict[str, Package] = {}
    for path in stack.files:
        if path.endswith("/package.json") and (found := stack.traits(path).get("node")) is not None:
            folder = path.rpartition("/")[0]
            packages[folder] = Package("node", found["name"], found["version"])
            roots[folder] = []
    if not roots:
        return
    nearest: dict[str, str] = {"": ""}

    def root_of(folder: str) -> str:
        passed = []
        while folder not in nearest and folder not in roots:
            passed.append(folder)
            folder = folder.rpartition("/")[0]
        root = nearest.get(folder, folder)
        nearest.update((one, root) for one in passed)
        return root

    for path, placed in stack.files.items():
        if placed.file.kind is Kind.DIRECTORY or "node_modules/" not in path:
            continue
        if root := root_of(path.rpartition("/")[0]):
            roots[root].append(path)
    for folder, paths in roots.items():
        yield packages[folder], paths
