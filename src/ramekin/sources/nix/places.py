"""Bytes from binary caches and channels: `http(s):`, `file:` and folders, and buckets through obstore.

Nothing that comes from here is believed: who asks checks a signature or a hash.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit

from ramekin.chunks import Chunks
from ramekin.errors import FormatError, NetworkError, NotFoundError, UsageError

if TYPE_CHECKING:
    from ramekin.http import Client
    from ramekin.store.objects import Objects

BUCKETS = ("s3", "gs", "az", "memory")
"""Schemes that obstore reads."""

_CHUNK = 1 << 18
# object stores answer 403 for what is not there, unless one may list
_MISSING = (403, 404, 410)


@dataclass(frozen=True, slots=True)
class Reply:
    """A file's bytes, or the word that it has not changed (`data` is None), with the server's validators."""

    data: bytes | None
    etag: str = ""
    modified: str = ""


class Place(Protocol):
    """A folder of files, somewhere. For use by many threads."""

    @property
    def url(self) -> str:
        """As it may be shown and kept: without credentials and parameters."""

    @property
    def near(self) -> bool:
        """Whether asking costs so little that asking for several things at once is of no use."""

    def read(self, name: str, limit: int) -> bytes | None:
        """All of a small file; None when it is not there; `NetworkError` when that cannot be told.

        `FormatError` for more than `limit` bytes.
        """

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A stream of a file; `NotFoundError` when it is not there."""


@dataclass
class Connections:
    """The one HTTP client of a source, made when it is first needed. A context manager."""

    timeout: float = 30.0
    retries: int = 4
    plain_http: bool = True
    netrc: Path | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Client | None = None

    def client(self) -> Client:
        with self._lock:
            if self._client is None:
                from ramekin.http import Client

                self._client = Client(plain_http=self.plain_http, timeout=self.timeout, retries=self.retries)
            return self._client

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def headers(self, url: str) -> dict[str, str]:
        """The credentials for a URL: those that it holds, else those of the netrc file."""
        from base64 import b64encode

        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not user and self.netrc is not None and parts.hostname:
            user, password = self._known(parts.hostname)
        if not user and not password:
            return {}
        return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}

    def _known(self, host: str) -> tuple[str, str]:
        import netrc

        try:
            found = netrc.netrc(str(self.netrc)).authenticators(host)
        except FileNotFoundError:
            return "", ""
        except (OSError, netrc.NetrcParseError) as error:
            raise UsageError(f"the netrc-file {self.netrc} cannot be read: {error}") from None
        return (found[0] or "", found[2] or "") if found else ("", "")


def place(text: str, connections: Connections) -> Place:
    """The place that a URL or a folder's path names; `UsageError` for a URL of another kind."""
    scheme = urlsplit(text).scheme if ":" in text.partition("/")[0] else ""
    if scheme in ("http", "https"):
        return Website(text, connections)
    if scheme == "file":
        return Folder(Path(unquote(urlsplit(text).path)))
    if scheme in BUCKETS:
        return Bucket(text)
    if scheme or not text:
        raise UsageError(
            f"{text!r} is not a place that can be read",
            hint="give a folder, or an https:, http:, file: or s3: URL",
        )
    return Folder(Path(text).expanduser().absolute())


class Folder:
    """A folder of this machine."""

    near = True

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def url(self) -> str:
        return f"file://{self._path}"

    def read(self, name: str, limit: int) -> bytes | None:
        try:
            with (self._path / name).open("rb") as stream:
                data = stream.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise NetworkError(f"{self._path / name} cannot be read: {error.strerror}") from None
        return _within(data, limit, f"{self._path / name}")

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        path = self._path / unquote(name.partition("?")[0])
        try:
            stream = path.open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(f"there is no {path}") from None
        except OSError as error:
            raise NetworkError(f"{path} cannot be read: {error.strerror}") from None
        with stream:
            yield stream


class Website:
    """Files below an HTTP(S) URL, whose query (`?priority=…`) is for us and not for the server."""

    near = False

    def __init__(self, url: str, connections: Connections) -> None:
        from ramekin.http import shown

        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        if not host:
            raise UsageError(f"{url!r} has no host")
        self._base = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/"
        self._connections = connections
        self._headers = connections.headers(url)
        self.url = shown(self._base).rstrip("/")

    def read(self, name: str, limit: int) -> bytes | None:
        reply = self.ask(name, limit)
        return None if reply is None else reply.data

    def ask(self, name: str, limit: int, *, etag: str = "", modified: str = "") -> Reply | None:
        """`read`, unless the validators say that nothing has changed."""
        validators = {"If-None-Match": etag} if etag else {"If-Modified-Since": modified} if modified else {}
        address = urljoin(self._base, quote(name, safe="/:?&=+~@,;%"))
        with self._connections.client().request(
            "GET", address, headers={**self._headers, **validators}, allow=(304, *_MISSING)
        ) as reply:
            if reply.status == 304:
                return Reply(None, etag, modified)
            if reply.status in _MISSING:
                # what is left of the answer is short, and the connection then serves the next question
                reply.read(1 << 20)
                return None
            data = reply.read(limit)
            return Reply(data, reply.headers.get("ETag", ""), reply.headers.get("Last-Modified", ""))

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        address = urljoin(self._base, quote(name, safe="/:?&=+~@,;%"))
        own = address.startswith(self._base)
        with self._connections.client().request(
            "GET", address, headers=self._headers if own else {}, allow=_MISSING
        ) as reply:
            if reply.status in _MISSING:
                raise NotFoundError(f"{self.url} has no {name}")
            yield io.BufferedReader(Chunks(reply.chunks(_CHUNK)), _CHUNK)


class Bucket:
    """Objects below an `s3:`, `gs:` or `az:` URL; region, endpoint and scheme as Nix's own URLs have them."""

    near = False

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._asked = dict(parse_qsl(parts.query))
        self._lock = threading.Lock()
        self._opened: Objects | None = None

    def _objects(self) -> Objects:
        with self._lock:
            if self._opened is None:
                from ramekin.store.objects import Objects

                self._opened = Objects.at(self.url, **_bucket_settings(self._asked))
            return self._opened

    def read(self, name: str, limit: int) -> bytes | None:
        data = self._objects().read(name, use=False)
        return None if data is None else _within(data, limit, f"{self.url}/{name}")

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        found = self._objects().open(name, use=False)
        if found is None:
            raise NotFoundError(f"{self.url} has no {name}")
        with found[0] as stream:
            yield stream


def _bucket_settings(asked: dict[str, str]) -> dict[str, Any]:
    """What obstore calls the parameters of Nix's S3 URLs."""
    settings: dict[str, Any] = {}
    if region := asked.get("region"):
        settings["region"] = region
    if endpoint := asked.get("endpoint"):
        scheme = asked.get("scheme", "https")
        settings["endpoint"] = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
        if settings["endpoint"].startswith("http://"):
            settings["client_options"] = {"allow_http": True}
    return settings


def _within(data: bytes, limit: int, what: str) -> bytes:
    if len(data) > limit:
        raise FormatError(f"{what} has more than {limit} bytes", hint="the cache is broken or hostile")
    return data
