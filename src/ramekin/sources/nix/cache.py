"""Binary caches: which have a path, in the order of their priorities, and the closure of paths in them.

    narinfo of a hash    from where an earlier run kept it, believed; else from each cache in turn, and the
                         first that is believed counts
    closure              level by level, all paths of a level at once

A cache that cannot be reached, or gives something that is not believed, is passed over with a warning as long
as another one has what is wanted. What was believed is kept beside the store (`kept.py`), and whole closures
in it, under the caches and keys that they were believed by; nothing is kept of what was not there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

import msgspec

from ramekin import workers
from ramekin.errors import FormatError, NetworkError, NotFoundError, RamekinError, UsageError
from ramekin.progress import SILENT, Progress
from ramekin.sources.folder import index_folder
from ramekin.sources.nix import narinfo, paths, places, trust
from ramekin.sources.nix.kept import Kept
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.sources.nix.places import Connections, Place
from ramekin.sources.nix.trust import Keys, SignatureError
from ramekin.store.action import Key, key
from ramekin.store.store import Store

REVISION = 1
"""Of what is kept in the store."""

USUAL_PRIORITY = 50
"""Of a cache that says nothing of it; the lower comes first."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """The file `nix-cache-info`."""

    store_dir: str
    priority: int


class Cache:
    """One cache. `asked` is its priority by the user's word, which counts before its own."""

    def __init__(self, place: Place, asked: int | None = None) -> None:
        self.place, self._asked = place, asked
        self._lock = threading.Lock()
        self._info: CacheInfo | None = None

    @classmethod
    def at(cls, text: str, connections: Connections) -> Cache:
        """The cache at a URL or in a folder; `?priority=N` is understood as Nix does."""
        query = parse_qs(urlsplit(text).query) if "://" in text or text.startswith("file:") else {}
        asked = query.get("priority", [""])[0]
        if asked and not (asked.isascii() and asked.isdigit()):
            raise UsageError(f"{text!r}: the priority {asked!r} is not a number")
        return cls(places.place(text, connections), int(asked) if asked else None)

    @property
    def url(self) -> str:
        return self.place.url

    @property
    def identity(self) -> str:
        return f"{self.url} {'' if self._asked is None else self._asked}"

    def info(self) -> CacheInfo:
        """What the cache says of itself; `NotFoundError` when it is none."""
        with self._lock:
            if self._info is None:
                data = self.place.read("nix-cache-info", 1 << 16)
                if data is None:
                    raise NotFoundError(
                        f"{self.url} is not a Nix binary cache: it has no nix-cache-info",
                        hint="`nix copy --to` makes one; check the URL",
                    )
                self._info = _cache_info(data, f"{self.url}/nix-cache-info", self._asked)
            return self._info

    def narinfo(self, asked: str, store_dir: str) -> NarInfo | None:
        """The narinfo of the path with the hash `asked`, not yet believed; None when there is none."""
        data = self.place.read(f"{asked}.narinfo", narinfo.LIMIT)
        return None if data is None else narinfo.parse(data, asked=asked, store_dir=store_dir, cache=self.url)


def _cache_info(data: bytes, where: str, asked: int | None) -> CacheInfo:
    store_dir, priority = paths.STORE_DIR, USUAL_PRIORITY
    for line in data.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        value = value.strip()
        if name == "StoreDir":
            store_dir = paths.check_store_dir(value, where=where)
        elif name == "Priority" and value.isascii() and value.isdigit():
            priority = int(value)
    return CacheInfo(store_dir, priority if asked is None else asked)


