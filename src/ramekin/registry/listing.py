"""Listings: tags, referrers and repositories (spec.md, Content Discovery; end-8 and end-12)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from ramekin.image import oci
from ramekin.registry import faults, names
from ramekin.registry.access import Identity
from ramekin.registry.exchange import Answer, Request
from ramekin.registry.faults import AnswerError
from ramekin.registry.provider import Asker

if TYPE_CHECKING:
    from ramekin.registry.access import Access
    from ramekin.registry.site import Site

PAGE = 10_000
"""Names in one answer, whatever is asked for."""
REFERRERS = 1_000


class Listing:
    """Answers what lists."""

    def __init__(self, site: Site, access: Access) -> None:
        self._site, self._access, self._catalog = site, access, site.catalog

    async def tags(self, request: Request, repository: str) -> Answer:
        """end-8a and end-8b: in the order of their bytes."""
        found = await self._site.look(self._catalog.tags, repository)
        if not found and await self._site.look(self._catalog.origin, repository) != "pushed":
            asker = Asker(request.who.user, request.address, False, request.id)
            provider = self._site.provider
            given = await provider.tags(repository, asker) if provider is not None else None
            if given is None and await self._site.look(self._catalog.origin, repository) is None:
                raise faults.name_unknown(repository)
            found = sorted(given or ())
        page, link = _page(request, found, f"/v2/{repository}/tags/list")
        return _listed({"name": repository, "tags": page}, link)

    async def catalog(self, request: Request) -> Answer:
        """All repositories that the client may pull from, as Docker's registry lists them."""
        who = request.who
        if who.granted is not None and "pull" not in who.granted.get("", ()):
            raise self._access.challenge(request.headers, "registry:catalog:*")
        who = Identity(who.user)
        found = await self._site.look(self._catalog.repositories)
        seen = [name for name in found if self._access.allowed(who, "pull", name)]
        if not who.user and not self._access.open and not self._access.anonymous("pull", ""):
            raise self._access.challenge(request.headers, "registry:catalog:*")
        page, link = _page(request, seen, "/v2/_catalog")
        return _listed({"repositories": page}, link)

    async def referrers(self, request: Request, repository: str, reference: str) -> Answer:
        """end-12a and end-12b: an index of what refers to a manifest, which need not be there itself."""
        digest = names.digest(reference)
        found = await self._site.look(self._catalog.referrers, repository, digest)
        wanted = request.query.get("artifactType")
        if wanted is not None:
            found = [one for one in found if one.artifact_type == wanted]
        last = request.query.get("last", "")
        rest = [one for one in found if one.digest > last]
        page = rest[:REFERRERS]
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": page}
        answer = Answer.json(msgspec.json.encode(index), oci.INDEX)
        if wanted is not None:
            answer.headers.append((b"oci-filters-applied", b"artifactType"))
        if len(rest) > len(page):
            query = {"last": page[-1].digest} | ({"artifactType": wanted} if wanted is not None else {})
            link = f"/v2/{repository}/referrers/{digest}?{urlencode(query)}"
            answer.headers.append((b"link", f'<{link}>; rel="next"'.encode()))
        return answer


def _page(request: Request, found: list[str], path: str) -> tuple[list[str], str]:
    """The names that `n` and `last` ask for, and where the next are."""
    text, last = request.query.get("n"), request.query.get("last")
    limit = PAGE
    if text is not None:
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            detail = {"n": text[:50]}
            raise AnswerError(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested", detail)
        limit = min(int(text), PAGE)
    rest = [name for name in found if name > last] if last else found
    page = rest[:limit]
    if not page or len(rest) <= len(page):
        return page, ""
    return page, f'<{path}?{urlencode({"n": limit, "last": page[-1]})}>; rel="next"'


def _listed(value: dict[str, object], link: str) -> Answer:
    answer = Answer.json(msgspec.json.encode(value))
    if link:
        answer.headers.append((b"link", link.encode()))
    return answer
