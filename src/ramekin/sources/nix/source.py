"""Nix binary caches as a source: `nix:CACHE`, or `nix` for those of the settings or of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ramekin.errors import UsageError
from ramekin.progress import SILENT, Progress
from ramekin.sources.nix import paths
from ramekin.sources.nix.model import NixPackage
from ramekin.sources.protocol import Arrived, Package, PackageContent, Reason, Resolution, SuiteFacts, ignored
from ramekin.store.digest import Digest
from ramekin.store.store import Store

if TYPE_CHECKING:
    from ramekin.sources.nix.cache import Caches
    from ramekin.sources.nix.configuration import Configuration
    from ramekin.sources.nix.names import Found, Names
    from ramekin.sources.nix.narinfo import NarInfo
    from ramekin.sources.nix.places import Connections
    from ramekin.sources.nix.trust import Keys

MAX_AGE = 300.0
"""Seconds for which a channel's files count as fresh without asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NixSettings:
    """What a spec can say of a Nix source.

    `caches` are URLs or folders; without any, and without one in the source's name, `substituters` of the
    machine's nix.conf count. `trusted_keys` are `NAME:BASE64` public keys in place of its
    `trusted-public-keys`. `channel` is the URL or folder that has `store-paths.xz` and `packages.json.br`;
    either can be named alone by `store_paths` and `packages`. `nix_dir` is where nix.conf is. `max_age` is in
    seconds. `nar_limit` is how many bytes one NAR may have. `nix` is the program that evaluates
    `FLAKE#attr`, which is refused where that is empty.
    """

    caches: tuple[str, ...] = ()
    trusted_keys: tuple[str, ...] = ()
    channel: str = ""
    store_paths: str = ""
    packages: str = ""
    nix_dir: Path | None = None
    max_age: float = MAX_AGE
    nar_limit: int = 32 << 30
    jobs: int = 16
    timeout: float = 30.0
    retries: int = 4
    nix: str = "nix"


def open_source(name: str, store: Store, settings: NixSettings | None = None) -> NixSource:
    """The source called `name` (`nix` or `nix:CACHE`) on `store`.

    `UsageError` for another name, when no cache is known, and for a key that is none.
    """
    kind, _, cache = name.partition(":")
    if kind != "nix" or (not cache and ":" in name):
        raise UsageError(
            f"{name!r} is not a Nix source", hint="write nix, or nix:CACHE with a URL or a folder"
        )
    return NixSource(cache, store, settings or NixSettings())


