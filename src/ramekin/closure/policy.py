"""The rules that judge evidence: data/policy.yaml, read once.

A need weighs by the place of the file that has it (`place_of`) and by its kind (`Policy.weighs`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from ramekin.closure.evidence.model import Kind

_FILE = Path(__file__).parent / "data/policy.yaml"


class Weight(StrEnum):
    """How far the needs of a place are followed."""

    STRONG = "strong"
    PROGRAM = "program"
    HELPER = "helper"
    WEAK = "weak"


@dataclass(frozen=True, slots=True)
class Place:
    """A class of tree paths."""

    name: str
    weight: Weight
    reason: str
    match: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Drop:
    """Files (tree paths) of a package that nobody misses whose evidence does not name them.

    They stay, too, with `slice`, where that is kept by name, and where a command, or a package that was asked
    for, has the need `unless`.
    """

    match: re.Pattern[str]
    reason: str
    unless: str = ""
    slice: str = ""


@dataclass(frozen=True, slots=True)
class Correction:
    """What evidence cannot see of one package, said by hand. `drops` matches what any rule does."""

    package: re.Pattern[str]
    reason: str
    needs: tuple[str, ...] = ()
    ignores: re.Pattern[str] | None = None
    drops: re.Pattern[str] | None = None
    drop_rules: tuple[Drop, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of data/policy.yaml.

    `essential` gives for a command the Essential package that brings it; `anyones` are paths of Essential
    packages that count wherever they stand, `started` commands that programs start by bare names.
    """

    digest: str
    places: tuple[Place, ...]
    programs_only: frozenset[Kind]
    ignored_paths: re.Pattern[str]
    module_folders: re.Pattern[str]
    ignored_commands: frozenset[str]
    anyones: frozenset[str]
    started: frozenset[str]
    essential: Mapping[str, str]
    essential_packages: frozenset[str]
    corrections: tuple[Correction, ...]
    parts: tuple[tuple[re.Pattern[str], str], ...]

    def correction(self, package: str) -> Correction | None:
        """What the policy says by hand of a package, by name."""
        return next((known for known in self.corrections if known.package.match(package)), None)

    def part(self, path: str) -> str | None:
        """Why a file at a tree path goes at the level `files` when nothing reaches it, or None."""
        for match, reason in self.parts:
            if match.match(path):
                return reason
        return None

    def weight(self, place: str) -> Weight:
        """How far the needs of files at a place (by name) are followed."""
        return self._by_name(place).weight

    def reason(self, place: str) -> str:
        """Why the place weighs as it does."""
        return self._by_name(place).reason

    def _by_name(self, place: str) -> Place:
        return next((known for known in self.places if known.name == place), self.places[-1])

    def follows(self, kind: Kind, place: str, *, asked: bool, reached: bool) -> bool:
        """Whether a need counts.

        `asked` says that the user named the package, `reached` that evidence led to the very file.
        """
        weight = self.weight(place)
        if kind in _EVERYWHERE:
            return weight is not Weight.WEAK or kind is Kind.NEEDED
        if weight is Weight.WEAK:
            return False
        if kind is Kind.RUNTIME:
            return asked
        if weight is Weight.HELPER:
            return reached
        if kind in self.programs_only or (weight is Weight.PROGRAM and kind in _OF_SCRIPTS):
            return asked or reached
        return True


_EVERYWHERE = frozenset((Kind.NEEDED, Kind.LOADED, Kind.LINK, Kind.MODULE))
_OF_SCRIPTS = frozenset((Kind.INTERPRETER, Kind.PYTHON, Kind.PERL, Kind.RUBY, Kind.PHP, Kind.NODE))


@cache
def load() -> Policy:
    """The policy that comes with Ramekin."""
    import hashlib

    import yaml

    data = _FILE.read_bytes()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rules: dict[str, Any] = yaml.load(data, loader)
    essential: dict[str, str] = {}
    for package, names in rules["essential"].items():
        for name in names:
            essential.setdefault(name, package)
    return Policy(
        digest=hashlib.sha256(data).hexdigest(),
        places=tuple(_place(rule) for rule in rules["places"]),
        programs_only=frozenset(Kind(name) for name in rules["from_programs_only"]),
        ignored_paths=_any(rule["match"] for rule in rules["ignored_paths"]),
        module_folders=_any(rule["match"] for rule in rules["module_folders"]),
        ignored_commands=frozenset(name for rule in rules["ignored_commands"] for name in rule["names"]),
        started=frozenset(rules["started_by_name"]),
        anyones=frozenset(rules["essential_paths_for_all"]),
        essential=essential,
        essential_packages=frozenset(rules["essential"]),
        parts=tuple((_any([rule["match"]]), rule["reason"]) for rule in rules["parts"]),
        corrections=tuple(_correction(rule) for rule in rules["corrections"]),
    )


def _place(rule: Mapping[str, Any]) -> Place:
    return Place(rule["name"], Weight(rule["weight"]), rule["reason"], _any(rule["match"]))


def _correction(rule: Mapping[str, Any]) -> Correction:
    return Correction(
        re.compile(re.escape(rule["package"]).replace("_", r"[0-9][0-9.]*") + r"\Z"),
        rule.get("reason") or "; ".join(drop["reason"] for drop in rule["drops"]),
        tuple(rule.get("needs", ())),
        re.compile(rf"(?:{rule['ignores']})\Z") if "ignores" in rule else None,
        _any(drop["match"] for drop in rule["drops"]) if "drops" in rule else None,
        tuple(
            Drop(_any([drop["match"]]), drop["reason"], drop.get("unless", ""), drop.get("slice", ""))
            for drop in rule.get("drops", ())
        ),
    )


def _any(patterns: Any) -> re.Pattern[str]:
    return re.compile("(?:" + "|".join(f"(?:{pattern})" for pattern in patterns) + r")\Z", re.DOTALL)


def place_of(path: str) -> str:
    """The name of the place in which a tree path lies."""
    match = _all_places().match(path)
    return (match.lastgroup if match else None) or "other"


@cache
def _all_places() -> re.Pattern[str]:
    """One pattern for all places, so that the first that matches is found in one go."""
    parts = (f"(?P<{place.name}>{_ungrouped(place.match.pattern)})" for place in load().places)
    return re.compile("|".join(parts), re.DOTALL)


def _ungrouped(pattern: str) -> str:
    """`pattern` without groups of its own, which would hide the name of the place."""
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern)


def is_command(path: str) -> bool:
    """Whether a tree path lies where commands are looked for."""
    return _COMMANDS.match(path) is not None


_COMMANDS = re.compile(r"(?:usr/(?:local/)?)?(?:s?bin|games)/[^/]+\Z")


_INTERPRETERS = (
    ("python", "python"),
    ("perl", "perl"),
    ("ruby", "ruby"),
    ("php", "php"),
    ("node", "node"),
    ("bash", "shell"),
    ("dash", "shell"),
    ("sh", "shell"),
    ("ksh", "shell"),
    ("zsh", "shell"),
)


def language_of(interpreter: str) -> str | None:
    """The language that a program (a path or a command) interprets, or None."""
    base = interpreter.rpartition("/")[2]
    return next((language for prefix, language in _INTERPRETERS if base.startswith(prefix)), None)
