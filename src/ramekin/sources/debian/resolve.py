"""From requests to a closure: which packages, in which versions, and why.

Inputs: an index (`Packages`) and requests (`redis-server`, `nginx=1.22.1-9`, `curl/bookworm-backports`).
Nothing here does I/O of its own.

1. Requests are read and sorted, so that their order cannot matter.
2. `candidates` turns relations into sets of versions that exist, `search` finds versions that fit together,
   with `weigh` to say which option of a choice is best: what is chosen already, else the smallest.
3. What turns out to be needless is dropped: an option that was chosen before another choice brought a second
   one along.
4. Each package gets its reason (the shortest way from a request) and the packages that it uses; the whole is
   put in the order of dependencies.

Worked example: redis-server on bookworm, installed sizes in KB.

    redis-server ─┬─ redis-tools ─┬─ libc6, libssl3, …            one way only: settled first
                  │               ├─ libsystemd0 3,028, or libelogind0 790 for it
                  │               └─ adduser … libpam-modules ── debconf 503 | debconf-2.0: cdebconf 4,830
                  ├─ lsb-base 115, or sysvinit-utils 102 for it
                  └─ init-system-helpers ── usrmerge 56,680 with perl | usr-is-merged 13

    libsystemd0 is named and can be had, so nothing stands in for it. debconf is smaller than cdebconf.
    lsb-base would bring sysvinit-utils, which provides lsb-base, so that is enough. usr-is-merged is smaller
    than usrmerge. 37 packages, 44 MB; taking the first of each choice gives 52 packages, 106 MB. Had the
    request also said `usrmerge`, that would be there from the start and usr-is-merged would stay out.

Essential packages come in only where something depends on them, although packages may leave such dependencies
out (Policy, section 3.8): what an image needs of them is known by evidence, not from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from ramekin.errors import RamekinError, UsageError
from ramekin.sources.debian import explain, relations, versions
from ramekin.sources.debian.candidates import Candidate, Choice, Need, Packages, Pick, Universe, Version
from ramekin.sources.debian.relations import Group
from ramekin.sources.protocol import Reason, Resolution

_REQUEST = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9+._-]*)(?::(?P<qualifier>[A-Za-z0-9-]+))?"
    r"(?:=(?P<version>[0-9A-Za-z.+~:-]+))?(?:/(?P<suite>[A-Za-z0-9.+_/-]+))?\Z"
)


class ResolutionError(RamekinError):
    """No set of packages fulfils the request; the message says which packages stand in each other's way."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for: a package, and which versions of it will do."""

    words: str
    name: str
    version: str = ""
    suite: str = ""


def parse_request(words: str, architecture: str) -> Request:
    """Read `name`, `name=version`, `name/suite` or `name=version/suite`; `UsageError` for anything else.

    `name:any`, `name:native` and `name:ARCH` with the index's own architecture mean `name`; another
    architecture is a `ResolutionError`.
    """
    match = _REQUEST.match(words)
    if match is None:
        raise UsageError(
            f"'{words}' is not a package name",
            hint="write NAME, NAME=VERSION or NAME/SUITE, as in redis-server",
        )
    if match["qualifier"] not in (None, "any", "native", architecture):
        raise ResolutionError(
            f"'{words}' asks for {match['qualifier']}, but the image is for {architecture}",
            hint=f"ask for {match['name']} and choose the architecture with --arch {match['qualifier']}",
        )
    return Request(words, match["name"], match["version"] or "", match["suite"] or "")


def resolve(index: Packages, requests: Sequence[str], *, recommends: bool = False) -> Resolution:
    """The packages that fulfil `requests`, the same for every order of them.

    With `recommends`, recommended packages are added where they can be had beside the rest. Raises
    `ResolutionError`, which names the packages at fault, and `UsageError` for a request that is none.
    """
    universe = Universe(index)
    wanted = sorted(set(requests))
    roots = [(words, _needed(universe, parse_request(words, index.architecture))) for words in wanted]
    found = _search(universe, roots, recommends=recommends)
    chosen = _kept(found, [need for _words, need in roots], recommends=recommends)
    return _answer(universe, requests, roots, chosen, recommends=recommends)


