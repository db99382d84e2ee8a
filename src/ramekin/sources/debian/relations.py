"""Relationship fields: what a package says of others (Debian Policy, section 7.1; deb-control(5)).

`Depends: a (>= 2) | b:any, c` reads as groups that must all hold, each of alternatives of which one must.
Only the text is read here; which packages satisfy it is a question for `candidates`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from ramekin.errors import FormatError
from ramekin.sources.debian import versions

_ALTERNATIVE = re.compile(
    r"""\s*(?P<name>[A-Za-z0-9][A-Za-z0-9+._-]*)
        (?::(?P<qualifier>[A-Za-z0-9-]+))?
        \s*(?:\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[0-9A-Za-z][0-9A-Za-z.+~:-]*)\s*\))?
        \s*(?:\[(?P<architectures>[^\]]*)\])?
        \s*(?P<profiles>(?:<[^>]*>\s*)*)\Z""",
    re.VERBOSE,
)
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*\Z")
# `<` and `>` are the old spellings; they always meant "or equal"
_OPERATORS = {"<": "<=", ">": ">="}


@dataclass(frozen=True, slots=True)
class Alternative:
    """One package of a group, in the field's own words.

    `qualifier` is `any`, `native`, an architecture or empty; `operator` one of `<< <= = >= >>`, or empty with
    `version` for any version. `architectures` and `profiles` are the restriction lists of source packages,
    which do not occur in the archive's binary indexes.
    """

    name: str
    qualifier: str = ""
    operator: str = ""
    version: str = ""
    architectures: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        if self.operator:
            text += f" ({self.operator} {self.version})"
        if self.architectures:
            text += f" [{' '.join(self.architectures)}]"
        for profile in self.profiles:
            text += f" <{profile}>"
        return text

    def admits(self, version: str) -> bool:
        """Whether `version` is one that the parenthesis asks for."""
        return not self.operator or satisfies(version, self.operator, self.version)

    def applies(self, architecture: str) -> bool:
        """Whether the restriction list `[amd64 !i386]` lets this alternative stand on `architecture`."""
        if not self.architectures:
            return True
        excluded = [name[1:] for name in self.architectures if name.startswith("!")]
        if excluded:
            return architecture not in excluded
        return any(name in (architecture, "any", "linux-any") for name in self.architectures)


Group = tuple[Alternative, ...]


def satisfies(version: str, operator: str, wanted: str) -> bool:
    """Whether `version OPERATOR wanted` holds (deb-control(5): `<< <= = >= >>`)."""
    order = versions.compare(version, wanted)
    match operator:
        case ">=":
            return order >= 0
        case "=":
            return order == 0
        case "<<":
            return order < 0
        case "<=":
            return order <= 0
        case ">>":
            return order > 0
    raise FormatError(f"'{operator}' is not a relation between versions", hint="it is one of << <= = >= >>")


def _alternative(text: str, field: str) -> Alternative:
    if _PLAIN_NAME.match(text):
        return Alternative(text)
    match = _ALTERNATIVE.match(text)
    if match is None:
        raise FormatError(
            f"'{text.strip()}' in the relationship field '{field.strip()[:200]}' is not a package relation",
            hint="a relation reads NAME[:ARCH] [(OPERATOR VERSION)], with | between alternatives",
        )
    operator = match["operator"] or ""
    return Alternative(
        match["name"],
        match["qualifier"] or "",
        _OPERATORS.get(operator, operator),
        match["version"] or "",
        tuple((match["architectures"] or "").split()),
        tuple(part.strip() for part in re.findall(r"<([^>]*)>", match["profiles"] or "")),
    )


@lru_cache(maxsize=1 << 16)
def _group(text: str, field: str) -> Group:
    return tuple(_alternative(part.strip(), field) for part in text.split("|"))


@lru_cache(maxsize=1 << 15)
def parse(text: str) -> tuple[Group, ...]:
    """The groups of a relationship field; raises `FormatError` with the part at fault.

    Empty parts (`a, , b` and a comma at the end) are passed over, as dpkg does.
    """
    return tuple(_group(part.strip(), text) for part in text.split(",") if part.strip())


def render(groups: tuple[Group, ...]) -> str:
    """The field that `parse` reads as `groups`."""
    return ", ".join(words(group) for group in groups)


def words(group: Group) -> str:
    """One group as the field has it: `a (>= 2) | b`."""
    return " | ".join(str(alternative) for alternative in group)
