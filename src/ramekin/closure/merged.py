"""Trees on the layout of a suite: what a package puts in `bin` goes to `usr/bin`, where these are merged.

A layer must never put a folder where the image has a link, so every path below a merged folder moves, and so
does what lies where every image has links (`LINKS`; base-files brings folders there). A
relative link moves with its folder and would then lead elsewhere when it climbs above that folder; it is
rewritten to lead where it led before. Example, with `bin` merged into `usr/bin`:

    bin/awk -> mawk              usr/bin/awk -> mawk             stays in its folder: same text
    bin/ed  -> ../usr/lib/ed     usr/bin/ed  -> ../lib/ed        climbed to the root: rewritten
    etc/sh  -> ../bin/sh         etc/sh      -> ../bin/sh        did not move; the image's own link leads on
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from ramekin.errors import FormatError
from ramekin.image.tree import Entry, Kind, Tree

LINKS = {"var/run": "run", "var/lock": "run/lock"}
"""Links that every image has, and the folders that they lead to."""


def place(path: str, merged: Mapping[str, str]) -> str:
    """Where the tree path `path` lies once `merged` folders have moved; the folder itself moves too."""
    folder = _moving(path, merged)
    return merged[folder] + path[len(folder) :] if folder else path


def _moving(path: str, merged: Mapping[str, str]) -> str:
    """The one of `merged` folders that a path is, or lies in; nothing when it does not move."""
    end = path.find("/")
    while end >= 0:
        if path[:end] in merged:
            return path[:end]
        end = path.find("/", end + 1)
    return path if path in merged else ""


def retarget(path: str, target: str, merged: Mapping[str, str]) -> str:
    """The text of a link that was at `path` with the text `target`, after the move."""
    new = place(path, merged)
    if new == path or target.startswith("/"):
        return target
    parent = path.split("/")[:-1]
    # folders above the one that moves, with which a link does not move
    above = _moving(path, merged).count("/")
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    if climbs < len(parent) - above:
        return target
    rest = "/".join([*parent[: max(0, len(parent) - climbs)], *parts[climbs:]])
    home = posixpath.dirname(new)
    if ".." in parts[climbs:]:
        return "../" * (home.count("/") + 1) + rest
    return posixpath.relpath("/" + place(rest, merged), "/" + home)


def relocate(tree: Tree, merged: Mapping[str, str], *, where: str) -> Tree:
    """`tree` on the merged layout. `FormatError` names a path that two different entries would take.

    A link that a package brings for the merge itself (`bin -> usr/bin`) stays as it is.
    """
    if not any(_moving(path, merged) for path in tree):
        return tree
    moved: dict[str, Entry] = {}
    for entry in tree.entries():
        if entry.path in merged and entry.kind is Kind.SYMLINK:
            moved[entry.path] = entry
            continue
        path = place(entry.path, merged)
        if entry.kind is Kind.SYMLINK:
            new = replace(entry, path=path, target=retarget(entry.path, entry.target, merged))
        elif entry.kind is Kind.HARDLINK:
            new = replace(entry, path=path, target=place(entry.target, merged))
        else:
            new = entry.at(path)
        other = moved.get(path)
        if other is not None and not _same(other, new):
            raise FormatError(
                f"{where}: /{entry.path} and another entry both lie at /{path} on a merged /usr, and differ",
                hint="the package was not made for a suite with merged /usr",
            )
        # entries come in byte order, so the one under usr/ comes last and gives a folder its mode
        moved[path] = new
    return Tree(moved.values()).with_parents(mtime=tree.newest)


def _same(a: Entry, b: Entry) -> bool:
    if a.kind is not b.kind:
        return False
    if a.kind is Kind.DIRECTORY:
        return True
    if a.kind is Kind.FILE:
        return (a.mode, a.uid, a.gid, a.size) == (b.mode, b.uid, b.gid, b.size) and a.read() == b.read()
    return (a.target, a.device) == (b.target, b.device)
