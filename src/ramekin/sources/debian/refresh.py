"""Bring what is known of a source's suites up to date: ask, verify, and fetch only what is new.

    for each suite   InRelease, conditionally ──not changed, or the same bytes──▶ what is held stands
                       │ new bytes
                       ▼
                     signature, suite, date ──older than what is held──▶ what is held stands, a warning
                       │
                       ▼
                     its package lists ──digest indexed already──▶ nothing is fetched
                       │
                       ▼
                     fetched by hash, digest and size checked, indexed

When a mirror cannot be asked, what is held of it and still valid stands, with a warning. Nothing is half new:
the state that is given back names only lists that are there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ramekin import workers
from ramekin.errors import DigestMismatchError, NetworkError, NotFoundError, RamekinError
from ramekin.image.compress import decompress
from ramekin.progress import Progress
from ramekin.sources.debian import index, release, state, suites
from ramekin.sources.debian.apt import Configuration
from ramekin.sources.debian.compression import SUFFIXES
from ramekin.sources.debian.fetch import JOBS, Mirrors, shown
from ramekin.sources.debian.release import Keys, ListedFile, Release
from ramekin.sources.debian.state import HeldList, HeldSuite, State
from ramekin.sources.debian.suites import Place
from ramekin.store.verify import verified

_LIST_LIMIT = 2 << 30
"""Bytes of a Packages file, as fetched and as text, that are read at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Where, for whom and how one refresh works. `now` is in seconds since 1970."""

    folder: Path
    scratch: Path
    places: tuple[Place, ...]
    configuration: Configuration
    architectures: tuple[str, ...]
    now: float


@dataclass(frozen=True, slots=True)
class _Verified:
    """A suite whose Release is believed, and the mirrors that may have its lists. `offline` says why not.

    `lacking` says that nothing goes by that name where the suite was looked for unasked.
    """

    place: Place
    held: HeldSuite
    release: Release | None
    uris: tuple[str, ...] = ()
    offline: NetworkError | None = None
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A package list that a verified Release names, under the `names` that it has there."""

    suite: _Verified
    held: HeldList
    names: tuple[str, ...]


def refresh(terms: Terms, held: State | None, mirrors: Mirrors, progress: Progress) -> State:
    """The state of the source now; its suites stand as `terms.places` do.

    Raises `NotFoundError` for a suite or architecture that the archive has not, `SignatureError`,
    `ExpiredError`, `FormatError` or `DigestMismatchError` for what cannot be believed, and `NetworkError`
    when the mirrors cannot be asked and what is held will not do.
    """
    before = held.suites if held and len(held.suites) == len(terms.places) else (None,) * len(terms.places)
    found = workers.each(
        lambda number, _: _suite(number, before[number], terms, mirrors, progress),
        range(len(terms.places)),
        jobs=JOBS,
    )
    for suite in found:
        if suite.lacking:
            progress.warn(suite.lacking)
    wanted = [item for suite in found for item in _lists(suite, terms, progress)]
    new = {item.held.digest: item for item in wanted if not _indexed(terms, item)}
    try:
        if new:
            with progress.task("read package lists", total=len(new), unit="lists") as task:

                def work(item: _Wanted, check: workers.Check) -> None:
                    _index(item, terms, mirrors, check)
                    task.advance(1)

                workers.each(work, list(new.values()), jobs=min(4, os.cpu_count() or 1))
    except NetworkError as error:
        if held is None or not _stands(held, terms, progress):
            raise
        progress.warn(f"package indexes may be old: {error.message}")
        return replace(held, checked=0.0)
    offline = [suite for suite in found if suite.offline is not None]
    if offline:
        names = ", ".join(suite.place.suite for suite in offline)
        progress.warn(f"package indexes of {names} may be old: {offline[0].offline}")
    # lists of architectures that were asked for before stay while they are current
    others = tuple(a for a in (held.architectures if held else ()) if a not in terms.architectures)
    also = [
        item
        for suite in found
        for item in _lists(suite, replace(terms, architectures=others), progress, strict=False)
    ]
    kept_others = all(_indexed(terms, item) for item in also)
    return State(
        checked=0.0 if offline else terms.now,
        architectures=tuple(sorted({*terms.architectures, *(others if kept_others else ())})),
        suites=tuple(
            replace(
                suite.held,
                lists=tuple(
                    dict.fromkeys(
                        item.held for item in [*wanted, *(also if kept_others else ())] if item.suite is suite
                    )
                ),
            )
            for suite in found
        ),
    )


def _indexed(terms: Terms, item: _Wanted) -> bool:
    return state.list_path(terms.folder, item.held.digest).is_file()


def _stands(held: State, terms: Terms, progress: Progress) -> bool:
    """Whether everything that is held is at hand and still believed."""
    if not set(terms.architectures) <= set(held.architectures) or len(held.suites) != len(terms.places):
        return False
    if not all(state.list_path(terms.folder, digest).is_file() for digest in held.all_lists()):
        return False
    return all(
        not suite.release or _again(place, suite, terms) is not None
        for place, suite in zip(terms.places, held.suites, strict=True)
    )


