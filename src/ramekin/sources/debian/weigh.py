"""Which option of a choice to take: the one that adds the fewest bytes to what is already chosen.

Inputs: what is chosen, what is asked of names so far, the choice. Nothing is decided here, the solver only
tries the options in the order given.

    base-files ── awk ──┬── mawk            263 KB   required
                        ├── original-awk    186 KB   optional    + 1 MiB, a mere provider
                        └── gawk          2,906 KB + libgmp10, libmpfr6 …   + 1 MiB
    init-system-helpers ──┬── usrmerge       40 KB + perl … = 60 MB
                          └── usr-is-merged  13 KB

1. An option that is already there, in a version that will do, is free and is taken.
2. Otherwise an option weighs the installed bytes of all that it would bring along. Choices on the way go to
   what is there or on the way too, else to the option that weighs least by itself, nested choices in turn
   going to the package that is smallest alone.
3. A package that the relation does not name, and that provides a virtual name of it, weighs 1 MiB more,
   unless its Priority is standard or higher, by which Debian says that it is the usual one. So awk is mawk,
   although original-awk would save 77 KB; but a provider that saves more than that is taken.
4. A package that only provides the name of another which exists is no equal of that one, and stands in for it
   where it cannot be had: libsystemd0 is not libelogind0, however much smaller that is. But a stand-in that
   the best option would bring along anyway is taken alone: lsb-base needs sysvinit-utils, which provides
   lsb-base.
5. An option that cannot be had beside what is chosen comes last.
6. Weights are equal when they are less than a tenth, and less than 1 MiB, apart; then the order of the
   relation's words counts, by which maintainers say what they prefer, then the name. So libqt5gui5 (37.5 MB)
   is not exchanged for libqt5gui5-gles (36.7 MB), nor the English dictionary for the Tibetan one.

In the drawing mawk and usr-is-merged are taken, in whichever order the relations were met.

Tried and dropped: the fewest bytes in all cases. It gave libelogind0 for libsystemd0, original-awk, the
GLES build of Qt and Tibetan spelling, each for less than 3 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ramekin.sources.debian.candidates import Absent, Avoid, Choice, Claim, Need, Pick, Skip, Version

PROVIDER_HANDICAP = 1 << 20
"""Bytes by which a package that only provides a virtual name must be smaller than others."""

MARGIN = 1 << 20
"""Bytes below which two weights may be called equal; they also must be less than a tenth apart."""

_IMPOSSIBLE = 1 << 60
_USUAL = frozenset({"required", "important", "standard"})

Chosen = Mapping[str, object]
Asked = Callable[[str], Iterable[Need | Avoid]]
"""What is asked of a package's name so far."""


def handicap(pick: Pick) -> int:
    """Bytes that `pick` weighs more because nothing but Provides speaks for it."""
    if pick.claim is Claim.NAMED or any(version.package.priority in _USUAL for version in pick.need.allowed):
        return 0
    return PROVIDER_HANDICAP


def settled(choice: Choice, chosen: Chosen) -> Pick | None:
    """The first option that what is chosen fulfils already."""
    for pick in choice.options:
        if isinstance(pick, Pick) and chosen.get(pick.need.name) in pick.need.among:
            return pick
    return None


class Closure(NamedTuple):
    """What an option would add: installed bytes, whether it can be had, and the packages."""

    weight: int
    possible: bool
    found: Mapping[str, Version]


