"""Names in bytes of any kind: absolute paths, file names of shared objects."""

from __future__ import annotations

import re

# the first byte is a literal, so that the search for it runs in C over the whole
_PATH = re.compile(rb"/(?:usr|etc|bin|sbin|lib|lib64|opt|srv|var/lib)/[A-Za-z0-9_.+@:~/-]*[A-Za-z0-9_+/]")
_OBJECT = re.compile(rb"\.so(?:\.[0-9]+)*(?=[\0\"' \n,:;)])")
_BEFORE = frozenset(b"\0\t\n \"'`:;,<>()[]{}|&!\\")
_NAME = re.compile(rb"[A-Za-z0-9_+.-]+\Z")


def paths(
    data: bytes, start: int = 0, end: int | None = None, *, comment: bytes = b"", assigned: bool = True
) -> set[str]:
    """Absolute paths in `data`, as written, with a trailing `/` where one stood.

    Lines whose first word starts with `comment` are left out. Without `assigned` those behind an equals sign
    are too: in a compiled program they tell how it was configured when it was built.
    """
    found = set()
    for match in _PATH.finditer(data, start, len(data) if end is None else end):
        place = match.start()
        if place > start and (before := data[place - 1]) not in _BEFORE and not (before == 0x3D and assigned):
            continue
        path = match[0]
        if len(path) > 300 or path in found:
            continue
        if comment and data[data.rfind(b"\n", 0, place) + 1 : place].lstrip().startswith(comment):
            continue
        found.add(path)
    return {path.decode("ascii") for path in found}


def objects(data: bytes, start: int = 0, end: int | None = None) -> set[str]:
    """File names and paths that end in `.so` or `.so.VERSION` in `data`."""
    found = set()
    for match in _OBJECT.finditer(data, start, len(data) if end is None else end):
        name = _NAME.search(data[max(start, match.start() - 80) : match.start()])
        if name is not None:
            found.add(name[0] + match[0])
    return {name.decode("ascii") for name in found}


_WORD = re.compile(rb"\0([a-z][a-z0-9+._-]{1,30})(?=\0)")


def words(data: bytes, start: int, end: int) -> set[str]:
    """Whole strings in `data` that may be names of commands."""
    return {word.decode("ascii") for word in _WORD.findall(data, start, end)}


_LINE = re.compile(rb" (?:-[a-zA-Z-]|[\\\\]?['\"]%s)")
_COMMAND = re.compile(rb"(?:.*[;|&(] *)?(?:exec +)?([a-z][a-z0-9+._-]+)\Z", re.DOTALL)


def command_lines(data: bytes, start: int, end: int) -> set[str]:
    """First words of strings in `data` that look like command lines for a shell: `gcc -c %s`."""
    found = set()
    for match in _LINE.finditer(data, start, end):
        begin = data.rfind(b"\0", max(start, match.start() - 48), match.start()) + 1
        if begin:
            command = _COMMAND.match(data[begin : match.start()])
            if command is not None:
                found.add(command[1])
    return {name.decode("ascii") for name in found}
