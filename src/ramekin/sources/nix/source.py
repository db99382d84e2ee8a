"""Nix binary caches as a source: `nix:CACHE`, or `nix` for those of the settings or of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ramekin.progress import Progress
from ramekin.sources.nix.model import NixPackage
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.sources.protocol import Package, PackageContent, Resolution, SuiteFacts
from ramekin.store.digest import Digest
from ramekin.store.store import Store

MAX_AGE = 300.0
"""Seconds for which a channel's files count as fresh without asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NixSettings:
    """What a spec can say of a Nix source.

    `caches` are URLs or folders; without any, and without one in the source's name, `substituters` of the
    machine's nix.conf count. `trusted_keys` are `NAME:BASE64` public keys in place of its
    `trusted-public-keys`. `channel` is the URL or folder that has `store-paths.xz` and `packages.json.br`;
    either can be named alone by `store_paths` and `packages`. `nix_dir` is where nix.conf is. `max_age` is in
    seconds. `nar_limit` is how many bytes one NAR may have. `nix` is the program that evaluates `FLAKE#attr`.
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

    `UsageError` for another name, when no cache is known, and when there is no trusted key.
    """
    raise NotImplementedError


class NixSource:
    """A `Source`. Opening it reads the configuration and nothing else. Threads may share it."""

    @property
    def name(self) -> str:
        raise NotImplementedError

    def refresh(self, architectures: Sequence[str], progress: Progress, *, force: bool = False) -> Digest:
        """Bring the channel's files up to date and give the digest of all that `resolve` depends on."""
        raise NotImplementedError

    def resolve(self, requests: Sequence[str], architecture: str, *, recommends: bool = False) -> Resolution:
        """The closure of `requests` by references, every narinfo verified; the packages are `NixPackage`s.

        `NotFoundError` with near names; `UsageError` for a request of no known form.
        """
        raise NotImplementedError

    def facts(self, architecture: str) -> SuiteFacts:
        """No folder is merged and no os-release given: a store path brings nothing outside the store."""
        raise NotImplementedError

    def fetch(self, packages: Iterable[Package], progress: Progress) -> None:
        """Have each package's NAR in the store, verified, fetched in parallel."""
        raise NotImplementedError

    def open(self, package: Package) -> PackageContent:
        """The files of a package that is in the store, below `nix/store`."""
        raise NotImplementedError

    def search(self, words: Sequence[str], architecture: str) -> Sequence[NixPackage]:
        """Packages of the channel whose attribute, name or description hold all words, best match first.

        Only what the channel says of them is known: neither digest nor size.
        """
        raise NotImplementedError

    def show(self, name: str, architecture: str) -> Sequence[NixPackage]:
        """All that a name can mean, newest first, with digests; `NotFoundError` with near names."""
        raise NotImplementedError

    def infos(self, packages: Iterable[Package]) -> Mapping[str, NarInfo]:
        """The verified narinfo of each package by its name, for the Nix database and for `why`."""
        raise NotImplementedError
