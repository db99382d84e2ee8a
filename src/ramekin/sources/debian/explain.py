"""Why a request is impossible, in terms of packages.

The search knows where its last attempt ended, which need not be what a person would call the cause. So the
cause is looked for anew, in what cannot be avoided:

1. *Missing*: a package that is needed in every case needs something that no existing version gives.

       app (asked for) needs lib (>= 2), but only lib 1 exists

2. *At odds*: packages that are needed in every case want different versions of another, or conflict with it,
   or with each thing that would do for a choice.

       a 1 (asked for) needs c (>= 2), but b 1 (asked for) needs c (<< 2)
       a 1 (asked for) breaks c (<< 2), but b 1 (asked for) needs c

3. Else the search's own last dead end, in the same words.

"Needed in every case" is found by following the needs that only one package fulfils, counting out the
versions that are known not to fit, over and over until nothing is added.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ramekin.sources.debian import relations
from ramekin.sources.debian.candidates import Avoid, Candidate, Choice, Need, Pick, Universe, Version
from ramekin.sources.debian.relations import Group

Cause = tuple[Need | Avoid | Choice, Candidate | None]
Explanation = tuple[str, str | None]
"""A message and a hint."""


def listed(names: Sequence[str], conjunction: str = "and", limit: int = 8) -> str:
    """`a, b or c`; past `limit` names the rest is only counted."""
    if len(names) > limit:
        names = [*names[:limit], f"{len(names) - limit} more"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}"


def certainly(universe: Universe, roots: Sequence[tuple[str, Need]]) -> Explanation | None:
    """Why a request has no answer, where that is plain without a search, else None.

    `roots` are the requests' words and what they admit.
    """
    hopeless = _hopeless(need for _words, need in roots)
    for words, need in roots:
        if hopeless.issuperset(need.allowed):
            return _missing(universe, words, need.allowed[0], hopeless)
    return _Story(universe, roots, hopeless).at_odds()


def dead_end(universe: Universe, roots: Sequence[tuple[str, Need]], causes: Sequence[Cause]) -> Explanation:
    """Why a request has no answer where only the search knows; `causes` met in its last dead end."""
    return _Story(universe, roots, frozenset()).dead_end(causes)


def _missing(universe: Universe, words: str, version: Version, hopeless: frozenset[Version]) -> Explanation:
    """The way from a request to the relation that nothing fulfils."""
    ways: dict[Version, tuple[Version, Group]] = {}
    waiting = deque([version])
    while waiting:
        current = waiting.popleft()
        for group in current.groups:
            options = _options(universe.requirement(group))
            if not hopeless.issuperset(options):
                continue
            if not options:
                end = f"needs {relations.words(group)}, but {_instead(universe, group)}"
                return _told_from(version, current, ways, end), _elsewhere(universe, group)
            for option in options:
                if option is not version and option not in ways:
                    ways[option] = (current, group)
                    waiting.append(option)
    return f"{words} cannot be installed: what it needs excludes itself", None


def _told_from(
    version: Version, current: Version, ways: dict[Version, tuple[Version, Group]], end: str
) -> str:
    steps = [end]
    while current is not version:
        name = current.name
        current, group = ways[current]
        steps.append(f"needs {relations.words(group)}; {name}")
    return f"{version.name} (asked for) " + " ".join(reversed(steps))


def _instead(universe: Universe, group: Group) -> str:
    """What exists in place of what a group that nothing fulfils asks for."""
    parts: list[str] = []
    for alternative in group:
        existing = universe.versions(alternative.name)
        providers = sorted({one.name for one, _words in universe.providers(alternative.name)})
        if existing:
            there = listed(list(dict.fromkeys(one.package.version for one in existing)), limit=3)
            parts.append(f"only {alternative.name} {there} exists")
        elif providers:
            parts.append(f"{listed(providers, limit=3)} provides it without a version that fits")
        else:
            parts.append(f"{alternative.name} does not exist")
    return " and ".join(dict.fromkeys(parts))


def _elsewhere(universe: Universe, group: Group) -> str:
    if any(universe.versions(alternative.name) for alternative in group):
        return "another version of the package asked for, as NAME=VERSION, or another suite may fit"
    return "it may be in a suite or component that is not among the sources"


@dataclass(frozen=True, slots=True)
class _Demand:
    """That one of `allowed` must be there, by the words of a request or by a package's relation."""

    allowed: frozenset[Version]
    by: Version | str
    group: Group = ()