class Caches:
    """All caches of a source, with the keys that they are believed by. For use by many threads."""

    def __init__(self, caches: Sequence[Cache], keys: Keys, store: Store, *, jobs: int = 16) -> None:
        self._given, self._keys, self._store, self._jobs = tuple(caches), keys, store, jobs
        self._lock = threading.Lock()
        self._known: dict[str, NarInfo] = {}
        self._down: dict[str, RamekinError] = {}
        self._warned: set[str] = set()

    @cached_property
    def _rows(self) -> Kept:
        return Kept(index_folder(self._store) / "nix", self.identity)

    @cached_property
    def identity(self) -> str:
        """All that decides which narinfo is believed for a path."""
        return "\n".join([*(cache.identity for cache in self._given), self._keys.identity])

    @property
    def given(self) -> tuple[Cache, ...]:
        return self._given

    @cached_property
    def _order(self) -> tuple[tuple[Cache, ...], str]:
        """The caches that can be asked, the first to be asked first, and the folder of their store."""
        found: list[tuple[int, int, Cache, str]] = []
        for place, cache in enumerate(self._given):
            try:
                info = cache.info()
            except (NetworkError, NotFoundError, FormatError) as error:
                self._down[cache.url] = error
            else:
                found.append((info.priority, place, cache, info.store_dir))
        if not found:
            raise next(iter(self._down.values()))
        found.sort(key=lambda entry: entry[:2])
        store_dir = found[0][3]
        for _, _, cache, other in found:
            if other != store_dir:
                self._down[cache.url] = FormatError(
                    f"{cache.url} is of the store {other} and not of {store_dir}",
                    hint="ask it in another source",
                )
        return tuple(cache for _, _, cache, other in found if other == store_dir), store_dir

    @property
    def order(self) -> tuple[Cache, ...]:
        return self._order[0]

    @property
    def store_dir(self) -> str:
        """The folder of the store that the caches are of."""
        return self._order[1]

    # --- single paths ------------------------------------------------------------------------------------

    def info(self, asked: str, progress: Progress = SILENT, *, name: str = "") -> NarInfo:
        """The believed narinfo of the path with the hash `asked`, called `name` if that is known.

        `NotFoundError` when no cache has it; `SignatureError` or `FormatError` when what caches say of it
        is not believed; `NetworkError` when one that may have it cannot be reached.
        """
        found = self.kept(asked)
        if found is None:
            found = self._asked(asked, progress, name)
            self._rows.put((found,))
        return found

    def has(self, asked: str) -> bool:
        """Whether a cache has the path with the hash `asked`, believed."""
        try:
            self.info(asked)
        except NotFoundError:
            return False
        return True

    def every(self, asked: str) -> Iterator[NarInfo]:
        """What the caches say of a path now, believed or not: for those who know the hash of its NAR."""
        for cache in self.order:
            try:
                found = cache.narinfo(asked, self.store_dir)
            except (NetworkError, FormatError):
                continue
            if found is not None:
                yield found

    def open(self, info: NarInfo) -> AbstractContextManager[BinaryIO]:
        """The file with the NAR, as it is compressed."""
        for cache in self._given:
            if cache.url == info.cache:
                return cache.place.open(info.url)
        raise NotFoundError(f"the cache {info.cache} is not among those of this source")

    def kept(self, asked: str) -> NarInfo | None:
        """The narinfo that was believed before, by this run or an earlier one."""
        return self._all_kept((asked,)).get(asked)

    def _all_kept(self, wanted: Iterable[str]) -> dict[str, NarInfo]:
        found: dict[str, NarInfo] = {}
        missing: list[str] = []
        for asked in wanted:
            known = self._known.get(asked)
            if known is None:
                missing.append(asked)
            else:
                found[asked] = known
        if missing:
            rows = self._rows.get(missing)
            self._known.update(rows)
            found.update(rows)
        return found

    def _key(self, what: str, asked: str) -> Key:
        return key(f"nix {what}", REVISION, self.identity, asked)

    def _asked(self, asked: str, progress: Progress, name: str) -> NarInfo:
        failures: list[RamekinError] = []
        for cache in self.order:
            if (down := self._down.get(cache.url)) is not None:
                failures.append(down)
                continue
            try:
                found = cache.narinfo(asked, self.store_dir)
                if found is None:
                    continue
                trust.check(found, self._keys)
            except NetworkError as error:
                # not asked again: each question would wait for as long
                self._down[cache.url] = error
                failures.append(error)
            except (FormatError, SignatureError) as error:
                failures.append(error)
            else:
                for failure in failures:
                    self._warn(failure, progress)
                self._known[asked] = found
                return found
        for kind in (SignatureError, FormatError, NetworkError):
            for failure in failures:
                if isinstance(failure, kind):
                    raise failure
        for failure in self._down.values():
            raise failure
        names = ", ".join(cache.url for cache in self.order)
        raise NotFoundError(
            f"{names} has no {name or f'store path with the hash {asked}'}",
            hint="name another cache that has it, or copy it there: `nix copy --to CACHE PATH`",
        )

    def _warn(self, failure: RamekinError, progress: Progress) -> None:
        with self._lock:
            new = failure.message not in self._warned
            self._warned.add(failure.message)
        if new:
            progress.warn(f"{failure.message}; another cache was taken")

    # --- closures ----------------------------------------------------------------------------------------

    def closure(self, roots: Iterable[str], progress: Progress = SILENT) -> dict[str, NarInfo]:
        """The believed narinfos of the paths with the base names `roots` and of all that they refer to.

        By base name, each after those that it refers to; ties by name. `FormatError` for references that
        lead back to where they began; errors as for `info`.
        """
        wanted = tuple(dict.fromkeys(roots))
        kept = self._kept_closure(wanted)
        if kept is None:
            kept = self._walk(wanted, progress)
            data = msgspec.msgpack.encode(list(kept.values()))
            self._store.record(self._closure_key(wanted), data)
        return in_order(kept)

    def _closure_key(self, wanted: Sequence[str]) -> Key:
        return self._key("closure", " ".join(sorted(wanted)))

    def _kept_closure(self, wanted: Sequence[str]) -> dict[str, NarInfo] | None:
        data = self._store.result(self._closure_key(wanted))
        if data is None:
            return None
        found = {info.base: info for info in msgspec.msgpack.decode(data, type=list[NarInfo])}
        self._known.update((paths.hash_of(base), info) for base, info in found.items())
        return found

    def _walk(self, roots: Sequence[str], progress: Progress) -> dict[str, NarInfo]:
        found: dict[str, NarInfo] = {}
        level = _by_hash(roots)
        with progress.task("store paths", unit="paths") as task:
            while level:
                for asked, info in self._several(level, progress).items():
                    if info.base != level[asked]:
                        raise FormatError(
                            f"{info.cache}: {info.base} stands where {level[asked]} should",
                            hint="check the name; if others refer to it, the cache is broken or hostile",
                        )
                    found[info.base] = info
                task.advance(len(level))
                following = sorted(
                    {
                        reference
                        for asked in level
                        for reference in self._known[asked].references
                        if reference not in found
                    }
                )
                level = _by_hash(following)
        return found

    def _several(self, wanted: Mapping[str, str], progress: Progress) -> dict[str, NarInfo]:
        found = self._all_kept(wanted)
        missing = [asked for asked in wanted if asked not in found]
        if missing:
            asked_first = {cache.url for cache in self.order}
            for url, failure in list(self._down.items()):
                if url not in asked_first:
                    self._warn(failure, progress)
            # files of this machine are read fastest one after another
            jobs = 1 if all(cache.place.near for cache in self.order) else self._jobs

            def ask(asked: str, check: workers.Check) -> NarInfo:
                check()
                return self._asked(asked, progress, wanted[asked])

            new = workers.each(ask, missing, jobs=jobs)
            self._rows.put(new)
            found.update(zip(missing, new, strict=True))
        return found


