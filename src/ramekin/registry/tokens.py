"""The token end point, as Docker's clients speak to it (Docker Registry v2: token authentication, OAuth2)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ramekin.registry.access import NOBODY
from ramekin.registry.faults import AnswerError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from ramekin.registry.access import Access
    from ramekin.registry.site import Site

FORM_LIMIT = 64 << 10


class TokenEndpoint:
    """GET with Basic, and POST of a form with the password grant."""

    def __init__(self, site: Site, access: Access) -> None:
        self._site, self._access = site, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except AnswerError as error:
            headers = {name.decode(): value.decode("latin-1") for name, value in error.headers}
            response = Response(error.body(), error.status, headers, "application/json")
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.scope["headers"]}
        if self._access.open:
            raise AnswerError(404, "UNSUPPORTED", "this registry has no users")
        header = headers.get(b"authorization")
        scopes = request.query_params.getlist("scope")
        if request.method == "POST":
            form = await _form(request)
            if form.get("grant_type") != ["password"]:
                raise AnswerError(400, "UNSUPPORTED", "only the password grant is known")
            pair = f"{form.get('username', [''])[0]}:{form.get('password', [''])[0]}"
            header = b"Basic " + base64.b64encode(pair.encode())
            scopes = form.get("scope", [])
        if header is not None and header[:6].lower() != b"basic ":
            raise AnswerError(401, "UNAUTHORIZED", "name and password are needed for a token")
        who = NOBODY
        if header is not None:
            who = await self._site.write(self._access.identify, header, headers)
        words = [word for scope in scopes for word in scope.split(" ")]
        return Response(msgspec.json.encode(self._access.token(who, words)), media_type="application/json")


async def _form(request: Request) -> dict[str, list[str]]:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > FORM_LIMIT:
            raise AnswerError(413, "SIZE_INVALID", "the form is too large")
    try:
        return parse_qs(data.decode(), max_num_fields=64)
    except ValueError:
        raise AnswerError(400, "UNSUPPORTED", "the form is not one") from None