class _Story:
    """What is needed in every case, how it came to be needed, and what does not fit beside it."""

    def __init__(
        self, universe: Universe, roots: Sequence[tuple[str, Need]], hopeless: frozenset[Version]
    ) -> None:
        self._universe = universe
        self._roots = roots
        self._demands: dict[str, list[_Demand]] = {}
        self._unfit: dict[Version, str] = {one: f"{one} cannot be installed" for one in _in_order(hopeless)}
        for words, need in roots:
            self._demands.setdefault(need.name, []).append(_Demand(need.among, words))
        while self._grow():
            pass

    def _fitting(self, name: str) -> list[Version]:
        """The versions of a needed package that are left."""
        demands = self._demands[name]
        return [
            version
            for version in self._universe.versions(name)
            if version not in self._unfit and all(version in demand.allowed for demand in demands)
        ]

    def _fits(self, version: Version) -> bool:
        demands = self._demands.get(version.name, ())
        return version not in self._unfit and all(version in demand.allowed for demand in demands)

    def _grow(self) -> bool:
        """One round over what is needed; whether anything was added."""
        before = len(self._unfit), sum(map(len, self._demands.values()))
        for name in list(self._demands):
            fitting = self._fitting(name)
            for version in fitting:
                self._judge(version)
            fitting = self._fitting(name)
            if fitting:
                self._exclude(fitting)
                self._demand(fitting)
        return before != (len(self._unfit), sum(map(len, self._demands.values())))

    def _judge(self, version: Version) -> None:
        """Count `version` out if one of its relations cannot hold."""
        for group in version.groups:
            options = _options(self._universe.requirement(group))
            if not any(self._fits(option) for option in options):
                need = f"{self._introduced(version)} needs {relations.words(group)}"
                self._unfit[version] = f"{need}, but {self._obstacles(options)}"
                return
        for avoid in version.avoids:
            if avoid.name in self._demands:
                left = self._fitting(avoid.name)
                if left and avoid.forbidden.issuperset(left):
                    wanted = self._told(self._demands[avoid.name][0])
                    self._unfit[version] = f"{self._disliked(version, avoid)}, but {wanted}"
                    return

    def _exclude(self, fitting: Sequence[Version]) -> None:
        """Count out what all versions that are left of a needed package conflict with."""
        for avoid in fitting[0].avoids:
            for other in _in_order(avoid.forbidden):
                shared = all(any(other in one.forbidden for one in also.avoids) for also in fitting[1:])
                if shared and other not in self._unfit:
                    self._unfit[other] = self._disliked(fitting[0], avoid)

    def _demand(self, fitting: Sequence[Version]) -> None:
        """Demand what all versions that are left of a needed package need."""
        needed = [self._only(version) for version in fitting]
        for name, (group, allowed) in needed[0].items():
            if all(name in others for others in needed[1:]):
                admitted = allowed.union(*(others[name][1] for others in needed[1:]))
                demand = _Demand(admitted, fitting[0], group)
                if demand not in self._demands.setdefault(name, []):
                    self._demands[name].append(demand)

    def _only(self, version: Version) -> dict[str, tuple[Group, frozenset[Version]]]:
        """The packages that alone fulfil a relation of `version`."""
        found: dict[str, tuple[Group, frozenset[Version]]] = {}
        for group in version.groups:
            options = _options(self._universe.requirement(group))
            names = {option.name for option in options if self._fits(option)}
            if len(names) == 1:
                name = names.pop()
                allowed = frozenset(option for option in options if option.name == name)
                if name not in found or len(allowed) < len(found[name][1]):
                    found[name] = (group, allowed)
        return found

    def at_odds(self) -> Explanation | None:
        """Demands that hold in every case and that nothing fulfils together, the briefest told of all."""
        told = [self._opposed(name) for name in self._demands if not self._fitting(name)]
        if not told:
            return None
        shortest = min(told, key=lambda words: (len(words), words))
        return shortest, "leave one of them out, or ask for another version as NAME=VERSION"

    def _opposed(self, name: str) -> str:
        """Why no version of a needed package is left."""
        demands = self._demands[name]
        for place, demand in enumerate(demands):
            for other in demands[:place]:
                if not demand.allowed & other.allowed:
                    return f"{self._told(other)}, but {self._told(demand)}"
        reason = self._obstacles(sorted(demands[0].allowed, key=self._universe.versions(name).index))
        # a reason that tells of this package itself needs no introduction
        return reason if reason.startswith(f"{name} ") else f"{self._told(demands[0])}, but {reason}"

    def dead_end(self, causes: Sequence[Cause]) -> Explanation:
        """The last attempt's end."""
        sentences: list[str] = []
        for requirement, parent in causes:
            if isinstance(parent, Version) and isinstance(requirement, Avoid):
                sentences.append(self._disliked(parent, requirement))
            elif isinstance(parent, Version) and requirement is not parent.itself:
                groups = (one for one in parent.groups if self._universe.requirement(one) is requirement)
                sentences.extend(f"{self._introduced(parent)} needs {relations.words(one)}" for one in groups)
        names = listed([words for words, _need in self._roots])
        told = "; ".join(list(dict.fromkeys(sentences))[:6]) or "their relations exclude each other"
        return f"no packages that fit together were found for {names}: {told}", None

    def _obstacles(self, options: Sequence[Version], limit: int = 3) -> str:
        """What stands against each of `options`, in words."""
        sentences: dict[str, None] = {}
        for option in options:
            if option in self._unfit:
                sentences[self._unfit[option]] = None
            for demand in self._demands.get(option.name, ()):
                if option not in demand.allowed:
                    sentences[self._told(demand)] = None
        told = list(sentences)
        if len(told) > limit:
            told = [*told[:limit], f"{len(told) - limit} more do not fit either"]
        return ", and ".join(told)

    def _told(self, demand: _Demand) -> str:
        if isinstance(demand.by, str):
            return f"{demand.by} is asked for"
        return f"{self._introduced(demand.by)} needs {relations.words(demand.group)}"

    def _disliked(self, version: Version, avoid: Avoid) -> str:
        for verb, field in (
            ("conflicts with", version.package.conflicts),
            ("breaks", version.package.breaks),
        ):
            for alternative in (one for group in relations.parse(field) for one in group):
                if any(one in avoid.forbidden for one, _claim in self._universe.satisfiers(alternative)):
                    via = "" if alternative.name == avoid.name else f", which {avoid.name} provides"
                    return f"{self._introduced(version)} {verb} {alternative}{via}"
        return f"{self._introduced(version)} conflicts with {avoid.name}"

    def _introduced(self, version: Version) -> str:
        """A package and how it came in: `c 1 (needed by b, needed by a, asked for)`."""
        way: list[str] = []
        seen = {version.name}
        demands = self._demands.get(version.name)
        while demands:
            by = demands[0].by
            if isinstance(by, str):
                way.append("asked for")
                break
            if by.name in seen:
                break
            seen.add(by.name)
            way.append(f"needed by {by.name}")
            demands = self._demands.get(by.name)
        return f"{version} ({', '.join(way)})" if way else str(version)


def _in_order(versions: Iterable[Version]) -> list[Version]:
    return sorted(versions, key=lambda version: (version.name, version.package.version))


def _options(requirement: Need | Choice) -> list[Version]:
    if isinstance(requirement, Need):
        return list(requirement.allowed)
    return [one for option in requirement.options if isinstance(option, Pick) for one in option.need.allowed]


def _hopeless(roots: Iterable[Need]) -> frozenset[Version]:
    """Versions below `roots` that no set of packages can hold, whatever else is in it (conflicts aside)."""
    reached: dict[Version, list[list[Version]]] = {}
    users: dict[Version, list[Version]] = {}
    waiting = [version for need in roots for version in need.allowed]
    while waiting:
        version = waiting.pop()
        if version in reached:
            continue
        reached[version] = [_options(requirement) for requirement in version.needs]
        for option in (one for options in reached[version] for one in options):
            users.setdefault(option, []).append(version)
            waiting.append(option)
    hopeless: set[Version] = set()
    doubtful = list(reached)
    while doubtful:
        version = doubtful.pop()
        if version in hopeless or not any(hopeless.issuperset(options) for options in reached[version]):
            continue
        hopeless.add(version)
        doubtful.extend(users.get(version, ()))
    return frozenset(hopeless)
