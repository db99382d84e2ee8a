"""Requests to the container, as a browser makes them: sessions keep cookies, redirects are followed.

Requests of all probes of a plan go through one `Browser`, which holds a jar of cookies for each session and
the values that answers were `take`n from. The Host header has the address that the plan says, never the one
by which this machine happens to reach the container, so that answers do not depend on it.
"""

from __future__ import annotations

import base64
import html
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.message import Message
from email.utils import parsedate_to_datetime
from http import client
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlencode, urljoin, urlsplit

from ramekin.errors import RamekinError
from ramekin.slim.probes import body as bodies
from ramekin.slim.probes import patterns
from ramekin.slim.probes.answer import Answer
from ramekin.slim.probes.commands import ENDED
from ramekin.slim.probes.container import Container
from ramekin.slim.probes.model import Http, Taken

REDIRECTS = 10
"""Redirects that are followed one after the other."""
BODY_LIMIT = 64 << 20
"""Bytes of a body that are read."""
COMPARED = ("Content-Type", "Content-Language", "Location", "Allow", "WWW-Authenticate", "Refresh")
"""Headers of an answer that two images must have in common, beside the names of cookies."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_-]*)\}")
_AGENT = "ramekin-probe"
_BOUNDARY = "ramekin-7d1f6a1c9b5e4f0e8a2b"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. `url` is what was asked for, `data` the body without its Content-Encoding."""

    url: str
    status: int
    headers: Message
    data: bytes
    cookies: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        return str(self.headers.get("Content-Type", ""))

    def text(self) -> str:
        """The body as text, or an empty one when it is none."""
        return bodies.text(self.data, self.type) or ""


class NoAnswerError(Exception):
    """No whole answer came; its text says why, in words that are the same in each run."""


@dataclass(slots=True)
class _Cookie:
    value: str
    path: str


