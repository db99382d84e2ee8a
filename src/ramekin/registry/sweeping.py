"""What a registry need not keep, found by mark and sweep while it serves.

1. Mark: read which manifests there are and which blobs they name. Nothing is held meanwhile.
2. Sweep, while no record is written that keeps a blob (`records.sweeping`): read the manifests that have
   come since, look again at what seemed to go, then remove, each before what it needs,
   - manifests on demand that were unused longest, when those together are larger than wanted, and pushed
     ones without a tag that were not served for longer than wanted;
   - links to blobs that no manifest of the repository names, when nobody has pushed or asked for the
     blob within the grace;
   - blobs that were linked or named by what has gone, and that no link or manifest of any repository
     names any more.

Blobs that never belonged to a repository are the cache of builds, which `store.cleaning` looks after.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ramekin.image import oci
from ramekin.registry import manifests
from ramekin.registry.catalog import Catalog, Kept, link_name, parse_manifest, parse_tag
from ramekin.registry.names import unflat
from ramekin.registry.ondemand import promises
from ramekin.registry.uploads import Uploads
from ramekin.store.digest import Digest, hex_of
from ramekin.store.store import blob_name

if TYPE_CHECKING:
    from ramekin.registry.config import Cleaning

CACHE_GRACE = 3600.0
"""Seconds for which a blob stays that a build has just looked at, whoever else named it."""

Place = tuple[str, Digest]
"""A repository, and a manifest or blob of it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is worth keeping; see `config.Cleaning`. Seconds and bytes."""

    grace: float = 86400.0
    uploads: float = 86400.0
    untagged: float | None = None
    made_keep: float = 7 * 86400.0
    made_size: int | None = None

    @classmethod
    def of(cls, cleaning: Cleaning) -> Policy:
        return cls(
            cleaning.grace, cleaning.uploads, cleaning.untagged, cleaning.made_keep, cleaning.made_size
        )


@dataclass(frozen=True, slots=True)
class Removed:
    """One thing that a sweep removed, and why."""

    kind: str
    name: str
    why: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed, or would remove when `dry_run`."""

    dry_run: bool
    removed: tuple[Removed, ...]

    @property
    def size(self) -> int:
        """Bytes that became free."""
        return sum(one.size for one in self.removed)


@dataclass(slots=True)
class _Manifest:
    """What a sweep remembers of a manifest."""

    origin: str
    used: float
    size: int
    is_index: bool
    blobs: dict[Digest, int]
    children: tuple[Digest, ...]
    subject: Digest | None


@dataclass(slots=True)
class _Marks:
    manifests: dict[Place, _Manifest] = field(default_factory=dict)
    tagged: set[Place] = field(default_factory=set)

    def named(self) -> set[Place]:
        """The blobs that manifests name, each with the repository that the manifest is in."""
        return {(repository, blob) for (repository, _), one in self.manifests.items() for blob in one.blobs}


def has_registry(catalog: Catalog) -> bool:
    """Whether a registry has ever kept anything in this store."""
    return next(iter(catalog.records.walk("registry")), None) is not None


def roots(catalog: Catalog) -> frozenset[str]:
    """The names of the blobs that making room for others must leave.

    Those that repositories name or link, and those of images that tags which never move stand for.
    """
    found = set[str]()
    for (_, digest), one in _mark(catalog, _Marks()).manifests.items():
        found.update(blob_name(blob) for blob in one.blobs)
        found.add(blob_name(digest))
    for listed in catalog.records.walk("registry/links"):
        found.add(blob_name(Digest("sha256:" + listed.name.split("/")[3])))
    found.update(map(blob_name, promises.blobs(catalog.records)))
    return frozenset(found)


def sweep(
    catalog: Catalog,
    uploads: Uploads,
    policy: Policy,
    *,
    dry_run: bool = False,
    now: float | None = None,
) -> Swept:
    """Remove what the policy gives no reason to keep; safe at any time, in any number of processes.

    `now` is in seconds since 1970, for tests.
    """
    at = time.time() if now is None else now
    removed = [
        Removed("upload", session, f"nothing came for {_span(policy.uploads)}")
        for session in uploads.sweep(policy.uploads - (at - time.time()), dry_run=dry_run)
    ]
    marks = _mark(catalog, _Marks())
    unnamed = _unnamed(catalog, marks, policy, at)
    with catalog.records.sweeping() as holds:
        marks = _mark(catalog, marks)
        run = _Sweep(catalog, policy, marks, unnamed, at, dry_run)
        for step in (run.evict, run.expire, run.unlink, run.free):
            for one in step():
                removed.append(one)
                if not holds():
                    return Swept(dry_run, tuple(removed))
        if not dry_run:
            run.finish()
    if not dry_run:
        catalog.records.prune()
    return Swept(dry_run, tuple(removed))


