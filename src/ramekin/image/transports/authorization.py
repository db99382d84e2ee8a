"""How a registry is told who asks: Basic, or Bearer with tokens from the service that the registry names.

As Docker's clients do it (distribution, Token Authentication and OAuth2 Token Authentication; the OCI
specification leaves it open): a request without an Authorization field is answered 401 with a challenge,
whose realm gives out tokens for scopes such as `repository:NAME:pull,push`. Tokens are kept until they
expire.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlencode, urlsplit

import msgspec

from ramekin.errors import FormatError, NetworkError
from ramekin.http import Client, HttpError, shown
from ramekin.image.transports import credentials
from ramekin.image.transports.credentials import Credentials

CLIENT_ID = "ramekin"
DEFAULT_LIFE = 60.0
"""Seconds that a token without `expires_in` lives (Token Authentication Specification)."""

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*)(?:\s+|$|(?=,))")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme of a WWW-Authenticate field (RFC 9110, 11.6.1) with its parameters."""

    scheme: str
    parameters: Mapping[str, str]


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


# made here, as two threads that make msgspec learn a type at the same time crash the process
_TOKEN = msgspec.json.Decoder(_Token)


def challenges(text: str) -> tuple[Challenge, ...]:
    """The challenges of a WWW-Authenticate field; schemes and parameter names are in lower case."""
    found: list[Challenge] = []
    at = 0
    while match := _SCHEME.match(text, at):
        at = match.end()
        parameters: dict[str, str] = {}
        while pair := _PARAMETER.match(text, at):
            value = pair[3] if pair[3] is not None else re.sub(r"\\(.)", r"\1", pair[2])
            parameters.setdefault(pair[1].lower(), value)
            at = pair.end()
        found.append(Challenge(match[1].lower(), parameters))
    return tuple(found)


def repository_scope(repository: str, *actions: str) -> str:
    """The scope for `actions` (`pull`, `push`) on a repository."""
    return f"repository:{repository}:{','.join(actions)}"


class Authorization:
    """What to send to one registry; for use by many threads.

    Credentials are looked for when the registry first asks for some.
    """

    def __init__(self, client: Client, host: str, repository: str) -> None:
        self._client = client
        self._host = host
        self._repository = repository
        self._lock = Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self._credentials: Credentials | None = None
        self._looked = False

    def headers(self, scopes: tuple[str, ...]) -> dict[str, str]:
        """The header to send, as far as the registry has asked for one before."""
        with self._lock:
            if self._challenge is None:
                return {}
            return {"Authorization": self._value(self._challenge, scopes)}

    def answer(self, field: str, scopes: tuple[str, ...], sent: Mapping[str, str]) -> bool:
        """Take a 401's WWW-Authenticate field; whether trying once more may help.

        `sent` are the headers that were refused. `NetworkError` when no token is to be had.
        """
        known = {challenge.scheme: challenge for challenge in reversed(challenges(field))}
        with self._lock:
            who = self._who()
            if "bearer" in known:
                challenge = known["bearer"]
            elif "basic" in known and who is not None and who.username:
                challenge = known["basic"]
            else:
                return False
            before = sent.get("Authorization")
            self._challenge = challenge
            kept = self._tokens.get(scopes)
            if kept is not None and before == f"Bearer {kept[0]}":
                # it was taken back, or is not enough
                del self._tokens[scopes]
            return self._value(challenge, scopes) != before

    def _value(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
        who = self._who()
        if challenge.scheme == "basic":
            return who.basic if who is not None else ""
        if who is not None and who.bearer:
            return f"Bearer {who.bearer}"
        kept = self._tokens.get(scopes)
        if kept is None or kept[1] <= time.monotonic():
            kept = self._fetch(challenge, scopes, who)
            self._tokens[scopes] = kept
        return f"Bearer {kept[0]}"

    def _who(self) -> Credentials | None:
        if not self._looked:
            self._credentials = credentials.find(self._host, self._repository)
            self._looked = True
        return self._credentials

    def _fetch(
        self, challenge: Challenge, scopes: tuple[str, ...], who: Credentials | None
    ) -> tuple[str, float]:
        realm = challenge.parameters.get("realm", "")
        service = challenge.parameters.get("service", "")
        if urlsplit(realm).scheme not in ("http", "https"):
            raise FormatError(f"{self._host} names {realm!r} as the place for tokens, which is no address")
        try:
            if who is not None and who.identity_token:
                data = self._by_identity(realm, service, scopes, who)
            else:
                data = self._by_name(realm, service, scopes, who)
        except HttpError as error:
            what = "these credentials" if who is not None else "anyone without credentials"
            raise NetworkError(
                f"{self._host}: {shown(realm)} gives no token to {what} ({error.status})",
                hint=f"log in first: docker login {self._host}, or podman login {self._host}",
            ) from None
        try:
            answer = _TOKEN.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise FormatError(f"{shown(realm)} gave an answer that is no token") from None
        token = answer.token or answer.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise FormatError(f"{shown(realm)} gave an answer without a token")
        # a tenth less, so that none expires on its way
        life = max(answer.expires_in if answer.expires_in is not None else DEFAULT_LIFE, 0.0) * 0.9
        return token, time.monotonic() + life

    def _by_name(self, realm: str, service: str, scopes: tuple[str, ...], who: Credentials | None) -> bytes:
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        if who is not None and who.username:
            query.append(("account", who.username))
        headers = {"Authorization": who.basic} if who is not None and who.username else {}
        separator = "&" if urlsplit(realm).query else "?"
        with self._client.request(
            "GET", f"{realm}{separator}{urlencode(query)}", headers=headers
        ) as response:
            return response.read(1 << 20)

    def _by_identity(self, realm: str, service: str, scopes: tuple[str, ...], who: Credentials) -> bytes:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT_ID,
            "scope": " ".join(scopes),
            "refresh_token": who.identity_token,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(form).encode()
        with self._client.request("POST", realm, headers=headers, body=body) as response:
            return response.read(1 << 20)
