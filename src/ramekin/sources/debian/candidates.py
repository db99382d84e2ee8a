"""What could satisfy a relation: the words of packages turned into sets of versions that exist.

`Universe` is a view of an index for one resolution. It reads each package's relations once and gives them as
requirements on names, so that solver, weigher and explainer need not know about text, virtual packages or
qualifiers:

    redis-server 7.0      Depends: libc6 (>= 2.34)            Need(libc6: 2.36)
                          Depends: debconf | debconf-2.0      Choice(debconf, cdebconf)
                          Breaks: redis-tools (<< 7)          (nothing: the archive has no such version)

- An alternative is satisfied by versions of the package itself, and by packages that provide its name; with
  a version, only by those whose Provides has one that fits (Policy, section 7.5).
- `:any`, `:native` and the index's own architecture mean the same here, for an image has one architecture;
  any other qualifier is satisfied by nothing.
- Conflicts and Breaks are the same to an image that is made at once. A package never conflicts with itself,
  also not through a name that it provides (section 7.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Protocol

from ramekin.sources.debian import relations
from ramekin.sources.debian.model import DebianPackage
from ramekin.sources.debian.relations import Alternative, Group


class Packages(Protocol):
    """The part of an index that resolution asks."""

    @property
    def architecture(self) -> str: ...

    def versions(self, name: str) -> Sequence[DebianPackage]:
        """All versions of a package, for the architecture and `all`, newest first."""

    def providers(self, name: str) -> Sequence[DebianPackage]:
        """The packages whose Provides names `name`, with or without a version."""

    def near(self, name: str) -> Sequence[str]:
        """Names that exist and resemble `name`, nearest first."""


class Claim(IntEnum):
    """By what an option fulfils a relation, the best first."""

    NAMED = 0
    """The relation names it."""
    PROVIDES = 1
    """It provides a name that no package bears (a virtual package)."""
    STANDS_IN = 2
    """It provides the name of another package, which exists."""


class Version:
    """A version of a package that could be chosen. Each is one object, so identity is equality.

    `needs`, `avoids` and `wishes` are its relations as requirements, worked out when first asked for.
    """

    __slots__ = ("_avoids", "_needs", "_universe", "_wishes", "itself", "name", "package")

    def __init__(self, package: DebianPackage, universe: Universe) -> None:
        self.name = package.name
        self.package = package
        self.itself = Need(package.name, (self,))
        self._universe = universe
        self._needs: tuple[Need | Choice, ...] | None = None
        self._avoids: tuple[Avoid, ...] | None = None
        self._wishes: tuple[Choice, ...] | None = None

    def __repr__(self) -> str:
        return f"{self.name} {self.package.version}"

    @property
    def groups(self) -> tuple[Group, ...]:
        """Pre-Depends and Depends as written."""
        return relations.parse(self.package.pre_depends) + relations.parse(self.package.depends)

    @property
    def needs(self) -> tuple[Need | Choice, ...]:
        if self._needs is None:
            self._needs = tuple(dict.fromkeys(map(self._universe.requirement, self.groups)))
        return self._needs

    @property
    def avoids(self) -> tuple[Avoid, ...]:
        if self._avoids is None:
            self._avoids = self._universe.avoided(self)
        return self._avoids

    @property
    def wishes(self) -> tuple[Choice, ...]:
        """Recommends, each as a choice that may also end in nothing."""
        if self._wishes is None:
            self._wishes = tuple(map(self._universe.wish, relations.parse(self.package.recommends)))
        return self._wishes


class Need:
    """One of `allowed` (newest first) must be there; with none, nothing that exists will do."""

    __slots__ = ("allowed", "among", "name")

    def __init__(self, name: str, allowed: tuple[Version, ...]) -> None:
        self.name = name
        self.allowed = allowed
        self.among = frozenset(allowed)

    def admits(self, version: Candidate) -> bool:
        return version in self.among


class Avoid:
    """None of `forbidden` may be there."""

    __slots__ = ("forbidden", "name")

    def __init__(self, name: str, forbidden: frozenset[Version]) -> None:
        self.name = name
        self.forbidden = forbidden

    def admits(self, version: Candidate) -> bool:
        return version not in self.forbidden


class Choice:
    """One of several packages must be there, or, when `optional`, may be.

    `name` tells choices apart and is no package's name. `options` are in the order of the relation's words,
    a package that is named before those that provide its name, and these by name.
    """

    __slots__ = ("name", "optional", "options")

    def __init__(self, name: str, options: Sequence[tuple[Need, Claim]], optional: bool) -> None:
        self.name = name
        self.optional = optional
        picks: list[Pick | Skip] = [Pick(name, need, claim) for need, claim in options]
        if optional:
            picks.append(Skip(name))
        self.options = tuple(picks)

    def admits(self, _option: Candidate) -> bool:
        return True


class Pick:
    """A choice's option: the package to have."""

    __slots__ = ("claim", "name", "need")

    def __init__(self, name: str, need: Need, claim: Claim) -> None:
        self.name = name
        self.need = need
        self.claim = claim


