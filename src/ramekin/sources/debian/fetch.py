"""Bytes from mirrors: `http(s):`, `file:` and `mirror+file:` URIs behind one class.

Nothing that comes from here is believed: who asks checks a signature or a digest.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from ramekin import workers
from ramekin.errors import DigestMismatchError, NetworkError, NotFoundError, RamekinError, UsageError
from ramekin.progress import Progress, Task
from ramekin.sources.mirror import SCHEMES
from ramekin.sources.protocol import Arrived, Package, ignored
from ramekin.store.digest import Digest
from ramekin.store.store import Store

if TYPE_CHECKING:
    from ramekin.http import Client

JOBS = 8
"""How many things are fetched at a time."""

_CHUNK = 1 << 18
_MISSING = (404, 410)


@dataclass(frozen=True, slots=True)
class Reply:
    """A small file, or the word that it has not changed (`data` is None), with the server's validators."""

    data: bytes | None
    etag: str = ""
    modified: str = ""


class Mirrors:
    """Where all mirrors are read from; a context manager, for use by many threads.

    `timeout` is in seconds and counts for each wait for bytes; `retries` for each file. `proxies` are those
    of apt's configuration, which count before the environment's.
    """

    def __init__(
        self, *, timeout: float = 30.0, retries: int = 4, proxies: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._timeout, self._retries, self._proxies = timeout, retries, dict(proxies)
        self._lock = threading.Lock()
        self._opened: Client | None = None
        self._lists: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> Mirrors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop all connections."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def expand(self, uris: Iterable[str]) -> tuple[str, ...]:
        """`uris` with each `mirror+file:` replaced by the mirrors in its file (apt-transport-mirror(1)).

        `UsageError` for a kind of URI that cannot be read.
        """
        found: list[str] = []
        for uri in uris:
            scheme = uri.partition(":")[0]
            if scheme not in SCHEMES:
                raise UsageError(
                    f"{shown(uri)}: mirrors of the kind {scheme}: cannot be read",
                    hint=f"one of {', '.join(SCHEMES)}; other mirrors can be named in the spec",
                )
            found.extend(self._listed(uri) if scheme == "mirror+file" else [uri])
        return tuple(dict.fromkeys(found))

    def _listed(self, uri: str) -> tuple[str, ...]:
        if uri not in self._lists:
            path = local_path(uri.removeprefix("mirror+"))
            try:
                lines = path.read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise NetworkError(f"the list of mirrors {path} cannot be read: {error}") from None
            entries: list[tuple[int, str]] = []
            for line in lines:
                words = line.partition("#")[0].split()
                if words:
                    priority = re.search(r"priority:(\d+)", " ".join(words[1:]))
                    entries.append((int(priority[1]) if priority else 1 << 30, words[0].rstrip("/")))
            if not entries:
                raise NetworkError(f"the list of mirrors {path} is empty")
            self._lists[uri] = tuple(found for _, found in sorted(entries, key=lambda entry: entry[0]))
        return self._lists[uri]

    def small(
        self, uri: str, name: str, *, etag: str = "", modified: str = "", limit: int = 32 << 20
    ) -> Reply:
        """A file of at most `limit` bytes below the mirror `uri`, unless the validators say it is unchanged.

        `NotFoundError` when the mirror has it not, `NetworkError` when the mirror cannot be asked.
        """
        if is_local(uri):
            parts: list[bytes] = []
            self._copy(local_path(uri) / name, parts.append, limit)
            return Reply(b"".join(parts))
        headers = {"If-None-Match": etag} if etag else {"If-Modified-Since": modified} if modified else {}
        headers["Cache-Control"] = "max-age=0"
        with self._client().request("GET", _url(uri, name), headers=headers, allow=(304, *_MISSING)) as reply:
            if reply.status == 304:
                return Reply(None, etag, modified)
            if reply.status in _MISSING:
                raise _missing(uri, name)
            data = reply.read(limit)
            return Reply(data, reply.headers.get("ETag", ""), reply.headers.get("Last-Modified", ""))

    def stream(self, uri: str, name: str, sink: Callable[[bytes], object], *, limit: int) -> None:
        """Give `sink` a file below the mirror `uri` in parts; errors as for `small`.

        More than `limit` bytes are a `DigestMismatchError`.
        """
        if is_local(uri):
            self._copy(local_path(uri) / name, sink, limit)
            return
        with self._client().request("GET", _url(uri, name), allow=_MISSING) as reply:
            if reply.status in _MISSING:
                raise _missing(uri, name)
            done = 0
            for chunk in reply.chunks(_CHUNK):
                done += len(chunk)
                if done > limit:
                    raise _too_long(shown(_url(uri, name)), limit)
                sink(chunk)

    def _copy(self, path: Path, sink: Callable[[bytes], object], limit: int) -> None:
        done = 0
        try:
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    done += len(chunk)
                    if done > limit:
                        raise _too_long(str(path), limit)
                    sink(chunk)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(f"there is no {path}") from None
        except OSError as error:
            raise NetworkError(f"{path} cannot be read: {error.strerror}") from None

    def _client(self) -> Client:
        with self._lock:
            if self._opened is None:
                from ramekin.http import Client

                # what an archive sends is signed, so most mirrors have no TLS
                self._opened = Client(
                    plain_http=True, timeout=self._timeout, retries=self._retries, proxy=self._proxy
                )
            return self._opened

    def _proxy(self, url: str) -> str | None:
        """The proxy that apt would take (apt-transport-http(1)); "" for none, None where apt says nothing."""
        parts = urlsplit(url)
        for name in (f"{parts.scheme}::{parts.hostname}", parts.scheme):
            if name in self._proxies:
                return "" if self._proxies[name] in ("DIRECT", "false") else self._proxies[name]
        return None


def is_local(uri: str) -> bool:
    return uri.startswith(("file:", "copy:"))


def local_path(uri: str) -> Path:
    """The path of a `file:` URI, with or without slashes for a host."""
    return Path(unquote(urlsplit(uri).path))


def shown(uri: str) -> str:
    """A URI without the password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _url(uri: str, name: str) -> str:
    return f"{uri}/{quote(name, safe='/+~:=,@!$&()*;')}"


def _missing(uri: str, name: str) -> NotFoundError:
    return NotFoundError(f"{shown(uri)} has no {name}")


def _too_long(what: str, limit: int) -> DigestMismatchError:
    return DigestMismatchError(f"{what} has more than the {limit} bytes that the index gives it")


def packages(
    wanted: Iterable[Package],
    store: Store,
    mirrors: Mirrors,
    places: Callable[[Package], Iterable[str]],
    progress: Progress,
    *,
    arrived: Arrived = ignored,
    jobs: int = JOBS,
) -> None:
    """Have each package's file in `store`, verified while it streams in; `places` gives mirrors in order.

    `arrived` is told of each that has come.

    `NotFoundError` when no mirror has a package any more, `DigestMismatchError` when all give other bytes,
    `NetworkError` when none answers. What was fetched before a failure stays.
    """
    missing: dict[Digest, Package] = {}
    for package in wanted:
        if package.digest not in missing and not store.has(package.digest):
            missing[package.digest] = package
    if not missing:
        return
    # the longest first, so that none is left over at the end
    order = sorted(missing.values(), key=lambda package: (-package.size, package.name))
    total = sum(package.size for package in order)
    with progress.task(f"fetch {len(order)} packages", total=total) as task:

        def work(package: Package, check: workers.Check) -> None:
            _one(package, store, mirrors, mirrors.expand(places(package)), task, check)
            arrived(package)

        workers.each(work, order, jobs=jobs)


def _one(
    package: Package,
    store: Store,
    mirrors: Mirrors,
    uris: Sequence[str],
    task: Task,
    check: workers.Check,
) -> None:
    failures: list[RamekinError] = []
    if ".." in package.location.split("/") or not package.location:
        raise NotFoundError(f"{package}: {package.location!r} is not a place below a mirror")
    for uri in uris:
        done = 0
        try:
            with store.stage() as stage:

                def sink(chunk: bytes) -> None:
                    nonlocal done
                    check()
                    stage.write(chunk)
                    done += len(chunk)
                    task.advance(len(chunk))

                mirrors.stream(uri, package.location, sink, limit=package.size)
                stage.commit(package.digest, package.size)
                return
        except DigestMismatchError as error:
            failures.append(
                DigestMismatchError(
                    f"{package} from {shown(uri)} is not what the index says: {error.message}",
                    hint="the mirror is broken, or something on the way changed it; try another mirror",
                )
            )
        except (NotFoundError, NetworkError) as error:
            failures.append(error)
        task.advance(-done)
    raise _worst(package, failures)


def _worst(package: Package, failures: Sequence[RamekinError]) -> RamekinError:
    """The failure to tell of: a wrong digest before a broken network before a missing file."""
    for kind in (DigestMismatchError, NetworkError):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    suite = f" of {package.suite}" if package.suite else ""
    if not failures:
        return NotFoundError(
            f"no mirror is known for {package}: the suite {package.suite or '?'} is not configured",
            hint="name its mirrors in the spec",
        )
    return NotFoundError(
        f"{package} is no longer on the mirrors{suite}: {failures[-1].message}",
        hint="`ramekin update` takes the version that is there; a snapshot mirror in the spec keeps old ones",
    )
