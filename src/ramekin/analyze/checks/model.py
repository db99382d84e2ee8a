"""Rules, what they look at and what they find, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar

from ramekin.analyze.loading import Loader, program
from ramekin.analyze.model import Outline, ReadImage
from ramekin.analyze.owners import Owners, owners
from ramekin.analyze.stack import Stack, stack

Answer = TypeVar("Answer")


class Severity(StrEnum):
    """`error` breaks or betrays something, `warning` costs or risks something, `note` is worth knowing."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True)
class Subject:
    """An image with what the rules ask it."""

    image: ReadImage
    stack: Stack
    owners: Owners

    @classmethod
    def of(cls, image: ReadImage) -> Subject:
        merged = stack(image)
        return cls(image, merged, owners(merged))

    @property
    def outline(self) -> Outline:
        return self.image.outline

    @property
    def name(self) -> str:
        return self.image.outline.name

    @cached_property
    def loader(self) -> Loader:
        return Loader(self.stack, self.outline.config)

    @cached_property
    def program(self) -> str | None:
        """The path of the file that a container starts."""
        return program(self.stack, self.outline.config)

    @cached_property
    def _answers(self) -> dict[str, Any]:
        return {}

    def once(self, question: str, find: Callable[[], Answer]) -> Answer:
        """What `find` gives, found once for all rules that ask."""
        if question not in self._answers:
            self._answers[question] = find()
        found: Answer = self._answers[question]
        return found

    def owner(self, path: str) -> str:
        """The package that a file belongs to; empty for none."""
        number = self.owners.of.get(path)
        return self.owners.packages[number].name if number is not None else ""


@dataclass(frozen=True)
class Found:
    """One thing that a rule found. `path` is in the image, and empty for what is no file; `size` is the bytes
    at stake; `severity` stands in for the rule's own."""

    message: str
    path: str = ""
    size: int = 0
    severity: Severity | None = None


One = Callable[[Subject], Iterable[Found]]
Several = Callable[[Sequence[Subject]], Iterable[tuple[Subject, Found]]]


@dataclass(frozen=True)
class Rule:
    """What is looked for, and what whoever reads a finding needs to know.

    `find` looks at one image, `compare` at several together.
    """

    code: str
    name: str
    severity: Severity
    title: str
    why: str
    do: str
    find: One | None = None
    compare: Several | None = None


@dataclass(frozen=True)
class Ignore:
    """A finding that is all right, for a reason: by code or name, and globs of paths and images."""

    rule: str
    reason: str
    path: str = "*"
    image: str = "*"


@dataclass(frozen=True)
class Finding:
    """What a rule found in an image; `ignored` is the reason why that is all right, if there is one."""

    code: str
    name: str
    severity: Severity
    image: str
    path: str
    size: int
    message: str
    ignored: str = ""


@dataclass(frozen=True)
class Report:
    """All findings, worst first, those that are ignored at the end; `unused` ignores met nothing."""

    images: tuple[str, ...]
    findings: tuple[Finding, ...]
    unused: tuple[Ignore, ...] = field(default=())

    @property
    def open(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.ignored)

    def fails(self, level: Severity) -> bool:
        """Whether a finding that is not ignored is as bad as `level`."""
        return any(finding.severity.rank >= level.rank for finding in self.open)