class NixSource:
    """A `Source`. Opening it reads the configuration and nothing else. Threads may share it."""

    def __init__(self, cache: str, store: Store, settings: NixSettings) -> None:
        """Open the cache called `cache`, or those of the settings or the machine when that is empty."""
        from ramekin.sources.nix import configuration
        from ramekin.sources.nix.trust import Keys

        self._cache, self._store, self._settings = cache, store, settings
        self._configuration: Configuration = configuration.read(settings.nix_dir)
        self._urls = ((cache,) if cache else ()) + settings.caches or self._configuration.substituters
        if not self._urls:
            raise UsageError(
                "no Nix binary cache is known",
                hint="write nix:CACHE with a URL or a folder, or name caches in the spec or in nix.conf",
            )
        self._keys: Keys = Keys.of(settings.trusted_keys or self._configuration.trusted_keys)
        self._lock = threading.RLock()
        # whom to tell of caches that are passed over, which nobody says when resolving
        self._progress = SILENT

    @property
    def name(self) -> str:
        if not self._cache:
            return "nix"
        from ramekin.http import shown

        return "nix:" + (shown(self._cache) if "://" in self._cache else self._cache)

    @property
    def store(self) -> Store:
        return self._store

    @cached_property
    def connections(self) -> Connections:
        from ramekin.sources.nix.places import Connections

        return Connections(
            timeout=self._settings.timeout, retries=self._settings.retries, netrc=self._configuration.netrc
        )

    @cached_property
    def channel_connections(self) -> Connections:
        """For what is not signed: by https only, but from this machine itself."""
        from ramekin.sources.nix.places import Connections

        return Connections(
            timeout=self._settings.timeout,
            retries=self._settings.retries,
            netrc=self._configuration.netrc,
            plain_http=False,
        )

    @cached_property
    def caches(self) -> Caches:
        """The caches that it asks."""
        from ramekin.sources.nix.cache import Cache, Caches

        with self._lock:
            given = [Cache.at(url, self.connections) for url in dict.fromkeys(self._urls)]
            return Caches(given, self._keys, self._store, jobs=self._settings.jobs)

    @cached_property
    def names(self) -> Names:
        """The names that a channel or a local Nix gives to store paths."""
        from ramekin.sources.nix.names import Names

        with self._lock:
            return Names(self.caches, self._store, self._settings, self.channel_connections, self.name)

    def refresh(self, architectures: Sequence[str], progress: Progress, *, force: bool = False) -> Digest:
        """Bring the channel's files up to date and give the digest of all that `resolve` depends on."""
        from ramekin.store import digest as digests

        self._progress = progress
        state = self.names.refresh(progress, force=force)
        return digests.of("\n".join(["nix", self.caches.identity, state]).encode())

    def resolve(self, requests: Sequence[str], architecture: str, *, recommends: bool = False) -> Resolution:
        """The closure of `requests` by references, every narinfo believed; the packages are `NixPackage`s.

        `NotFoundError` with near names; `UsageError` for a request of no known form. `recommends` changes
        nothing: a store path has no wishes.
        """
        found = [(words, one) for words in requests for one in self.names.find(words, architecture)]
        infos = self.caches.closure([one.base for _, one in found], self._progress)
        reasons: dict[str, Reason] = {}
        asked: dict[str, Found] = {}
        for words, one in found:
            store_dir = infos[one.base].store_dir
            if one.folder not in ("", store_dir):
                raise UsageError(f"{words!r} is not a path of the store {store_dir}")
            reasons.setdefault(one.base, Reason("", words))
            asked.setdefault(one.base, one)
        edges: dict[str, tuple[str, ...]] = {}
        # those that need others come last, so each has the reason of the nearest to what was asked for
        for base in reversed(infos):
            edges[base] = infos[base].needs
        waiting = list(reasons)
        for base in waiting:
            for needed in edges[base]:
                if needed not in reasons:
                    reasons[needed] = Reason(base, "refers to it")
                    waiting.append(needed)
        return Resolution(
            architecture=architecture,
            requested=tuple(requests),
            packages=tuple(_package(info, architecture, asked.get(base)) for base, info in infos.items()),
            reasons={base: reasons[base] for base in infos},
            edges={base: edges[base] for base in infos},
            replaces={},
        )

    def facts(self, architecture: str) -> SuiteFacts:
        """No folder is merged and no os-release given: a store path brings nothing outside the store."""
        return SuiteFacts(self.name, {}, "")

    def fetch(self, packages: Iterable[Package], progress: Progress, *, arrived: Arrived = ignored) -> None:
        """Have each package's NAR in the store, verified, fetched in parallel; `arrived` is told of all."""
        wanted = list(packages)
        missing = [package for package in wanted if not self._store.has(package.digest)]
        absent = {package.digest for package in missing}
        for package in wanted:
            if package.digest not in absent:
                arrived(package)
        if missing:
            from ramekin.sources.nix import fetch

            jobs = min(self._settings.jobs, fetch.JOBS)
            limit = self._settings.nar_limit
            fetch.packages(
                missing, self._store, self.caches, progress, arrived=arrived, jobs=jobs, limit=limit
            )

    def open(self, package: Package) -> PackageContent:
        """The files of a package that is in the store, below the store's folder as the root is `/`."""
        from ramekin.image.tar import Limits
        from ramekin.sources.nix import nar

        base = paths.base_of(package.location, package.location.rpartition("/")[0], where=package.name)
        paths.check_store_dir(package.location.rpartition("/")[0], where=package.name)
        if base != package.name:
            raise UsageError(f"{package.name} is not the package in {package.location}")
        prefix = package.location[1:]
        limits = Limits(total=package.size)
        file = self._store.path(package.digest)
        with self._store.open(package) as stream:
            if file is not None:
                tree = nar.read(stream, where=base, file=file, prefix=prefix, limits=limits)
            else:
                spool = self._store.scratch()
                tree = nar.spooled(stream, where=base, spool=spool, prefix=prefix, limits=limits)
        return PackageContent(package=package, tree=tree, scripts={})

    def search(self, words: Sequence[str], architecture: str) -> Sequence[NixPackage]:
        """Packages of the channel whose attribute, name or description hold all words, best match first.

        Only what the channel says of them is known: neither digest nor size.
        """
        return self.names.search(words, architecture)

    def show(self, name: str, architecture: str) -> Sequence[NixPackage]:
        """All that a name can mean, newest first, with digests; `NotFoundError` with near names."""
        found = self.names.all_of(name, architecture)
        return tuple(_package(self.caches.info(paths.hash_of(one.base)), architecture, one) for one in found)

    def infos(self, packages: Iterable[Package]) -> Mapping[str, NarInfo]:
        """The believed narinfo of each package by its name, for the Nix database and for `why`."""
        return {
            package.name: self.caches.info(paths.hash_of(package.name), name=package.name)
            for package in packages
        }


def _package(info: NarInfo, architecture: str, found: Found | None) -> NixPackage:
    name = paths.name_of(info.base)
    origin, version = paths.split(name)
    return NixPackage(
        name=info.base,
        version=version,
        architecture=architecture,
        digest=info.nar_hash,
        size=info.nar_size,
        installed_size=info.nar_size,
        origin=origin,
        origin_version=version,
        location=info.path,
        description=found.description if found else "",
        references=info.references,
        deriver=info.deriver,
        ca=info.ca,
        attribute=found.attribute if found else "",
        output=found.output if found else "",
        priority=found.priority if found else 5,
        program=found.program if found else "",
    )
