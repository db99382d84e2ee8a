"""Probes as values, however they were written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

Compared = Literal["all", "status"]
"""How much of an answer both images must have in common: all of it, or its status or exit code only."""

PATIENCE = 60.0
"""Seconds that a program has to get ready, when nothing else is said."""
TIMEOUT = 30.0
"""Seconds that a container has for an answer to one request."""
COMMAND_TIMEOUT = 300.0
"""Seconds that a command may take."""
PAGES = 200
"""Addresses that a crawl asks for at most."""
DEPTH = 6
"""Links that a crawl follows one after the other."""
CRAWL_TIME = 60.0
"""Seconds after which a crawl begins no more requests."""
REPLAYED = 1000
"""Different requests of an access log that are sent at most."""
LOGOUTS = ("*logout*", "*log-out*", "*signout*", "*sign-out*", "*logoff*")
"""Paths that a crawl leaves alone, as they would end its session."""

SESSION = "default"


@dataclass(frozen=True, slots=True)
class Place:
    """An address taken apart: path and query, and what else it says. `host` is as a Host header has it."""

    path: str
    port: int | str | None = None
    tls: bool = False
    host: str = ""


def place(address: str) -> Place:
    """Of a path, or of a whole URL, whose host is only what the request will call it; `ValueError`."""
    if not address.startswith(("http://", "https://")):
        return Place(address)
    parts = urlsplit(address)
    if not parts.hostname:
        raise ValueError(f"{address!r} has no host")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(path, parts.port or (443 if tls else 80), tls, parts.netloc.rpartition("@")[2])


@dataclass(frozen=True, slots=True)
class Taken:
    """Something of an answer that later probes write as `${name}`.

    `kind` says where it stands: a form's `field`, a `meta` element, a `header`, a `cookie`, a place in `json`
    (`user.ids.0`), or the first group of a regular expression (`pattern`).
    """

    name: str
    kind: Literal["field", "meta", "header", "cookie", "json", "pattern"]
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """One request and, unless `follow` says otherwise, those that its redirects lead to.

    `port` None is the plan's; a Unix socket is `unix:/run/app.sock`. `host` is what the Host header says.
    `form`, with files as (field, name, content) in `upload`, and `json` (JSON text) are bodies; at most one
    of them and `body` is there. An empty `status` takes anything below 400, and `anything` takes every
    status: the answer of the original decides. For `within` seconds it is asked again until it is right.
    """

    name: str
    method: str = "GET"
    path: str = "/"
    port: int | str | None = None
    tls: bool = False
    host: str = ""
    session: str = SESSION
    headers: tuple[tuple[str, str], ...] = ()
    form: tuple[tuple[str, str], ...] | None = None
    upload: tuple[tuple[str, str, bytes], ...] = ()
    json: str | None = None
    body: bytes | None = None
    login: tuple[str, str] | None = None
    status: tuple[int, ...] = ()
    anything: bool = False
    text: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    header: tuple[tuple[str, str], ...] = ()
    follow: bool | None = None
    take: tuple[Taken, ...] = ()
    compare: Compared = "all"
    seconds: float = TIMEOUT
    within: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command inside the container, without a shell; `stdin` is what it reads.

    For `within` seconds it is run again until it is right.
    """

    name: str
    command: tuple[str, ...]
    exit: int | None = 0
    text: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    stdin: str = ""
    env: tuple[tuple[str, str], ...] = ()
    compare: Compared = "all"
    seconds: float = COMMAND_TIMEOUT
    within: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A command of this machine's shell, which finds the container's address in its environment.

    For `within` seconds it is run again until it is right.
    """

    name: str
    command: str
    exit: int | None = 0
    text: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    compare: Compared = "all"
    seconds: float = COMMAND_TIMEOUT
    within: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawl:
    """What is found by following links, assets and forms (GET) from some paths on."""

    name: str
    start: tuple[str, ...] = ("/",)
    port: int | str | None = None
    tls: bool = False
    host: str = ""
    session: str = SESSION
    pages: int = PAGES
    depth: int = DEPTH
    skip: tuple[str, ...] = LOGOUTS
    seconds: float = CRAWL_TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The reading requests (GET, HEAD, OPTIONS) of an access log."""

    name: str
    requests: tuple[tuple[str, str], ...]
    left_out: int = 0
    port: int | str | None = None
    tls: bool = False
    host: str = ""
    session: str = SESSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The image's own health check, asked until it is content."""

    name: str
    command: tuple[str, ...]
    seconds: float = COMMAND_TIMEOUT


Probe = Http | Run | Host | Crawl | Replay | Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """When a program is ready: a port or Unix socket takes connections, or a command inside ends with 0."""

    port: int | str | None = None
    command: tuple[str, ...] = ()
    seconds: float = PATIENCE

    @property
    def said(self) -> bool:
        """Whether one of them is named, and nothing has to be found out."""
        return self.port is not None or bool(self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is asked of a container, in this order, and how it is started.

    `port` is where requests go that name none. `env` and `arguments` go to the image's program.
    """

    probes: tuple[Probe, ...] = ()
    port: int | str | None = None
    ready: Ready = field(default_factory=Ready)
    env: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def of_commands(self) -> bool:
        """Whether something is asked, and all of it by commands inside the container."""
        return bool(self.probes) and all(isinstance(probe, Run) for probe in self.probes)

    @property
    def of_program(self) -> bool:
        """Whether something is asked that takes the image's program, running."""
        return bool(self.probes) and not self.of_commands


def united(plans: Iterable[Plan]) -> Plan:
    """All probes of several plans; of settings that several make, the last ones hold."""
    whole = Plan()
    for plan in plans:
        ready = plan.ready if plan.ready != Ready() else whole.ready
        env = dict(whole.env) | dict(plan.env)
        whole = Plan(
            probes=whole.probes + plan.probes,
            port=plan.port if plan.port is not None else whole.port,
            ready=ready,
            env=tuple(env.items()),
            arguments=plan.arguments or whole.arguments,
        )
    return replace(whole, probes=_named(whole.probes))


def _named(probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """The probes with names of their own: the second `GET /` is `GET / (2)`."""
    seen: dict[str, int] = {}
    taken = set()
    named = []
    for probe in probes:
        name = probe.name
        while name in taken:
            seen[probe.name] = seen.get(probe.name, 1) + 1
            name = f"{probe.name} ({seen[probe.name]})"
        taken.add(name)
        named.append(replace(probe, name=name))
    return tuple(named)
