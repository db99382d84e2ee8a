"""States of a source's indexes that were seen before, so that an image of a past day can be made.

    indexes/state/IDENTITY.json                    what counts now
    indexes/state/IDENTITY.20261101T063000Z.json   a state that counted from that moment on

A kept state is a copy of the file that counted. As it lies beside that one, `state.sweep` spares the package
lists that it names. Lists that did not change are the same files, so a day costs what was new on it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ramekin.errors import NotFoundError
from ramekin.sources.debian import state
from ramekin.sources.debian.source import DebianSource
from ramekin.sources.debian.state import State

_FORM = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Moment:
    """A state that was kept. `stamp` is when it was first seen (UTC, as in 20261101T063000Z)."""

    stamp: str
    path: Path

    @property
    def day(self) -> str:
        """The day of it, as in 20261101."""
        return self.stamp[:8]


def moments(source: DebianSource) -> tuple[Moment, ...]:
    """All states of `source` that are kept, oldest first."""
    folder, name = source.folder / "state", source.identity.hex
    found = (Moment(path.name.split(".")[1], path) for path in folder.glob(f"{name}.*.json"))
    return tuple(sorted(found, key=lambda moment: moment.stamp))


def keep(source: DebianSource, held: State, *, days: int) -> Moment:
    """Keep `held`, the state that counts, unless the newest kept one says the same.

    States older than `days` are forgotten, but for the newest of them, which the oldest day needs.
    """
    with source.store.exclusive(source.identity):
        known = moments(source)
        if known:
            newest = state.load(known[-1].path)
            if newest is not None and newest.digest(newest.architectures) == held.digest(held.architectures):
                return known[-1]
        stamp, path = _free(source, int(held.checked or time.time()))
        state.save(held, path)
        oldest = time.strftime(_FORM, time.gmtime(time.time() - days * 86400))
        gone = [moment for moment in known if moment.stamp < oldest][:-1]
        for moment in gone:
            moment.path.unlink(missing_ok=True)
    return Moment(stamp, path)


def _free(source: DebianSource, seconds: int) -> tuple[str, Path]:
    """The first stamp from `seconds` on that no state has: what was given under a stamp must not move."""
    while True:
        stamp = time.strftime(_FORM, time.gmtime(seconds))
        path = source.folder / "state" / f"{source.identity.hex}.{stamp}.json"
        if not path.exists():
            return stamp, path
        seconds += 1


def at(source: DebianSource, day: str) -> Moment:
    """The newest state kept on `day` (YYYYMMDD, UTC) or before; `NotFoundError` says which is the first."""
    known = moments(source)
    found = [moment for moment in known if moment.day <= day]
    if not found:
        first = f"the first is of {known[0].day}" if known else "there is none yet"
        raise NotFoundError(f"no state of {source.name} of {day} or before was kept here", hint=first)
    return found[-1]


def opened(source: DebianSource, moment: Moment) -> DebianSource:
    """The source as it was at `moment`; it is never refreshed. `NotFoundError` when its lists are gone."""
    held = state.load(moment.path)
    lists = held.all_lists() if held is not None else ()
    if held is None or not all(state.list_path(source.folder, digest).is_file() for digest in lists):
        raise NotFoundError(f"the state of {source.name} of {moment.stamp} is not kept any more")
    return source.frozen(held)