def _by_hash(bases: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in bases:
        if (other := found.setdefault(paths.hash_of(base), base)) != base:
            raise FormatError(
                f"{base} and {other} have one hash, and no two store paths have",
                hint="check the names; if others refer to them, the cache is broken or hostile",
            )
    return found


def in_order(infos: Mapping[str, NarInfo]) -> dict[str, NarInfo]:
    """The same, each after all that it refers to, else by name and base name.

    `FormatError` names a loop: no store can hold one, for a path's references are in its hash.
    """
    done: dict[str, NarInfo] = {}
    names = sorted(infos, key=lambda base: (paths.name_of(base), base))
    place = {base: number for number, base in enumerate(names)}
    needs = {base: sorted(infos[base].needs, key=place.__getitem__, reverse=True) for base in names}
    for root in names:
        if root in done:
            continue
        # those on the way from the root to here, and what each still needs, last first
        way: dict[str, list[str]] = {root: needs[root].copy()}
        while way:
            current = next(reversed(way))
            left = way[current]
            while left and left[-1] in done:
                left.pop()
            if not left:
                done[current] = infos[current]
                del way[current]
            elif left[-1] in way:
                loop = list(way)[list(way).index(left[-1]) :]
                raise FormatError(
                    f"store paths refer to each other in a loop: {' → '.join([*loop, loop[0]])}",
                    hint="no Nix store can hold such paths: the cache is broken or hostile",
                )
            else:
                following = left.pop()
                way[following] = needs[following].copy()
    return done
