"""The end points of the distribution specification 1.1 (spec.md, Endpoints), by their numbers there.

    end-1   GET /v2/                                  end-7   PUT /v2/R/manifests/REFERENCE
    end-2   GET, HEAD /v2/R/blobs/DIGEST              end-8a  GET /v2/R/tags/list
    end-3   GET, HEAD /v2/R/manifests/REFERENCE       end-8b  … ?n=N&last=TAG
    end-4a  POST /v2/R/blobs/uploads/                 end-9   DELETE /v2/R/manifests/REFERENCE
    end-4b  … ?digest=DIGEST                          end-10  DELETE /v2/R/blobs/DIGEST
    end-5   PATCH /v2/R/blobs/uploads/SESSION         end-11  POST …/uploads/?mount=DIGEST&from=OTHER
    end-6   PUT …/SESSION?digest=DIGEST               end-12a GET /v2/R/referrers/DIGEST
    end-13  GET …/SESSION                             end-12b … ?artifactType=TYPE

and, as Docker's registry has them, GET /v2/_catalog and DELETE …/SESSION.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ramekin.registry import names
from ramekin.registry.exchange import Answer, Request
from ramekin.registry.faults import AnswerError
from ramekin.registry.listing import Listing
from ramekin.registry.pulling import Pulling
from ramekin.registry.pushing import Pushing

if TYPE_CHECKING:
    from ramekin.registry.access import Access
    from ramekin.registry.config import Right
    from ramekin.registry.site import Site

Handler = Callable[..., Awaitable[Answer]]

_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("manifest", re.compile(r"/v2/(.+)/manifests/([^/]+)", re.DOTALL)),
    ("uploads", re.compile(r"/v2/(.+)/blobs/uploads/?", re.DOTALL)),
    ("upload", re.compile(r"/v2/(.+)/blobs/uploads/([^/]+)", re.DOTALL)),
    ("blob", re.compile(r"/v2/(.+)/blobs/([^/]+)", re.DOTALL)),
    ("tags", re.compile(r"/v2/(.+)/tags/list/?", re.DOTALL)),
    ("referrers", re.compile(r"/v2/(.+)/referrers/([^/]+)", re.DOTALL)),
)


class Api:
    """Finds the end point of a request, asks whether it is allowed, and has it done."""

    def __init__(self, site: Site, access: Access) -> None:
        self._site, self._access = site, access
        pulling = Pulling(site, access)
        pushing = Pushing(site, access)
        listing = Listing(site, access)
        self._handlers: dict[str, dict[str, tuple[Right, Handler]]] = {
            "manifest": {
                "GET": ("pull", pulling.manifest),
                "HEAD": ("pull", pulling.manifest),
                "PUT": ("push", pushing.manifest),
                "DELETE": ("delete", pushing.delete_manifest),
            },
            "blob": {
                "GET": ("pull", pulling.blob),
                "HEAD": ("pull", pulling.blob),
                "DELETE": ("delete", pushing.delete_blob),
            },
            "uploads": {"POST": ("push", pushing.start)},
            "upload": {
                "GET": ("push", pushing.status),
                "HEAD": ("push", pushing.status),
                "PATCH": ("push", pushing.patch),
                "PUT": ("push", pushing.finish),
                "DELETE": ("push", pushing.cancel),
            },
            "tags": {"GET": ("pull", listing.tags), "HEAD": ("pull", listing.tags)},
            "referrers": {"GET": ("pull", listing.referrers), "HEAD": ("pull", listing.referrers)},
        }
        self._listing = listing

    async def identify(self, request: Request) -> None:
        """Set who asks."""
        header = request.headers.get(b"authorization")
        if header is not None and not self._access.open:
            if header[:6].lower() == b"basic ":
                # a password may take a while
                loop = asyncio.get_running_loop()
                request.who = await loop.run_in_executor(
                    self._site.pool, self._access.identify, header, request.headers
                )
            else:
                request.who = self._access.identify(header, request.headers)

    async def answer(self, request: Request) -> Answer:
        """The answer to the request, whose `kind` is then that of the end point."""
        path = request.path
        if path in ("/v2/", "/v2"):
            request.kind = "base"
            return await self._base(request)
        if path in ("/v2/_catalog", "/v2/_catalog/"):
            request.kind = "catalog"
            _only(request, ("GET", "HEAD"))
            await self.identify(request)
            return await self._listing.catalog(request)
        request.kind, parts = _shape(path)
        handlers = self._handlers[request.kind]
        _only(request, tuple(handlers))
        repository = names.repository(parts[0])
        right, handler = handlers[request.method]
        await self.identify(request)
        if not self._access.allowed(request.who, right, repository):
            raise self._access.refuse(request.who, right, repository, request.headers)
        if right != "pull" and request.headers.get(b"origin") is not None:
            # no client of a registry sends it, every browser does: a page may not write in its user's name
            raise AnswerError(403, "DENIED", "browsers may not write to the registry")
        return await handler(request, *parts)

    async def _base(self, request: Request) -> Answer:
        """end-1; who can log in is asked to, which is how clients find out how."""
        _only(request, ("GET", "HEAD"))
        await self.identify(request)
        if not self._access.open and not request.who.user and request.who.granted is None:
            raise self._access.challenge(request.headers)
        return Answer.json(b"{}")


def _shape(path: str) -> tuple[str, tuple[str, ...]]:
    """The kind of end point that a path is of, and its repository and what follows."""
    for kind, shape in _SHAPES:
        if (found := shape.fullmatch(path)) is not None:
            return kind, found.groups()
    raise AnswerError(404, "NAME_UNKNOWN", "there is no such end point", {"path": path[:300]})


def _only(request: Request, methods: tuple[str, ...]) -> None:
    if request.method not in methods:
        detail = {"method": request.method[:20]}
        raise AnswerError(
            405, "UNSUPPORTED", "the operation is unsupported", detail, {"Allow": ", ".join(methods)}
        )