def _unnamed(catalog: Catalog, marks: _Marks, policy: Policy, now: float) -> list[Place]:
    """Links older than the grace to blobs that no manifest of their repository names."""
    named = marks.named()
    found = []
    for listed in catalog.records.walk("registry/links"):
        parts = listed.name.split("/")
        place = (unflat(parts[4]), Digest("sha256:" + parts[3]))
        if place not in named and now - listed.written > policy.grace:
            found.append(place)
    return sorted(found)


def _mark(catalog: Catalog, before: _Marks) -> _Marks:
    """All manifests and what they name; those that `before` knows are not read again."""
    marks = _Marks()
    for listed in catalog.records.walk("registry/repositories"):
        repository, kind, rest = _parts(listed.name)
        if kind == "_tags":
            target = catalog.records.read(listed.name)
            digest = parse_tag(target.data) if target is not None else None
            if digest is not None:
                marks.tagged.add((repository, digest))
        elif kind == "_manifests":
            place = (repository, Digest("sha256:" + rest))
            known = before.manifests.get(place)
            if known is not None:
                known.used = listed.written
                marks.manifests[place] = known
                continue
            record = catalog.records.read(listed.name)
            kept = parse_manifest(place[1], record.data, listed.written) if record is not None else None
            if kept is not None:
                marks.manifests[place] = _remember(kept)
    return marks


def _parts(name: str) -> tuple[str, str, str]:
    """Repository, kind and the rest of a record's name below `registry/repositories/`."""
    parts = name.split("/")[2:]
    at = next((place for place, part in enumerate(parts) if part.startswith("_")), len(parts) - 1)
    return "/".join(parts[:at]), parts[at], "/".join(parts[at + 1 :])


def _remember(kept: Kept) -> _Manifest:
    document = manifests.read(kept.data, kept.media_type)
    return _Manifest(
        kept.origin,
        kept.used,
        len(kept.data),
        kept.media_type in oci.INDEXES,
        {blob.digest: blob.size for blob in document.blobs},
        tuple(child.digest for child in document.children),
        document.subject,
    )


