"""Store paths of Nix: what lies below one is of the package that its name says (Nix manual, store paths)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack

_STORE = "nix/store/"
_BASE = re.compile(r"[0-9a-df-np-sv-z]{32}-(.+?)(?:-([0-9].*))?", re.DOTALL)


def claims(stack: Stack) -> Iterator[Claim]:
    """Every package that has a store path; the outputs of one version have several."""
    found: dict[Package, list[str]] = {}
    last, package = "", None
    for path in stack.files:
        if not path.startswith(_STORE):
            continue
        base = path[len(_STORE) :].partition("/")[0]
        if base != last:
            match = _BASE.fullmatch(base)
            package = Package("nix", match[1], match[2] or "") if match is not None else None
            last = base
        if package is not None:
            found.setdefault(package, []).append(path)
    yield from found.items()
