"""Debian and its like as a source: `debian:bookworm`, or `debian` for the machine's own suite."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from ramekin.errors import NotFoundError, UsageError
from ramekin.progress import SILENT, Progress
from ramekin.sources.debian import apt, state, suites
from ramekin.sources.debian.apt import Configuration, SourceEntry
from ramekin.sources.debian.state import DamagedError, State
from ramekin.sources.debian.suites import Place
from ramekin.sources.folder import index_folder
from ramekin.sources.mirror import Mirror
from ramekin.sources.protocol import Arrived, Package, PackageContent, Resolution, SuiteFacts, ignored
from ramekin.store.action import Key, key
from ramekin.store.digest import Digest
from ramekin.store.store import Store

if TYPE_CHECKING:
    from ramekin.sources.debian.fetch import Mirrors
    from ramekin.sources.debian.index import Index
    from ramekin.sources.debian.model import DebianPackage

Answer = TypeVar("Answer")

MAX_AGE = 300.0
"""Seconds for which indexes count as fresh without asking the mirrors."""

_KEPT = 7 * 86400
"""Seconds for which package lists that nothing refers to any more are kept."""

_FACTS_REVISION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianSettings:
    """What a spec can say of a Debian source.

    Without `mirrors` the machine's apt configuration counts, read from `apt_dir` (laid out as /etc/apt is) or
    where apt itself looks. `max_age` is in seconds. `unpacked_limit` is how many bytes one package may unpack
    to, None for what its own Installed-Size allows. `jobs` is how many files are fetched at a time.
    """

    mirrors: tuple[Mirror, ...] = ()
    apt_dir: Path | None = None
    max_age: float = MAX_AGE
    check_valid_until: bool = True
    unpacked_limit: int | None = None
    jobs: int = 8
    timeout: float = 30.0
    retries: int = 4


def open_source(name: str, store: Store, settings: DebianSettings | None = None) -> DebianSource:
    """The source called `name` (`debian` or `debian:SUITE`) with its indexes beside `store`.

    `UsageError` for another name and when no mirror is known, `NotFoundError` for a suite that none has.
    """
    kind, _, suite = name.partition(":")
    if kind != "debian" or (not suite and ":" in name):
        raise UsageError(f"{name!r} is not a Debian source", hint="write debian or debian:SUITE")
    return DebianSource(suite, store, settings or DebianSettings())


class DebianSource:
    """A `Source`. Opening it reads the configuration and nothing else. Threads may share it."""

    def __init__(self, suite: str, store: Store, settings: DebianSettings) -> None:
        """Open the suite called `suite`, or the machine's own when that is empty."""
        self._store, self._settings = store, settings
        self._configuration = _configuration(settings)
        self._suite, self._places = _places(suite, self._configuration, settings)
        self._folder = index_folder(store)
        self._identity = key(
            "debian indexes",
            self._suite,
            repr(self._places),
            repr(self._configuration.keyrings),
            int(self._configuration.check_valid_until),
        )
        self._lock = threading.RLock()
        self._state: State | None = None
        self._indexes: dict[str, Index] = {}
        self._frozen = False

    @property
    def name(self) -> str:
        return f"debian:{self._suite}"

    @property
    def folder(self) -> Path:
        """Where its indexes and their states are."""
        return self._folder

    @property
    def identity(self) -> Key:
        """Names the set of places and keys that it is made of."""
        return self._identity

    @property
    def store(self) -> Store:
        return self._store

    @property
    def state(self) -> State | None:
        """What counts since the last refresh."""
        return self._state

    def frozen(self, held: State) -> DebianSource:
        """The same source with the indexes of `held`, which no refresh changes."""
        other = DebianSource(self._suite, self._store, self._settings)
        other._state, other._frozen = held, True
        return other

    # --- indexes -----------------------------------------------------------------------------------------

    def refresh(self, architectures: Sequence[str], progress: Progress, *, force: bool = False) -> Digest:
        """Bring the indexes up to date where they may be stale, and give the digest of their state.

        Within `max_age` of the last time, nothing is asked unless `force`. When the mirrors cannot be
        asked, what is held and valid counts, with a warning. Raises as `refresh.refresh` does.
        """
        wanted = tuple(dict.fromkeys(architectures))
        if self._frozen:
            return self._past(wanted).digest(wanted)
        path = self._folder / "state" / f"{self._identity.hex}.json"
        with self._lock:
            begun = time.time()
            held = state.load(path)
            if force or held is None or not self._fresh(held, wanted, begun - self._settings.max_age):
                with self._store.exclusive(self._identity):
                    # another process may have done it while this one waited
                    held = state.load(path)
                    since = begun if force else begun - self._settings.max_age
                    if held is None or not self._fresh(held, wanted, since):
                        held = self._refresh(wanted, held, progress)
                        if held.checked:
                            state.save(held, path)
                            state.sweep(self._folder, older_than=time.time() - _KEPT)
            if self._state != held:
                self._state, self._indexes = held, {}
            return held.digest(wanted)

    def _past(self, architectures: Sequence[str]) -> State:
        held = cast(State, self._state)
        for architecture in architectures:
            if architecture not in held.architectures:
                raise NotFoundError(f"the kept state of {self.name} has no packages for {architecture}")
        return held

    def _fresh(self, held: State, architectures: Sequence[str], since: float) -> bool:
        if not since <= held.checked <= time.time() or not set(architectures) <= set(held.architectures):
            return False
        return all(state.list_path(self._folder, digest).is_file() for digest in held.all_lists())

    def _refresh(self, architectures: tuple[str, ...], held: State | None, progress: Progress) -> State:
        from ramekin.sources.debian import refresh

        terms = refresh.Terms(
            folder=self._folder,
            scratch=self._store.scratch(),
            places=self._places,
            configuration=self._configuration,
            architectures=architectures,
            now=time.time(),
        )
        with self._mirrors() as mirrors:
            return refresh.refresh(terms, held, mirrors, progress)

    def index(self, architecture: str) -> Index:
        """The packages of one architecture, from indexes that were refreshed before or are now."""
        with self._lock:
            if self._state is None or architecture not in self._state.architectures:
                self.refresh((architecture,), SILENT)
            found = self._indexes.get(architecture)
            if found is None:
                found = self._indexes[architecture] = self._opened(architecture)
            return found

    def _opened(self, architecture: str, tries: int = 16) -> Index:
        from ramekin.sources.debian.index import Index, Part

        held = cast(State, self._state)
        parts = [
            Part(suite, one.component, state.list_path(self._folder, one.digest))
            for suite, one in held.lists(architecture)
        ]
        try:
            return Index(architecture, held.digest((architecture,)), parts)
        except DamagedError as error:
            if not tries:
                raise
            with suppress(OSError):
                error.path.unlink(missing_ok=True)
        self.refresh((architecture,), SILENT)
        return self._opened(architecture, tries - 1)

    def _asked(self, architecture: str, ask: Callable[[Index], Answer]) -> Answer:
        """The answer of an index, whose lists are made again when damage in them shows."""
        for _ in range(16):
            try:
                return ask(self.index(architecture))
            except DamagedError as error:
                with self._lock:
                    self._indexes.pop(architecture, None)
                    with suppress(OSError):
                        error.path.unlink(missing_ok=True)
                self.refresh((architecture,), SILENT)
        return ask(self.index(architecture))

    # --- packages ----------------------------------------------------------------------------------------

    def resolve(self, requests: Sequence[str], architecture: str, *, recommends: bool = False) -> Resolution:
        """The closure of `requests`; `ResolutionError` explains an impossible one."""
        from ramekin.sources.debian.resolve import resolve

        return self._asked(architecture, lambda index: resolve(index, requests, recommends=recommends))

    def fetch(self, packages: Iterable[Package], progress: Progress, *, arrived: Arrived = ignored) -> None:
        """Have each package's file in the store; raises as `fetch.packages` does."""
        wanted = [package for package in packages if not self._store.has(package.digest)]
        if not wanted:
            return
        from ramekin.sources.debian import fetch

        with self._mirrors() as mirrors:
            fetch.packages(
                wanted, self._store, mirrors, self._uris, progress, arrived=arrived, jobs=self._settings.jobs
            )

    def _mirrors(self) -> Mirrors:
        from ramekin.sources.debian.fetch import Mirrors

        return Mirrors(
            timeout=self._settings.timeout,
            retries=self._settings.retries,
            proxies=self._configuration.proxies,
        )

    def _uris(self, package: Package) -> tuple[str, ...]:
        """Mirrors that may have a package: those of its suite, or all when its suite is not configured."""
        own = [uri for place in self._places if place.suite == package.suite for uri in place.uris]
        return tuple(dict.fromkeys(own or [uri for place in self._places for uri in place.uris]))

    def open(self, package: Package) -> PackageContent:
        """Unpack a package that is in the store; `FormatError` names the entry at fault."""
        from ramekin.sources.debian import deb

        stream: BinaryIO
        with self._store.open(package) as stream:
            return deb.read(stream, package, spool=self._store.scratch(), limit=self._settings.unpacked_limit)

    def search(self, words: Sequence[str], architecture: str) -> Sequence[DebianPackage]:
        """Packages whose name or description hold all words, best match first."""
        return self._asked(architecture, lambda index: index.search(words))

    def show(self, name: str, architecture: str) -> Sequence[DebianPackage]:
        """All versions of a package, newest first; `NotFoundError` with near names when there is none."""
        found = self._asked(architecture, lambda index: index.versions(name))
        if not found:
            near = self.index(architecture).near(name)
            providers = [package.name for package in self.index(architecture).providers(name)]
            hint = f"did you mean {', '.join(near)}?" if near else None
            if providers:
                hint = f"it is provided by {', '.join(dict.fromkeys(providers))}"
            raise NotFoundError(f"{self.name} has no package {name} for {architecture}", hint=hint)
        return found

    # --- the suite ---------------------------------------------------------------------------------------

    def facts(self, architecture: str) -> SuiteFacts:
        """The suite's merged folders and its os-release, which is that of its base-files package."""
        with self._lock:
            if self._state is None or architecture not in self._state.architectures:
                self.refresh((architecture,), SILENT)
            held = cast(State, self._state)
        codename = next((suite.codename for suite in held.suites if suite.codename), self._suite)
        known = key("debian os-release", _FACTS_REVISION, codename, held.digest((architecture,)))
        recorded = self._store.result(known)
        if recorded is None:
            text = self._os_release(architecture, codename)
            self._store.record(known, json.dumps(text).encode())
        else:
            text = json.loads(recorded)
        return SuiteFacts(self.name, suites.merged(codename, architecture), text)

    def _os_release(self, architecture: str, codename: str) -> str:
        for package in self.index(architecture).versions("base-files")[:1]:
            self.fetch([package], SILENT)
            tree = self.open(package).tree
            for path in ("usr/lib/os-release", "etc/os-release"):
                if path in tree and tree[path].size:
                    return tree[path].read().decode("utf-8", "replace")
        # a private archive need not have base-files
        return f'PRETTY_NAME="Debian GNU/Linux {codename}"\nID=debian\nVERSION_CODENAME={codename}\n'