class Skip:
    """An optional choice's last option: to have nothing."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Absent:
    """What stands for a package that is only avoided."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


Candidate = Version | Absent | Pick | Skip


class Universe:
    """An index as requirements; all that it has worked out is kept for as long as it lives.

    `choices` are those met so far, by name.
    """

    def __init__(self, index: Packages) -> None:
        self.index = index
        self._versions: dict[str, tuple[Version, ...]] = {}
        self._absent: dict[str, Absent] = {}
        self._provided: dict[str, tuple[tuple[Version, Alternative], ...]] = {}
        self._groups: dict[Group, Need | Choice] = {}
        self._needs: dict[tuple[str, tuple[Version, ...]], Need] = {}
        self.choices: dict[str, Choice] = {}
        self._avoids: dict[tuple[str, frozenset[Version]], Avoid] = {}
        self._avoided: dict[Alternative, tuple[Version, ...]] = {}

    def versions(self, name: str) -> tuple[Version, ...]:
        """The versions of a package that exist, newest first."""
        found = self._versions.get(name)
        if found is None:
            found = tuple(Version(package, self) for package in self.index.versions(name))
            self._versions[name] = found
        return found

    def absent(self, name: str) -> Absent:
        return self._absent.setdefault(name, Absent(name))

    def providers(self, name: str) -> tuple[tuple[Version, Alternative], ...]:
        """Versions that provide `name`, by package name then newest first, with the words they do it in."""
        found = self._provided.get(name)
        if found is None:
            names = sorted({package.name for package in self.index.providers(name)})
            found = tuple(
                (version, group[0])
                for provider in names
                for version in self.versions(provider)
                for group in relations.parse(version.package.provides)
                if group[0].name == name
            )
            self._provided[name] = found
        return found

    def satisfiers(self, alternative: Alternative) -> Iterator[tuple[Version, Claim]]:
        """The versions that satisfy one alternative, and by what claim."""
        if alternative.qualifier not in ("", "any", "native", self.index.architecture):
            return
        if not alternative.applies(self.index.architecture):
            return
        bearers = self.versions(alternative.name)
        for version in bearers:
            if alternative.admits(version.package.version):
                yield version, Claim.NAMED
        claim = Claim.STANDS_IN if bearers else Claim.PROVIDES
        for version, provided in self.providers(alternative.name):
            if not alternative.operator or (provided.version and alternative.admits(provided.version)):
                yield version, claim

    def requirement(self, group: Group) -> Need | Choice:
        """What a group of a Depends field asks for."""
        found = self._groups.get(group)
        if found is None:
            options = self._options(group)
            if len(options) == 1:
                found = options[0][0]
            elif options:
                found = self._choice(options, optional=False)
            else:
                found = self._need(group[0].name, ())
            self._groups[group] = found
        return found

    def wish(self, group: Group) -> Choice:
        """What a group of a Recommends field would like."""
        return self._choice(self._options(group), optional=True)

    def avoided(self, version: Version) -> tuple[Avoid, ...]:
        """What the Conflicts and Breaks of `version` forbid; versions that do not exist are left out."""
        forbidden: dict[str, list[Version]] = {}
        fields = (version.package.conflicts, version.package.breaks)
        for alternative in (one for field in fields for group in relations.parse(field) for one in group):
            found = self._avoided.get(alternative)
            if found is None:
                found = tuple(one for one, _claim in self.satisfiers(alternative))
                self._avoided[alternative] = found
            for other in found:
                if other.name != version.name:
                    forbidden.setdefault(other.name, []).append(other)
        return tuple(self._avoid(name, frozenset(found)) for name, found in sorted(forbidden.items()))

    def _options(self, group: Iterable[Alternative]) -> list[tuple[Need, Claim]]:
        admitted: dict[str, set[Version]] = {}
        claims: dict[str, Claim] = {}
        for alternative in group:
            for version, claim in self.satisfiers(alternative):
                admitted.setdefault(version.name, set()).add(version)
                claims[version.name] = min(claim, claims.get(version.name, claim))
        return [
            (self._need(name, tuple(one for one in self.versions(name) if one in found)), claims[name])
            for name, found in admitted.items()
        ]

    def _need(self, name: str, allowed: tuple[Version, ...]) -> Need:
        return self._needs.setdefault((name, allowed), Need(name, allowed))

    def _choice(self, options: list[tuple[Need, Claim]], *, optional: bool) -> Choice:
        # options that are equal in all that counts are one choice, however their relations were worded
        words = " | ".join(
            f"{need.name}{'*' * claim} ({', '.join(one.package.version for one in need.allowed)})"
            for need, claim in options
        )
        name = f"{'perhaps ' if optional else 'either '}{words}"
        found = self.choices.get(name)
        if found is None:
            found = self.choices[name] = Choice(name, options, optional)
        return found

    def _avoid(self, name: str, forbidden: frozenset[Version]) -> Avoid:
        return self._avoids.setdefault((name, forbidden), Avoid(name, forbidden))
