"""What apk installed (apk v2 database: `P:` name, `V:` version, `F:` folder, `R:` file)."""

from __future__ import annotations

from collections.abc import Iterator

from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack
from ramekin.image.tree import to_text

_DATABASES = ("lib/apk/db/installed", "usr/lib/apk/db/installed")


def claims(stack: Stack) -> Iterator[Claim]:
    """Every package of the database."""
    data = next((found for path in _DATABASES if (found := stack.kept(path)) is not None), b"")
    for block in to_text(data).split("\n\n"):
        fields: dict[str, str] = {}
        paths: list[str] = []
        folder = ""
        for line in block.split("\n"):
            kind, value = line[:1], line[2:]
            if line[1:2] != ":":
                continue
            if kind == "F":
                folder = value
            elif kind == "R":
                paths.append(f"{folder}/{value}" if folder else value)
            else:
                fields.setdefault(kind, value)
        if name := fields.get("P"):
            yield Package("apk", name, fields.get("V", ""), fields.get("A", ""), fields.get("o", "")), paths
