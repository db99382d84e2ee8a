"""Who the user is to a registry, as Docker's and Podman's configuration files say.

Looked at in this order; the first file that knows the registry decides:

- `$REGISTRY_AUTH_FILE`, else `$XDG_RUNTIME_DIR/containers/auth.json` (`/run/containers/UID/auth.json`) and
  `$XDG_CONFIG_HOME/containers/auth.json`: containers-auth.json(5);
- `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.

In each, a helper for this registry (`credHelpers`) comes before `auths`, whose keys may name a registry or
a part of its repositories, and those before the helper for all registries (`credsStore`). A helper is the
program `docker-credential-NAME`, spoken to by the protocol of docker-credential-helpers: the registry on
standard input, JSON on standard output.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ramekin.errors import FormatError, RamekinError

HELPER_TIMEOUT = 60.0
"""Seconds that a helper may take: it may ask its user for a password."""

_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_TOKEN_USER = "<token>"
_NOT_FOUND = "credentials not found"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, or an identity token that is exchanged for access tokens, or a bearer token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization field (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class _Auth(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, _Auth | None] | None = None
    creds_store: str | None = None
    cred_helpers: dict[str, str] | None = None


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    username: str = ""
    secret: str = ""


def find(host: str, repository: str) -> Credentials | None:
    """The credentials for a repository of the registry `host` (with its port), or None.

    `FormatError` when a file is broken, `RamekinError` when a helper fails; both name it.
    """
    for path in files():
        config = _load(path)
        if config is not None and (found := _look_up(config, path, host, repository)) is not None:
            return found
    return None


def files() -> Iterator[Path]:
    """The configuration files that may be there, first the one that counts most."""
    home = Path(os.environ.get("HOME") or "~").expanduser()
    if chosen := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(chosen)
    else:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        yield (
            Path(runtime) / "containers" if runtime else Path(f"/run/containers/{os.getuid()}")
        ) / "auth.json"
        yield Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    yield Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"


def _load(path: Path) -> _Config | None:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RamekinError(
            f"{path} cannot be read: {(error.strerror or '').lower()}",
            hint="registry credentials are looked for there",
        ) from None
    if not data.strip():
        return None
    try:
        return msgspec.json.decode(data, type=_Config)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{path} is not a valid file of credentials: {error}", hint="log in again"
        ) from None


def _look_up(config: _Config, path: Path, host: str, repository: str) -> Credentials | None:
    helper = (config.cred_helpers or {}).get(host)
    if helper:
        return _ask(helper, host, path)
    auths = {_registry_of(key): auth for key, auth in (config.auths or {}).items()}
    name = f"{host}/{repository}"
    while name:
        auth = auths.get(name)
        if auth is not None and (found := _decoded(auth, name, path)) is not None:
            return found
        name = name.rpartition("/")[0]
    return _ask(config.creds_store, host, path) if config.creds_store else None


def _registry_of(key: str) -> str:
    """A key of `auths` without the scheme and API version that old clients wrote into it."""
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2")


def _decoded(auth: _Auth, name: str, path: Path) -> Credentials | None:
    username, password = auth.username, auth.password
    if auth.auth:
        try:
            text = base64.b64decode(auth.auth, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise FormatError(
                f"{path}: the entry for {name} is not valid base64", hint="log in again"
            ) from None
        username, colon, password = text.partition(":")
        if not colon:
            raise FormatError(f"{path}: the entry for {name} has no password", hint="log in again")
        # Docker pads passwords with NUL bytes
        password = password.rstrip("\0")
    if not (username or password or auth.identitytoken or auth.registrytoken):
        return None
    return Credentials(username, password, auth.identitytoken, auth.registrytoken)


def _ask(helper: str, host: str, path: Path) -> Credentials | None:
    """What the program `docker-credential-HELPER` knows of `host`; None when it has nothing."""
    import subprocess

    program = f"docker-credential-{helper}"
    if not _HELPER_NAME.fullmatch(helper):
        raise FormatError(f"{path}: {helper!r} is not the name of a credential helper")
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, timeout=HELPER_TIMEOUT, check=False
        )
    except FileNotFoundError:
        raise RamekinError(
            f"{path} names the credential helper {helper}, but there is no program {program}",
            hint="install it, or take it out of the file",
        ) from None
    except PermissionError:
        raise RamekinError(f"{program}, which {path} names, cannot be run") from None
    except subprocess.TimeoutExpired:
        raise RamekinError(f"{program} gave no answer in {HELPER_TIMEOUT:.0f} seconds") from None
    output = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        # the protocol tells "no such entry" from failures only by this text, on standard output
        if _NOT_FOUND in output.lower():
            return None
        reason = output or done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise RamekinError(f"{program} failed for {host}: {reason.splitlines()[0]}")
    try:
        answer = msgspec.json.decode(done.stdout, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # the answer itself may hold the secret, so it is not shown
        raise FormatError(f"{program} gave an answer that is not valid: {type(error).__name__}") from None
    if answer.username == _TOKEN_USER:
        return Credentials(identity_token=answer.secret)
    if not answer.username and not answer.secret:
        return None
    return Credentials(answer.username, answer.secret)
