"""A channel's files, which give store paths names: `store-paths.xz` and `packages.json.br`.

    store-paths.xz      a store path a line: of all systems, and of all outputs
    packages.json.br    {"packages": {ATTRIBUTE: {name, pname, version, outputName, outputs, system, meta}}}

Either will do, and the two together do best: the one knows paths, the other what people call packages. A file
may also be plain or compressed in another way, which its name's ending says, and `packages.json` may give
the paths of outputs itself (`nix-env --query --json --out-path`).

The files are made into an SQLite index once, named by their digests. They are not signed: so they come by
https, or from this machine, and are believed no further than which of the signed paths a name means.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ramekin.errors import FormatError, NetworkError, NotFoundError, RamekinError
from ramekin.progress import Progress
from ramekin.sources.nix import compression, paths, places
from ramekin.sources.nix.places import Connections, Website

if TYPE_CHECKING:
    import sqlite3

REVISION = 1
"""Of the index."""

STORE_PATHS, PACKAGES = "store-paths.xz", "packages.json.br"
"""What the files are called in a channel's folder."""

FILE_LIMIT = 256 << 20
PLAIN_LIMIT = 2 << 30
"""Bytes that a file may have, as it comes and decompressed."""

_KEPT = 7 * 86400
"""Seconds for which an index that is not used is kept."""

OUTPUTS = frozenset(
    (
        "bin",
        "data",
        "debug",
        "dev",
        "devdoc",
        "devman",
        "dist",
        "doc",
        "info",
        "infodoc",
        "installedTests",
        "lib",
        "man",
        "out",
        "py",
        "python",
        "share",
        "static",
        "tools",
    )
)
"""Outputs that a store path's name may end in, where nothing else says which part is the output."""

