"""Package lists on disk: one SQLite file for each Packages file, and the merged view over those of a source.

    indexes/lists/ab01….sqlite          the packages of one Packages file, named by its digest
        package(name, version, …)       one row a paragraph: the fields that resolving and fetching need
        provide(name, package)          who provides a name

A list never changes, so it is made once and shared by all sources, and a new security list costs no second
reading of the main one. Merging happens at look-up: a name is looked up in each of the few lists.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ramekin.errors import FormatError, RamekinError
from ramekin.sources.debian.model import DebianPackage
from ramekin.sources.debian.state import DamagedError
from ramekin.store.digest import Digest

if TYPE_CHECKING:
    import sqlite3

_CHUNK = 1 << 20

_FIELDS = (
    "Package",
    "Version",
    "Architecture",
    "Source",
    "SHA256",
    "Size",
    "Installed-Size",
    "Filename",
    "Description",
    "Section",
    "Priority",
    "Multi-Arch",
    "Essential",
    "Pre-Depends",
    "Depends",
    "Recommends",
    "Provides",
    "Conflicts",
    "Breaks",
    "Replaces",
)
_FIELD = re.compile(rf"^({'|'.join(_FIELDS)}):[ \t]*(.*)$", re.MULTILINE)
_PROVIDED = re.compile(r"(?:^|,)\s*([^\s,(:]+)")

_COLUMNS = (
    "name, version, architecture, digest, size, installed_size, origin, origin_version, location,"
    " description, section, priority, multi_arch, essential, pre_depends, depends, recommends, provides,"
    " conflicts, breaks, replaces"
)


def build(stream: BinaryIO, path: Path, *, where: str) -> int:
    """Make a list at `path` from the text of a Packages file; gives the number of packages.

    The file appears whole or not at all. Packages without a SHA-256 are left out: they could not be verified.
    `FormatError` names `where` and the package whose paragraph is broken.
    """
    import sqlite3

    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as base:
            for statement in (
                "PRAGMA journal_mode=OFF",
                "PRAGMA synchronous=OFF",
                "PRAGMA locking_mode=EXCLUSIVE",
                f"CREATE TABLE package({_COLUMNS})",
                "CREATE TABLE provide(name, package)",
                "BEGIN",
            ):
                base.execute(statement)
            count = _fill(base, stream, where)
            base.execute("COMMIT")
            base.execute("CREATE INDEX package_name ON package(name)")
            base.execute("CREATE INDEX provide_name ON provide(name)")
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except (sqlite3.Error, OSError) as error:
        raise RamekinError(
            f"the package index {path} cannot be written: {error}", hint="is the disk full or read-only?"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    return count


def _fill(base: sqlite3.Connection, stream: BinaryIO, where: str) -> int:
    insert = f"INSERT INTO package VALUES ({', '.join('?' * 21)})"
    number = 0
    for texts in _paragraphs(stream):
        rows: list[tuple[object, ...]] = []
        provides: list[tuple[str, int]] = []
        for text in texts:
            fields = dict(_FIELD.findall(text))
            if not fields and not text.strip():
                continue
            row = _row(fields, where)
            if row is None:
                continue
            rows.append(row)
            number += 1
            if "Provides" in fields:
                names = dict.fromkeys(_PROVIDED.findall(fields["Provides"]))
                provides.extend((name, number) for name in names)
        base.executemany(insert, rows)
        base.executemany("INSERT INTO provide VALUES (?, ?)", provides)
    return number


def _paragraphs(stream: BinaryIO) -> Iterator[list[str]]:
    """Paragraphs in batches, their folded lines joined, in memory bounded by the longest paragraph."""
    rest = b""
    while chunk := stream.read(_CHUNK):
        whole, mark, last = (rest + chunk).rpartition(b"\n\n")
        if not mark:
            rest = last
            continue
        rest = last
        yield whole.decode("utf-8", "replace").replace("\n ", " ").replace("\n\t", " ").split("\n\n")
    if rest.strip():
        yield rest.decode("utf-8", "replace").replace("\n ", " ").replace("\n\t", " ").split("\n\n")


def _row(fields: dict[str, str], where: str) -> tuple[object, ...] | None:
    get = fields.get
    try:
        name, version = fields["Package"], fields["Version"]
        if "SHA256" not in fields:
            return None
        origin, origin_version = name, version
        if source := get("Source"):
            origin, _, rest = source.partition(" ")
            if rest:
                origin_version = rest.strip("() ")
        digest = bytes.fromhex(fields["SHA256"])
        if len(digest) != 32 or ".." in fields["Filename"].split("/"):
            raise ValueError
        return (
            name,
            version,
            fields["Architecture"],
            digest,
            int(fields["Size"]),
            int(get("Installed-Size") or 0) * 1024,
            origin,
            origin_version,
            fields["Filename"].removeprefix("./"),
            get("Description", ""),
            get("Section", ""),
            get("Priority", ""),
            get("Multi-Arch", "no"),
            get("Essential", "no") == "yes",
            get("Pre-Depends", ""),
            get("Depends", ""),
            get("Recommends", ""),
            get("Provides", ""),
            get("Conflicts", ""),
            get("Breaks", ""),
            get("Replaces", ""),
        )
    except KeyError as error:
        raise FormatError(
            f"{where}: the paragraph of {get('Package', 'a package without a name')} has no {error.args[0]}"
        ) from None
    except ValueError:
        raise FormatError(
            f"{where}: the paragraph of {fields['Package']} has a bad digest, size or path"
        ) from None


@dataclass(frozen=True, slots=True)
class Part:
    """One list of a merged index: the suite and component that it is of, and its file."""

    suite: str
    component: str
    path: Path


class Index:
    """Packages of one architecture, `all` included, merged over the parts of a source.

    Of several records for one name and version the one of the earliest part stands. Methods may be called
    from any thread; answers are kept.
    """

    def __init__(self, architecture: str, state: Digest, parts: Sequence[Part]) -> None:
        """Open the lists; `RamekinError` when one is missing or damaged."""
        import sqlite3

        self.architecture, self.state = architecture, state
        self._lock = threading.Lock()
        self._versions: dict[str, tuple[DebianPackage, ...]] = {}
        self._providers: dict[str, tuple[DebianPackage, ...]] = {}
        self._parts: list[tuple[Part, sqlite3.Connection]] = []
        for part in parts:
            try:
                base = sqlite3.connect(
                    f"{part.path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
                )
                base.execute("PRAGMA mmap_size=268435456")
                base.execute("SELECT name FROM package LIMIT 1").fetchall()
            except sqlite3.Error as error:
                self.close()
                raise DamagedError(part.path, error) from None
            self._parts.append((part, base))

    def close(self) -> None:
        """Close the lists; the answers that were given stay good."""
        for _, base in self._parts:
            base.close()

    def versions(self, name: str) -> tuple[DebianPackage, ...]:
        """All versions of a package, newest first."""
        found = self._versions.get(name)
        if found is None:
            rows = self._select(f"SELECT {_COLUMNS} FROM package WHERE name = ? ORDER BY rowid", (name,))
            found = self._versions[name] = _newest_first(rows)
        return found

    def providers(self, name: str) -> tuple[DebianPackage, ...]:
        """Packages whose Provides names `name`, with or without a version, by name, then newest first."""
        found = self._providers.get(name)
        if found is None:
            query = (
                f"SELECT {_COLUMNS} FROM package WHERE rowid IN (SELECT package FROM provide WHERE name = ?)"
                " ORDER BY rowid"
            )
            packages = _newest_first(self._select(query, (name,)))
            found = self._providers[name] = tuple(sorted(packages, key=lambda package: package.name))
        return found

    def near(self, name: str, limit: int = 5) -> tuple[str, ...]:
        """Names that may have been meant, nearest first."""
        names: set[str] = set()
        query = (
            "SELECT DISTINCT name FROM {0} WHERE abs(length(name) - ?) <= 2 OR name LIKE ? || '%'"
            " OR (length(?) > 3 AND instr(name, ?))"
        )
        arguments = (len(name), name.replace("%", ""), name, name)
        for table in ("package", "provide"):
            for (found,) in self._rows(query.format(table), arguments):
                names.add(found)
        names.discard(name)
        similar = [n for n in sorted(names) if abs(len(n) - len(name)) <= 2]
        close = get_close_matches(name, similar, limit, 0.7)
        holding = sorted((n for n in names if name in n), key=lambda n: (not n.startswith(name), len(n), n))
        return tuple(dict.fromkeys([*close, *holding]))[:limit]

    def search(self, words: Sequence[str]) -> tuple[DebianPackage, ...]:
        """The newest version of each package whose name and description hold all `words`, best first."""
        wanted = [word.lower() for word in words if word]
        if not wanted:
            return ()
        clause = " AND ".join(["instr(lower(name || char(10) || description), ?)"] * len(wanted))
        rows = self._select(f"SELECT {_COLUMNS} FROM package WHERE {clause} ORDER BY rowid", wanted)
        newest: dict[str, DebianPackage] = {}
        for package in _newest_first(rows):
            newest.setdefault(package.name, package)

        def rank(package: DebianPackage) -> tuple[object, ...]:
            name = package.name
            return (
                name != wanted[0],
                not name.startswith(wanted[0]),
                sum(word not in name for word in wanted),
                len(name) if all(word in name for word in wanted) else 0,
                name,
            )

        return tuple(sorted(newest.values(), key=rank))

    def _rows(self, query: str, arguments: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        for _, row in self._each(query, arguments):
            yield row

    def _select(self, query: str, arguments: Sequence[object]) -> Iterator[DebianPackage]:
        for part, row in self._each(query, arguments):
            if row[2] == self.architecture or row[2] == "all":
                yield _package(part, row)

    def _each(self, query: str, arguments: Sequence[object]) -> Iterable[tuple[Part, tuple[Any, ...]]]:
        import sqlite3

        found: list[tuple[Part, tuple[Any, ...]]] = []
        for part, base in self._parts:
            try:
                with self._lock:
                    rows = base.execute(query, arguments).fetchall()
            except UnicodeEncodeError:
                # bytes of a command line that are no text name no package
                return []
            except sqlite3.Error as error:
                raise DamagedError(part.path, error) from None
            found.extend((part, row) for row in rows)
        return found


def _package(part: Part, row: tuple[Any, ...]) -> DebianPackage:
    return DebianPackage(
        name=row[0],
        version=row[1],
        architecture=row[2],
        digest=Digest("sha256:" + row[3].hex()),
        size=row[4],
        installed_size=row[5],
        origin=row[6],
        origin_version=row[7],
        suite=part.suite,
        location=row[8],
        description=row[9],
        component=part.component,
        section=row[10],
        priority=row[11],
        multi_arch=row[12],
        essential=bool(row[13]),
        pre_depends=row[14],
        depends=row[15],
        recommends=row[16],
        provides=row[17],
        conflicts=row[18],
        breaks=row[19],
        replaces=row[20],
    )


def _newest_first(packages: Iterable[DebianPackage]) -> tuple[DebianPackage, ...]:
    from ramekin.sources.debian import versions

    once: dict[tuple[str, str], DebianPackage] = {}
    for package in packages:
        once.setdefault((package.name, package.version), package)
    if len(once) < 2:
        return tuple(once.values())
    order: Callable[[DebianPackage], Any] = lambda package: versions.key(package.version)  # noqa: E731
    return tuple(sorted(once.values(), key=order, reverse=True))
