"""What all parts of a running registry share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ramekin.registry import uploads
from ramekin.registry.catalog import Catalog
from ramekin.registry.warm import Warm
from ramekin.store.digest import Digest
from ramekin.store.store import Store

if TYPE_CHECKING:
    from ramekin.registry.config import Config
    from ramekin.registry.provider import Provider

THREADS = 48
"""Threads for what waits for a disk or an object store."""
KNOWN_LIMIT = 100_000
"""Repositories or blobs of which something is remembered."""
REACH_SECONDS = 30.0
"""For which it is believed that a blob is there for a repository, where asking is a round trip."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Reach:
    """The blobs that manifests on demand of a repository name, of which version, and read when."""

    version: object
    at: float
    blobs: frozenset[Digest]


class Site:
    """The store, what is known of it, and the threads that work on it. `app.state.registry` is one."""

    def __init__(self, config: Config, store: Store, provider: Provider | None) -> None:
        self.config, self.store, self.provider = config, store, provider
        self.catalog = Catalog(store)
        self.uploads = uploads.of(self.catalog)
        self.warm = Warm()
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")
        self.grain = min(600.0, config.cleaning.made_keep / 4)
        self._reaches: dict[str, _Reach] = {}
        self._links: dict[tuple[str, Digest], float] = {}
        self._sizes: dict[Digest, tuple[float, int]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()

    async def look(
        self, act: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Do what only looks: at once on a local disk, in a thread where it is a round trip."""
        if not self.catalog.records.remote:
            return act(*args, **kwargs)
        return await self.write(act, *args, **kwargs)

    async def write(
        self, act: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Do what waits for a disk, in a thread; it is done to the end even when the client goes."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self.pool, lambda: act(*args, **kwargs)))

    def later(self, task: Coroutine[Any, Any, Any]) -> None:
        """Have something done that nobody waits for."""
        future = asyncio.ensure_future(task)
        self._tasks.add(future)
        future.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._tasks.discard(future)
        if not future.cancelled():
            # what failed here is tried again by whoever needs it next
            future.exception()

    async def holds(self, repository: str, digest: Digest) -> bool:
        """Whether a repository may give out a blob (which may have gone from the store all the same)."""
        now = time.monotonic()
        remote = self.catalog.records.remote
        if remote and now - self._links.get((repository, digest), -REACH_SECONDS) < REACH_SECONDS:
            return True
        if await self.look(self.catalog.linked, repository, digest):
            if remote:
                _bound(self._links)
                self._links[repository, digest] = now
            return True
        known = self._reaches.get(repository)
        if remote and known is not None and digest in known.blobs and now - known.at < REACH_SECONDS:
            return True
        version = await self.look(self.catalog.reach_version, repository)
        if known is not None and known.version == version:
            return digest in known.blobs
        reach = await self.write(self.catalog.reach, repository)
        _bound(self._reaches)
        self._reaches[repository] = _Reach(version, now, reach)
        return digest in reach

    async def size(self, digest: Digest) -> int | None:
        """Bytes of a blob; in an object store, as they were a moment ago."""
        if not self.catalog.records.remote:
            return self.catalog.size(digest)
        now = time.monotonic()
        known = self._sizes.get(digest)
        if known is not None and now - known[0] < REACH_SECONDS:
            return known[1]
        size = await self.look(self.catalog.size, digest)
        if size is not None:
            _bound(self._sizes)
            self._sizes[digest] = (now, size)
        return size

    def lost(self, repository: str, digest: Digest) -> None:
        """Forget that a blob was there."""
        self._sizes.pop(digest, None)
        self._links.pop((repository, digest), None)

    def changed(self, repository: str) -> None:
        """Forget what was kept in memory of a repository that this process has just changed."""
        self._reaches.pop(repository, None)
        self.warm.clear(f"/v2/{repository}/manifests/")


def _bound(known: dict[Any, Any]) -> None:
    """Begin anew with what is known when that is too much."""
    if len(known) > KNOWN_LIMIT:
        known.clear()