USUAL_PRIORITY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A package of `packages.json`. `outputs` have their base names where the file gives them, else ""."""

    attribute: str
    name: str
    pname: str
    version: str
    system: str
    output: str
    outputs: tuple[tuple[str, str], ...]
    installed: tuple[str, ...]
    description: str
    priority: int
    program: str


class _Held(msgspec.Struct, omit_defaults=True):
    """What is known of one file."""

    digest: str = ""
    etag: str = ""
    modified: str = ""


class _State(msgspec.Struct, omit_defaults=True):
    """What is known of a channel: when it was last asked (seconds since 1970), and its files by kind."""

    checked: float
    files: dict[str, _Held]


class Channel:
    """The files of one channel; `folder` is where its indexes are. For use by many threads."""

    def __init__(
        self,
        folder: Path,
        *,
        channel: str,
        store_paths: str,
        packages: str,
        connections: Connections,
        max_age: float,
    ) -> None:
        self._folder, self._connections, self._max_age = folder, connections, max_age
        self._named = channel
        base = channel.rstrip("/")
        self._urls = {
            kind: url
            for kind, url in (
                ("store-paths", store_paths or (f"{base}/{STORE_PATHS}" if base else "")),
                ("packages", packages or (f"{base}/{PACKAGES}" if base else "")),
            )
            if url
        }
        self._explicit = {"store-paths": bool(store_paths), "packages": bool(packages)}
        self._lock = threading.RLock()
        self._state: _State | None = None
        self._index: Index | None = None

    @property
    def shown(self) -> str:
        """What it is called in errors."""
        from ramekin.http import shown

        text = self._named or next(iter(self._urls.values()))
        return shown(text) if "://" in text else text

    def refresh(self, progress: Progress, *, force: bool = False) -> str:
        """Ask for the files where that is due, and give what names their state."""
        with self._lock:
            path = self._folder / f"{self._identity()}.json"
            held = self._state or _load(path)
            begun = time.time()
            fresh = held is not None and begun - self._max_age <= held.checked <= begun
            if held is None or force or not fresh or not self._index_path(held).is_file():
                held = self._ask(held, progress)
                _save(held, path)
            if self._state is None or self._state.files != held.files:
                self._state, self._index = held, None
            self._state = held
            return " ".join(f"{kind} {file.digest}" for kind, file in sorted(held.files.items()))

    def index(self, progress: Progress) -> Index:
        """The names of the channel, asked for if they were not before."""
        with self._lock:
            if self._state is None:
                self.refresh(progress)
            assert self._state is not None
            if self._index is None:
                self._index = Index(self._index_path(self._state))
            return self._index

    def _identity(self) -> str:
        text = "\n".join(f"{kind} {url}" for kind, url in self._urls.items())
        return hashlib.sha256(text.encode()).hexdigest()

    def _index_path(self, state: _State) -> Path:
        parts = [f"{REVISION}", *(f"{kind} {file.digest}" for kind, file in sorted(state.files.items()))]
        return self._folder / f"{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()}.sqlite"

    def _ask(self, held: _State | None, progress: Progress) -> _State:
        state = _State(checked=time.time(), files={})
        usable = held is not None and self._index_path(held).is_file()
        found: dict[str, bytes] = {}
        try:
            for kind, url in self._urls.items():
                before = held.files.get(kind, _Held()) if held is not None and usable else _Held()
                file, data = self._get(kind, url, before)
                if file is not None:
                    state.files[kind] = file
                if data is not None:
                    found[kind] = data
        except NetworkError as error:
            if held is None or not usable:
                raise
            progress.warn(f"{error.message}; the channel's files as they were are taken")
            return held
        if not state.files:
            raise NotFoundError(
                f"{self.shown} has neither {STORE_PATHS} nor {PACKAGES}",
                hint="a channel's folder has these files; check the URL",
            )
        path = self._index_path(state)
        if not path.is_file():
            for kind in state.files:
                if kind not in found:
                    _, data = self._get(kind, self._urls[kind], _Held())
                    if data is None:
                        raise NotFoundError(f"{self.shown} has no {kind} any more", hint="try again")
                    found[kind] = data
                    state.files[kind].digest = _digest(data)
            path = self._index_path(state)
            with progress.task("index the channel"):
                _build(path, {kind: (self._urls[kind], data) for kind, data in found.items()})
            _sweep(self._folder, path)
        return state

    def _get(self, kind: str, url: str, before: _Held) -> tuple[_Held | None, bytes | None]:
        """What is known of a file now, and its bytes where they are new."""
        folder, _, name = url.rpartition("/")
        place = places.place(folder or "/", self._connections)
        if isinstance(place, Website):
            reply = place.ask(name, FILE_LIMIT, etag=before.etag, modified=before.modified)
            if reply is not None and reply.data is None:
                return before, None
            data = reply.data if reply is not None else None
            etag, modified = (reply.etag, reply.modified) if reply is not None else ("", "")
        else:
            data, etag, modified = place.read(name, FILE_LIMIT), "", ""
        if data is None:
            if self._explicit[kind]:
                raise NotFoundError(f"there is no {url}", hint="check the URL of the channel's file")
            return None, None
        return _Held(_digest(data), etag, modified), data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _load(path: Path) -> _State | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except (OSError, msgspec.DecodeError):
        return None


def _save(state: _State, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(msgspec.json.encode(state))
        Path(temporary).replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _sweep(folder: Path, current: Path) -> None:
    """Remove indexes that nobody has used for long."""
    for path in folder.glob("*.sqlite"):
        with suppress(OSError):
            if path != current and path.stat().st_mtime < time.time() - _KEPT:
                path.unlink()


def _unwritable(path: Path, error: OSError) -> RamekinError:
    return RamekinError(f"{path} cannot be written: {error.strerror}", hint="free some space there")


# --- the files -------------------------------------------------------------------------------------------


class _Meta(msgspec.Struct):
    description: Any = None
    priority: Any = None
    main_program: Any = msgspec.field(name="mainProgram", default=None)
    installed: Any = msgspec.field(name="outputsToInstall", default=None)


class _Package(msgspec.Struct):
    name: str = ""
    pname: str = ""
    version: str = ""
    output: str = msgspec.field(name="outputName", default="out")
    outputs: dict[str, str | None] = {}
    system: str = ""
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Outer(msgspec.Struct):
    packages: msgspec.Raw = msgspec.Raw(b"")


def _plain(url: str, data: bytes) -> bytes:
    """The bytes of a file that is compressed as the ending of its name says."""
    import io

    name = url.partition("?")[0]
    form = next((form for ending, form in compression.SUFFIXES.items() if name.endswith(ending)), "none")
    with compression.decompress(io.BytesIO(data), form, where=url) as stream:
        plain = stream.read(PLAIN_LIMIT + 1)
    if len(plain) > PLAIN_LIMIT:
        raise FormatError(f"{url} has more than {PLAIN_LIMIT} bytes", hint="that is no channel's file")
    return plain


def _listed(url: str, data: bytes) -> Iterator[Listed]:
    plain = _plain(url, data)
    try:
        # a channel puts them into an object of their own, `nix-env --query --json` does not
        within = msgspec.json.decode(plain, type=_Outer).packages
        inner = within if memoryview(within).nbytes else plain
        packages = msgspec.json.decode(inner, type=dict[str, _Package])
    except msgspec.DecodeError as error:
        raise FormatError(f"{url} is not a list of packages: {error}") from None
    for attribute in sorted(packages):
        package = packages[attribute]
        pname, version = paths.split(package.name)
        meta = package.meta
        outputs = package.outputs or {package.output: None}
        installed = meta.installed if isinstance(meta.installed, list) else []
        yield Listed(
            attribute=attribute,
            name=package.name or f"{package.pname}-{package.version}",
            pname=package.pname or pname,
            version=package.version or version,
            system=package.system,
            output=package.output,
            outputs=tuple((output, (path or "").rpartition("/")[2]) for output, path in outputs.items()),
            installed=tuple(output for output in installed if isinstance(output, str) and output in outputs),
            description=" ".join(meta.description.split()) if isinstance(meta.description, str) else "",
            priority=meta.priority if isinstance(meta.priority, int) else USUAL_PRIORITY,
            program=meta.main_program if isinstance(meta.main_program, str) else "",
        )


def _bases(url: str, data: bytes) -> Iterator[tuple[str, str, str, str]]:
    """Name, base name, package's name and output of all store paths; derivations are none of ours."""
    for number, line in enumerate(_plain(url, data).decode("utf-8", "replace").splitlines(), 1):
        base = line.strip().rpartition("/")[2]
        if not base or base.endswith(".drv"):
            continue
        name = paths.name_of(paths.check_base(base, where=f"{url}, line {number}"))
        pname = paths.split(name)[0]
        stem, _, output = name.rpartition("-")
        if stem and output in OUTPUTS:
            yield name, base, paths.split(stem)[0], output
        else:
            yield name, base, pname, "out"