@dataclass(slots=True)
class Browser:
    """What is kept between the requests to one container. `port` is for requests that name none."""

    container: Container
    port: int | str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    _jars: dict[str, dict[str, _Cookie]] = field(default_factory=dict)

    def ask(self, probe: Http) -> Answer:
        """Put a probe's request to the container, and follow where its redirects lead."""
        try:
            filled = fill(probe, self.variables)
            replies = self.follow(filled)
            complaints = [*_judge(filled, replies[-1]), *self._take(filled.take, replies[-1], filled.session)]
        except NoAnswerError as error:
            return Answer(probe.name, "http", {"error": str(error)}, (str(error),))
        return Answer(probe.name, "http", fields(replies, probe.compare), tuple(complaints))

    def follow(self, probe: Http) -> list[Reply]:
        """All answers from a request to where its redirects end."""
        port = probe.port if probe.port is not None else self.port
        if port is None:
            raise NoAnswerError("the image listens on no port")
        scheme = "https" if probe.tls else "http"
        usual = isinstance(port, str) or port == (443 if probe.tls else 80)
        host = probe.host or f"localhost{'' if usual else f':{port}'}"
        url = urljoin(f"{scheme}://{host}/", probe.path)
        wanted = probe.follow if probe.follow is not None else not any(300 <= s < 400 for s in probe.status)
        replies: list[Reply] = []
        request = probe
        while True:
            reply = self._exchange(request, url, host, port)
            replies.append(reply)
            target = reply.headers.get("Location")
            if not wanted or target is None or not 300 <= reply.status < 400 or len(replies) > REDIRECTS:
                return replies
            try:
                there = urljoin(url, target.strip())
            except ValueError:
                # no address at all, which the comparison of headers shows as it is
                return replies
            if not inside(there, host):
                return replies
            url = there.partition("#")[0]
            if reply.status not in (307, 308) and request.method not in ("GET", "HEAD"):
                request = replace(request, method="GET", form=None, upload=(), json=None, body=None)

    def _exchange(self, probe: Http, url: str, host: str, port: int | str) -> Reply:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        data, kind = _payload(probe)
        headers = {"Host": host, "User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
        if kind:
            headers["Content-Type"] = kind
        if probe.login is not None:
            pair = base64.b64encode(":".join(probe.login).encode()).decode("ascii")
            headers["Authorization"] = f"Basic {pair}"
        cookies = self._cookies(probe.session, parts.path or "/")
        if cookies:
            headers["Cookie"] = cookies
        for name, value in probe.headers:
            # what the probe says holds, in whatever case it is written
            headers = {known: text for known, text in headers.items() if known.lower() != name.lower()}
            headers[name] = value
        try:
            address = self.container.address(port)
        except RamekinError:
            raise NoAnswerError(ENDED) from None
        connection = _Connection(address, tls=parts.scheme == "https")
        reply = connection.exchange(
            probe.method, quote(target, safe="%/:?#[]@!$&'()*+,;=~"), headers, data, probe.seconds
        )
        names = self._keep(probe.session, reply.headers)
        return Reply(url, reply.status, reply.headers, reply.data, names)

    def _cookies(self, session: str, path: str) -> str:
        jar = self._jars.setdefault(session, {})
        return "; ".join(f"{name}={one.value}" for name, one in jar.items() if path.startswith(one.path))

    def _keep(self, session: str, headers: Message) -> tuple[str, ...]:
        """Put an answer's cookies into the session's jar; their names."""
        jar = self._jars.setdefault(session, {})
        names = []
        for text in headers.get_all("Set-Cookie", []):
            try:
                cookies = SimpleCookie(text)
            except CookieError:
                continue
            for name, morsel in cookies.items():
                names.append(name)
                if _over(morsel["max-age"], morsel["expires"]):
                    jar.pop(name, None)
                else:
                    jar[name] = _Cookie(morsel.coded_value, morsel["path"] or "/")
        return tuple(sorted(names))

    def _take(self, wanted: Sequence[Taken], reply: Reply, session: str) -> list[str]:
        """Remember what later probes use; complaints about what is not there."""
        complaints = []
        for one in wanted:
            try:
                value = self._taken(one, reply, session)
            except patterns.TooSlowError as error:
                complaints.append(str(error))
                continue
            if value is None:
                complaints.append(f"the answer has no {one.kind} {one.what!r} to take {one.name} from")
            else:
                self.variables[one.name] = value
        return complaints

    def _taken(self, one: Taken, reply: Reply, session: str) -> str | None:
        match one.kind:
            case "header":
                return reply.headers.get(one.what)
            case "cookie":
                kept = self._jars.get(session, {}).get(one.what)
                return kept.value if kept is not None else None
            case "json":
                return _within(reply.text(), one.what)
            case "field":
                from ramekin.slim.probes import links

                return links.field(reply.text(), one.what)
            case "meta":
                from ramekin.slim.probes import links

                return links.meta(reply.text(), one.what)
            case "pattern":
                found = patterns.first_group(one.what, reply.text())
                return html.unescape(found) if found is not None else None


def fields(replies: Sequence[Reply], compare: str = "all") -> dict[str, str]:
    """What two images must have in common of the answers to one request."""
    last = replies[-1]
    found = {"status": str(last.status)}
    if len(replies) > 1:
        hops = [f"{one.status} {one.headers.get('Location', '')}" for one in replies[:-1]]
        found["redirects"] = "\n".join(hops)
    if compare == "status":
        return found
    for name in COMPARED:
        if (value := last.headers.get(name)) is not None:
            if name == "Allow":
                # a set of methods, RFC 9110 section 10.2.1
                value = ", ".join(sorted(part.strip() for part in value.split(",")))
            found[name.lower()] = value
    cookies = sorted({name for one in replies for name in one.cookies})
    if cookies:
        found["cookies"] = " ".join(cookies)
    return found | {"body": bodies.normal(last.data, last.type)}


def inside(url: str, host: str) -> bool:
    """Whether an address is the container's own: that of its Host header, or this machine's."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    own = host.rpartition(":")[0] or host
    return parts.netloc == host or parts.hostname in (own, "localhost", "127.0.0.1", "0.0.0.0", "::1")


def fill(probe: Http, variables: Mapping[str, str]) -> Http:
    """A probe with values in place of `${name}`; `NoAnswerError` for one that nothing was taken for."""

    def put(text: str, spell: Callable[[str], str] = str) -> str:
        def value(found: re.Match[str]) -> str:
            if found[1] not in variables:
                raise NoAnswerError(f"there is no ${{{found[1]}}}: it was not taken from an earlier answer")
            return spell(variables[found[1]])

        return _VARIABLE.sub(value, text)

    return replace(
        probe,
        path=put(probe.path, lambda text: quote(text, safe="/")),
        headers=tuple((name, put(value)) for name, value in probe.headers),
        form=None if probe.form is None else tuple((name, put(value)) for name, value in probe.form),
        json=None if probe.json is None else put(probe.json, lambda text: json.dumps(text)[1:-1]),
        body=None if probe.body is None else put(probe.body.decode("latin-1")).encode("latin-1", "replace"),
        text=tuple(put(text) for text in probe.text),
        without=tuple(put(text) for text in probe.without),
    )


def used(probe: Http) -> frozenset[str]:
    """The names that a probe writes as `${name}`."""
    texts = [probe.path, probe.json or "", (probe.body or b"").decode("latin-1"), *probe.text, *probe.without]
    texts += [value for _, value in (*probe.headers, *(probe.form or ()))]
    return frozenset(name for text in texts for name in _VARIABLE.findall(text))


def _payload(probe: Http) -> tuple[bytes | None, str]:
    """The body of a request and its type."""
    if probe.upload:
        return _multipart(probe), f"multipart/form-data; boundary={_BOUNDARY}"
    if probe.form is not None:
        return urlencode(probe.form).encode("ascii"), "application/x-www-form-urlencoded"
    if probe.json is not None:
        return probe.json.encode(), "application/json"
    return probe.body, "application/octet-stream" if probe.body is not None else ""


def _multipart(probe: Http) -> bytes:
    """The fields and files of a form (RFC 7578)."""
    parts = [(f'name="{_quoted(name)}"', value.encode()) for name, value in probe.form or ()]
    parts += [
        (
            f'name="{_quoted(field)}"; filename="{_quoted(name)}"\r\nContent-Type: application/octet-stream',
            content,
        )
        for field, name, content in probe.upload
    ]
    start = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; "
    whole = [f"{start}{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts]
    return b"".join(whole) + f"--{_BOUNDARY}--\r\n".encode()


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _judge(probe: Http, reply: Reply) -> list[str]:
    """What a probe expected of its last answer and did not get."""
    complaints = []
    if probe.status and reply.status not in probe.status:
        wanted = " or ".join(map(str, probe.status))
        complaints.append(f"the status is {reply.status}, not {wanted}")
    elif not probe.status and not probe.anything and reply.status >= 400:
        complaints.append(f"the status is {reply.status}; `status: {reply.status}` says that this is right")
    text = reply.text()

    def stands(one: str) -> bool:
        return one in text or one.encode() in reply.data

    complaints += [f"the answer has no {one!r}" for one in probe.text if not stands(one)]
    complaints += [f"the answer has {one!r}" for one in probe.without if stands(one)]
    for name, part in probe.header:
        value = reply.headers.get(name)
        if value is None or part not in value:
            found = "is not there" if value is None else f"is {value!r}"
            complaints.append(f"the header {name} {found}; it should have {part!r}")
    return complaints


def _over(age: str, expires: str) -> bool:
    """Whether a cookie that is set so is one that is taken away (RFC 6265, 5.3)."""
    if age:
        return age.startswith("-") or age == "0"
    if expires:
        try:
            return parsedate_to_datetime(expires).timestamp() <= time.time()
        except (ValueError, TypeError, OverflowError):
            return False
    return False


def _within(text: str, place: str) -> str | None:
    """What is at a place such as `user.ids.0` of a JSON document, as text."""
    try:
        value = json.loads(text)
        for part in place.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    return bodies.unicode(value) if isinstance(value, str) else json.dumps(value)


class _Connection:
    """One connection for one exchange. `address` is HOST:PORT."""

    def __init__(self, address: str, *, tls: bool) -> None:
        self._address, self._tls = address, tls

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        data: bytes | None,
        seconds: float,
    ) -> Reply:
        """Send a request and read the answer; `NoAnswerError` unless a whole one comes in `seconds`."""
        connection = client.HTTPConnection("localhost", timeout=seconds)
        begun = False
        with Cut(seconds) as cut:
            try:
                connection.sock = self._connect(seconds, cut)
                connection.request(method, target, body=data, headers={**headers, "Connection": "close"})
                answer = connection.getresponse()
                begun = True
                parts, size = [], 0
                while part := answer.read1(1 << 16):
                    parts.append(part)
                    size += len(part)
                    if size > BODY_LIMIT:
                        raise NoAnswerError(f"the body has more than {BODY_LIMIT >> 20} MiB")
                if cut.done:
                    raise TimeoutError
                if answer.length:
                    raise NoAnswerError("the connection was closed before the answer's end")
                raw = b"".join(parts)
                plain = bodies.unpack(raw, answer.headers.get("Content-Encoding", ""))
                return Reply(target, answer.status, answer.headers, plain)
            except NoAnswerError:
                raise
            except (OSError, ValueError, client.HTTPException) as error:
                if cut.done or isinstance(error, TimeoutError):
                    late = "the answer did not end" if begun else "no answer"
                    raise NoAnswerError(f"{late} in {seconds:g} s") from None
                raise NoAnswerError(_why(error)) from None
            finally:
                connection.close()

    def _connect(self, seconds: float, cut: Cut) -> socket.socket:
        host, _, port = self._address.rpartition(":")
        plain = socket.create_connection((host.strip("[]"), int(port)), timeout=seconds)
        try:
            cut.holds(plain)
        except TimeoutError:
            plain.close()
            raise
        if not self._tls:
            return plain
        # the container is this machine's own, and its certificate is for a name that it has elsewhere
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname="localhost")


class Cut:
    """Breaks a connection off when its time is over, however little the other side sends, and how often."""

    def __init__(self, seconds: float) -> None:
        self.done = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Cut:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        if self._socket is not None:
            self._socket.close()

    def holds(self, connection: socket.socket) -> None:
        """From now on, `connection` is what is broken off; `TimeoutError` when the time is over already."""
        self._socket = connection.dup()
        if self.done:
            # it was made just when the time was over, and nobody would break it off any more
            raise TimeoutError

    def _cut(self) -> None:
        self.done = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _why(error: Exception) -> str:
    """Why there is no whole answer, in words that are the same in each run."""
    match error:
        case ConnectionRefusedError():
            return "the connection was refused"
        case ConnectionError() | client.RemoteDisconnected() | client.IncompleteRead():
            return "the connection was closed before the answer's end"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'no TLS spoken'}"
        case client.HTTPException():
            return f"the answer is no HTTP: {type(error).__name__}"
    return getattr(error, "strerror", None) or str(error)
