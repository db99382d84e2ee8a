"""What a keeper has seen: on its way over the wire, and as an observation, of the image's own paths only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ramekin.slim import observation
from ramekin.slim.observation import Observation
from ramekin.slim.sandbox import lookups
from ramekin.slim.sandbox.plan import Place, Record, Watching

_OTHERS = ("proc", "dev", "sys")
"""Folders that are not the image's while it runs."""


def write(record: Record) -> bytes:
    """A record for `read`. File names may be any bytes, which go as the characters of those numbers."""
    return msgspec.json.encode(_each(msgspec.structs.asdict(record), _bytewise))


def read(data: bytes) -> Record:
    """The record that `write` made these bytes of."""
    return msgspec.convert(_each(msgspec.json.decode(data), _named), type=Record)


def _bytewise(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _named(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with each text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_each(item, change) for item in value]
    if isinstance(value, dict):
        return {name: _each(item, change) for name, item in value.items()}
    return value


def made(record: Record, root: Path, by: Watching, places: Iterable[Place]) -> Observation:
    """The observation of a record: `root` has the image's files, `places` is what the sandbox made."""
    own = set()
    for place in places:
        path = place.path.strip("/")
        while path:
            own.add(path)
            path = path.rpartition("/")[0]
    there = _There(root)
    executed = there.those(record.executed)
    opened = there.those(record.opened)
    if by is Watching.SECCOMP:
        # which the kernel opens by itself, without a call
        opened = (*opened, *there.those(_interpreters(str(root), executed)))
    return observation.ordered(
        Observation(
            exposure="seccomp" if by is Watching.SECCOMP else "fanotify" if by is Watching.FANOTIFY else "",
            opened=opened,
            executed=executed,
            tested=tuple(set(there.those(record.asked)) - {*opened, *executed}),
            missing=tuple(
                path
                for path in map(_relative, record.absent)
                if path not in there and path.partition("/")[0] not in _OTHERS
            ),
            written=tuple(path for path in map(_relative, record.written) if path not in own),
            listening=tuple(record.listening),
            calls_noted=record.calls_noted,
            syscalls=tuple(record.syscalls),
            capabilities=tuple(record.capabilities),
        )
    )


def _interpreters(root: str, executed: Iterable[str]) -> Iterator[str]:
    """What the kernel loads to execute files: of scripts their interpreter, of programs the dynamic linker.

    With the links that lead there.
    """
    from ramekin.closure.evidence import elf

    waiting, known = list(executed), set(executed)
    while waiting:
        path = Path(f"{root}/{waiting.pop()}")
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        name = ""
        if data.startswith(b"#!"):
            words = data[2:256].split(b"\n")[0].split()
            name = os.fsdecode(words[0]) if words else ""
        elif data.startswith(b"\x7fELF"):
            with suppress(elf.BadElf):
                name = elf.read(data).interpreter
        if not name.startswith("/"):
            continue
        found = lookups.walk(root, name, follow=True)
        for step in (*found.links, found.end):
            yield step
            if _relative(step) not in known:
                known.add(_relative(step))
                waiting.append(_relative(step))


def _relative(path: str) -> str:
    return path.strip("/")


class _There:
    """The paths that an image has."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root}/"

    def __contains__(self, path: str) -> bool:
        return os.path.lexists(self._root + path)

    def those(self, paths: Iterable[str]) -> tuple[str, ...]:
        # the root itself is in every image
        return tuple(path for path in map(_relative, paths) if path and path in self)
