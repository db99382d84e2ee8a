"""Sources of several kinds as one: what one image is made of that has packages of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from ramekin.progress import Progress
from ramekin.sources.protocol import Arrived, Package, PackageContent, Resolution, Source, SuiteFacts, ignored
from ramekin.store.digest import Digest


class Joined:
    """A `Source` that gives each question to the one that it is for.

    Packages are fetched and opened by the source of their kind. All else is asked of the first source: who
    resolves names knows which kind they are of, and takes `of(kind)`.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """Join sources by their kind."""
        self._sources = dict(sources)
        self._first = next(iter(self._sources.values()))

    @property
    def name(self) -> str:
        return " ".join(source.name for source in self._sources.values())

    def of(self, kind: str) -> Source:
        """The source of a kind."""
        return self._sources[kind]

    def refresh(self, architectures: Sequence[str], progress: Progress, *, force: bool = False) -> Digest:
        """Refresh all sources; the digest is of all their states."""
        states = [
            f"{kind} {source.refresh(architectures, progress, force=force)}"
            for kind, source in self._sources.items()
        ]
        return Digest("sha256:" + hashlib.sha256("\n".join(states).encode()).hexdigest())

    def resolve(self, requests: Sequence[str], architecture: str, *, recommends: bool = False) -> Resolution:
        return self._first.resolve(requests, architecture, recommends=recommends)

    def facts(self, architecture: str) -> SuiteFacts:
        return self._first.facts(architecture)

    def fetch(self, packages: Iterable[Package], progress: Progress, *, arrived: Arrived = ignored) -> None:
        by_kind: dict[str, list[Package]] = {}
        for package in packages:
            by_kind.setdefault(package.kind, []).append(package)
        for kind, wanted in by_kind.items():
            self._sources[kind].fetch(wanted, progress, arrived=arrived)

    def open(self, package: Package) -> PackageContent:
        return self._sources[package.kind].open(package)

    def search(self, words: Sequence[str], architecture: str) -> Sequence[Package]:
        return self._first.search(words, architecture)

    def show(self, name: str, architecture: str) -> Sequence[Package]:
        return self._first.show(name, architecture)


def of(source: Source, kind: str) -> Source:
    """That part of `source` which has packages of `kind`; itself where it is no joined one."""
    return source.of(kind) if isinstance(source, Joined) else source
