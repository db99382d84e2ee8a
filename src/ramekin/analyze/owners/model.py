"""What packaging systems say."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Package(msgspec.Struct, frozen=True):
    """A package as its system names it. `system` is dpkg, apk, rpm, nix, python, node, java, go or rust;
    `source` is the package that it was built from, where that has another name.
    """

    system: str
    name: str
    version: str = ""
    architecture: str = ""
    source: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


Claim = tuple[Package, Iterable[str]]
"""A package and the paths that it says are its own; they need not exist."""


def paragraphs(data: bytes) -> list[dict[str, str]]:
    """The fields of each paragraph of a control file (deb-control), lines of several joined by newlines."""
    found: list[dict[str, str]] = []
    for block in data.decode("utf-8", "replace").split("\n\n"):
        fields: dict[str, str] = {}
        last = ""
        for line in block.split("\n"):
            if line[:1] in (" ", "\t"):
                if last in ("conffiles",):
                    fields[last] += "\n" + line.strip()
                continue
            last, colon, value = line.partition(":")
            last = last.lower()
            if colon:
                fields[last] = value.strip()
        if fields:
            found.append(fields)
    return found