# --- Release files ---------------------------------------------------------------------------------------


def _suite(
    number: int, held: HeldSuite | None, terms: Terms, mirrors: Mirrors, progress: Progress
) -> _Verified:
    """What is believed of one suite now; the first place is the suite that was asked for itself."""
    place = terms.places[number]
    uris = mirrors.expand(place.uris)
    failures: list[RamekinError] = []
    for uri in uris:
        try:
            data, signature, reply = _ask(uri, place, held, terms, mirrors)
            fresh = _verify(uri, place, data, signature, terms)
        except RamekinError as error:
            failures.append(error)
            continue
        current = HeldSuite(
            suite=place.suite,
            uri=uri,
            release=state.keep(terms.folder, data),
            signature=state.keep(terms.folder, signature) if signature is not None else "",
            etag=reply.etag,
            modified=reply.modified,
            date=fresh.date,
            codename=fresh.codename,
        )
        if held is not None and held.release and fresh.date < held.date:
            known = _again(place, held, terms)
            if known is not None:
                progress.warn(
                    f"{shown(uri)} has an older {place.suite} than the one that was seen before: not taken"
                )
                return _Verified(place, held, known, uris)
        return _Verified(place, current, fresh, (uri, *(other for other in uris if other != uri)))
    return _without(number, failures, held, terms, progress, uris)


def _without(
    number: int,
    failures: Sequence[RamekinError],
    held: HeldSuite | None,
    terms: Terms,
    progress: Progress,
    uris: tuple[str, ...],
) -> _Verified:
    """What to make of a suite that no mirror gave: what is held of it, nothing, or an error."""
    place = terms.places[number]
    for failure in failures:
        if not isinstance(failure, NetworkError | NotFoundError):
            raise failure
    network = next((failure for failure in failures if isinstance(failure, NetworkError)), None)
    if held is not None and held.release and (network is not None or place.derived):
        known = _again(place, held, terms)
        if known is not None:
            gone = NetworkError(f"{shown(uris[0])} has no {place.suite} now")
            return _Verified(place, held, known, uris, network or gone)
    if network is not None:
        raise network
    if number == 0 and (place.derived or len(terms.places) == 1):
        named = () if place.derived else tuple(map(shown, uris))
        raise suites.unknown(place.suite, terms.configuration, uris=named)
    if not place.derived:
        raise NotFoundError(
            f"the suite {place.suite} ({place.where}) is not on {' or '.join(map(shown, uris))}",
            hint="correct the entry, or disable it",
        )
    lacking = f"there is no suite {place.suite} on {' or '.join(map(shown, uris))}: built without it"
    return _Verified(place, HeldSuite(suite=place.suite), None, lacking=lacking)


def _ask(
    uri: str, place: Place, held: HeldSuite | None, terms: Terms, mirrors: Mirrors
) -> tuple[bytes, bytes | None, HeldSuite]:
    """The signed Release of a suite, its detached signature if it has one, and the validators."""
    base = _dists(place)
    if held is not None and held.uri == uri and held.release and not held.signature:
        known = state.kept(terms.folder, held.release)
        if known is not None and (held.etag or held.modified):
            reply = mirrors.small(uri, f"{base}InRelease", etag=held.etag, modified=held.modified)
            if reply.data is None:
                return known, None, held
            return reply.data, None, replace(held, etag=reply.etag, modified=reply.modified)
    try:
        reply = mirrors.small(uri, f"{base}InRelease")
    except NotFoundError:
        text = mirrors.small(uri, f"{base}Release").data
        signature = mirrors.small(uri, f"{base}Release.gpg").data
        assert text is not None and signature is not None
        return text, signature, HeldSuite(suite=place.suite)
    assert reply.data is not None
    return reply.data, None, HeldSuite(suite=place.suite, etag=reply.etag, modified=reply.modified)


def _verify(uri: str, place: Place, data: bytes, signature: bytes | None, terms: Terms) -> Release:
    name = "InRelease" if signature is None else "Release"
    where = f"{shown(uri)}/{_dists(place)}{name}"
    keys = Keys(place.signed_by, terms.configuration.keyrings, where=place.where)
    found = release.parse(release.verify(data, signature, keys, where=where), where=where)
    valid_until = place.check_valid_until and terms.configuration.check_valid_until
    release.check(found, suite=place.suite, now=terms.now, where=where, valid_until=valid_until)
    return found


def _again(place: Place, held: HeldSuite, terms: Terms) -> Release | None:
    """The Release that is held, verified once more, or None when it is gone; errors as for a new one."""
    data = state.kept(terms.folder, held.release)
    signature = state.kept(terms.folder, held.signature) if held.signature else None
    if data is None or (held.signature and signature is None):
        return None
    return _verify(held.uri, place, data, signature, terms)