def _needed(universe: Universe, request: Request) -> Need:
    """The versions that a request admits; the errors say what there is instead."""
    name = request.name
    existing = universe.versions(name)
    if not existing:
        providers = sorted({version.name for version, _words in universe.providers(name)})
        if len(providers) == 1:
            name = providers[0]
            existing = universe.versions(name)
        elif providers:
            raise ResolutionError(
                f"'{name}' is no package, but a name that several provide",
                hint=f"ask for one of {explain.listed(providers, 'or')}",
            )
        else:
            near = universe.index.near(name)
            raise ResolutionError(
                f"no package is named '{name}'",
                hint=f"did you mean {explain.listed(near, 'or')}?"
                if near
                else "'ramekin search' finds packages",
            )
    allowed = existing
    if request.version:
        allowed = tuple(one for one in allowed if _same_version(one.package.version, request.version))
    if request.suite:
        allowed = tuple(one for one in allowed if one.package.suite == request.suite)
    if not allowed:
        there = [f"{one.package.version} in {one.package.suite or 'an unnamed suite'}" for one in existing]
        raise ResolutionError(
            f"there is no '{request.words}'", hint=f"{name} exists as {explain.listed(there, 'and')}"
        )
    return Need(name, allowed)


def _same_version(version: str, words: str) -> bool:
    return version == words or versions.key(version) == versions.key(words)


def _search(
    universe: Universe, roots: Sequence[tuple[str, Need]], *, recommends: bool
) -> Mapping[str, Candidate]:
    from ramekin.sources.debian import search

    needs = [need for _words, need in roots]
    # most requests are settled without a dead end; before a long search it is seen whether there is a plain
    # reason for there to be no answer
    for rounds in (search.SHORT, search.LONG):
        try:
            return search.find(universe, needs, recommends=recommends, rounds=rounds)
        except search.ResolutionImpossible as error:
            causes = [(cause.requirement, cause.parent) for cause in error.causes]
            message, hint = explain.certainly(universe, roots) or explain.dead_end(universe, roots, causes)
            raise ResolutionError(message, hint=hint) from None
        except search.ResolutionTooDeep:
            certain = explain.certainly(universe, roots)
            if certain:
                raise ResolutionError(certain[0], hint=certain[1]) from None
    names = explain.listed([words for words, _need in roots])
    raise ResolutionError(
        f"no packages that fit together were found for {names} in {search.LONG:,} steps",
        hint="pin the version of a package that several others need, as NAME=VERSION",
    )


def _kept(found: Mapping[str, Candidate], roots: Sequence[Need], *, recommends: bool) -> dict[str, Version]:
    """What was found, less what others make needless, the largest first."""
    there = {name: version for name, version in found.items() if isinstance(version, Version)}
    while True:
        there = _reached(there, found, roots, recommends=recommends)
        needless = _needless(there, roots, recommends=recommends)
        if not needless:
            return there
        del there[min(needless, key=lambda name: (-there[name].package.installed_size, name))]


def _reached(
    there: Mapping[str, Version], found: Mapping[str, Candidate], roots: Sequence[Need], *, recommends: bool
) -> dict[str, Version]:
    """What the roots need of `there`; a choice goes to what is reached anyway, else as it was settled."""
    reached: dict[str, Version] = {}
    wanted = [need.name for need in roots]
    choices: dict[str, Choice] = {}
    while True:
        while wanted:
            version = there[wanted.pop()]
            if version.name in reached:
                continue
            reached[version.name] = version
            for requirement in _requirements(version, recommends=recommends):
                if isinstance(requirement, Need):
                    wanted.append(requirement.name)
                else:
                    choices[requirement.name] = requirement
        for name in sorted(choices, key=lambda name: (choices[name].optional, name)):
            choice = choices.pop(name)
            if _fulfilling(choice, reached):
                continue
            names = _fulfilling(choice, there)
            if names:
                pick = found[name]
                wanted.append(
                    pick.need.name if isinstance(pick, Pick) and pick.need.name in names else names[0]
                )
                break
        if not wanted:
            return reached


def _needless(there: Mapping[str, Version], roots: Sequence[Need], *, recommends: bool) -> set[str]:
    """The packages of which each could be left out of `there` by itself."""
    needed = {need.name for need in roots}
    for version in there.values():
        for requirement in _requirements(version, recommends=recommends):
            names = _fulfilling(requirement, there)
            if len(names) == 1 and names[0] != version.name:
                needed.add(names[0])
    return there.keys() - needed


def _requirements(version: Version, *, recommends: bool) -> tuple[Need | Choice, ...]:
    return version.needs + version.wishes if recommends else version.needs


