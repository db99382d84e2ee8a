"""Who asks the page's API, and what they may: the registry's own users and rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ramekin.registry import names
from ramekin.registry.faults import AnswerError
from ramekin.registry.provider import Asker, Refusal

if TYPE_CHECKING:
    from ramekin.registry.access import Access, Identity
    from ramekin.registry.config import Right
    from ramekin.registry.site import Site

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RefusedError(Exception):
    """An answer in place of what was asked for."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


@dataclass(frozen=True, slots=True)
class Visit:
    """One request to the API."""

    request: Request
    site: Site
    access: Access
    who: Identity

    def may(self, right: Right, repository: str) -> bool:
        return self.access.allowed(self.who, right, repository)

    def need(self, right: Right, repository: str) -> None:
        """Go on only for those who may."""
        if not self.may(right, repository):
            raise RefusedError(denied(self.access))

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client else ""

    def asker(self, repository: str, *, build: bool) -> Asker:
        """The same for a provider."""
        return Asker(self.who.user, self.address, build and self.may("build", repository))

    def text(self, name: str, otherwise: str = "", *, limit: int = 300) -> str:
        """A parameter of the query."""
        value = self.request.query_params.get(name, otherwise)
        if len(value) > limit:
            raise RefusedError(failure(400, f"{name} is too long"))
        return value

    def name(self) -> tuple[str, str]:
        """The repository and tag that the query names, both valid; who asks may pull there."""
        return self.named(self.text("name"), self.text("tag", "latest"))

    def named(self, repository: str, tag: str) -> tuple[str, str]:
        """The same from elsewhere."""
        try:
            names.repository(repository)
        except AnswerError:
            raise RefusedError(failure(400, f"{repository!r} cannot be the name of an image")) from None
        if not names.is_tag(tag):
            raise RefusedError(failure(400, f"{tag!r} cannot be a tag"))
        self.need("pull", repository)
        return repository, tag


async def visit(request: Request) -> Visit:
    """Read who asks; `RefusedError` when name or password is wrong."""
    site: Site = request.app.state.registry
    access: Access = request.app.state.access
    headers = {name.lower(): value for name, value in request.scope["headers"]}
    try:
        who = await site.write(access.identify, headers.get(b"authorization"), headers)
    except AnswerError:
        raise RefusedError(denied(access)) from None
    return Visit(request, site, access, who)


def denied(access: Access) -> Response:
    """Log in, or no: browsers ask for a name and a password."""
    if access.open:
        return failure(403, "you may not do this here")
    response = failure(401, "log in to do this")
    response.headers["WWW-Authenticate"] = 'Basic realm="ramekin", charset="UTF-8"'
    return response


def failure(status: int, message: str, **more: object) -> Response:
    """An error as the page reads it."""
    return JSONResponse({"error": message, **more}, status, headers={**HEADERS, "Cache-Control": "no-store"})


def refusal(given: Refusal) -> Response:
    """A provider's refusal as the page reads it."""
    response = failure(given.status, given.message)
    if given.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(given.retry_after)))
    return response