class _Sweep:
    """One sweep: each step removes, and says what."""

    def __init__(
        self,
        catalog: Catalog,
        policy: Policy,
        marks: _Marks,
        unnamed: list[Place],
        now: float,
        dry_run: bool,
    ) -> None:
        self._catalog, self._policy, self._marks, self._unnamed = catalog, policy, marks, unnamed
        self._now, self._dry = now, dry_run
        self._orphans = {
            listed.name: [Digest(line) for line in record.data.decode().split("\n")]
            for listed in catalog.records.walk("registry/orphans")
            if (record := catalog.records.read(listed.name)) is not None
        }
        self._candidates = {digest for digests in self._orphans.values() for digest in digests}
        self._unlinked: set[Place] = set()
        self._released: set[Place] = set()

    def _families(self, origin: str) -> list[tuple[float, str, set[Digest]]]:
        """Manifests that live and die together: an index, those below it and what refers to them.

        Each with its last use and repository, least recently used first; none that a tag stands for.
        """
        by_repository: dict[str, dict[Digest, _Manifest]] = {}
        for (repository, digest), one in self._marks.manifests.items():
            by_repository.setdefault(repository, {})[digest] = one
        families = []
        for repository, known in by_repository.items():
            parents: dict[Digest, set[Digest]] = {}
            for digest, one in known.items():
                for child in one.children:
                    parents.setdefault(child, set()).add(digest)
                if one.subject is not None and one.subject in known:
                    parents.setdefault(digest, set()).add(one.subject)
            loose = {
                digest
                for digest, one in known.items()
                if one.origin == origin and (repository, digest) not in self._marks.tagged
            }
            hanging: dict[Digest, list[Digest]] = {}
            for digest, above in parents.items():
                for one_above in above:
                    hanging.setdefault(one_above, []).append(digest)
            for digest in known:
                if parents.get(digest):
                    continue
                family = _below(digest, parents, hanging, loose)
                if family:
                    families.append((max(known[member].used for member in family), repository, family))
        return sorted(families, key=lambda one: (one[0], one[1]))

    def evict(self) -> Iterable[Removed]:
        """On-demand images, those that were unused longest first, until what is left is small enough."""
        limit = self._policy.made_size
        if limit is None:
            return
        families = self._families("made")
        users: dict[Digest, int] = {}
        sizes: dict[Digest, int] = {}
        for _, repository, family in families:
            for digest, size in self._blobs(repository, family).items():
                users[digest] = users.get(digest, 0) + 1
                sizes[digest] = size
        total = sum(sizes.values())
        for used, repository, family in families:
            if total <= limit or self._now - used <= self._policy.made_keep:
                break
            why = f"made on demand, unused for {_span(self._now - used)}, and all are more than {limit} bytes"
            for digest in self._blobs(repository, family):
                users[digest] -= 1
                if not users[digest]:
                    total -= sizes[digest]
            yield from self._forget(repository, family, why)

    def _blobs(self, repository: str, family: Iterable[Digest]) -> dict[Digest, int]:
        found: dict[Digest, int] = {}
        for digest in family:
            found.update(self._marks.manifests[repository, digest].blobs)
        return found

    def expire(self) -> Iterable[Removed]:
        """Pushed manifests that no tag stands for any more."""
        if self._policy.untagged is None:
            return
        for used, repository, family in self._families("pushed"):
            if self._now - used <= self._policy.untagged:
                break
            why = f"without a tag, and not served for {_span(self._now - used)}"
            yield from self._forget(repository, family, why)

    def _forget(self, repository: str, family: set[Digest], why: str) -> Iterable[Removed]:
        known = self._marks.manifests
        order = sorted(family, key=lambda one: (not known[repository, one].is_index, one))
        for digest in order:
            one = known.pop((repository, digest))
            if one.origin == "made":
                self._candidates.update(one.blobs)
            self._released.update((repository, blob) for blob in one.blobs)
            if not self._dry:
                kept = self._catalog.manifest(repository, digest)
                if kept is not None:
                    self._catalog.forget(repository, kept)
            yield Removed("manifest", f"{repository}@{digest}", why, one.size)

    def unlink(self) -> Iterable[Removed]:
        """Links to blobs that nothing in their repository names, nor has named until just now."""
        named = self._marks.named()
        gone = []
        for place in sorted({*self._unnamed, *self._released}):
            written = self._catalog.records.written(link_name(*place))
            if written is not None and place not in named and self._now - written > self._policy.grace:
                gone.append(place)
        if gone and not self._dry:
            self._catalog.orphan(digest for _, digest in gone)
        for repository, digest in gone:
            self._candidates.add(digest)
            self._unlinked.add((repository, digest))
            if not self._dry:
                self._catalog.records.delete(link_name(repository, digest))
            why = f"no manifest of {repository} names it, nor was it pushed for {_span(self._policy.grace)}"
            yield Removed("link", f"{repository}@{digest}", why)

    def free(self) -> Iterable[Removed]:
        """Blobs that nothing names any more."""
        named = {blob for one in self._marks.manifests.values() for blob in one.blobs}
        for digest in sorted(self._candidates):
            if digest in named:
                continue
            if any((holder, digest) not in self._unlinked for holder in self._catalog.holders(digest)):
                continue
            name = blob_name(digest)
            size = self._catalog.records.blob_size(name)
            written = self._catalog.records.written(name)
            if size is None or written is None:
                continue
            if self._now - written <= min(CACHE_GRACE, self._policy.grace):
                self._keep(digest)
                continue
            if not self._dry:
                self._catalog.records.delete_blob(name)
            yield Removed("blob", f"sha256:{hex_of(digest)}", "no repository names it any more", size)

    def _keep(self, digest: Digest) -> None:
        """Look at a blob again next time."""
        if not self._dry:
            self._catalog.orphan([digest])

    def finish(self) -> None:
        """Forget the notes about orphans that were looked at."""
        for name in self._orphans:
            self._catalog.records.delete(name)


def _below(
    digest: Digest,
    parents: dict[Digest, set[Digest]],
    hanging: dict[Digest, list[Digest]],
    loose: set[Digest],
) -> set[Digest]:
    """A manifest and all that hang on it alone, of those that may go; nothing when it has to stay itself."""
    if digest not in loose:
        return set()
    family, pending = {digest}, [digest]
    while pending:
        for other in hanging.get(pending.pop(), ()):
            if other in loose and other not in family and parents[other] <= family:
                family.add(other)
                pending.append(other)
    return family


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{max(seconds, 0):.3g} s"
