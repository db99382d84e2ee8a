"""Who asks, and what they may do: users, tokens as Docker's clients speak them, and rules by repository.

Docker's token protocol: who asks without a name is told in `WWW-Authenticate` where to get a token and for
what (`scope`), comes back to that place with name and password, and gets a signed list of what they may do
for a few minutes. Names and passwords are taken with every other request too (Basic).
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramekin.errors import RamekinError
from ramekin.registry.faults import AnswerError
from ramekin.registry.names import REPOSITORY_LIMIT
from ramekin.registry.passwords import Passwords

if TYPE_CHECKING:
    from ramekin.registry.config import Config, Right
    from ramekin.registry.records import Records

KEY = "registry/token-key"
SCOPES = 32
"""Scopes that one token may be asked for."""

_SCOPE = re.compile(r"(repository|registry)(?:\([a-z0-9]+\))?:([^\s:]{1,300}):([a-z,*]{0,100})", re.ASCII)
_ACTIONS: Mapping[str, tuple[Right, ...]] = {
    "pull": ("pull", "build"),
    "push": ("push",),
    "delete": ("delete",),
    "*": ("pull", "build", "push", "delete"),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. `user` is empty for those without a name; `granted` is what a token was given for."""

    user: str = ""
    granted: Mapping[str, frozenset[str]] | None = None


NOBODY = Identity()


class Access:
    """Decides what is allowed. Methods that look passwords up block."""

    def __init__(self, config: Config, records: Records) -> None:
        self._passwords = Passwords(Path(config.users)) if config.users else None
        self._rules = _rules(config)
        self._key = _secret(config, records) if self._passwords else b""
        self._seconds = config.token.seconds
        self._url = config.url.rstrip("/") if config.url else ""
        self._tls = config.tls is not None
        self.service = "ramekin"
        self.open = self._passwords is None
        """Nobody can log in, so that nobody need be asked to."""

    def allowed(self, who: Identity, right: Right, repository: str) -> bool:
        """Whether the rules, and the token if there is one, let somebody do something in a repository."""
        if who.granted is not None and right not in who.granted.get(repository, ()):
            return False
        return self._may(who.user, right, repository)

    def _may(self, user: str, right: Right, repository: str) -> bool:
        for prefix, users, rights in self._rules:
            named = (user or "anonymous") in users or (bool(user) and "*" in users)
            below = not prefix or repository == prefix or repository.startswith(prefix + "/")
            if named and below and right in rights:
                return True
        return False

    def anonymous(self, right: Right, repository: str) -> bool:
        """Whether nobody in particular may do it: nobody need be asked who they are."""
        return self._may("", right, repository)

    def refuse(
        self, who: Identity, right: Right, repository: str, headers: Mapping[bytes, bytes]
    ) -> AnswerError:
        """The answer to who may not: log in, or no."""
        detail = {"name": repository, "action": right}
        if self.open:
            if right == "delete":
                return AnswerError(405, "UNSUPPORTED", "deletion is not enabled on this registry", detail)
            return AnswerError(403, "DENIED", "requested access to the resource is denied", detail)
        if who.user and who.granted is None:
            return AnswerError(403, "DENIED", "requested access to the resource is denied", detail)
        if who.user and not self._may(who.user, right, repository):
            return AnswerError(403, "DENIED", "requested access to the resource is denied", detail)
        scope = f"repository:{repository}:{_scope(right)}" if repository else "registry:catalog:*"
        return self.challenge(headers, scope, detail)

    def challenge(
        self, headers: Mapping[bytes, bytes], scope: str = "", detail: object = None, error: str = ""
    ) -> AnswerError:
        """401, and where to get a token (Docker Registry v2 authentication via central service)."""
        parts = [f'realm="{self.realm(headers)}"', f'service="{self.service}"']
        if scope:
            parts.append(f'scope="{scope}"')
        if error:
            parts.append(f'error="{error}"')
        told = {"WWW-Authenticate": "Bearer " + ",".join(parts)}
        return AnswerError(401, "UNAUTHORIZED", "authentication required", detail, told)

    def realm(self, headers: Mapping[bytes, bytes]) -> str:
        """Where this client finds the token end point."""
        if self._url:
            return f"{self._url}/token"
        host = headers.get(b"host", b"localhost").decode("latin-1")
        host = host if re.fullmatch(r"[A-Za-z0-9.:\[\]_-]{1,260}", host) else "localhost"
        return f"{'https' if self._tls else 'http'}://{host}/token"

    def identify(self, header: bytes | None, headers: Mapping[bytes, bytes]) -> Identity:
        """Who the `Authorization` header says asks; 401 when it is not right."""
        if header is None or self._passwords is None:
            return NOBODY
        scheme, _, value = header.partition(b" ")
        if scheme.lower() == b"bearer":
            return self._bearer(value.strip(), headers)
        if scheme.lower() == b"basic":
            user, password = _basic(value)
            if user and self._passwords.check(user, password):
                return Identity(user)
        raise self.challenge(headers, detail={"reason": "name or password is wrong"})

    def _bearer(self, text: bytes, headers: Mapping[bytes, bytes]) -> Identity:
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                self._key,
                algorithms=["HS256"],
                audience=self.service,
                options={"require": ["exp", "aud", "sub"]},
            )
            granted = {
                str(entry["name"]): frozenset(map(str, entry["actions"]))
                for entry in claims.get("access", ())
            }
            user = str(claims["sub"])
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            raise self.challenge(
                headers, detail={"reason": "the token is not valid any more"}, error="invalid_token"
            ) from None
        if user and (self._passwords is None or not self._passwords.known(user)):
            raise self.challenge(headers, detail={"reason": "there is no such user"}, error="invalid_token")
        return Identity(user, granted)

    def token(self, who: Identity, scopes: Iterable[str]) -> dict[str, object]:
        """The answer of the token end point: a token for what of `scopes` is allowed."""
        import jwt

        now = int(time.time())
        access: list[dict[str, object]] = []
        for text in scopes:
            found = _SCOPE.fullmatch(text)
            if found is None or len(found[2]) > REPOSITORY_LIMIT or len(access) >= SCOPES:
                continue
            asked = {right for action in found[3].split(",") for right in _ACTIONS.get(action, ())}
            name = found[2] if found[1] == "repository" else ""
            rights = sorted(right for right in asked if self._may(who.user, right, name))
            if rights:
                access.append({"type": found[1], "name": name, "actions": rights})
        claims = {
            "iss": self.service,
            "sub": who.user,
            "aud": self.service,
            "nbf": now - 5,
            "iat": now,
            "exp": now + max(int(self._seconds), 1),
            "jti": secrets.token_hex(8),
            "access": access,
        }
        text = jwt.encode(claims, self._key, algorithm="HS256")
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        return {
            "token": text,
            "access_token": text,
            "expires_in": max(int(self._seconds), 1),
            "issued_at": issued,
        }


