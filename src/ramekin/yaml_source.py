"""YAML files as plain data that remembers on which line everything stands.

Text stays text: of plain scalars only `true`, `false`, `null` and decimal integers are anything else, so that
`version: 1.10`, `NO` and `22:22` are what was written. A key may stand once in a mapping. Anchors, aliases
and `<<` work; what they expand to is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ramekin.errors import NotFoundError, RamekinError, UsageError

if TYPE_CHECKING:
    import yaml

FILE_LIMIT = 1 << 20
"""Bytes that a file may have."""
NODE_LIMIT = 50_000
"""Values that a file may have after its aliases are expanded."""
DEPTH_LIMIT = 40

Data: TypeAlias = "bool | int | str | list[Data] | dict[str, Data] | None"
Place: TypeAlias = tuple[str | int, ...]

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_WORDS: Mapping[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Document:
    """The data of a file, and for the path of every key and item the line (from 1) that it stands on."""

    path: Path
    data: Data
    lines: Mapping[Place, int]

    def where(self, place: Place) -> str:
        """`FILE:LINE: KEY`, with the line of the nearest thing around `place` that has one."""
        while place and isinstance(place[-1], int) and place not in self.lines:
            # the one item of a list that was written without brackets
            place = place[:-1]
        known = place
        while known and known not in self.lines:
            known = known[:-1]
        return f"{self.path}:{self.lines.get(known, 1)}: {spell(place) or 'the file'}"


def spell(place: Place) -> str:
    """`images.redis.expose[1]`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(path: Path) -> Document:
    """Read one YAML document; `UsageError` gives file and line, `NotFoundError` when there is no file."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(FILE_LIMIT + 1)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise RamekinError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > FILE_LIMIT:
        raise UsageError(f"{path} has more than {FILE_LIMIT} bytes", hint="is it a YAML file at all?")
    return parse(raw, path)


def parse(raw: bytes, path: Path) -> Document:
    """Read one YAML document from the bytes of the file `path`."""
    import yaml

    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8", hint="save the file as UTF-8") from None
    loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{path}:{line}: not YAML: {error.reason}") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply") from None
    if node is None:
        return Document(path, None, {})
    reader = _Reader(path)
    return Document(path, reader.value(node, ()), reader.lines)


class _Reader:
    """One pass over the nodes of a document."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines, self.nodes = path, dict[Place, int](), 0

    def value(self, node: yaml.Node, place: Place) -> Data:
        import yaml

        self.nodes += 1
        if self.nodes > NODE_LIMIT or len(place) > DEPTH_LIMIT:
            raise self.error(node, "the file expands to too much", hint="use fewer aliases and levels")
        self.lines.setdefault(place, self.line(node))
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if isinstance(node, yaml.SequenceNode):
            self.plain(node, "list")
            return [self.value(item, (*place, number)) for number, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        self.plain(node, "mapping")
        return self.mapping(node, place)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Data]:
        data: dict[str, Data] = {}
        merged: dict[str, Data] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node)
            if key in first:
                raise self.error(key_node, f"{key} stands here again; it is on line {first[key]} already")
            first[key] = self.line(key_node)
            if key == "<<" and not key_node.style:
                for item in self.merge(value_node, place):
                    merged = {**item, **merged}
                continue
            self.lines[(*place, key)] = self.line(key_node)
            data[key] = self.value(value_node, (*place, key))
        return {**merged, **data}

    def merge(self, node: yaml.Node, place: Place) -> list[dict[str, Data]]:
        import yaml

        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values = [self.value(item, place) for item in items]
        for item, value in zip(items, values, strict=True):
            if not isinstance(value, dict):
                raise self.error(item, "only mappings can be merged by <<")
        return [value for value in values if isinstance(value, dict)]

    def key(self, node: yaml.Node) -> str:
        import yaml

        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, "a key is a text")
        return str(node.value)

    def scalar(self, node: yaml.ScalarNode) -> Data:
        text = str(node.value)
        self.plain(node, "text")
        if node.style or node.tag == "tag:yaml.org,2002:str":
            return text
        if text in _WORDS:
            return _WORDS[text]
        return int(text) if _INTEGER.fullmatch(text) else text

    def plain(self, node: yaml.Node, kind: str) -> None:
        if node.tag.startswith("!"):
            raise self.error(node, f"the tag {node.tag} means nothing here", hint=f"write a plain {kind}")

    def line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + 1

    def error(self, node: yaml.Node, text: str, *, hint: str | None = None) -> UsageError:
        return UsageError(f"{self.path}:{self.line(node)}: {text}", hint=hint)
