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
6. Equal weights go by the order of the relation's words, then by name.

In the drawing mawk and usr-is-merged are taken, in whichever order the relations were met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ramekin.sources.debian.candidates import Absent, Avoid, Choice, Claim, Need, Pick, Skip, Version

PROVIDER_HANDICAP = 1 << 20
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
        picks = [(place, option) for place, option in enumerate(choice.options) if isinstance(option, Pick)]
        # the smallest first, so that the others can be given up as soon as they weigh more
        picks.sort(key=lambda item: (_class(item[1]), _size(item[1].need) + handicap(item[1]), item[0]))
        ranks: list[tuple[bool, int, int, int, Pick]] = []
        best: int | None = None
        brought: Mapping[str, Version] = {}
        for place, pick in picks:
            stands_in = _class(pick) > 0
            extra = handicap(pick)
            limit = None if best is None or stands_in else best - extra
            closure = self._closure(pick.need, chosen, asked, limit=limit)
            ranks.append((not closure.possible, _class(pick), closure.weight + extra, place, pick))
            if closure.possible and not stands_in and (best is None or closure.weight + extra < best):
                best, brought = closure.weight + extra, closure.found
        ranks.sort(key=lambda item: item[:4])
        picked = [item[4] for item in ranks]
        # an option that the best one brings along is enough by itself
        enough = [pick for pick in picked[1:] if brought.get(pick.need.name) in pick.need.among]
        options: list[Pick | Skip] = [*enough, *(pick for pick in picked if pick not in enough)]
        options.extend(option for option in choice.options if isinstance(option, Skip))
        return ranks[0][2] if ranks else 0, options

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
        return min(picks, key=lambda pick: (_class(pick), weigh(pick.need) + handicap(pick))).need

    def _weight_alone(self, need: Need) -> int:
        weight = self._alone.get(need)
        if weight is None:
            closure = self._closure(need, {}, lambda _name: (), limit=None, alone=True)
            weight = self._alone[need] = closure.weight if closure.possible else _IMPOSSIBLE
        return weight


def _class(pick: Pick) -> int:
    """0 for the options that are each other's equals, 1 for those that only stand in for them."""
    return int(pick.claim is Claim.STANDS_IN)


def _size(need: Need) -> int:
    return need.allowed[0].package.installed_size


def _newest(need: Need, asked: Iterable[Need | Avoid]) -> Version | None:
    others = [requirement for requirement in asked if requirement is not need]
    for version in need.allowed:
        if all(other.admits(version) for other in others):
            return version
    return None
