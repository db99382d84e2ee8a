"""What pip and its like installed: the RECORD of each distribution (Recording Installed Projects)."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath

from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack
from ramekin.image.tree import to_text

_METADATA = (".dist-info/METADATA", ".egg-info/PKG-INFO")


def claims(stack: Stack) -> Iterator[Claim]:
    """Every distribution that has metadata."""
    for path in stack.files:
        if not path.endswith(_METADATA) and not path.endswith(".egg-info"):
            continue
        found = stack.traits(path).get("python")
        if found is None:
            continue
        if path.endswith(".egg-info"):
            yield Package("python", found["name"], found["version"]), [path]
            continue
        folder = path.rpartition("/")[0]
        paths = [path]
        if record := stack.kept(folder + "/RECORD"):
            paths += _relative(folder.rpartition("/")[0], (_first_field(line) for line in _lines(record)))
        elif listed := stack.kept(folder + "/installed-files.txt"):
            paths += _relative(folder, _lines(listed))
        elif (listed := stack.kept(folder + "/SOURCES.txt")) is not None:
            paths += _relative(folder.rpartition("/")[0], _lines(listed))
        paths += [
            f"{folder}/{name}" for name in ("RECORD", "INSTALLER", "WHEEL", "REQUESTED", "top_level.txt")
        ]
        yield Package("python", found["name"], found["version"]), paths


def _lines(data: bytes) -> list[str]:
    return to_text(data).replace("\r\n", "\n").split("\n")


def _first_field(line: str) -> str:
    """The path of a line of CSV."""
    if line.startswith('"'):
        return line[1:].split('",', 1)[0].replace('""', '"')
    return line.split(",", 1)[0]


def _relative(folder: str, paths: Iterator[str] | list[str]) -> Iterator[str]:
    for path in paths:
        if not path:
            continue
        if path.startswith("/"):
            yield path
        elif ".." in path or "./" in path:
            yield normpath(f"/{folder}/{path}")
        else:
            yield f"{folder}/{path}" if folder else path
