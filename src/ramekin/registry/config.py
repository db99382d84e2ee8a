"""The registry's configuration file: `ramekin serve --config FILE` (YAML).

The models below are the file's one description. This module imports pydantic, so only `serve` imports it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic import ValidationError as PydanticError

from ramekin import yaml_source
from ramekin.build import fields
from ramekin.errors import UsageError
from ramekin.registry.ondemand_config import OnDemand
from ramekin.yaml_source import Document, Place

Right = Literal["pull", "push", "delete", "build", "metrics"]
RIGHTS: tuple[Right, ...] = ("pull", "push", "delete", "build", "metrics")

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)(i?)b?", re.ASCII | re.IGNORECASE)
_TIME = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?(s|m|min|h|d|w)?", re.ASCII)
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}

Model = TypeVar("Model", bound=BaseModel)


def size(value: object) -> object:
    """Bytes from `4MiB`, `20GB` or a number."""
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            raise ValueError(f"{value!r} is not a size; write it as 500MB or 4MiB")
        base = 1024 if found[3] else 1000
        return int(float(found[1]) * base ** " kmgt".index(found[2].lower() or " "))
    return value


def seconds(value: object) -> object:
    """Seconds from `30s`, `5m`, `12h`, `7d`, or a number; `never` is None."""
    if value == "never":
        return None
    if isinstance(value, str):
        found = _TIME.fullmatch(value.strip())
        if found is None:
            raise ValueError(f"{value!r} is not a time; write it as 30s, 5m, 12h or 7d")
        return float(found[1]) * _SECONDS[found[2]]
    return value


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(size), Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, lt=1e10)]
Forever = Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(seconds)]
Rights = Annotated[tuple[Right, ...], BeforeValidator(_list)]
Names = Annotated[tuple[str, ...], BeforeValidator(_list)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )


class Tls(_Section):
    """Certificate files, in PEM."""

    certificate: str = Field(description="The certificate and those that lead to its root.")
    key: str = Field(description="Its private key.")


class Rule(_Section):
    """Who may do what below a prefix of repository names. Rules add up: what none allows is refused."""

    repositories: str = Field(
        default="", description="The first components of the names, as in team/web; all when not said."
    )
    users: Names = Field(description="Names of users; '*' is every user, 'anonymous' those without a name.")
    allow: Rights = Field(description="Of pull, push, delete, build and metrics.")


class Token(_Section):
    """Tokens for clients that log in."""

    seconds: Seconds = Field(default=300.0, description="How long a token is good.")
    key: str | None = Field(
        default=None,
        description="A file with a secret of 32 bytes or more; one kept in the store when not said.",
    )


class Limits(_Section):
    """What one client may ask for."""

    manifest: Size = Field(default=4 << 20, description="Bytes of a manifest.")
    blob: Size = Field(default=50 * 10**9, description="Bytes of a blob.")
    headers: Size = Field(default=64 << 10, description="Bytes of a request's head.")
    connections: int = Field(default=2048, ge=8, le=100_000, description="Connections at once, a worker.")
    head_seconds: Seconds = Field(default=10.0, description="Until a request's head has to be there.")
    body_seconds: Seconds = Field(default=60.0, description="Without a byte of a request's body.")
    answer_seconds: Annotated[Seconds, Field(gt=0)] = Field(
        default=60.0, description="In which a client has to take 1 KiB a second of what it is sent."
    )
    stop_seconds: Seconds = Field(
        default=60.0, description="For running requests to finish when told to stop."
    )


class Cleaning(_Section):
    """What is removed, and when."""

    every: Forever = Field(
        default=3600.0, description="Between two sweeps; `never` leaves them to `store gc`."
    )
    grace: Seconds = Field(
        default=86400.0, description="For which a pushed blob stays that no manifest names yet."
    )
    uploads: Seconds = Field(
        default=86400.0, description="For which an upload that nobody goes on with stays."
    )
    untagged: Forever = Field(
        default=None, description="For which a pushed manifest without a tag stays, since it was last served."
    )
    made_keep: Seconds = Field(
        default=7 * 86400.0,
        description="For which a manifest that was made on demand stays, since it was last served.",
    )
    made_size: Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(size)] = Field(
        default=None,
        description="Bytes of images made on demand; those unused longest go, after `made-keep`.",
    )


class Log(_Section):
    """JSON lines on standard error."""

    requests: bool = Field(
        default=True, description="A line for every request, not only for what goes wrong."
    )


class Config(_Section):
    """A registry."""

    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=5000, ge=0, le=65535, description="The port to listen on.")
    store: str | None = Field(default=None, description="The folder or URL of the store.")
    workers: int = Field(default=1, ge=1, le=64, description="Worker processes.")
    url: str | None = Field(
        default=None, description="How clients reach the registry, where a proxy stands before it."
    )
    tls: Tls | None = Field(default=None, description="Certificate and key; without them, plain HTTP.")
    users: str | None = Field(default=None, description="A password file of `htpasswd -B` (bcrypt).")
    anonymous: Rights = Field(default=(), description="What those without a name may do everywhere.")
    rules: tuple[Rule, ...] = Field(
        default=(), description="Who may do what; every user everything when none."
    )
    token: Token = Field(default=Token(), description="Tokens.")
    limits: Limits = Field(default=Limits(), description="What one client may ask for.")
    cleaning: Cleaning = Field(default=Cleaning(), description="What is removed, and when.")
    log: Log = Field(default=Log(), description="What is logged.")
    redirect: bool = Field(
        default=False, description="Send clients to the object store for blobs, by signed URLs."
    )
    tag_seconds: Seconds = Field(
        default=1.0, description="For which a replica believes what it knows of a tag in an object store."
    )
    replica: bool = Field(default=False, description="One of several over the same bucket.")
    on_demand: OnDemand = Field(default=OnDemand(), description="Images made when they are asked for.")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the registry."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _safe(self) -> Config:
        writing = set(self.anonymous) & {"push", "delete"}
        for rule in self.rules:
            if "anonymous" in rule.users:
                writing |= set(rule.allow) & {"push", "delete"}
        if writing and not self.loopback:
            raise ValueError(
                f"on {self.host}, nobody without a name may {' or '.join(sorted(writing))}: give them users"
            )
        named = {user for rule in self.rules for user in rule.users} - {"anonymous"}
        if named and not self.users:
            raise ValueError("the rules name users, but there is no password file: set `users`")
        return self


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read(path: Path) -> Config:
    """Read a configuration file; `UsageError` names file, line and key of everything that is wrong.

    Files that it names are relative to its folder.
    """
    document = yaml_source.read(path)
    config = check(document.data or {}, lambda error: _explain(error, document))
    base = path.parent
    changed: dict[str, Any] = {}
    if config.users:
        changed["users"] = str(base / config.users)
    if config.tls:
        changed["tls"] = Tls(certificate=str(base / config.tls.certificate), key=str(base / config.tls.key))
    if config.token.key:
        changed["token"] = Token(seconds=config.token.seconds, key=str(base / config.token.key))
    if config.on_demand.specs:
        specs = tuple(str(base / spec) for spec in config.on_demand.specs)
        changed["on_demand"] = config.on_demand.model_copy(update={"specs": specs})
    if config.on_demand.nix:
        on_demand = changed.get("on_demand", config.on_demand)
        changed["on_demand"] = on_demand.model_copy(update={"nix": config.on_demand.nix.below(base)})
    return config.model_copy(update=changed)


def check(data: object, explain: Callable[[PydanticError], UsageError]) -> Config:
    """The configuration in plain data."""
    try:
        return Config.model_validate(data)
    except PydanticError as error:
        raise explain(error) from None


def changed(config: Config, **settings: object) -> Config:
    """The configuration with what the command line says; checked again as a whole."""
    said = {name: value for name, value in settings.items() if value is not None}
    if not said:
        return config

    def explain(error: PydanticError) -> UsageError:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return UsageError(f"{'--' + place + ': ' if place else ''}{_message(dict(first))}")

    return check({**dict(config), **said}, explain)


SHOWN = 10
"""How many errors are shown of a file that has more."""


def _explain(error: PydanticError, document: Document) -> UsageError:
    texts = list(dict.fromkeys(_say(dict(item), document) for item in error.errors()))
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return UsageError("\n".join(texts[:SHOWN] + more))


def _say(item: dict[str, Any], document: Document) -> str:
    place: Place = tuple(item["loc"])
    where = document.where(place)
    if item["type"] == "extra_forbidden":
        known = _keys(place[:-1])
        near = fields.near(str(place[-1]), known)
        return f"{where} is not a key of the configuration; {near or 'it has ' + ', '.join(known)}"
    return f"{where}: {_message(item)}" if item["type"] != "missing" else f"{where} is missing"


def _message(item: dict[str, Any]) -> str:
    text = str(item["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _keys(place: Place) -> list[str]:
    model: Any = Config
    for part in place:
        if isinstance(part, int):
            continue
        found = next((info for name, info in model.model_fields.items() if info.alias == part), None)
        kinds = getattr(found.annotation, "__args__", (found.annotation,)) if found is not None else ()
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if model is None:
            return []
    return [info.alias or name for name, info in model.model_fields.items()]