def _fulfilling(requirement: Need | Choice, chosen: Mapping[str, Version]) -> list[str]:
    """The names of the chosen packages that fulfil `requirement`, in the order of its words."""
    if isinstance(requirement, Need):
        needs = [requirement]
    else:
        needs = [option.need for option in requirement.options if isinstance(option, Pick)]
    return [need.name for need in needs if chosen.get(need.name) in need.among]


def _answer(
    universe: Universe,
    requests: Sequence[str],
    roots: Sequence[tuple[str, Need]],
    chosen: Mapping[str, Version],
    *,
    recommends: bool,
) -> Resolution:
    reasons: dict[str, Reason] = {}
    for words, need in roots:
        reasons.setdefault(need.name, Reason("", words))
    edges: dict[str, tuple[str, ...]] = {}
    ring = sorted(reasons)
    while ring:
        following: list[str] = []
        for name in ring:
            version = chosen[name]
            used: dict[str, None] = {}
            for group, optional in _groups(version, recommends=recommends):
                requirement = universe.wish(group) if optional else universe.requirement(group)
                fulfilling = _fulfilling(requirement, chosen)
                if not fulfilling:
                    continue
                # of several that are there, the words' first is the one in use
                other = fulfilling[0]
                if not optional and other != name:
                    used[other] = None
                if other not in reasons:
                    reasons[other] = Reason(
                        name, relations.words(group) + (" (recommended)" if optional else "")
                    )
                    following.append(other)
            edges[name] = tuple(sorted(used))
        ring = sorted(following)
    order = in_dependency_order(edges)
    used_versions = {name: chosen[name] for name in order}
    replaces = {name: _replaced(version, used_versions) for name, version in used_versions.items()}
    return Resolution(
        architecture=universe.index.architecture,
        requested=tuple(requests),
        packages=tuple(chosen[name].package for name in order),
        reasons={name: reasons[name] for name in order},
        edges={name: edges[name] for name in order},
        replaces={name: names for name, names in replaces.items() if names},
    )


def _groups(version: Version, *, recommends: bool) -> list[tuple[Group, bool]]:
    groups = [(group, False) for group in version.groups]
    if recommends:
        groups.extend((group, True) for group in relations.parse(version.package.recommends))
    return groups


def _replaced(version: Version, chosen: Mapping[str, Version]) -> tuple[str, ...]:
    """The chosen packages whose files `version` may take over (Policy, section 7.6.1; by real name only)."""
    names = {
        alternative.name
        for group in relations.parse(version.package.replaces)
        for alternative in group
        if alternative.name in chosen
        and alternative.name != version.name
        and alternative.admits(chosen[alternative.name].package.version)
    }
    return tuple(sorted(names))


def in_dependency_order(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of `edges`, what is needed before what needs it, cycles kept together, ties by name."""
    members = _cycles(edges)
    home = {name: place for place, names in enumerate(members) for name in names}
    above: list[set[int]] = [set() for _ in members]
    waiting = [0] * len(members)
    for name, others in edges.items():
        for other in others:
            if home[other] != home[name] and home[name] not in above[home[other]]:
                above[home[other]].add(home[name])
                waiting[home[name]] += 1
    ready = [(members[place][0], place) for place, count in enumerate(waiting) if count == 0]
    heapify(ready)
    order: list[str] = []
    while ready:
        _name, place = heappop(ready)
        order.extend(members[place])
        for higher in above[place]:
            waiting[higher] -= 1
            if waiting[higher] == 0:
                heappush(ready, (members[higher][0], higher))
    return order


def _cycles(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components, each sorted (Tarjan's algorithm, with a stack of its own)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    components: list[list[str]] = []
    for start in edges:
        if start in number:
            continue
        visits = [(start, iter(edges[start]))]
        number[start] = lowest[start] = len(number)
        path.append(start)
        on_path.add(start)
        while visits:
            name, others = visits[-1]
            for other in others:
                if other not in number:
                    number[other] = lowest[other] = len(number)
                    path.append(other)
                    on_path.add(other)
                    visits.append((other, iter(edges[other])))
                    break
                if other in on_path:
                    lowest[name] = min(lowest[name], number[other])
            else:
                visits.pop()
                if visits:
                    lowest[visits[-1][0]] = min(lowest[visits[-1][0]], lowest[name])
                if lowest[name] == number[name]:
                    component: list[str] = []
                    while not component or component[-1] != name:
                        component.append(path.pop())
                        on_path.discard(component[-1])
                    components.append(sorted(component))
    return components
