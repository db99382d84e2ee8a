"""The lists of iconv modules kept in step with those that are there (glibc manual, 6.5.4).

When rare modules are left out, their lines in `gconv-modules` and `gconv-modules.d/*.conf` go too, so that
asking for a character set that is not there is an error at once and not a failed load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ramekin.image.tree import Entry, Inline, Kind, Tree

_LIST = re.compile(r"usr/lib/[^/]+/gconv/gconv-modules(\.d/[^/]+\.conf)?\Z")


def consistent(tree: Tree) -> Tree:
    """`tree` with its lists of modules cut down to modules that it holds."""
    lists = [path for path in tree if path.startswith("usr/lib/") and _LIST.match(path)]
    return (
        tree.plus(_shortened(tree, path) for path in lists if tree[path].kind is Kind.FILE) if lists else tree
    )


def _shortened(tree: Tree, path: str) -> Entry:
    entry = tree[path]
    folder = path[: path.index("/gconv/") + 7]
    present = {name[len(folder) : -3] for name in tree if name.startswith(folder) and name.endswith(".so")}
    text = entry.read().decode("utf-8", "surrogateescape")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    modules = [line for line in lines if line.split()[0] == "module" and _module(line) in present]
    names = {field.upper() for line in modules for field in line.split()[1:3]}
    aliases = [line for line in lines if line.split()[0] == "alias" and _target(line) in names]
    kept = set(modules) | set(aliases)
    if len(kept) == len(set(lines)):
        return entry
    data = _joined(line for line in lines if line in kept).encode("utf-8", "surrogateescape")
    return Entry(
        path=path,
        kind=Kind.FILE,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=entry.mtime,
        content=Inline(data),
    )


def _module(line: str) -> str:
    fields = line.split()
    return fields[3] if len(fields) > 3 else ""


def _target(line: str) -> str:
    fields = line.split()
    return fields[2].upper() if len(fields) > 2 else ""


def _joined(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)
