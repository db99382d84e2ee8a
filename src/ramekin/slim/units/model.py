"""What slimming decides: units, reasons, and the selection of paths that stay.

Paths are those of image trees, folders aside: these stay where they hold something, or were empty before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from ramekin.slim.observation import Observation


class Level(StrEnum):
    """How far slimming goes."""

    UNITS = "units"
    """Whole units around what was observed."""
    FILES = "files"
    """Only files that were observed, or that static evidence in those leads to."""


class Bytecode(StrEnum):
    """What becomes of compiled Python whose source stays."""

    KEEP = "keep"
    DROP = "drop"


class Symbols(StrEnum):
    """What becomes of symbol tables and debugging information of ELF files that stay."""

    KEEP = "keep"
    PACKAGES = "packages"
    """Files of packages and runtimes give theirs up; those of the image's author stay as they are."""
    DROP = "drop"


class State(StrEnum):
    """How much of a unit stays."""

    WHOLE = "whole"
    PART = "part"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user wants.

    `keep` and `drop` hold globs of absolute paths (`/app/**`) and names of units (`python:Django`), which may
    be globs too. `locales` are languages as `en` or `pt_BR`, None for all.
    """

    level: Level = Level.UNITS
    locales: tuple[str, ...] | None = None
    bytecode: Bytecode = Bytecode.KEEP
    symbols: Symbols = Symbols.PACKAGES
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a path stays or goes: a rule of the table, the path's unit, and what set the rule off."""

    rule: str
    unit: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that stay or go together, named `KIND:NAME`: `paths` are all that the image has, `kept` how many
    of them stay; `size` and `kept_size` are their bytes, each content once.
    """

    name: str
    kind: str
    version: str
    paths: tuple[str, ...]
    kept: int
    size: int
    kept_size: int

    @property
    def state(self) -> State:
        if not self.kept:
            return State.DROPPED
        return State.WHOLE if self.kept == len(self.paths) else State.PART


def title(name: str) -> str:
    """A unit's name without its kind, and without the place that tells units of one name apart."""
    return name.partition(":")[2].partition("@/")[0]


@dataclass(frozen=True)
class Selection:
    """What stays of an image and what goes, each path with its reason.

    `kept` and `dropped` together are all paths of the image that are no folders. `size` and `kept_size` are
    bytes, each content once. `deliberate` are dropped paths that the user gave up by name, by language or as
    byte code: looking for one of them is no sign of a mistake.
    """

    kept: Mapping[str, Reason]
    dropped: Mapping[str, Reason]
    units: tuple[Unit, ...]
    notes: tuple[str, ...]
    choice: Choice
    observation: Observation | None
    size: int
    kept_size: int
    of: Mapping[str, str] = field(repr=False)

    @cached_property
    def by_name(self) -> Mapping[str, Unit]:
        """The units by name."""
        return {unit.name: unit for unit in self.units}

    @cached_property
    def deliberate(self) -> frozenset[str]:
        return frozenset(path for path, reason in self.dropped.items() if reason.rule in CHOSEN)


CHOSEN = frozenset(("drop", "locales", "bytecode"))
"""Rules by which paths go because the user said so."""
