"""The registry as an ASGI application: `create` puts it together.

granian ─► Application ─┬─ a manifest that is kept ready (warm.py)
                        ├─ /v2/…: Api (api.py) ─ Pulling, Pushing, Listing ─ Catalog, Uploads ─ Store
                        └─ all else: starlette's routes: /token, /metrics, /healthz, /readyz, the page's
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ramekin.errors import RamekinError
from ramekin.registry import faults
from ramekin.registry.access import Access
from ramekin.registry.api import Api
from ramekin.registry.exchange import (
    Answer,
    GoneError,
    Receive,
    Request,
    Scope,
    Send,
    send_answer,
    too_many_header_bytes,
)
from ramekin.registry.faults import AnswerError
from ramekin.registry.operations import Log, Metrics, request_id
from ramekin.registry.provider import Counting, Provider
from ramekin.registry.pulling import accepts_index
from ramekin.registry.site import Site
from ramekin.registry.sweeping import Policy, sweep
from ramekin.registry.tokens import TokenEndpoint
from ramekin.store.backend import StoreError

if TYPE_CHECKING:
    from starlette.requests import Request as StarletteRequest

    from ramekin.registry.config import Config
    from ramekin.store.store import Store

_DETAIL_LIMIT = 500


class Application(Starlette):
    """Starlette, with the API of registries in front of its routes."""

    def __init__(self, site: Site, log: Log, extra_routes: Sequence[BaseRoute]) -> None:
        access = Access(site.config, site.catalog.records)
        routes: list[BaseRoute] = [
            Route("/healthz", self._health),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics),
            Route("/token", TokenEndpoint(site, access), methods=["GET", "POST"]),
            *extra_routes,
        ]
        super().__init__(routes=routes, lifespan=self._lifespan, exception_handlers={ClientDisconnect: _gone})
        self.state.registry = site
        self.state.access = access
        self._site, self._api, self._log = site, Api(site, access), log
        self._access = access
        self.metrics = Metrics()
        if isinstance(site.provider, Counting):
            site.provider.tell(self.metrics.image)
        self._stopping = False
        self._head_limit = site.config.limits.headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        path: str = scope["path"]
        ready = self._site.warm.get(path)
        if ready is not None and await self._answer_warm(scope, send, ready):
            return
        if path.startswith("/v2/") or path == "/v2":
            await self._answer(scope, receive, send)
        else:
            await self._answer_other(scope, receive, send)

    async def _answer_warm(self, scope: Scope, send: Send, ready: Any) -> bool:
        """Answer a pull of a manifest from memory; False when it needs a closer look."""
        method = scope["method"]
        if method not in ("GET", "HEAD"):
            return False
        began = time.perf_counter()
        given: bytes | None = None
        accept: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value
            elif name == b"accept":
                accept = value if accept is None else accept + b"," + value
            elif name in (b"authorization", b"if-none-match"):
                return False
        if ready.is_index and accept is not None and not accepts_index(accept.decode("latin-1")):
            return False
        now = time.time()
        if now - ready.used > self._site.grain:
            ready.used = now
            self._site.later(self._site.write(self._site.catalog.records.touch, ready.subject))
        named = request_id(given)
        body = ready.body
        headers = [
            *ready.headers,
            (b"docker-distribution-api-version", b"registry/2.0"),
            (b"x-request-id", named.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        head = method == "HEAD"
        await send({"type": "http.response.body", "body": b"" if head else body})
        took = time.perf_counter() - began
        metrics = self.metrics
        (metrics.warm_head if head else metrics.warm_get).inc()
        metrics.warm_seconds.observe(took)
        if self._log.requests:
            client = scope.get("client")
            address = client[0] if client else ""
            size = 0 if head else len(body)
            self._log.request(named, method, scope["path"], 200, took, size, address, "")
        return True

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to the API; whatever happens is an answer of the specification."""
        began = time.perf_counter()
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        request = Request(scope, receive, request_id(given))
        sent = 0
        self.metrics.running.inc()
        try:
            try:
                large = too_many_header_bytes(scope, self._head_limit)
                if large is not None:
                    raise large
                answer = await self._api.answer(request)
            except AnswerError as error:
                answer = Answer.error(error)
            except StoreError as error:
                self._log.line("error", "store", id=request.id, error=error.message)
                answer = Answer.error(faults.of_store(error))
            except GoneError:
                answer = Answer(499)
                self._finished(request, answer, 0, began)
                return
            except RamekinError as error:
                self._log.line("error", "failure", id=request.id, error=error.message)
                answer = Answer.error(AnswerError(500, "UNKNOWN", "the registry failed", {"id": request.id}))
            except Exception as error:
                self._trace(request.id, error)
                answer = Answer.error(AnswerError(500, "UNKNOWN", "the registry failed", {"id": request.id}))
            extra = [(b"x-request-id", request.id.encode())]
            if self._stopping:
                extra.append((b"connection", b"close"))
            try:
                sent = await send_answer(send, answer, head=request.method == "HEAD", extra=extra)
            except StoreError as error:
                # the status is on its way: all that is left is to break off
                self._log.line("error", "store", id=request.id, error=error.message)
                raise
            self._finished(request, answer, sent, began)
        finally:
            self.metrics.running.dec()

    def _finished(self, request: Request, answer: Answer, sent: int, began: float) -> None:
        took = time.perf_counter() - began
        method = request.method if request.method in _METHODS else "other"
        self.metrics.requests.labels(request.kind, method, str(answer.status)).inc()
        self.metrics.seconds.labels(request.kind).observe(took)
        self.metrics.sent.inc(sent)
        self.metrics.received.inc(request.received)
        self._log.request(
            request.id,
            request.method,
            request.path,
            answer.status,
            took,
            sent,
            request.address,
            request.who.user,
        )

    def _trace(self, named: str, error: Exception) -> None:
        import traceback

        lines = traceback.format_exception(error)
        self._log.line(
            "error", "bug", id=named, error=repr(error)[:_DETAIL_LIMIT], trace="".join(lines)[-8000:]
        )

    async def _answer_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Starlette's routes, with a log line."""
        began = time.perf_counter()
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        named, status, size = request_id(given), 500, 0

        async def watched(message: Any) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", named.encode())]}
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            large = too_many_header_bytes(scope, self._head_limit)
            refused = large or _no_query(scope)
            if refused is not None:
                await send_answer(watched, Answer.error(refused), head=False, extra=[])
                return
            await super().__call__(scope, receive, watched)  # type: ignore[arg-type]
        except Exception as error:
            self._trace(named, error)
        finally:
            client = scope.get("client")
            took = time.perf_counter() - began
            self.metrics.requests.labels(
                "other", scope["method"] if scope["method"] in _METHODS else "other", str(status)
            ).inc()
            self._log.request(
                named, scope["method"], scope["path"], status, took, size, client[0] if client else "", ""
            )

    # ---- operations

    async def _health(self, request: StarletteRequest) -> Response:
        """Whether the process works at all."""
        return PlainTextResponse("ok\n")

    async def _ready(self, request: StarletteRequest) -> Response:
        """Whether it is worth sending requests here: not while it stops, nor without its store."""
        if self._stopping:
            return PlainTextResponse("stopping\n", 503)
        try:
            async with asyncio.timeout(5):
                await self._site.write(self._site.catalog.records.version, "registry/names/ready")
        except (StoreError, TimeoutError):
            return PlainTextResponse("the store does not answer\n", 503)
        return PlainTextResponse("ok\n")

    async def _metrics(self, request: StarletteRequest) -> Response:
        """For those with the right `metrics`; Prometheus sends name and password of itself."""
        headers = {name.lower(): value for name, value in request.scope["headers"]}
        try:
            who = await self._site.write(self._access.identify, headers.get(b"authorization"), headers)
        except AnswerError as error:
            return Response(error.body(), error.status, _BASIC, "application/json")
        if not self._access.allowed(who, "metrics", ""):
            denied = who.user or self._access.open
            return PlainTextResponse(
                "the right `metrics` is needed\n", 403 if denied else 401, None if denied else _BASIC
            )
        text = await self._site.write(self.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        provider = self._site.provider
        if provider is not None:
            await provider.start()
        cleaning = asyncio.create_task(self._clean())
        try:
            yield
        finally:
            self._stopping = True
            cleaning.cancel()
            with suppress(asyncio.CancelledError):
                await cleaning
            if provider is not None:
                await provider.stop()
            self._site.pool.shutdown(wait=True)
            self._log.flush()

    async def _clean(self) -> None:
        """Sweep now and then. Of several workers and replicas one at a time does it, and it hurts none."""
        import random

        policy = Policy.of(self._site.config.cleaning)
        every = self._site.config.cleaning.every
        while every is not None:
            await asyncio.sleep(max(every, 1.0) * random.uniform(0.75, 1.25))
            try:
                swept = await self._site.write(sweep, self._site.catalog, self._site.uploads, policy)
            except RamekinError as error:
                self.metrics.sweep_failures.inc()
                self._log.line("error", "sweep", error=error.message)
                continue
            for removed in swept.removed:
                self.metrics.swept.labels(removed.kind).inc()
            self.metrics.swept_bytes.inc(swept.size)
            if swept.removed:
                self._site.warm.clear("")
                self._log.line("info", "sweep", removed=len(swept.removed), bytes=swept.size)


_BASIC = {"WWW-Authenticate": 'Basic realm="ramekin"'}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


def _no_query(scope: Scope) -> AnswerError | None:
    """400 for a query that starlette could not read."""
    try:
        scope["query_string"].decode()
    except UnicodeDecodeError:
        return AnswerError(400, "UNSUPPORTED", "the query is not one")
    return None


async def _gone(request: StarletteRequest, error: Exception) -> Response:
    """For the log: nobody is there to read it."""
    return Response(status_code=499)


def create(
    config: Config,
    store: Store,
    provider: Provider | None = None,
    extra_routes: Sequence[BaseRoute] = (),
    *,
    log: Log | None = None,
) -> Application:
    """The application over `store`; `extra_routes` (the page's) are asked after the registry's own.

    `app.state.registry` is the `Site`: `.config`, `.store`, `.catalog` and `.provider` for those routes, and
    `app.state.access` decides what somebody may do.
    """
    return Application(Site(config, store, provider), log if log is not None else Log(config), extra_routes)
