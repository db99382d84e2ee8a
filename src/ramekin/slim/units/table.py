"""The one table of rules by which paths stay and go (`rules.yaml`), read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ramekin.closure.slices import glob

_FILE = Path(__file__).parent / "rules.yaml"


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    rule: str
    what: str
    reason: str
    match: tuple[str, ...] = ()
    names: tuple[str | dict[str, Any], ...] = ()


class _Rows(msgspec.Struct, forbid_unknown_fields=True):
    keep: tuple[_Row, ...]
    drop: tuple[_Row, ...]
    notes: tuple[_Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A row: `effect` is keep, drop or notes; `what` it is about, and why (`reason`, what people read)."""

    name: str
    effect: str
    what: str
    reason: str
    match: re.Pattern[str] | None
    globs: tuple[str, ...]
    names: frozenset[str]
    when: Mapping[str, tuple[str, ...]]

    def matches(self, path: str) -> bool:
        """Whether a tree path is one of those that the rule names."""
        return self.match is not None and self.match.match(path) is not None


@cache
def rules() -> Mapping[str, Rule]:
    """All rules by name."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rows = msgspec.convert(yaml.load(_FILE.read_bytes(), loader), type=_Rows)
    found: dict[str, Rule] = {}
    for effect in ("keep", "drop", "notes"):
        for row in getattr(rows, effect):
            found[row.rule] = _rule(effect, row)
    return found


def rule(name: str) -> Rule:
    """A rule by name."""
    return rules()[name]


def _rule(effect: str, row: _Row) -> Rule:
    patterns = [glob(text).pattern.removesuffix("\\Z") for text in row.match]
    return Rule(
        name=row.rule,
        effect=effect,
        what=row.what,
        reason=row.reason,
        match=re.compile(f"(?:{'|'.join(patterns)})\\Z", re.DOTALL) if patterns else None,
        globs=row.match,
        names=frozenset(name for name in row.names if isinstance(name, str)),
        when={one["when"]: tuple(one["what"]) for one in row.names if isinstance(one, dict)},
    )


@cache
def revision() -> str:
    """A digest of this folder's code and data: equal revisions select equally."""
    import hashlib

    state = hashlib.sha256()
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix in (".py", ".yaml"):
            data = path.read_bytes()
            state.update(f"{path.name} {len(data)}\n".encode() + data)
    return state.hexdigest()[:16]


def markdown() -> str:
    """The table as the manual has it."""
    titles = {"keep": "What stays", "drop": "What goes", "notes": "What is changed"}
    lines: list[str] = []
    for effect, title in titles.items():
        lines += [f"### {title}", "", "| rule | what | why |", "|---|---|---|"]
        lines += [
            f"| `{one.name}` | {_cell(one.what)} | {_cell(one.reason)} |"
            for one in rules().values()
            if one.effect == effect
        ]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
