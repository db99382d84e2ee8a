"""The YAML file that probes are written in.

The models below are its one description: they check it, its JSON Schema is made from them, and they become
the values of `model`. This module imports pydantic, so it is imported only where there is a file to read.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic import ValidationError as PydanticError

from ramekin import yaml_errors, yaml_source
from ramekin.errors import RamekinError
from ramekin.slim.probes import http, model
from ramekin.slim.probes.commands import spelled
from ramekin.yaml_source import Document, Place

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
KINDS = (*METHODS, "run", "host", "crawl", "replay")

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(ms|s|m|min|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LONGEST = 30 * 24 * 3600.0
_FILE_LIMIT = 64 << 20
"""Bytes that a file may have that is sent."""
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"anyOf": [{"type": "array", "items": _TEXT}, _TEXT]}
_MAP: dict[str, Any] = {"type": "object", "additionalProperties": {"type": ["string", "integer", "boolean"]}}


def seconds(text: object) -> float:
    """Seconds of `30`, `30s`, `500ms`, `5m` or `2h`; `ValueError` for anything else."""
    found = _DURATION.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    if found is None or (duration := float(found[1]) * _UNITS[found[2]]) <= 0:
        raise ValueError(f"{text!r} is not a time; write it as 30s, 5m or 2h")
    if duration > _LONGEST:
        raise ValueError(f"{text!r} is longer than 30 days")
    return duration


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise ValueError("this is a text" if value is not None else "there is no value")


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, value if isinstance(value, list) else [value]))


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    """A mapping, whose values may be lists: a form may have a field more than once."""
    if not isinstance(value, dict):
        raise ValueError("this is a mapping of names to texts")
    return tuple((str(name), one) for name, given in value.items() for one in _texts(given))


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(value)
    for name, text in pairs:
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a header")
        if "\n" in text or "\r" in text:
            raise ValueError(f"the header {name} has a line break in it")
    return pairs


def _path(value: object) -> str:
    text = _text(value)
    if not text.startswith(("/", "http://", "https://", "${")):
        raise ValueError(f"{text!r} is not a path on the container; begin it with /")
    if re.search(r"[\s\x00-\x1f]", text):
        raise ValueError(f"{text!r} has white space in it; write a space as %20")
    model.place(text)
    return text


def _paths(value: object) -> tuple[str, ...]:
    return tuple(map(_path, value if isinstance(value, list) else [value]))


def _words(value: object) -> tuple[str, ...]:
    """A command as a list of words, or as a text that is split as a shell would, without being run by one."""
    if isinstance(value, list):
        words = tuple(map(_text, value))
    else:
        try:
            words = tuple(shlex.split(_text(value)))
        except ValueError:
            raise ValueError(f"{value!r} has a quotation that is not closed") from None
    if not words:
        raise ValueError("there is no command")
    for word in words:
        _whole(word)
    return words


def _whole(text: str) -> str:
    """A text that the system takes: it has no zero in it, with which texts end there."""
    if "\0" in text:
        raise ValueError(f"{text!r} has a zero byte in it")
    return text


def _command(value: object) -> str:
    return _whole(_text(value))


def _env(value: object) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(value)
    for name, text in pairs:
        if not name or "=" in _whole(name):
            raise ValueError(f"{name!r} cannot be the name of an environment variable")
        _whole(text)
    return pairs


def _statuses(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, int) or not 100 <= one <= 599:
            raise ValueError(f"{one!r} is no HTTP status")
    return tuple(values)


def _port(value: object) -> int | str:
    if isinstance(value, str) and value.startswith("unix:/"):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise ValueError(f"{value!r} is not a port, 1 to 65535, nor a socket, as in unix:/run/app.sock")
    return value


def _login(value: object) -> tuple[str, str]:
    name, colon, password = _text(value).partition(":")
    if not colon or not name:
        raise ValueError("a login is NAME:PASSWORD")
    return name, password


def _pattern(value: object) -> str:
    text = _text(value)
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    if not groups:
        raise ValueError(f"{text!r} has no group; put brackets around what shall be taken")
    return text


def _schema(schema: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema(schema)


def _of(read: Callable[[object], object], schema: dict[str, Any]) -> tuple[BeforeValidator, WithJsonSchema]:
    return BeforeValidator(read), WithJsonSchema(schema)


Text = Annotated[str, BeforeValidator(_text), _schema(_TEXT)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), _schema(_TEXTS)]
Pairs = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs), _schema(_MAP)]
Command = Annotated[str, BeforeValidator(_command), _schema(_TEXT)]
Env = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_env), _schema(_MAP)]
Headers = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_headers), _schema(_MAP)]
Path_ = Annotated[
    str, BeforeValidator(_path), _schema({"type": "string", "pattern": "^(/|https?://|\\$\\{)"})
]
Paths = Annotated[tuple[str, ...], BeforeValidator(_paths), _schema(_TEXTS)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words), _schema(_TEXTS)]
Seconds = Annotated[float, BeforeValidator(seconds), _schema({"type": ["string", "integer"]})]
Statuses = Annotated[
    tuple[int, ...],
    BeforeValidator(_statuses),
    _schema({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}),
]
Login = Annotated[tuple[str, str], BeforeValidator(_login), _schema({"type": "string", "pattern": "^[^:]+:"})]
Pattern = Annotated[str, BeforeValidator(_pattern), _schema(_TEXT)]
Port = Annotated[
    int | str,
    BeforeValidator(_port),
    _schema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": "^unix:/"},
            ]
        }
    ),
]
Compared = Literal["all", "status"]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
        validate_default=False,
    )


class TakeSpec(_Model):
    """Where a value stands in an answer; one of these."""

    field: Text = Field(
        default="", description="The value of the form field of this name, such as a CSRF token."
    )
    meta: Text = Field(default="", description="The content of the `meta` element of this name.")
    header: Text = Field(default="", description="This header.")
    cookie: Text = Field(default="", description="This cookie of the session.")
    json_: Text = Field(default="", description="What is at this place of a JSON answer, as in user.ids.0.")
    pattern: Pattern = Field(
        default="", description="The first group of this regular expression in the body."
    )

    @model_validator(mode="after")
    def _one(self) -> TakeSpec:
        said = [name for name in type(self).model_fields if getattr(self, name)]
        if len(said) != 1:
            raise ValueError("a value is taken from one of field, meta, header, cookie, json and pattern")
        return self

    def taken(self, name: str) -> model.Taken:
        """The same as a value."""
        for kind in ("field", "meta", "header", "cookie", "json", "pattern"):
            if what := getattr(self, "json_" if kind == "json" else kind):
                return model.Taken(name, kind, what)
        raise AssertionError


class _Probe(_Model):
    name: Text = Field(
        default="", description="What it is called in reports; the request or command when not said."
    )
    compare: Compared = Field(
        default="all",
        description="What both images must have in common: the whole answer, or its status or exit code.",
    )
    text: Texts = Field(default=(), description="Texts that the answer has in it.")
    without: Texts = Field(default=(), description="Texts that the answer has not.")
    within: Seconds = Field(
        default=0.0,
        description="It is asked again until it is right, for so long: what happens in the background.",
    )


class HttpSpec(_Probe):
    """A request. Its method is the key that has its path: `get: /`."""

    get: Path_ = Field(default="", description="The path to GET.")
    head: Path_ = Field(default="", description="The path for HEAD.")
    options: Path_ = Field(default="", description="The path for OPTIONS.")
    post: Path_ = Field(default="", description="The path to POST to.")
    put: Path_ = Field(default="", description="The path to PUT to.")
    patch: Path_ = Field(default="", description="The path to PATCH.")
    delete: Path_ = Field(default="", description="The path to DELETE.")
    port: Port | None = Field(
        default=None, description="The container's port, or unix:/PATH; the file's when not said."
    )
    tls: bool = Field(default=False, description="Talk TLS, without asking for whom the certificate is.")
    host: Text = Field(default="", description="The Host header; localhost:PORT when not said.")
    session: Text = Field(
        default=model.SESSION,
        description="Whose cookies are sent and kept; probes of one session share them.",
    )
    headers: Headers = Field(default=(), description="Headers of the request.")
    form: Pairs | None = Field(default=None, description="Fields of a form, as the body.")
    upload: dict[str, Text] = Field(
        default={}, description="Files to send with the form, by its fields; relative to this file."
    )
    json_: Any = Field(default=None, description="JSON, as the body.")
    body: Text | None = Field(default=None, description="A text, as the body.")
    file: Text = Field(default="", description="A file whose content is the body, relative to this one.")
    login: Login | None = Field(default=None, description="NAME:PASSWORD for basic authentication.")
    status: Statuses = Field(
        default=(), description="The status that is right, or several; anything below 400 when not said."
    )
    header: Headers = Field(default=(), description="Texts that headers of the answer have in them.")
    follow: bool | None = Field(
        default=None,
        description="Follow redirects inside the container; by default unless a status 3xx is expected.",
    )
    take: dict[str, TakeSpec] = Field(
        default={}, description="Values of the answer by the names that later probes write as ${name}."
    )
    seconds: Seconds = Field(default=model.TIMEOUT, description="The time for the answer.")

    @model_validator(mode="after")
    def _consistent(self) -> HttpSpec:
        if len([name for name in METHODS if getattr(self, name)]) > 1:
            raise ValueError("a probe is one request")
        said = [
            name for name in ("form", "json", "body", "file") if getattr(self, _field(name)) not in (None, "")
        ]
        if self.upload and "form" not in said:
            said.append("upload")
        if len(said) > 1:
            raise ValueError(f"a request has one body, not {' and '.join(said)}")
        for name in self.take:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
                raise ValueError(f"{name!r} cannot be taken: names are letters, digits, _ and -")
        return self

    def probe(self, folder: Path) -> model.Http:
        """The same as a value; `RamekinError` when the file of the body cannot be read."""
        method = next(name for name in METHODS if getattr(self, name))
        body = None if self.body is None else self.body.encode()
        if self.file:
            body = _read(folder / self.file)
        address = getattr(self, method)
        place = model.place(address)
        return model.Http(
            name=self.name or f"{method.upper()} {address}",
            method=method.upper(),
            path=place.path,
            port=self.port or place.port,
            tls=self.tls or place.tls,
            host=self.host or place.host,
            session=self.session,
            headers=self.headers,
            form=self.form,
            upload=tuple(
                (field, Path(name).name, _read(folder / name)) for field, name in self.upload.items()
            ),
            json=None if self.json_ is None else json.dumps(self.json_, ensure_ascii=False),
            body=body,
            login=self.login,
            status=self.status,
            text=self.text,
            without=self.without,
            header=self.header,
            follow=self.follow,
            take=tuple(one.taken(name) for name, one in self.take.items()),
            compare=self.compare,
            seconds=self.seconds,
            within=self.within,
        )


class RunSpec(_Probe):
    """A command inside the container, without a shell."""

    run: Words = Field(description="The command: words, or a text that is split as a shell would.")
    exit_: int | None = Field(default=0, ge=0, le=255, description="The exit code that is right.")
    stdin: Text = Field(default="", description="What the command reads.")
    env: Env = Field(default=(), description="Environment variables, beside the image's.")
    seconds: Seconds = Field(default=model.COMMAND_TIMEOUT, description="The time that it may take.")

    def probe(self, folder: Path) -> model.Run:
        """The same as a value."""
        return model.Run(
            name=self.name or f"run {spelled(self.run)}",
            command=self.run,
            exit=self.exit_,
            text=self.text,
            without=self.without,
            stdin=self.stdin,
            env=self.env,
            compare=self.compare,
            seconds=self.seconds,
            within=self.within,
        )


class HostSpec(_Probe):
    """A command of this machine's shell, with the container's address in RAMEKIN_URL and others."""

    host: Command = Field(
        min_length=1, description="The command, which a shell runs in the folder of this file."
    )
    exit_: int | None = Field(default=0, ge=0, le=255, description="The exit code that is right.")
    env: Env = Field(default=(), description="Environment variables, beside this machine's.")
    seconds: Seconds = Field(default=model.COMMAND_TIMEOUT, description="The time that it may take.")

    def probe(self, folder: Path) -> model.Host:
        """The same as a value."""
        return model.Host(
            name=self.name or f"host {self.host}",
            command=self.host,
            exit=self.exit_,
            text=self.text,
            without=self.without,
            env=self.env,
            folder=str(folder),
            compare=self.compare,
            seconds=self.seconds,
            within=self.within,
        )


class CrawlSpec(_Model):
    """Links, assets and GET forms are followed from some pages on."""

    crawl: Paths = Field(description="Where to begin: a path, or several.")
    name: Text = Field(default="", description="What it is called in reports.")
    pages: int = Field(default=model.PAGES, ge=1, le=100_000, description="Addresses to ask for at most.")
    depth: int = Field(default=model.DEPTH, ge=0, le=1000, description="Links to follow one after the other.")
    skip: Texts = Field(
        default=(), description="Globs of paths to leave alone, beside those that end a session."
    )
    port: Port | None = Field(
        default=None, description="The container's port, or unix:/PATH; the file's when not said."
    )
    tls: bool = Field(default=False, description="Talk TLS.")
    host: Text = Field(default="", description="The Host header; localhost:PORT when not said.")
    session: Text = Field(default=model.SESSION, description="Whose cookies are sent and kept.")
    seconds: Seconds = Field(
        default=model.CRAWL_TIME, description="The time after which it begins no request."
    )

    def probe(self, folder: Path) -> model.Crawl:
        """The same as a value."""
        return model.Crawl(
            name=self.name or f"crawl {' '.join(self.crawl)}",
            start=self.crawl,
            port=self.port,
            tls=self.tls,
            host=self.host,
            session=self.session,
            pages=self.pages,
            depth=self.depth,
            skip=(*model.LOGOUTS, *self.skip),
            seconds=self.seconds,
        )


class ReplaySpec(_Model):
    """The reading requests of an access log are sent again."""

    replay: Text = Field(min_length=1, description="The log, relative to this file.")
    name: Text = Field(default="", description="What it is called in reports.")
    most: int = Field(default=model.REPLAYED, ge=1, le=1_000_000, description="Different requests at most.")
    port: Port | None = Field(
        default=None, description="The container's port, or unix:/PATH; the file's when not said."
    )
    tls: bool = Field(default=False, description="Talk TLS.")
    host: Text = Field(default="", description="The Host header; localhost:PORT when not said.")
    session: Text = Field(default=model.SESSION, description="Whose cookies are sent and kept.")

    def probe(self, folder: Path) -> model.Replay:
        """The same as a value; raises what reading the log raises."""
        from ramekin.slim.probes import accesslog

        requests, left_out = accesslog.read(folder / self.replay, self.most)
        return model.Replay(
            name=self.name or f"replay {Path(self.replay).name}",
            requests=requests,
            left_out=left_out,
            port=self.port,
            tls=self.tls,
            host=self.host,
            session=self.session,
        )


_MODELS: dict[str, type[HttpSpec | RunSpec | HostSpec | CrawlSpec | ReplaySpec]] = {
    "<http>": HttpSpec,
    "<run>": RunSpec,
    "<host>": HostSpec,
    "<crawl>": CrawlSpec,
    "<replay>": ReplaySpec,
}


def _kind(value: Any) -> str:
    """Which kind of probe a mapping is, by the keys that only that kind has."""
    if not isinstance(value, dict):
        return "<http>"
    if any(name in value for name in METHODS):
        # requests have a key `host` too
        return "<http>"
    return next((f"<{name}>" for name in ("run", "crawl", "replay", "host") if name in value), "<http>")


def _probe(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(f"a probe is a mapping, as in `get: {value}` or `run: {value}`")
    if isinstance(value, dict) and not any(name in value for name in KINDS):
        known = ", ".join(KINDS)
        meant = next((hint for name in value if (hint := yaml_errors.near(str(name), KINDS))), "")
        raise ValueError(f"this is no probe, which has one of {known}" + (f"; {meant}" if meant else ""))
    return value


ProbeSpec = Annotated[
    Annotated[HttpSpec, Tag("<http>")]
    | Annotated[RunSpec, Tag("<run>")]
    | Annotated[HostSpec, Tag("<host>")]
    | Annotated[CrawlSpec, Tag("<crawl>")]
    | Annotated[ReplaySpec, Tag("<replay>")],
    Discriminator(_kind),
    BeforeValidator(_probe),
]


class ReadySpec(_Model):
    """When the program is ready."""

    port: Port | None = Field(
        default=None, description="It is when this port or unix:/PATH takes connections."
    )
    run: Words = Field(default=(), description="It is when this command inside ends with 0.")
    seconds: Seconds = Field(default=model.PATIENCE, description="The time that it may take.")

    @model_validator(mode="after")
    def _one(self) -> ReadySpec:
        if self.port is not None and self.run:
            raise ValueError("a program is ready by a port or by a command, not by both")
        return self


def _ready(value: object) -> object:
    """A port, socket or command alone."""
    if isinstance(value, int) or (isinstance(value, str) and value.startswith("unix:/")):
        return {"port": value}
    return {"run": value} if isinstance(value, str | list) else value


class ProbeFile(_Model):
    """What a container is asked by `ramekin slim`, in this order."""

    port: Port | None = Field(
        default=None,
        description="The port, or unix:/PATH, that requests go to; the image's first when not said.",
    )
    ready: Annotated[ReadySpec, BeforeValidator(_ready)] = Field(
        default=ReadySpec(), description="When the program is ready: a port, a command, or a mapping."
    )
    env: Env = Field(default=(), description="Environment variables for the image's program.")
    args: Words = Field(default=(), description="Arguments in place of the image's own.")
    probes: tuple[ProbeSpec, ...] = Field(default=(), description="The probes.")


def read(path: Path) -> model.Plan:
    """Read a file of probes; `UsageError` names file, line and key of everything that is wrong."""
    return of(yaml_source.read(path))


def of(document: Document) -> model.Plan:
    """The probes that a YAML document holds; a list alone is one of probes."""
    data = document.data
    if isinstance(data, list):
        data = {"probes": data}
        lines = {("probes", *place): line for place, line in document.lines.items()}
        document = Document(document.path, data, lines)
    try:
        checked = ProbeFile.model_validate({} if data is None else data)
    except PydanticError as error:
        raise yaml_errors.explain(
            error,
            document,
            yaml_errors.Dictionary(keys=lambda place: keys(place, data), whole="a file of probes"),
        ) from None
    probes = values(checked.probes, document.path.parent, where=lambda n: document.where(("probes", n)))
    ready = model.Ready(port=checked.ready.port, command=checked.ready.run, seconds=checked.ready.seconds)
    return model.Plan(probes=probes, port=checked.port, ready=ready, env=checked.env, arguments=checked.args)


def values(
    specs: Sequence[HttpSpec | RunSpec | HostSpec | CrawlSpec | ReplaySpec],
    folder: Path,
    *,
    where: Callable[[int], str],
) -> tuple[model.Probe, ...]:
    """Probes as values, their files relative to `folder`; `where` names the place of one for errors."""
    probes: list[model.Probe] = []
    taken: set[str] = set()
    for number, spec in enumerate(specs):
        try:
            probe: model.Probe = spec.probe(folder)
        except RamekinError as error:
            raise type(error)(f"{where(number)}: {error.message}", hint=error.hint) from None
        if isinstance(probe, model.Http):
            _check_taken(probe, taken, where(number))
            taken |= {one.name for one in probe.take}
        probes.append(probe)
    return tuple(probes)


def schema() -> dict[str, Any]:
    """The JSON Schema of files of probes, as pydantic makes it."""
    return ProbeFile.model_json_schema(by_alias=True)


def _check_taken(probe: model.Http, taken: set[str], where: str) -> None:
    from ramekin.errors import UsageError

    for name in sorted(http.used(probe) - taken):
        meant = yaml_errors.near(name, sorted(taken))
        raise UsageError(
            f"{where}: no earlier probe takes ${{{name}}}",
            hint=meant or f"an earlier probe has `take: {{{name}: {{field: NAME}}}}`",
        )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise RamekinError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _FILE_LIMIT:
        raise RamekinError(f"{path} has more than {_FILE_LIMIT >> 20} MiB, which no probe sends")
    return data


def _field(key: str) -> str:
    """The name of a model's field for a key of the file."""
    return f"{key}_" if key in ("json", "exit") else key.replace("-", "_")


def keys(place: Place, data: Any) -> list[str]:
    """The keys that a mapping at a place of a file of probes (`data`) may have."""
    found: type[BaseModel] = ProbeFile
    if place and place[0] == "ready":
        found = ReadySpec
    elif len(place) >= 2:
        found = TakeSpec if "take" in place else _MODELS[_kind(data["probes"][place[1]])]
    return [info.alias or name for name, info in found.model_fields.items()]
