"""What the rooms above know of any source of packages. Nothing above knows what a .deb is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from ramekin.image.tree import Tree
from ramekin.progress import Progress
from ramekin.store.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package whose content never changes.

    `origin` and `origin_version` name its source package. `digest` and `size` (bytes) are those of the
    archive file that holds it; `installed_size` is the source's own estimate in bytes. `suite` is where it
    was found (`bookworm-security`), `location` what the source needs to fetch it (a path below a mirror).
    """

    name: str
    version: str
    architecture: str
    digest: Digest
    size: int
    installed_size: int = 0
    origin: str = ""
    origin_version: str = ""
    suite: str = ""
    location: str = ""
    description: str = ""

    kind: ClassVar[str] = "debian"
    """The kind of source that it comes from, as `sources.KINDS` names it."""

    def __str__(self) -> str:
        return f"{self.name}={self.version}:{self.architecture}"


@dataclass(frozen=True, slots=True)
class PackageContent:
    """A package opened: its files, and what the source knows beside them.

    `scripts` are maintainer scripts and control members by name (`postinst`, `conffiles`, `triggers`, …),
    `status` is the paragraph for `var/lib/dpkg/status.d/NAME`, `md5sums` the file beside it; both are empty
    for sources that have none. The tree's spans live as long as the tree does.
    """

    package: Package
    tree: Tree
    scripts: Mapping[str, bytes]
    status: bytes = b""
    md5sums: bytes = b""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a package is in a resolution: the package that asked (`""` for the user) and its words."""

    by: str
    relation: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """The closure of a request for one architecture.

    `packages` are in dependency order where there is one (what is needed stands before what needs it,
    cycles and ties by name), the same always for the same request and index. `edges` gives for each package
    name the names of the chosen packages that it depends on. `replaces` gives for a package name the names of
    those whose files it may take over.
    """

    architecture: str
    requested: tuple[str, ...]
    packages: tuple[Package, ...]
    reasons: Mapping[str, Reason]
    edges: Mapping[str, tuple[str, ...]]
    replaces: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class SuiteFacts:
    """What an image built from a source looks like below all packages.

    `merged` maps top-level folders to where they are merged (`bin` to `usr/bin`), for one architecture.
    `os_release` is the text of the os-release file. `name` as in `debian:bookworm`.
    """

    name: str
    merged: Mapping[str, str]
    os_release: str


Arrived = Callable[[Package], None]
"""What is told of a package that has come into the store; what it raises stops the fetching."""


def ignored(package: Package) -> None:
    """Who waits for all packages need not hear of each."""


class Source(Protocol):
    """A place that packages come from, opened on a store."""

    @property
    def name(self) -> str:
        """As the command line writes it: `debian:bookworm`."""

    def refresh(self, architectures: Sequence[str], progress: Progress, *, force: bool = False) -> Digest:
        """Bring the indexes up to date where they may be stale and give the digest of their state.

        Equal digests mean equal answers of `resolve`. `NetworkError` when nothing usable is at hand.
        """

    def resolve(self, requests: Sequence[str], architecture: str, *, recommends: bool = False) -> Resolution:
        """The closure of `requests` (`name`, `name=version`, `name/suite`); `ResolutionError` explains."""

    def facts(self, architecture: str) -> SuiteFacts: ...

    def fetch(self, packages: Iterable[Package], progress: Progress, *, arrived: Arrived = ignored) -> None:
        """Have each package's archive file in the store, verified, fetched in parallel.

        `arrived` is told of packages as they come; of those that were there it need not be told.
        """

    def open(self, package: Package) -> PackageContent:
        """Unpack a package that is in the store; `FormatError` names the entry at fault."""

    def search(self, words: Sequence[str], architecture: str) -> Sequence[Package]:
        """Packages whose name or description hold all words, best match first."""

    def show(self, name: str, architecture: str) -> Sequence[Package]:
        """All versions of a package, newest first; `NotFoundError` with near names when there is none."""
