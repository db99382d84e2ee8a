"""The search for packages that fit together: resolvelib, told what Debian's relations mean.

    name            each package's name is something to settle. Candidates: the versions that all requirements
                    on the name admit, newest first.
    either a | b    each choice is, too. Candidates: its options, each of which asks for one name.
    avoiding        a conflict is a requirement on the other's name, which its absence also satisfies.

Names that must be there are settled first. Then the choices: those that what is chosen fulfils, at no cost;
then, of the others, the one whose best option is the heaviest, since that cannot be avoided and may make the
others free. Recommends come after all other choices and may end in nothing, names that are only avoided last.
`weigh` says which option is best.

A dead end is undone and something else tried. resolvelib first jumps back to what it thinks the cause is and,
when that does not lead anywhere, goes back step by step, so that what is called impossible is so.

This module is imported only when something is resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from resolvelib import AbstractProvider, BaseReporter
from resolvelib.resolvers import Resolution, ResolutionImpossible, ResolutionTooDeep

from ramekin.sources.debian import weigh
from ramekin.sources.debian.candidates import (
    Absent,
    Avoid,
    Candidate,
    Choice,
    Need,
    Pick,
    Skip,
    Universe,
    Version,
)

SHORT, LONG = 4_000, 12_000
"""Steps after which a search is given up; without dead ends a closure of 1,100 packages takes about 1,700."""

Requirement = Need | Avoid | Choice

__all__ = ["LONG", "SHORT", "ResolutionImpossible", "ResolutionTooDeep", "find"]


def find(
    universe: Universe, roots: Sequence[Need], *, recommends: bool, rounds: int
) -> Mapping[str, Candidate]:
    """What was settled, by the names of packages and choices, with more than the roots strictly need.

    Raises resolvelib's `ResolutionImpossible`, whose causes are what met in the last dead end, and
    `ResolutionTooDeep` after `rounds` steps.
    """
    provider = _Provider(universe, recommends=recommends)
    provider.search = Resolution(provider, BaseReporter())
    return provider.search.resolve(roots, max_rounds=rounds).mapping


class _Provider(AbstractProvider[Requirement, Candidate, str]):
    search: Resolution[Requirement, Candidate, str]

    def __init__(self, universe: Universe, *, recommends: bool) -> None:
        self._universe = universe
        self._recommends = recommends
        self._weigher = weigh.Weigher()

    def identify(self, requirement_or_candidate: Requirement | Candidate) -> str:
        return requirement_or_candidate.name

    def is_satisfied_by(self, requirement: Requirement, candidate: Candidate) -> bool:
        return requirement.admits(candidate)

    def get_dependencies(self, candidate: Candidate) -> Sequence[Requirement]:
        if isinstance(candidate, Version):
            # the requirement on itself keeps the search from exchanging a version without undoing what it
            # brought, and from jumping over it when it looks for what to undo
            required = (candidate.itself, *candidate.needs, *candidate.avoids)
            return required + candidate.wishes if self._recommends else required
        if isinstance(candidate, Pick):
            return (candidate.need,)
        return ()

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Requirement]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> Sequence[Candidate]:
        tried = set(incompatibilities[identifier])
        choice = self._universe.choices.get(identifier)
        if choice is not None:
            return _Options(self, choice, tried)
        asked = dict.fromkeys(requirements[identifier])
        needs = [requirement for requirement in asked if isinstance(requirement, Need)]
        if not needs:
            absent = self._universe.absent(identifier)
            return () if absent in tried else (absent,)
        if len(asked) == 1 and not tried:
            return needs[0].allowed
        fewest = min(needs, key=lambda need: len(need.allowed))
        return [
            version
            for version in fewest.allowed
            if version not in tried and all(one.admits(version) for one in asked)
        ]

    def narrow_requirement_selection(
        self,
        identifiers: Iterable[str],
        resolutions: Mapping[str, Candidate],
        candidates: Mapping[str, Iterator[Candidate]],
        information: Mapping[str, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> Sequence[str]:
        several = avoided = ""
        choices: list[Choice] = []
        for identifier in identifiers:
            choice = self._universe.choices.get(identifier)
            if choice is not None:
                choices.append(choice)
                continue
            left = candidates[identifier]
            if isinstance(next(left, None), Absent):
                avoided = avoided or identifier
            elif next(left, None) is None:
                return [identifier]
            else:
                several = several or identifier
        if several:
            return [several]
        choices = [choice for choice in choices if not choice.optional] or choices
        for choice in choices:
            if weigh.settled(choice, resolutions) is not None:
                return [choice.name]
        if len(choices) > 1:
            choices.sort(key=lambda choice: choice.name)
            choices.sort(key=lambda choice: self.ranked(choice)[0], reverse=True)
        return [choices[0].name if choices else avoided]

    def get_preference(self, identifier: str, *_others: Any, **_more: Any) -> str:
        return identifier

    def ranked(self, choice: Choice) -> tuple[int, Sequence[Pick | Skip]]:
        state = self.search.state

        def asked(name: str) -> Iterable[Need | Avoid]:
            criterion = state.criteria.get(name)
            return criterion.iter_requirement() if criterion is not None else ()  # type: ignore[return-value]

        return self._weigher.ranked(choice, state.mapping, asked)


class _Options(Sequence[Candidate]):
    """The options of a choice that are left, put in order only when they are about to be tried."""

    def __init__(self, provider: _Provider, choice: Choice, tried: set[Candidate]) -> None:
        self._provider = provider
        self._choice = choice
        self._left = [option for option in choice.options if option not in tried]

    def __len__(self) -> int:
        return len(self._left)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, place: int | slice) -> Candidate | Sequence[Candidate]:
        return list(self)[place]

    def __iter__(self) -> Iterator[Candidate]:
        left = set(self._left)
        return iter([option for option in self._provider.ranked(self._choice)[1] if option in left])
