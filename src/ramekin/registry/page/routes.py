"""What is served where."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ramekin import __version__
from ramekin.errors import RamekinError
from ramekin.registry.catalog import Catalog, Kept
from ramekin.registry.faults import AnswerError
from ramekin.registry.ondemand.limits import Rate
from ramekin.registry.page import reports
from ramekin.registry.page.asking import HEADERS, RefusedError, Visit, failure, refusal, visit
from ramekin.registry.page.progress import events
from ramekin.registry.provider import Provided, Refusal
from ramekin.store.digest import Digest

if TYPE_CHECKING:
    from ramekin.registry.config import Config
    from ramekin.registry.ondemand.provider import OnDemandProvider
    from ramekin.registry.provider import Provider
    from ramekin.store.store import Store

ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/assets/page.css": ("page.css", "text/css; charset=utf-8"),
    "/assets/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/assets/icon.svg": ("icon.svg", "image/svg+xml"),
}
SUGGESTIONS = 8
REPOSITORIES = 500
"""Repositories that the page lists."""
LOOKS = {"view": 120, "graph": 60, "search": 600}
"""How often one client may ask in a minute what takes work."""
BODY = 4096
"""Bytes of the largest request."""

Act = Callable[[Visit], Awaitable[Response]]


def routes(config: Config, store: Store, provider: Provider | None) -> Sequence[BaseRoute]:
    """The page's routes; `provider` makes its previews and builds where it can."""
    from ramekin.registry.ondemand.provider import OnDemandProvider

    api = Api(config, provider if isinstance(provider, OnDemandProvider) else None)
    found: list[BaseRoute] = [_asset(path, *asset) for path, asset in ASSETS.items()]
    for path, act, method in (
        ("status", api.status, "GET"),
        ("search", api.search, "GET"),
        ("view", api.view, "GET"),
        ("graph", api.graph, "GET"),
        ("build", api.build, "POST"),
        ("progress", api.progress, "GET"),
        ("repositories", api.repositories, "GET"),
        ("tags", api.tags, "GET"),
        ("report", api.report, "GET"),
    ):
        found.append(Route(f"/api/{path}", _guarded(act), methods=[method]))
    return found


def _asset(path: str, name: str, media_type: str) -> Route:
    data = files("ramekin.registry.page").joinpath("assets", name).read_bytes()
    etag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
    headers = {**HEADERS, "ETag": etag, "Cache-Control": "no-cache"}

    async def get(request: Request) -> Response:
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=media_type, headers=headers)

    return Route(path, get)


def _guarded(act: Act) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return await act(await visit(request))
        except RefusedError as refused:
            return refused.response
        except AnswerError as error:
            return failure(error.status, error.message)
        except RamekinError as error:
            return failure(404, f"{error.message}; {error.hint}" if error.hint else error.message)

    return handle


def _json(data: object, status: int = 200) -> Response:
    headers = {**HEADERS, "Cache-Control": "no-store"}
    return Response(msgspec.json.encode(data), status, headers, "application/json")