_TABLES = """
CREATE TABLE package (attribute TEXT PRIMARY KEY, name TEXT, pname TEXT, version TEXT, system TEXT,
    output TEXT, outputs TEXT, installed TEXT, description TEXT, priority INTEGER, program TEXT)
    WITHOUT ROWID;
CREATE TABLE path (name TEXT, base TEXT, pname TEXT, output TEXT, PRIMARY KEY (name, base)) WITHOUT ROWID;
"""
_INDEXES = """
CREATE INDEX package_pname ON package (pname);
CREATE INDEX package_name ON package (name);
CREATE INDEX path_pname ON path (pname);
"""


def _build(path: Path, files: dict[str, tuple[str, bytes]]) -> None:
    import sqlite3

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, text = tempfile.mkstemp(dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _unwritable(path, error) from None
    temporary = Path(text)
    try:
        base = sqlite3.connect(temporary, isolation_level=None)
        try:
            base.execute("PRAGMA journal_mode=OFF")
            base.execute("PRAGMA synchronous=OFF")
            base.executescript(_TABLES)
            base.execute("BEGIN")
            if "packages" in files:
                base.executemany(
                    "INSERT OR REPLACE INTO package VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    map(_row, _listed(*files["packages"])),
                )
            if "store-paths" in files:
                base.executemany(
                    "INSERT OR IGNORE INTO path VALUES (?, ?, ?, ?)", _bases(*files["store-paths"])
                )
            base.execute("COMMIT")
            base.executescript(_INDEXES)
        finally:
            base.close()
        temporary.replace(path)
    except sqlite3.Error as error:
        raise RamekinError(f"{path} cannot be written: {error}", hint="free some space there") from None
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _row(one: Listed) -> tuple[object, ...]:
    return (
        one.attribute,
        one.name,
        one.pname,
        one.version,
        one.system,
        one.output,
        " ".join(f"{output}={base}" for output, base in one.outputs),
        " ".join(one.installed),
        one.description,
        one.priority,
        one.program,
    )


class Index:
    """The names of a channel. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        import sqlite3

        self._path = path
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(
                f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            self._base.execute("SELECT name FROM path LIMIT 1").fetchall()
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        with suppress(OSError):
            os.utime(path)

    def packages(self, column: str, value: str) -> tuple[Listed, ...]:
        """Packages whose `attribute`, `pname` or `name` is `value`, by attribute."""
        query = f"SELECT * FROM package WHERE {column} = ? ORDER BY attribute"
        return tuple(_of_row(row) for row in self._rows(query, (value,)))

    def bases(self, name: str) -> tuple[str, ...]:
        """The base names of all store paths with a name."""
        return tuple(base for (base,) in self._rows("SELECT base FROM path WHERE name = ?", (name,)))

    def named(self, pname: str) -> tuple[tuple[str, str], ...]:
        """Names of store paths and their outputs for the name of a package without its version."""
        query = "SELECT DISTINCT name, output FROM path WHERE pname = ? ORDER BY name"
        return tuple(self._rows(query, (pname,)))

    def search(self, words: Sequence[str]) -> tuple[Listed, ...]:
        """Packages whose attribute, name and description hold all words, best first."""
        wanted = [word.lower() for word in words if word]
        if not wanted:
            return ()
        text = "lower(attribute || char(10) || name || char(10) || description)"
        clause = " AND ".join([f"instr({text}, ?)"] * len(wanted))
        rows = self._rows(f"SELECT * FROM package WHERE {clause} ORDER BY attribute", wanted)

        def rank(one: Listed) -> tuple[object, ...]:
            attribute = one.attribute.lower()
            return (
                attribute != wanted[0],
                one.pname.lower() != wanted[0],
                not attribute.startswith(wanted[0]),
                sum(word not in attribute for word in wanted),
                len(attribute) if all(word in attribute for word in wanted) else 0,
                attribute,
            )

        return tuple(sorted(map(_of_row, rows), key=rank))

    def near(self, name: str, limit: int = 5) -> tuple[str, ...]:
        """Names that may have been meant, nearest first."""
        from difflib import get_close_matches

        names: set[str] = set()
        for column, table in (("attribute", "package"), ("pname", "package"), ("pname", "path")):
            query = (
                f"SELECT DISTINCT {column} FROM {table} WHERE abs(length({column}) - ?1) <= 2"
                f" AND substr({column}, 1, 1) = substr(?2, 1, 1)"
                f" OR {column} LIKE ?2 || '%' OR (?1 > 3 AND instr({column}, ?2))"
            )
            names |= {found for (found,) in self._rows(query, (len(name), name.replace("%", "")))}
        names.discard(name)
        similar = [found for found in sorted(names) if abs(len(found) - len(name)) <= 2]
        close = get_close_matches(name, similar, limit, 0.7)
        holding = sorted((n for n in names if name in n), key=lambda n: (not n.startswith(name), len(n), n))
        return tuple(dict.fromkeys([*close, *holding]))[:limit]

    def _rows(self, query: str, arguments: Iterable[object]) -> list[tuple[Any, ...]]:
        import sqlite3

        try:
            with self._lock:
                return self._base.execute(query, tuple(arguments)).fetchall()
        except UnicodeEncodeError:
            # bytes of a command line that are no text name no package
            return []
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _damaged(self, error: sqlite3.Error) -> RamekinError:
        # the next run makes it again
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return RamekinError(f"the index {self._path} is damaged: {error}", hint="run the command again")


def _of_row(row: tuple[Any, ...]) -> Listed:
    outputs = (text.partition("=") for text in row[6].split(" ") if text)
    return Listed(
        attribute=row[0],
        name=row[1],
        pname=row[2],
        version=row[3],
        system=row[4],
        output=row[5],
        outputs=tuple((output, base) for output, _, base in outputs),
        installed=tuple(row[7].split()),
        description=row[8],
        priority=row[9],
        program=row[10],
    )