def _configuration(settings: DebianSettings) -> Configuration:
    found = apt.read(settings.apt_dir)
    if not settings.check_valid_until:
        found = Configuration(
            entries=found.entries,
            keyrings=found.keyrings,
            check_valid_until=False,
            proxies=found.proxies,
        )
    return found


def _places(
    suite: str, configuration: Configuration, settings: DebianSettings
) -> tuple[str, tuple[Place, ...]]:
    """The suite's name and what it is made of, its own place first."""
    codename = _codename() if settings.apt_dir is None else ""
    if not settings.mirrors:
        name = suite or suites.own(configuration, codename)
        return name, suites.places(name, configuration, codename=codename)
    listed = [own for mirror in settings.mirrors for own in mirror.suites]
    name = suite or (suites.base_of(listed[0]) if listed else suites.own(configuration, codename))
    entries = tuple(
        SourceEntry(
            uri=mirror.uri.rstrip("/"),
            suites=mirror.suites or (name,),
            components=mirror.components,
            signed_by=_signed_by(mirror, configuration),
            where="the mirrors of the spec",
        )
        for mirror in settings.mirrors
    )
    places = suites.given(entries)
    own_places = [place for place in places if place.suite == name]
    if not own_places:
        raise suites.unknown(name, Configuration(entries=entries))
    return name, (*own_places, *(place for place in places if place.suite != name))


def _signed_by(mirror: Mirror, configuration: Configuration) -> tuple[str, ...]:
    if mirror.signed_by:
        text = mirror.signed_by
        return (text if text.startswith("-----BEGIN") else str(Path(text).expanduser().absolute()),)
    # the keys that the machine trusts, wherever its configuration names them
    named = [text for entry in configuration.entries for text in entry.signed_by if text.startswith("/")]
    trusted = [*map(str, configuration.keyrings), *map(str, suites.ARCHIVE_KEYRINGS), *named]
    return tuple(dict.fromkeys(path for path in trusted if Path(path).is_file()))


def _codename() -> str:
    """VERSION_CODENAME of this machine's os-release, or nothing."""
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition("=")
            if name == "VERSION_CODENAME":
                return value.strip("\"'")
    return ""