class Api:
    """The JSON below `/api/`."""

    def __init__(self, config: Config, provider: OnDemandProvider | None) -> None:
        self._config, self._provider = config, provider
        self._rates = {what: Rate(amount) for what, amount in LOOKS.items()}

    def _within(self, visit: Visit, what: str) -> None:
        if wait := self._rates[what].take(visit.who.user or visit.address):
            raise RefusedError(
                refusal(Refusal("you ask too much; wait a while", status=429, retry_after=wait))
            )

    async def status(self, visit: Visit) -> Response:
        """What this registry is and what the visitor may do."""
        url = self._config.url.rstrip("/").partition("://")[2] if self._config.url else ""
        return _json(
            {
                "version": __version__,
                "host": url or visit.request.url.netloc,
                "plain": not self._config.tls and not (self._config.url or "").startswith("https:"),
                "makes": self._provider is not None,
                "source": self._config.on_demand.source or "debian",
                "shell": self._config.on_demand.shell,
                "specs": self._provider.spec_names() if self._provider else (),
                "user": visit.who.user,
                "may": {right: visit.may(right, "") for right in ("pull", "build")},
            }
        )

    async def search(self, visit: Visit) -> Response:
        """Suggestions for words."""
        visit.need("pull", "")
        self._within(visit, "search")
        words = tuple(visit.text("q", limit=100).split()[:5])
        if not words or self._provider is None:
            return _json({"found": []})
        found = await self._provider.search(words, SUGGESTIONS)
        return refusal(found) if isinstance(found, Refusal) else _json({"found": found})

    async def view(self, visit: Visit) -> Response:
        """An image before or after it was made, or the reason why there cannot be one."""
        name, tag = visit.name()
        self._within(visit, "view")
        origin = await visit.site.look(visit.site.catalog.origin, name)
        if origin == "pushed":
            return await self._pushed(visit, name, tag)
        if self._provider is None:
            raise RefusedError(failure(404, f"there is no image {name} here"))
        found = await self._provider.view(name, tag, visit.text("architecture"))
        if isinstance(found, Refusal):
            # an answer to the question, and no failure that a browser would report
            return _json({"error": found.message})
        if found is None:
            raise RefusedError(failure(404, f"there is no image {name} here"))
        spec = found.image in self._provider.spec_names()
        return _json({**msgspec.to_builtins(found), "origin": "spec" if spec else "packages"})

    async def _pushed(self, visit: Visit, name: str, tag: str) -> Response:
        wanted = visit.text("architecture")
        found = await self._report(visit, name, tag)
        usable = [one for one in found.platforms if one.layers]
        one = next((one for one in usable if one.architecture == wanted), usable[0] if usable else None)
        layers = one.layers if one else ()
        return _json(
            {
                "image": name,
                "architecture": one.architecture if one else "",
                "source": "",
                "made": True,
                "closed": True,
                "digest": found.digest,
                "lock": "",
                "origin": "pushed",
                "layers": [
                    {
                        "name": layer.text or layer.media_type,
                        "packages": layer.packages,
                        "size": layer.size,
                        "exact": True,
                        "held": True,
                        "digest": layer.digest,
                    }
                    for layer in layers
                ],
            }
        )

    async def graph(self, visit: Visit) -> Response:
        """Who needs whom, as SVG."""
        name, tag = visit.name()
        self._within(visit, "graph")
        found = None
        if self._provider is not None:
            found = await self._provider.graph(name, tag, visit.text("architecture"))
        if isinstance(found, Refusal):
            return refusal(found)
        if found is None:
            raise RefusedError(failure(404, f"there is no graph of {name}"))
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
        return Response(found, headers={**HEADERS, **policy}, media_type="image/svg+xml")

    async def build(self, visit: Visit) -> Response:
        """Begin to make an image. The body is JSON, so that no other site can have a browser send it."""
        if visit.request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise RefusedError(failure(415, "send JSON"))
        body = await _body(visit.request)
        name, tag = visit.named(str(body.get("name", "")), str(body.get("tag", "latest")))
        visit.need("build", name)
        if self._provider is None:
            raise RefusedError(failure(404, "this registry makes no images"))
        found = self._provider.start_build(name, tag, visit.asker(name, build=True))
        if found is None:
            raise RefusedError(failure(404, f"{name} is not made on demand"))
        return refusal(found) if isinstance(found, Refusal) else _json({"name": name, "tag": tag}, 202)

    async def progress(self, visit: Visit) -> Response:
        """How the making of an image goes on, as server-sent events."""
        name, tag = visit.name()
        found = self._provider.following(name, tag) if self._provider is not None else None
        if found is None:
            raise RefusedError(failure(404, f"{name}:{tag} is not being made"))
        headers = {**HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events(found), headers=headers, media_type="text/event-stream")

    async def repositories(self, visit: Visit) -> Response:
        """Repositories that the visitor may pull from."""
        catalog = visit.site.catalog
        known = await visit.site.write(catalog.repositories)
        mine = [name for name in known if visit.may("pull", name)]
        found = await visit.site.write(
            lambda: [{"name": name, "origin": catalog.origin(name)} for name in mine[:REPOSITORIES]]
        )
        return _json({"repositories": found, "more": max(len(mine) - REPOSITORIES, 0)})

    async def tags(self, visit: Visit) -> Response:
        """The tags of a repository, pushed and made."""
        name, _ = visit.name()
        found = await visit.site.write(visit.site.catalog.tags, name)
        origin = await visit.site.look(visit.site.catalog.origin, name)
        if origin != "pushed" and self._provider is not None:
            found = [*found, *(await self._provider.tags(name, visit.asker(name, build=False)) or ())]
        return _json({"name": name, "origin": origin, "tags": sorted(set(found))})

    async def report(self, visit: Visit) -> Response:
        """An image that is here, told in full."""
        name, tag = visit.name()
        return _json(await self._report(visit, name, tag))

    async def _report(self, visit: Visit, name: str, tag: str) -> reports.Report:
        site = visit.site
        kept: Kept | None = await site.write(_tagged, site.catalog, name, tag)
        if kept is None and self._provider is not None:
            given = await self._provider.provide(name, tag, visit.asker(name, build=False))
            if isinstance(given, Refusal):
                raise RefusedError(refusal(given))
            if isinstance(given, Provided):
                kept = await site.write(site.catalog.manifest, name, given.digest)
        if kept is None:
            raise RefusedError(failure(404, f"there is no {name}:{tag} here yet"))
        return await site.write(reports.report, name, tag, kept, site.catalog, site.store)


def _tagged(catalog: Catalog, name: str, tag: str) -> Kept | None:
    digest: Digest | None = catalog.tag(name, tag)
    return None if digest is None else catalog.manifest(name, digest)


async def _body(request: Request) -> dict[str, Any]:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY:
            raise RefusedError(failure(413, "that is too long"))
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        raise RefusedError(failure(400, "that is not JSON")) from None
