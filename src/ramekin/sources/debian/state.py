"""What was last known of a source's suites: a small file that says which package lists count now.

    indexes/state/12ab….json      one for each set of places and keys
    indexes/releases/34cd…        the signed Release files that it rests on, by digest
    indexes/lists/56ef….sqlite    the package lists (`index`)

Reading it is all that a build does whose indexes are fresh, so only the standard library is used here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ramekin.errors import RamekinError
from ramekin.store import digest as digests
from ramekin.store.digest import Digest

VERSION = 1

LIST_REVISION = 1
"""Of the layout of package lists; part of their names."""


class DamagedError(RamekinError):
    """A package list cannot be read; without its file it is made again."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"the package index {path} is damaged: {reason}", hint="remove the file; it is made again"
        )
        self.path = path


def list_path(folder: Path, digest: Digest) -> Path:
    """Where the list made from the Packages file with `digest` is."""
    return folder / "lists" / f"{digest[7:]}.{LIST_REVISION}.sqlite"


@dataclass(frozen=True, slots=True)
class HeldList:
    """A Packages file that counts: `digest` is that of its text, which names the index made of it."""

    component: str
    architecture: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSuite:
    """A verified Release. `release` and `signature` are digests of kept files, `date` seconds since 1970.

    An empty `release` means that the mirrors had no such suite. `uri` is the mirror that answered.
    """

    suite: str
    uri: str = ""
    release: str = ""
    signature: str = ""
    etag: str = ""
    modified: str = ""
    date: int = 0
    codename: str = ""
    lists: tuple[HeldList, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything known of a source. `checked` is when the mirrors were last asked, in seconds since 1970."""

    checked: float
    architectures: tuple[str, ...]
    suites: tuple[HeldSuite, ...]

    def lists(self, architecture: str) -> tuple[tuple[str, HeldList], ...]:
        """The lists of one architecture with their suites, in order of the suites."""
        return tuple(
            (suite.suite, held)
            for suite in self.suites
            for held in suite.lists
            if held.architecture in (architecture, "all")
        )

    def digest(self, architectures: Iterable[str]) -> Digest:
        """Of all that decides what the source answers for `architectures`."""
        lines = {
            f"{suite} {held.component} {held.architecture} {held.digest}\n"
            for architecture in architectures
            for suite, held in self.lists(architecture)
        }
        return digests.of("".join(sorted(lines)).encode())

    def all_lists(self) -> frozenset[Digest]:
        return frozenset(held.digest for suite in self.suites for held in suite.lists)


def load(path: Path) -> State | None:
    """The state in a file; None when there is none, or none that this version understands."""
    try:
        data = json.loads(path.read_bytes())
        if data["version"] != VERSION:
            return None
        return State(
            checked=float(data["checked"]),
            architectures=tuple(data["architectures"]),
            suites=tuple(
                HeldSuite(
                    **{
                        **suite,
                        "lists": tuple(
                            HeldList(held["component"], held["architecture"], digests.parse(held["digest"]))
                            for held in suite["lists"]
                        ),
                    }
                )
                for suite in data["suites"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, RamekinError):
        return None


def save(state: State, path: Path) -> None:
    """Put the state in a file at once; `RamekinError` when that cannot be written."""
    write(path, json.dumps({"version": VERSION, **asdict(state)}, separators=(",", ":")).encode())


def write(path: Path, data: bytes) -> None:
    """Put bytes in a file at once."""
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RamekinError(
            f"the package indexes in {path.parent} cannot be written: {error.strerror}",
            hint="free some space there, or choose another store with --store or RAMEKIN_HOME",
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def keep(folder: Path, data: bytes) -> str:
    """Keep a Release or its signature; gives the digest to find it by."""
    digest = digests.of(data)
    path = folder / "releases" / digest[7:]
    if not path.exists():
        write(path, data)
    return digest


def kept(folder: Path, digest: str) -> bytes | None:
    """What `keep` was given, or None when it is gone or damaged."""
    try:
        data = (folder / "releases" / digest[7:]).read_bytes()
    except OSError:
        return None
    return data if digests.of(data) == digest else None


def sweep(folder: Path, *, older_than: float) -> None:
    """Remove lists and releases that no state refers to and that were made before `older_than` (seconds).

    What a process that was killed has left unfinished goes with them.
    """
    used: set[str] = set()
    for path in (folder / "state").glob("*.json"):
        state = load(path)
        if state is None:
            continue
        used |= {list_path(folder, digest).name for digest in state.all_lists()}
        used |= {name[7:] for suite in state.suites for name in (suite.release, suite.signature) if name}
    for kind in ("lists", "releases", "state"):
        for path in (folder / kind).glob("*"):
            if path.name in used or path.suffix == ".json":
                continue
            try:
                if path.stat().st_mtime < older_than:
                    path.unlink(missing_ok=True)
            except OSError:
                continue
