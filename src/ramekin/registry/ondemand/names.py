"""Names of images made on demand: `[arm64/|amd64/][nix/][shell/]PACKAGE[/PACKAGE…]`, and what tags mean.

Names of packages hold characters that repository names cannot (distribution-spec, Pulling manifests). They
are spelled by `_` and a letter; `_` itself stands in no name of a package:

    +  _p    libstdc++6   libstdc_p_p6         =  _e    redis=7.0  redis_e7.0
    .  _d    where the pattern has no dot      :  _c    gcc:arm64  gcc_carm64
    -  _h    where it has no dash              ~  _t    1.0~rc1    1.0_trc1
    A  _ua   any capital: _u and its letter

A name that begins with such a character has `x_x` before it, which stands for nothing. Each package has one
spelling: what `spell` would write otherwise is refused with the right one.

Names below `nix/` are attributes of nixpkgs, which have more characters: `_` stands for itself before a digit
(`nodejs_20`), is `__` before a small letter and `_n` elsewhere; `^`, which parts a package from its outputs,
is `_o`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from ramekin.errors import UsageError

ARCHITECTURES = ("amd64", "arm64")
SHELL = "shell"

NIX = "nix"

_ESCAPES = {"+": "p", ".": "d", "-": "h", "=": "e", ":": "c", "~": "t"}
_OF_NIX = {"^": "o", "_": "n"}
_MEANINGS = {letter: character for character, letter in _ESCAPES.items()}
_EMPTY = "x_x"
_RUN = re.compile(r"[.-]+|.", re.ASCII | re.DOTALL)
_DAY = re.compile(r"(?:(?P<suite>[a-z][a-z0-9]*(?:-[a-z]+)*)-)?(?P<day>[0-9]{8})", re.ASCII)
_SUITE = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)
_LOCK = re.compile(r"lock-(?P<hex>[0-9a-f]{64})", re.ASCII)


def spell(package: str, kind: str = "") -> str:
    """How `package` is written in the name of a repository; `UsageError` for one that cannot be."""
    out: list[str] = []
    end = len(package)
    escapes = {**_ESCAPES, **_OF_NIX} if kind == NIX else _ESCAPES
    for found in _RUN.finditer(package):
        run = found.group()
        plain_after = found.end() < end and _is_plain(package[found.end()])
        if _is_plain(run) or ((run == "." or set(run) == {"-"}) and out and plain_after):
            out.append(run)
            continue
        if run == "_" and kind == NIX and out and plain_after and not out[-1].endswith("_"):
            out.append("_" if package[found.end()].isdecimal() else "__")
            continue
        for character in run:
            if not out:
                out.append(_EMPTY)
            if character in escapes:
                out.append("_" + escapes[character])
            elif character.isascii() and character.isupper():
                out.append("_u" + character.lower())
            else:
                raise UsageError(f"{package!r} cannot be the name of a package: it holds {character!r}")
    return "".join(out)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isalnum() and text == text.lower()


def unspell(component: str, kind: str = "") -> str:
    """The package that a component of a repository's name spells; `UsageError` for any other spelling."""
    out: list[str] = []
    meanings = (
        {**_MEANINGS, **{letter: sign for sign, letter in _OF_NIX.items()}} if kind == NIX else _MEANINGS
    )
    rest = component.removeprefix(_EMPTY)
    place = 0
    while place < len(rest):
        character = rest[place]
        place += 1
        if character != "_":
            out.append(character)
            continue
        letter = rest[place : place + 1]
        if kind == NIX and (letter == "_" or letter.isdecimal()):
            out.append("_")
            place += letter == "_"
            continue
        place += 1
        if letter == "u" and rest[place : place + 1].isalpha():
            out.append(rest[place].upper())
            place += 1
        elif letter in meanings:
            out.append(meanings[letter])
        else:
            raise UsageError(
                f"{component!r} spells no package: _{letter} means nothing",
                hint="+ is _p, . is _d, - is _h, = is _e, : is _c, ~ is _t, a capital is _u and its letter",
            )
    package = "".join(out)
    if not package or spell(package, kind) != component:
        raise UsageError(
            f"{component!r} is not how {package} is spelled",
            hint=f"write {spell(package, kind)}" if package else None,
        )
    return package


@dataclass(frozen=True, slots=True)
class Named:
    """What a repository's name asks for. `architecture` is empty for an index of all of them.

    `kind` is that of the source, and empty for the registry's own.
    """

    architecture: str
    shell: bool
    packages: tuple[str, ...]
    kind: str = ""

    @property
    def image(self) -> str:
        """The one name of all that ask for the same packages: sorted, without an architecture."""
        words = [self.kind] if self.kind else []
        words += [SHELL] if self.shell else []
        return "/".join([*words, *(spell(package, self.kind) for package in self.packages)])

    @property
    def repository(self) -> str:
        """`image` with the architecture before it."""
        return f"{self.architecture}/{self.image}" if self.architecture else self.image


def split_architecture(repository: str) -> tuple[str, str]:
    """The architecture that a name begins with (or nothing), and the rest."""
    first, slash, rest = repository.partition("/")
    return (first, rest) if slash and first in ARCHITECTURES else ("", repository)


def parse(repository: str) -> Named:
    """Read a repository's name, valid by the specification; packages come sorted, each once.

    `UsageError` says what is wrong with it.
    """
    architecture, rest = split_architecture(repository)
    parts = rest.split("/")
    kind = NIX if parts[0] == NIX and len(parts) > 1 else ""
    words = parts[1:] if kind else parts
    shell = words[0] == SHELL
    words = words[1:] if shell else words
    for word in words:
        if word in (SHELL, *ARCHITECTURES):
            raise UsageError(
                f"{word} stands in the wrong place in {repository}",
                hint="a name is [arm64/|amd64/][nix/][shell/]PACKAGE[/PACKAGE…]",
            )
    packages = tuple(sorted({unspell(word, kind) for word in words}))
    return Named(architecture, shell, packages, kind)


@dataclass(frozen=True, slots=True)
class Moving:
    """A tag that follows a suite; `suite` is empty for the default source."""

    suite: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """A tag that stands for the indexes as of a day (YYYYMMDD); it never moves."""

    day: str
    suite: str = ""


@dataclass(frozen=True, slots=True)
class Locked:
    """A tag that names a lock by its digest (64 hex digits); it never moves."""

    hex: str


Tag = Moving | Day | Locked


def parse_tag(tag: str) -> Tag:
    """What a tag means; `UsageError` for one that means nothing."""
    if tag == "latest":
        return Moving()
    if found := _LOCK.fullmatch(tag):
        return Locked(found["hex"])
    if found := _DAY.fullmatch(tag):
        day = found["day"]
        try:
            date(int(day[:4]), int(day[4:6]), int(day[6:]))
        except ValueError:
            raise UsageError(f"{day} is not a day", hint="days are written as 20261101") from None
        return Day(day, found["suite"] or "")
    if _SUITE.fullmatch(tag):
        return Moving(tag)
    raise UsageError(
        f"{tag!r} is no tag of an image made on demand",
        hint="there are latest, a suite (trixie), a day (20261101, trixie-20261101) and lock-DIGEST",
    )
