"""What a store holds, whether it is sound, and making room in it.

Anything in a store can be made or fetched again, so the only question of making room is what is worth
keeping: what was used last. A result counts as used when it is looked up, a blob when it is looked for, and
both no later than the results that name it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from ramekin.progress import SILENT, Progress
from ramekin.store.backend import Stored
from ramekin.store.digest import Digest
from ramekin.store.store import Store, blob_name, parse_result

GRACE = 3600.0
"""Seconds in which what was used stays, when other processes may have the store open: what they have
just seen must not vanish under their hands. Longer than a use may take to be noted, and than most builds."""


@dataclass(frozen=True, slots=True)
class Count:
    """So many things, of so many bytes together."""

    number: int = 0
    size: int = 0

    def plus(self, size: int) -> Count:
        return Count(self.number + 1, self.size + size)


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in a store. `debris` is what dead processes left, `bad` what `verify` has set aside."""

    location: str
    blobs: Count
    results: Count
    debris: Count
    bad: Count

    @property
    def size(self) -> int:
        """All bytes."""
        return self.blobs.size + self.results.size + self.debris.size + self.bad.size


@dataclass(frozen=True, slots=True)
class Damage:
    """A thing in a store that is not what its name says. `moved` is where it was set aside, if it was."""

    name: str
    reason: str
    moved: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` looked at, and the damage that it found and took out of use."""

    location: str
    blobs: Count
    results: Count
    damage: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """What `collect` removed, or would remove when `dry_run`, and the blobs and results that stay.

    `reasons` has one for each of `removed`.
    """

    location: str
    dry_run: bool
    blobs: Count
    results: Count
    debris: Count
    kept: Count
    removed: tuple[str, ...] = field(default=(), repr=False)
    reasons: tuple[str, ...] = field(default=(), repr=False)

    @property
    def size(self) -> int:
        """Bytes that became free."""
        return self.blobs.size + self.results.size + self.debris.size


def usage(store: Store) -> Usage:
    """Count what is in the store."""
    backend = store.backend
    return Usage(
        store.location,
        _count(backend.list("blobs")),
        _count(backend.list("results")),
        Count(*backend.sweep(dry_run=True)),
        _count(backend.list("bad")),
    )


def verify(store: Store, progress: Progress = SILENT) -> Verification:
    """Read every blob and result, and take those out of use whose bytes are not what their name says.

    Damaged blobs are moved to `bad/`, damaged results and results without their blobs are removed: they are
    made again when they are needed.
    """
    backend = store.backend
    damage: list[Damage] = []
    # results first: the blobs of those that are recorded meanwhile would be missed
    results = sorted(backend.list("results"), key=lambda found: found.name)
    blobs = sorted(backend.list("blobs"), key=lambda found: found.name)
    with progress.task("verify", total=sum(found.size for found in blobs)) as task:
        for found in blobs:
            reason = _blob_damage(store, found)
            task.advance(found.size)
            if reason:
                aside = "bad/" + found.name.rpartition("/")[2]
                backend.move(found.name, aside)
                damage.append(Damage(found.name, reason, aside))
    whole = {found.name for found in blobs} - {one.name for one in damage}
    for found in results:
        data = backend.read(found.name, use=False)
        if data is None:
            continue
        parsed = parse_result(data)
        if parsed is None:
            reason = "torn"
        elif any(blob_name(digest) not in whole for digest in parsed[1]):
            reason = "one of its blobs is gone"
        else:
            continue
        backend.delete(found.name)
        damage.append(Damage(found.name, reason))
    return Verification(store.location, _count(blobs), _count(results), tuple(damage))


def collect(
    store: Store,
    *,
    older_than: float | None = None,
    size_limit: int | None = None,
    dry_run: bool = False,
    grace: float = GRACE,
    roots: Container[str] = (),
) -> Collection:
    """Make room: remove what is broken or left behind, then what is not worth keeping.

    With `older_than`, all that was last used more than so many seconds ago; with `size_limit`, what was
    used longest ago, until blobs and results have at most so many bytes together. A blob stays as long as
    a result that stays names it. What was used in the last `grace` seconds stays while any other process has
    the store open (an object store cannot tell, so always). `roots` are names of blobs that are more than a
    cache: they stay, and are not counted as part of `size_limit`.
    """
    backend = store.backend
    now = time.time()
    with backend.alone() as alone:
        protected = now if alone else now - grace
        debris = Count(*backend.sweep(dry_run=dry_run))
        for found in list(backend.list("bad")):
            debris = debris.plus(found.size)
            if not dry_run:
                backend.delete(found.name)
        gone: dict[str, Stored] = {}
        why: dict[str, str] = {}
        results: list[tuple[Stored, tuple[str, ...]]] = []
        # results first: the blobs of those that are recorded meanwhile would be missed
        named = [(found, _blobs_of(store, found)) for found in backend.list("results")]
        blobs = {found.name: found for found in backend.list("blobs")}
        for found, names in named:
            if names is None or any(name not in blobs for name in names):
                gone[found.name] = found
                why[found.name] = "torn" if names is None else "one of its blobs is gone"
            else:
                results.append((found, names))

        used = {name: found.used for name, found in blobs.items()}
        for found, names in results:
            for name in names:
                used[name] = max(used[name], found.used)
        # a result stands before the blobs that it names, so that it is always gone before they are
        queue = sorted(
            [(found.used, 0, found) for found, _ in results]
            + [(used[name], 1, found) for name, found in blobs.items() if name not in roots],
            key=lambda item: (item[0], item[1], item[2].name),
        )
        size = sum(found.size for _, _, found in queue)
        rooted = [name for name in blobs if name in roots]
        oldest = now - older_than if older_than is not None else None
        for last, _, found in queue:
            stale = oldest is not None and last <= oldest
            crowded = size_limit is not None and size > size_limit
            if last > protected or not (stale or crowded):
                continue
            gone[found.name] = found
            why[found.name] = f"unused for {(now - last) / 86400:.1f} days" + (
                "" if stale else ", for its room"
            )
            size -= found.size
        names_in_order = sorted(gone, key=lambda name: (not name.startswith("results/"), name))
        if not dry_run:
            for name in names_in_order:
                backend.delete(name)
    return Collection(
        location=store.location,
        dry_run=dry_run,
        blobs=_count(found for name, found in gone.items() if name.startswith("blobs/")),
        results=_count(found for name, found in gone.items() if name.startswith("results/")),
        debris=debris,
        kept=Count(
            len(queue) - sum(found.name in gone for _, _, found in queue) + len(rooted),
            size + sum(blobs[name].size for name in rooted),
        ),
        removed=tuple(names_in_order),
        reasons=tuple(why[name] for name in names_in_order),
    )


def _count(found: Iterable[Stored]) -> Count:
    total = Count()
    for one in found:
        total = total.plus(one.size)
    return total


def _blob_damage(store: Store, found: Stored) -> str:
    opened = store.backend.open(found.name, use=False)
    if opened is None:
        # removed by another process meanwhile
        return ""
    state = hashlib.sha256()
    with opened[0] as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    expected = found.name.rpartition("/")[2]
    if found.name != blob_name(Digest("sha256:" + expected)):
        return "not where a blob of its name would be"
    return "" if state.hexdigest() == expected else f"has the digest sha256:{state.hexdigest()}"


def _blobs_of(store: Store, found: Stored) -> tuple[str, ...] | None:
    data = store.backend.read(found.name, use=False)
    parsed = parse_result(data) if data is not None else None
    return tuple(map(blob_name, parsed[1])) if parsed is not None else None