def _dists(place: Place) -> str:
    """Where the suite's Release is below the mirror: flat repositories have it in the suite's path itself."""
    if place.suite.endswith("/"):
        path = place.suite.strip("/").removeprefix(".").strip("/")
        return f"{path}/" if path else ""
    return f"dists/{place.suite}/"


# --- package lists ---------------------------------------------------------------------------------------


def _lists(suite: _Verified, terms: Terms, progress: Progress, strict: bool = True) -> Iterator[_Wanted]:
    """The package lists of a suite for the architectures; when `strict`, the main suite must have some."""
    place, listed = suite.place, suite.release
    if listed is None:
        return
    main = place is terms.places[0]
    flat = place.suite.endswith("/")
    components = ("",) if flat else place.components or listed.components
    for component in components:
        if not flat and listed.components and component not in listed.components and strict:
            progress.warn(f"the suite {place.suite} has no component {component}")
    for architecture in terms.architectures:
        if place.architectures and architecture not in place.architectures:
            continue
        count = 0
        names = (architecture, "all") if listed.all_apart and not flat else (architecture,)
        for component in components:
            for name in names:
                base = "Packages" if flat else f"{component}/binary-{name}/Packages"
                files = tuple(base + suffix for suffix in SUFFIXES if base + suffix in listed.files)
                if files:
                    identity = listed.files[base if base in listed.files else files[0]]
                    yield _Wanted(suite, HeldList(component, name, identity.digest), files)
                    count += 1
        if not count and main and strict:
            raise NotFoundError(
                f"the suite {place.suite} has no packages for {architecture}"
                + (f" in {', '.join(components)}" if not flat else ""),
                hint=f"it has {', '.join(a for a in listed.architectures if a != 'all')}",
            )


def _index(item: _Wanted, terms: Terms, mirrors: Mirrors, check: workers.Check) -> None:
    """Fetch a list from one of the mirrors and index it."""
    listed = item.suite.release
    assert listed is not None
    terms.scratch.mkdir(parents=True, exist_ok=True)
    spool = terms.scratch / f"packages-{secrets.token_hex(8)}"
    failures: list[RamekinError] = []
    try:
        for uri in item.suite.uris:
            for name in item.names:
                for path in _paths(item.suite, name, listed.files[name]):
                    where = f"{shown(uri)}/{path}"
                    try:
                        _fetch(mirrors, uri, path, listed.files[name], spool, where, check)
                    except (NotFoundError, NetworkError, DigestMismatchError) as error:
                        failures.append(error)
                        continue
                    _read(spool, name, item, terms, where)
                    return
    finally:
        spool.unlink(missing_ok=True)
    for kind in (DigestMismatchError, NetworkError, NotFoundError):
        for failure in failures:
            if isinstance(failure, kind):
                raise failure
    raise NetworkError(f"no mirror is left to fetch {item.names[0]} of {item.suite.place.suite} from")


def _paths(suite: _Verified, name: str, file: ListedFile) -> Iterator[str]:
    """Where a listed file may be: under its digest, which does not change under our hands, then its name."""
    base = _dists(suite.place)
    assert suite.release is not None
    if suite.release.by_hash and suite.place.by_hash:
        folder = name.rpartition("/")[0]
        yield f"{base}{folder}{'/' if folder else ''}by-hash/SHA256/{file.digest[7:]}"
    yield base + name


def _fetch(
    mirrors: Mirrors, uri: str, path: str, file: ListedFile, spool: Path, where: str, check: workers.Check
) -> None:
    hashed = hashlib.sha256()
    size = 0
    try:
        with spool.open("wb") as out:

            def sink(chunk: bytes) -> None:
                nonlocal size
                check()
                hashed.update(chunk)
                size += len(chunk)
                out.write(chunk)

            mirrors.stream(uri, path, sink, limit=min(file.size, _LIST_LIMIT))
    except OSError as error:
        raise RamekinError(f"{spool} cannot be written: {error.strerror}", hint="is the disk full?") from None
    if size != file.size or f"sha256:{hashed.hexdigest()}" != file.digest:
        raise DigestMismatchError(
            f"{where} is not the file that its Release lists: {size} bytes of {file.size},"
            f" SHA-256 {hashed.hexdigest()[:12]}… in place of {file.digest[7:19]}…",
            hint="the mirror is being updated or is broken: try again later, or another mirror",
        )


def _read(spool: Path, name: str, item: _Wanted, terms: Terms, where: str) -> None:
    listed = item.suite.release
    assert listed is not None
    suffix = next(suffix for suffix in SUFFIXES if name.endswith("Packages" + suffix))
    with spool.open("rb") as raw:
        text: BinaryIO = decompress(raw, where=where, name=SUFFIXES[suffix])
        plain = listed.files.get(name.removesuffix(suffix))
        if suffix and plain is not None:
            text = verified(text, plain.digest, plain.size, where=f"{where}, decompressed,")
        with suppress(FileExistsError):
            index.build(text, state.list_path(terms.folder, item.held.digest), where=where)
