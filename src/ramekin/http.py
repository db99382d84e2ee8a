"""The one place that talks HTTP: connections, retries, redirects, proxies and certificates.

It knows nothing of registries or mirrors: who asks adds headers and judges statuses. Bodies are streamed in
bounded memory both ways. A download that breaks off goes on where it stopped (RFC 9110, Range), so what
`Response.chunks` yields is still only believed once its digest was checked by the caller.
"""

from __future__ import annotations

import ipaddress
import os
import random
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import ramekin
from ramekin.errors import NetworkError, UsageError

if TYPE_CHECKING:
    import niquests

CHUNK = 1 << 18
"""Bytes that are read at a time."""

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that another try may turn into success."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 10
MAX_WAIT = 60.0
"""Seconds: no single wait between two tries is longer; a server that asks for more is given up."""

ERROR_BODY = 4096
"""Bytes of an error's body that are kept for its message."""

Body = bytes | Callable[[], Iterable[bytes]] | None


class HttpError(NetworkError):
    """An answer with a status of 400 or more.

    `body` holds its first few KiB, `retry_after` the seconds that the server asks to be left alone.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        url: str,
        body: bytes = b"",
        retry_after: float = 0.0,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.status = status
        self.url = url
        self.body = body


class Response:
    """An answer whose body is still to be read, once, by `read` or `chunks`. A context manager."""

    def __init__(
        self, raw: niquests.Response, url: str, again: Callable[[int], Response | None] | None = None
    ) -> None:
        self._raw = raw
        self._again = again
        self.url = url
        self.status: int = raw.status_code or 0
        self.headers: Mapping[str, str] = raw.headers

    @property
    def size(self) -> int | None:
        """Bytes of the body, when the server says so."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    def read(self, limit: int = 64 << 20) -> bytes:
        """The whole body; `NetworkError` when it has more than `limit` bytes."""
        parts: list[bytes] = []
        left = limit
        for chunk in self.chunks():
            left -= len(chunk)
            if left < 0:
                self.close()
                raise NetworkError(f"{shown(self.url)}: the answer has more than {limit} bytes")
            parts.append(chunk)
        return b"".join(parts)

    def chunks(self, size: int = CHUNK) -> Generator[bytes, None, None]:
        """The body in parts of at most `size` bytes, exactly as sent (no content decoding).

        `NetworkError` when it breaks off and cannot be taken up again.
        """
        done, current = 0, self
        while True:
            try:
                for chunk in current._parts(size):
                    done += len(chunk)
                    yield chunk
                if self.size is None or done >= self.size:
                    return
                reason = f"the connection ended after {done} of {self.size} bytes"
            except OSError as error:
                reason = _reason(error)
            finally:
                current.close()
            following = self._again(done) if self._again is not None else None
            if following is None:
                raise NetworkError(f"{shown(self.url)}: {reason}", hint="try again")
            current = following

    def _parts(self, size: int) -> Iterator[bytes]:
        for chunk in self._raw.iter_raw(size):
            if chunk:
                yield chunk

    def close(self) -> None:
        """Give the connection back or drop it; the body can no longer be read."""
        self._raw.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """A pool of connections, for use by many threads. A context manager.

    `timeout` is in seconds and counts for connecting and for each wait for bytes; `retries` is how many
    more times a failed request is tried; `backoff` is the first wait between two tries in seconds, doubled
    each time. `proxy` gives the proxy for a URL, "" for none, or None where the environment decides.
    """

    def __init__(
        self,
        *,
        plain_http: bool = False,
        timeout: float = 30.0,
        retries: int = 5,
        backoff: float = 0.25,
        proxy: Callable[[str], str | None] | None = None,
    ) -> None:
        self._proxy = proxy
        self._plain_http = plain_http
        self._timeout = timeout
        self._retries = retries
        self._backoff = backoff
        self._lock = Lock()
        self._session: niquests.Session | None = None

    def fetch(self, url: str, *, headers: Mapping[str, str] = {}) -> Response:
        """GET `url`; errors as for `request`."""
        return self.request("GET", url, headers=headers)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = {},
        body: Body = None,
        length: int | None = None,
        allow: Container[int] = (),
        retries: int | None = None,
        redirect: bool = True,
    ) -> Response:
        """Send a request and return the answer once its headers are there.

        A `body` that is a function is called for each try and yields parts; `length` is then its size in
        bytes, without which it is sent chunked. Statuses of 400 and more that are not in `allow` raise
        `HttpError`, failed connections `NetworkError`, both after the retries. Redirects are followed unless
        `redirect` is false; `Authorization` goes to no other origin than the one of `url`.
        """
        self._check(url)
        tries = self._retries if retries is None else retries
        attempt = 0
        while True:
            wait = self._backoff * 2**attempt * random.uniform(0.75, 1.25)
            try:
                response = self._follow(method, url, dict(headers), body, length, redirect)
            except OSError as error:
                if attempt >= min(tries, _patience(error)):
                    raise NetworkError(
                        f"{method} {shown(url)}: {_reason(error)}", hint=_connection_hint(error)
                    ) from None
            else:
                status = response.status
                if status in RETRIED and status not in allow and attempt < tries:
                    wait = max(wait, _retry_after(response.headers.get("retry-after", "")))
                    if wait > MAX_WAIT:
                        raise self._refused(method, response)
                    response.close()
                elif status >= 400 and status not in allow:
                    raise self._refused(method, response)
                else:
                    if method == "GET" and status == 200 and tries:
                        response._again = self._resumer(url, headers, response, tries)
                    return response
            time.sleep(min(wait, MAX_WAIT))
            attempt += 1

    def _follow(
        self, method: str, url: str, headers: dict[str, str], body: Body, length: int | None, redirect: bool
    ) -> Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, url, headers, body, length)
            location = response.headers.get("location")
            if not redirect or response.status not in REDIRECTS or not location:
                return response
            response.close()
            target = urljoin(url, location)
            self._check(target, from_url=url)
            if origin(target) != origin(url):
                headers = {k: v for k, v in headers.items() if k.lower() not in ("authorization", "cookie")}
            if response.status in (301, 302, 303) and method not in ("GET", "HEAD"):
                method, body, length = "GET", None, None
            url = target
        raise NetworkError(f"{method} {shown(url)}: more than {MAX_REDIRECTS} redirects")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, length: int | None
    ) -> Response:
        data: Any = body
        if callable(body):
            parts = body()
            data = _Sized(parts, length) if length is not None else iter(parts)
            if length == 0:
                data = b""
        raw = self._connected().request(
            method,
            url,
            headers=dict(headers),
            data=data,
            stream=True,
            allow_redirects=False,
            proxies=self._proxies(url),
            verify=_certificates(),
            timeout=(self._timeout, self._timeout),
        )
        return Response(raw, url)

    def _proxies(self, url: str) -> dict[str, str]:
        chosen = self._proxy(url) if self._proxy is not None else None
        if chosen is None:
            return _proxies(url)
        return {urlsplit(url).scheme: chosen} if chosen else {}

    def _connected(self) -> niquests.Session:
        with self._lock:
            if self._session is None:
                import niquests

                # HTTP/2 and 3 are off: blobs travel fastest on several plain connections, and QUIC would go
                # round the proxy. No revocation look-ups: they talk to hosts that nobody named. The
                # environment is read here and not by the library, which would also send what ~/.netrc says.
                session = niquests.Session(
                    disable_http2=True,
                    disable_http3=True,
                    pool_connections=32,
                    pool_maxsize=32,
                    retries=0,
                    revocation_configuration=None,
                    allow_incoming_cookies=False,
                )
                session.trust_env = False
                session.headers.update(
                    {
                        "User-Agent": f"ramekin/{ramekin.__version__}",
                        "Accept": "*/*",
                        "Accept-Encoding": "identity",
                    }
                )
                self._session = session
            return self._session

    def _resumer(
        self, url: str, headers: Mapping[str, str], first: Response, tries: int
    ) -> Callable[[int], Response | None]:
        """What goes on with a broken download: an answer that starts at the byte it is given, or None.

        Each break costs one of `tries`; only an answer for the same state of the resource will do.
        """
        left = tries
        tag = first.headers.get("etag", "")

        def again(done: int) -> Response | None:
            nonlocal left
            if left <= 0:
                return None
            left -= 1
            time.sleep(self._backoff)
            more = {**headers, "Range": f"bytes={done}-"}
            if tag and not tag.startswith("W/"):
                more["If-Range"] = tag
            response = self.request("GET", url, headers=more, allow={416}, retries=left)
            response._again = None
            content_range = response.headers.get("content-range", "")
            if response.status == 206 and content_range.startswith(f"bytes {done}-"):
                return response
            if response.status == 200 and response.headers.get("etag", "") == tag:
                return _Skipped(response, done)
            response.close()
            return None

        return again

    def _check(self, url: str, *, from_url: str = "") -> None:
        scheme = urlsplit(url).scheme
        via = f" (redirected from {shown(from_url)})" if from_url else ""
        if scheme == "https" or (scheme == "http" and (self._plain_http or is_loopback(url))):
            return
        if scheme != "http":
            raise UsageError(f"{shown(url)}{via}: only http and https addresses are understood")
        raise NetworkError(
            f"{shown(url)}{via}: plain http is only used for this machine itself",
            hint="use https, or allow it with --plain-http",
        )

    def _refused(self, method: str, response: Response) -> HttpError:
        """The error for `response`, whose body is consumed."""
        body = b""
        try:
            if method != "HEAD":
                for chunk in response._parts(ERROR_BODY):
                    body += chunk
                    if len(body) >= ERROR_BODY:
                        break
        except OSError:
            pass
        finally:
            response.close()
        reason = response._raw.reason or "error"
        return HttpError(
            f"{method} {shown(response.url)}: the server answered {response.status} {reason}",
            status=response.status,
            url=response.url,
            body=body[:ERROR_BODY],
            retry_after=_retry_after(response.headers.get("retry-after", "")),
            hint=_HINTS.get(response.status),
        )

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Skipped(Response):
    """A whole answer of which the first bytes are known already."""

    def __init__(self, response: Response, skip: int) -> None:
        super().__init__(response._raw, response.url)
        self._skip = skip

    def _parts(self, size: int) -> Iterator[bytes]:
        left = self._skip
        for chunk in super()._parts(size):
            if left >= len(chunk):
                left -= len(chunk)
                continue
            yield chunk[left:] if left else chunk
            left = 0