class Weigher:
    """Weights that do not depend on what is chosen are kept from one choice to the next."""

    def __init__(self) -> None:
        self._alone: dict[Need, int] = {}

    def ranked(self, choice: Choice, chosen: Chosen, asked: Asked) -> tuple[int, Sequence[Pick | Skip]]:
        """The options in the order in which to try them, and the first one's weight in bytes."""
        free = settled(choice, chosen)
        if free is not None:
            return 0, [free, *(option for option in choice.options if option is not free)]
        picks = [option for option in choice.options if isinstance(option, Pick)]
        weighed = self._weighed(picks, chosen, asked)
        equals = [one for pick, one in weighed.items() if one.possible and not _stands_in(pick)]
        best = min((one.weight for one in equals), default=0)
        # what weighs as good as the best is its equal, so that the order of the words decides
        level = {
            pick: best if best <= one.weight <= _equal_up_to(best) else one.weight
            for pick, one in weighed.items()
        }
        picks.sort(key=lambda pick: (not weighed[pick].possible, _stands_in(pick), level[pick]))
        if picks and weighed[picks[0]].possible:
            # an option that the best one would bring along is enough by itself
            first, brought = picks[0], weighed[picks[0]].found
            enough = [
                one for one in picks if one is not first and brought.get(one.need.name) in one.need.among
            ]
            picks = [*enough, *(pick for pick in picks if pick not in enough)]
        skips = (option for option in choice.options if isinstance(option, Skip))
        return (level[picks[0]] if picks else 0), [*picks, *skips]

    def _weighed(self, picks: Sequence[Pick], chosen: Chosen, asked: Asked) -> Mapping[Pick, Closure]:
        """What each option would add; those that are no equals of the lightest are not counted to the end."""
        weighed: dict[Pick, Closure] = {}
        best: int | None = None
        # the smallest first, so that others are given up early
        for pick in sorted(picks, key=lambda pick: (_stands_in(pick), _size(pick.need) + handicap(pick))):
            extra = handicap(pick)
            limit = None if best is None or _stands_in(pick) else _equal_up_to(best) - extra
            closure = self._closure(pick.need, chosen, asked, limit=limit)
            weighed[pick] = closure._replace(weight=closure.weight + extra)
            if closure.possible and not _stands_in(pick):
                best = closure.weight + extra if best is None else min(best, closure.weight + extra)
        return weighed

    def _closure(
        self, need: Need, chosen: Chosen, asked: Asked, *, limit: int | None, alone: bool = False
    ) -> Closure:
        """What `need` adds to what is chosen; counting stops above `limit`."""
        found: dict[str, Version] = {}
        total = 0
        wanted = [need]
        open_choices: dict[str, Choice] = {}
        while True:
            while wanted:
                need = wanted.pop()
                there = chosen.get(need.name)
                if there is None or isinstance(there, Absent):
                    there = found.get(need.name)
                if there is not None:
                    if there not in need.among:
                        return Closure(total, False, found)
                    continue
                version = _newest(need, asked(need.name))
                if version is None:
                    return Closure(total, False, found)
                for avoid in version.avoids if not alone else ():
                    other = chosen.get(avoid.name) or found.get(avoid.name)
                    if other in avoid.forbidden:
                        return Closure(total, False, found)
                found[need.name] = version
                total += version.package.installed_size
                if limit is not None and total > limit:
                    return Closure(total, True, found)
                for requirement in version.needs:
                    if isinstance(requirement, Need):
                        wanted.append(requirement)
                    else:
                        open_choices.setdefault(requirement.name, requirement)
            if not open_choices:
                return Closure(total, True, found)
            name = min(open_choices)
            choice = open_choices.pop(name)
            if settled(choice, chosen) is None and settled(choice, found) is None:
                wanted.append(self._likely(choice, smallest=alone))

    def _likely(self, choice: Choice, *, smallest: bool) -> Need:
        """The option of a nested choice that counts: the lightest by itself."""
        picks = [option for option in choice.options if isinstance(option, Pick)]
        weigh = _size if smallest else self._weight_alone
        return min(picks, key=lambda pick: (_stands_in(pick), weigh(pick.need) + handicap(pick))).need

    def _weight_alone(self, need: Need) -> int:
        weight = self._alone.get(need)
        if weight is None:
            closure = self._closure(need, {}, lambda _name: (), limit=None, alone=True)
            weight = self._alone[need] = closure.weight if closure.possible else _IMPOSSIBLE
        return weight


def _equal_up_to(weight: int) -> int:
    return weight + min(weight // 10, MARGIN)


def _stands_in(pick: Pick) -> bool:
    return pick.claim is Claim.STANDS_IN


def _size(need: Need) -> int:
    return need.allowed[0].package.installed_size


def _newest(need: Need, asked: Iterable[Need | Avoid]) -> Version | None:
    others = [requirement for requirement in asked if requirement is not need]
    for version in need.allowed:
        if all(other.admits(version) for other in others):
            return version
    return None