def _scope(right: Right) -> str:
    return {"pull": "pull", "build": "pull", "push": "pull,push", "delete": "delete"}.get(right, "")


def _rules(config: Config) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    rules: list[tuple[str, frozenset[str], frozenset[str]]] = [
        (rule.repositories.strip("/").removesuffix("/*"), frozenset(rule.users), frozenset(rule.allow))
        for rule in config.rules
    ]
    everybody = frozenset({"anonymous", "*"})
    if config.anonymous:
        rules.append(("", everybody, frozenset(config.anonymous)))
    if not config.rules and config.users:
        rules.append(("", frozenset({"*"}), frozenset({"pull", "push", "delete", "build", "metrics"})))
    if not config.users and config.loopback:
        rules.append(("", everybody, frozenset({"metrics"})))
    if not config.rules and not config.users and not config.anonymous and config.loopback:
        rules.append(("", everybody, frozenset({"pull", "push", "build"})))
    return rules


def _secret(config: Config, records: Records) -> bytes:
    """The key that tokens are signed with: the same for all workers and replicas."""
    if config.token.key:
        try:
            secret = Path(config.token.key).read_bytes().strip()
        except OSError as error:
            raise RamekinError(f"{config.token.key} cannot be read: {error.strerror}") from None
        if len(secret) < 32:
            raise RamekinError(
                f"{config.token.key} has fewer than 32 bytes", hint="`openssl rand -hex 32` makes one"
            )
        return secret
    records.create_secret(KEY, secrets.token_hex(32).encode())
    found = records.read(KEY)
    assert found is not None
    return found.data


def _basic(value: bytes) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password
