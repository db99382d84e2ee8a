"""Whose each byte is: the package that a file came with, of whatever packaging system, or nobody's.

A file can be claimed more than once, as a Python module is that a Debian package brought. The first claim of
this order stands: the system's packages (dpkg, apk, rpm, nix), what language tools installed (Python, node,
Ruby, PHP), what files say of themselves (Java archives, Go and Rust programs), and at last what tools of a
package are known to make (compiled Python, caches, the certificates' bundle).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from ramekin.analyze.owners import apk, dpkg, made, nix, node, php, programs, python, rpm, ruby
from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack

__all__ = ["Owned", "Owners", "Package", "owners"]

_SYSTEMS: tuple[Callable[[Stack], Iterator[Claim]], ...] = (
    dpkg.claims,
    apk.claims,
    rpm.claims,
    nix.claims,
    python.claims,
    node.claims,
    ruby.claims,
    php.claims,
    programs.claims,
)


class Owned(msgspec.Struct, frozen=True):
    """How much a package has: paths that are no folders, and bytes, each content once."""

    files: int = 0
    size: int = 0


@dataclass(frozen=True)
class Owners:
    """`of` gives the number of a path's package in `packages`; a path without one is nobody's."""

    packages: tuple[Package, ...]
    of: Mapping[str, int]
    owned: tuple[Owned, ...]
    nobody: Owned

    def package(self, path: str) -> Package | None:
        """The package of a path."""
        number = self.of.get(path)
        return None if number is None else self.packages[number]


def owners(stack: Stack) -> Owners:
    """The packages that are in an image, and what they own."""
    packages: list[Package] = []
    numbers: dict[Package, int] = {}
    of: dict[str, int] = {}
    places = _Places(stack)
    for claims in _SYSTEMS:
        for package, paths in claims(stack):
            number = numbers.setdefault(package, len(packages))
            if number == len(packages):
                packages.append(package)
            for path in paths:
                found = places.find(path)
                if found is not None:
                    of.setdefault(found, number)
    for path, number in made.claims(stack, packages, of):
        of.setdefault(path, number)
    return _weigh(stack, packages, of)


def _weigh(stack: Stack, packages: list[Package], of: dict[str, int]) -> Owners:
    files = [0] * (len(packages) + 1)
    sizes = [0] * (len(packages) + 1)
    seen: set[int] = set()
    # a content with several names belongs to the owner of the first one that has any
    for wanted in (True, False):
        for path, placed in stack.files.items():
            number = of.get(path, -1)
            if (number >= 0) is not wanted or (placed.inode is None and not placed.file.target):
                continue
            files[number] += 1
            inode = placed.inode
            if inode is None or id(inode) in seen:
                continue
            if inode.names > 1:
                seen.add(id(inode))
            sizes[number] += inode.file.size
    *owned, nobody = (Owned(count, size) for count, size in zip(files, sizes, strict=True))
    return Owners(tuple(packages), of, tuple(owned), nobody)


class _Places:
    """Where the paths that databases name are in an image whose folders may be links (`lib` to `usr/lib`)."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._folders: dict[str, str | None] = {}

    def find(self, path: str) -> str | None:
        path = path.lstrip("/")
        if path in self._stack.files:
            return path
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self._stack.resolve(folder)
        real = self._folders[folder]
        if real is None:
            return None
        found = f"{real}/{name}" if real else name
        return found if found in self._stack.files else None
