"""What Composer installed: every file below the folders that `vendor/composer/installed.json` names."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath

import msgspec

from ramekin.analyze.owners.folders import beneath
from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack

LIST = "/composer/installed.json"


class _Installed(msgspec.Struct):
    name: str
    version: str = ""
    path: str | None = msgspec.field(name="install-path", default=None)


class _List(msgspec.Struct):
    packages: tuple[_Installed, ...] = ()


_decoder = msgspec.json.Decoder(_List | tuple[_Installed, ...])


def claims(stack: Stack) -> Iterator[Claim]:
    """Every package of every list; Composer 1 wrote lists without the folders, which are named like them."""
    packages: dict[str, Package] = {}
    for path in stack.files:
        if not path.endswith(LIST) or (data := stack.kept(path)) is None:
            continue
        try:
            found = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        folder = path.rpartition("/")[0]
        for one in found.packages if isinstance(found, _List) else found:
            place = normpath(f"{folder}/{one.path or f'../{one.name}'}")
            if place not in ("", ".") and not place.startswith(".."):
                packages[place] = Package("php", one.name, one.version)
    for folder, paths in beneath(stack, packages).items():
        yield packages[folder], paths
