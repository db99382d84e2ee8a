"""What a user says of slimming one image, on the command line or under `slim:` in a spec."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from ramekin.errors import UsageError
from ramekin.slim.probes.model import Plan

LEVELS = ("units", "files")
BYTECODE = ("keep", "drop")
SYMBOLS = ("keep", "packages", "drop")
LAYERS = ("keep", "one", "units")
TRACES = ("opens", "stat")
RUNTIMES = ("runc", "bwrap")

Choice = TypeVar("Choice", bound=StrEnum)

_LOCALE = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z]{2,4})?(?:@[a-z]+)?|C|POSIX")
_TIME = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(s|m|min|h|d)")
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Shadow:
    """A real workload: how many seconds it goes on (None: until interrupted), and where it is recorded."""

    seconds: float | None = None
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that can be said; what is None or empty is left to those who said less.

    Texts are checked by the functions below, which everybody who makes these calls. `folder` is what relative
    paths of commands are relative to.
    """

    image: str | None = None
    output: str | None = None
    plan: Plan = field(default_factory=Plan)
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    level: str | None = None
    locales: tuple[str, ...] | None = None
    bytecode: str | None = None
    symbols: str | None = None
    layers: str | None = None
    trace: str | None = None
    runtime: str | None = None
    heal: bool | None = None
    rounds: int | None = None
    observation: Path | None = None
    seccomp: Path | None = None
    report: Path | None = None
    arch: str | None = None
    shadow: Shadow | None = None

    def over(self, other: Settings) -> Settings:
        """These settings where they say something, else the other's; probes, `keep`, `drop` are added up."""
        from ramekin.slim.probes.model import united

        said = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if getattr(self, one.name) is not None and one.name not in ("plan", "keep", "drop")
        }
        return replace(
            other,
            **said,
            plan=united((other.plan, self.plan)),
            keep=(*other.keep, *self.keep),
            drop=(*other.drop, *self.drop),
        )


def one_of(text: str, known: Sequence[str], *, where: str) -> str:
    """One of several words."""
    if text not in known:
        near = get_close_matches(text, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose {' or '.join(known)}"
        raise UsageError(f"{where}: there is no {text!r}", hint=hint)
    return text


def locales(texts: Sequence[str], *, where: str) -> tuple[str, ...]:
    """Languages from comma-separated lists, as in `en,pt_BR`; `all` means that all stay."""
    names = tuple(dict.fromkeys(part.strip() for text in texts for part in text.split(",") if part.strip()))
    for name in names:
        if not _LOCALE.fullmatch(name) and name != "none":
            raise UsageError(f"{where}: {name!r} is not a language", hint="as in en,fr,pt_BR; none for none")
    return tuple(name for name in names if name != "none")


def rounds(number: int, *, where: str) -> int:
    """How many verifications there may be."""
    if not 1 <= number <= 100:
        raise UsageError(f"{where}: {number} rounds cannot be", hint="choose 1 to 100")
    return number


def shadow(texts: Sequence[str], *, where: str) -> Shadow | None:
    """`TIME` (30s, 10m, 2h), `DIR`, or both."""
    seconds: float | None = None
    folder: Path | None = None
    for text in texts:
        if found := _TIME.fullmatch(text):
            seconds = float(found[1]) * _UNITS[found[2]]
            if seconds <= 0:
                raise UsageError(f"{where}: {text!r} is no time")
        else:
            folder = Path(text)
            if folder.exists() and not folder.is_dir():
                raise UsageError(
                    f"{where}: {text} is not a folder", hint="a time is written as 30s, 10m or 2h"
                )
    return Shadow(seconds, folder) if texts else None
