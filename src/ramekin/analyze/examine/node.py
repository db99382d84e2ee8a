"""Packages in node_modules: the name and version that their package.json gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "node"
_MOST = 1 << 20


class _Package(msgspec.Struct):
    name: str = ""
    version: str = ""


_decoder = msgspec.json.Decoder(_Package)


def wants(path: str, size: int, head: bytes) -> bool:
    if not path.endswith("/package.json") or size > _MOST:
        return False
    above, _, name = path.rpartition("/")[0].rpartition("/")
    if above.rpartition("/")[2].startswith("@"):
        above = above.rpartition("/")[0]
    return bool(name) and above.rpartition("/")[2] == "node_modules"


def examine(path: str, data: Data) -> dict[str, str] | None:
    try:
        found = _decoder.decode(bytes(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    folder = path.rsplit("/", 1)[0].rpartition("node_modules/")[2]
    return {"name": found.name or folder, "version": found.version}