class _Sized:
    """Parts whose total size in bytes is known before they are made."""

    def __init__(self, parts: Iterable[bytes], length: int) -> None:
        self._parts, self._length = parts, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)


_HINTS = {
    401: "log in first (docker login, podman login), or check the credentials",
    403: "these credentials do not allow it",
    407: "the proxy wants credentials: put them into HTTPS_PROXY or HTTP_PROXY",
    429: "the server asks for fewer requests: wait and try again",
    503: "the server is overloaded or down: try again later",
}


def shown(url: str) -> str:
    """`url` as it may be shown: without user and password, and without a query, which may be a signature."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def origin(url: str) -> tuple[str, str, int]:
    """RFC 6454: scheme, host and port of `url`."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


def is_loopback(url: str) -> bool:
    """Whether the host of `url` is this machine: `localhost` or a loopback address."""
    host = (urlsplit(url).hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxies(url: str) -> dict[str, str]:
    """The proxy for `url` by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case of letters.

    Loopback never goes through a proxy, as with curl's and Go's clients.
    """
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

    if is_loopback(url):
        return {}
    settings = getproxies_environment()
    scheme, host, port = origin(url)
    if not settings or proxy_bypass_environment(f"{host}:{port}", settings):
        return {}
    proxy = settings.get(scheme) or settings.get("all")
    if not proxy:
        return {}
    return {scheme: proxy if "://" in proxy else f"http://{proxy}"}


def _certificates() -> bool | str:
    """The file or folder of trusted certificates that the environment names; True for the system's own."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(name, "")
        if name == "SSL_CERT_DIR":
            path = path.split(os.pathsep)[0]
        if path:
            if not os.path.exists(path):  # noqa: PTH110
                raise UsageError(
                    f"{name} names {path}, which does not exist", hint=f"correct or unset {name}"
                )
            return path
    return True


def _retry_after(text: str) -> float:
    """Seconds to wait by a Retry-After field (RFC 9110, 10.2.3); 0 when there is none."""
    if not text:
        return 0.0
    if text.isascii() and text.isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _patience(error: OSError) -> int:
    """How often a failed connection is tried again at most: what will not change is not waited for."""
    text = str(error).lower()
    if "certificate" in text or "ssl" in type(error).__name__.lower():
        return 0
    if any(word in text for word in ("resolution", "resolve", "refused", "unreachable", "not known")):
        return 2
    return 1 << 30


def _reason(error: BaseException) -> str:
    """The innermost cause of a failed request in a few words."""
    seen: set[int] = set()
    current: BaseException = error
    while id(current) not in seen:
        seen.add(id(current))
        inner = getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = current.__cause__ or current.__context__
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in current.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        current = inner
    if isinstance(current, OSError) and current.strerror:
        return current.strerror[0].lower() + current.strerror[1:]
    if isinstance(current, TimeoutError) or "timed out" in str(current).lower():
        return "no answer in time"
    text = str(current) or type(current).__name__
    # the library's own messages start with the representation of a connection object
    return text.rpartition(">: ")[2] or text


def _connection_hint(error: OSError) -> str:
    text = str(error).lower()
    if "wrong_version_number" in text or "record_layer_failure" in text:
        return "the server does not speak TLS: if it may be trusted all the same, add --plain-http"
    if "certificate" in text:
        return "name the authority's certificate with SSL_CERT_FILE when the server's is your own"
    if "refused" in text:
        return "is the server running, and is the port right?"
    if "resol" in text or "not known" in text:
        return "check the host's name, the network and the proxy settings"
    return "check the network and the proxy settings, then try again"
