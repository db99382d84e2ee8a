"""Pulls: manifests and blobs (spec.md, Pull; end-2 and end-3)."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ramekin.errors import NotFoundError
from ramekin.image import oci
from ramekin.registry import faults, manifests, names, ranges
from ramekin.registry.catalog import (
    Kept,
    MissingError,
    manifest_name,
    parse_manifest,
    parse_tag,
    repository_name,
    tag_name,
)
from ramekin.registry.exchange import Answer, File, Request
from ramekin.registry.faults import AnswerError
from ramekin.registry.manifests import Document
from ramekin.registry.provider import Asker, Provided, Refusal
from ramekin.registry.records import Record, Version
from ramekin.registry.warm import Ready
from ramekin.store.digest import Digest
from ramekin.store.store import blob_name

if TYPE_CHECKING:
    from ramekin.registry.access import Access
    from ramekin.registry.site import Site

ANYTHING = ("*/*", "application/*")
PLATFORM = ("linux", "amd64")
"""What a client gets that asks for a tag and understands no index."""
REFRESH = 600.0
"""Seconds after which the link of a blob that somebody asks for counts as made anew."""
SIGNED = timedelta(minutes=20)


class Pulling:
    """Answers GET and HEAD of manifests and blobs."""

    def __init__(self, site: Site, access: Access) -> None:
        self._site, self._access = site, access
        self._catalog = site.catalog
        self._adopted: dict[tuple[str, str], Digest] = {}

    # ---- manifests

    async def manifest(self, request: Request, repository: str, reference: str) -> Answer:
        """end-3."""
        if names.is_digest(reference):
            name = manifest_name(repository, Digest(reference))
            record = await self._site.look(self._catalog.records.read, name)
            kept = parse_manifest(Digest(reference), record.data, record.written) if record else None
            if record is None or kept is None:
                raise await self._unknown(repository, reference)
            return self._ready(request, repository, kept, name, record)
        if ":" in reference:
            raise faults.digest_invalid(reference)
        if not names.is_tag(reference):
            raise faults.manifest_unknown(repository, reference)
        name = tag_name(repository, reference)
        record = await self._site.look(self._catalog.records.read, name)
        digest = parse_tag(record.data) if record is not None else None
        if digest is not None:
            kept = await self._site.look(self._catalog.manifest, repository, digest)
            if kept is not None:
                return await self._chosen(request, repository, kept, name, record)
        return await self._made(request, repository, reference)

    async def _unknown(self, repository: str, reference: str) -> AnswerError:
        if await self._site.look(self._catalog.origin, repository) is None:
            return faults.name_unknown(repository)
        return faults.manifest_unknown(repository, reference)

    async def _made(self, request: Request, repository: str, tag: str) -> Answer:
        """What the provider has under a name that nobody pushed to."""
        provider = self._site.provider
        marker = repository_name(repository)
        record = await self._site.look(self._catalog.records.read, marker)
        if provider is None or (record is not None and record.data == b"pushed"):
            raise await self._unknown(repository, tag)
        may = self._access.allowed(request.who, "build", repository)
        asker = Asker(request.who.user, request.address, may, request.id)
        for anew in (False, True):
            given = await provider.provide(repository, tag, asker, anew=anew)
            if given is None:
                raise await self._unknown(repository, tag)
            if isinstance(given, Refusal):
                raise refusal(given)
            try:
                kept = await self._adopt(repository, tag, given)
            except (MissingError, NotFoundError):
                # its blobs were removed since it was made
                continue
            record = await self._site.look(self._catalog.records.read, marker)
            return await self._chosen(request, repository, kept, marker, record, fresh=given.fresh)
        raise AnswerError(
            503, "UNAVAILABLE", "the image was removed while it was made", None, {"Retry-After": "1"}
        )

    async def _adopt(self, repository: str, tag: str, given: Provided) -> Kept:
        now = time.time()
        kept = Kept(given.digest, given.media_type, given.data, "made", now)
        there = await self._site.look(self._catalog.records.written, manifest_name(repository, given.digest))
        if there is None or self._adopted.get((repository, tag)) != given.digest:
            documents = await self._site.write(self._documents, given)
            await self._site.write(self._catalog.adopt, repository, documents)
            if len(self._adopted) > 100_000:
                self._adopted.clear()
            self._adopted[repository, tag] = given.digest
            self._site.changed(repository)
        elif now - there > self._site.grain:
            self._site.later(self._site.write(self._served, repository, kept))
        return kept

    def _documents(self, given: Provided) -> list[Document]:
        """The manifests below the given one, itself, and its referrers: each after those that it names."""
        top = manifests.read(given.data, given.media_type)
        store = self._site.store
        below = [manifests.read(store.read(child.digest), child.media_type) for child in top.children]
        others = [manifests.read(store.read(one.digest), one.media_type) for one in given.referrers]
        return [*below, top, *others]

    def _served(self, repository: str, kept: Kept) -> None:
        """Note that a manifest was served, and with an index those below it."""
        records = self._catalog.records
        records.touch(manifest_name(repository, kept.digest))
        if kept.media_type in oci.INDEXES:
            for child in manifests.read(kept.data, kept.media_type).children:
                records.touch(manifest_name(repository, child.digest))

    async def _chosen(
        self,
        request: Request,
        repository: str,
        kept: Kept,
        name: str,
        record: Record | None,
        *,
        fresh: float | None = None,
    ) -> Answer:
        """A tag's manifest as it was pushed; of an index, one manifest for who understands no index."""
        accept = request.header(b"accept")
        if kept.media_type in oci.INDEXES and not accepts_index(accept):
            for child in manifests.read(kept.data, kept.media_type).children:
                platform = child.platform
                if platform is None or (platform.os, platform.architecture) != PLATFORM:
                    continue
                found = await self._site.look(self._catalog.manifest, repository, child.digest)
                if found is not None:
                    return manifest_answer(found)
        return self._ready(request, repository, kept, name, record, fresh=fresh)

    def _ready(
        self,
        request: Request,
        repository: str,
        kept: Kept,
        name: str,
        record: Record | None,
        *,
        fresh: float | None = None,
    ) -> Answer:
        """The answer, kept for the next who asks the same without having to say who they are."""
        answer = manifest_answer(kept)
        remote = self._catalog.records.remote
        subject = manifest_name(repository, kept.digest)
        if record is not None and fresh != 0.0 and self._access.anonymous("pull", repository):
            seconds = fresh if fresh is not None else math.inf
            seconds = min(seconds, self._site.config.tag_seconds) if remote else seconds
            version: Version = record.version
            ready = Ready(
                headers=answer.headers,
                body=answer.body,
                follows="" if remote else f"{self._site.store.location}/{name}",
                version=version,
                until=time.monotonic() + seconds,
                subject=subject,
                used=kept.used,
                is_index=kept.media_type in oci.INDEXES,
                etag=b'"%b"' % kept.digest.encode(),
            )
            if seconds > 0:
                self._site.warm.put(request.path, ready)
        if time.time() - kept.used > self._site.grain:
            self._site.later(self._site.write(self._served, repository, kept))
        tag = request.headers.get(b"if-none-match")
        if tag is not None and kept.digest.encode() in tag:
            return Answer(304, answer.headers)
        return answer

    # ---- blobs

    async def blob(self, request: Request, repository: str, reference: str) -> Answer:
        """end-2; ranges as RFC 9110 has them."""
        digest = names.digest(reference)
        catalog, site = self._catalog, self._site
        if request.method == "HEAD":
            age = min(site.config.cleaning.grace / 2, REFRESH)
            there = await site.look(catalog.refresh, repository, digest, age, time.time())
            there = there or await site.holds(repository, digest)
        else:
            there = await site.holds(repository, digest)
        size = await site.size(digest) if there else None
        if size is None:
            raise faults.blob_unknown(digest)
        if site.config.redirect and request.method == "GET" and catalog.records.remote:
            address = await site.write(self._sign, digest)
            if address:
                return Answer.empty(307, Location=address, Docker_Content_Digest=digest)
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"docker-content-digest", digest.encode()),
            (b"etag", b'"%b"' % digest.encode()),
            (b"accept-ranges", b"bytes"),
            (b"cache-control", b"max-age=31536000"),
        ]
        wanted = request.header(b"range")
        match = request.header(b"if-range")
        part = None
        if wanted is not None and (match is None or digest in match):
            part = ranges.requested(wanted, size)
        first, end = part or (0, size)
        answer = Answer(206 if part else 200, headers, length=end - first)
        if part:
            headers.append((b"content-range", f"bytes {first}-{end - 1}/{size}".encode()))
        if request.method == "HEAD":
            return answer
        if catalog.records.remote:
            try:
                answer.stream = _pieces(site, await site.write(_open, site, digest, first, end))
            except FileNotFoundError:
                # swept since it was last seen
                site.lost(repository, digest)
                raise faults.blob_unknown(digest) from None
        elif size == 0:
            answer.length = None
        else:
            answer.file = File(f"{site.store.location}/{blob_name(digest)}", first, end, size)
        return answer

    def _sign(self, digest: Digest) -> str:
        """An address of the blob in the object store, good for a while; '' where there is none."""
        import obstore

        bucket: Any = getattr(self._catalog.records, "bucket", None)
        try:
            return str(obstore.sign(bucket, "GET", blob_name(digest), SIGNED))
        except (TypeError, ValueError):
            return ""


def _open(site: Site, digest: Digest, first: int, end: int) -> Iterator[Any]:
    """Pieces of a blob in an object store; `FileNotFoundError` when it is not there."""
    import obstore

    if end <= first:
        return iter(())
    bucket: Any = getattr(site.catalog.records, "bucket", None)
    found = obstore.get(bucket, blob_name(digest), options={"range": (first, end)})
    return iter(found.stream(min_chunk_size=1 << 20))


async def _pieces(site: Site, pieces: Iterator[Any]) -> AsyncIterator[bytes]:
    """The pieces, each read in a thread."""
    while (piece := await site.write(next, pieces, None)) is not None:
        yield bytes(piece)


def manifest_answer(kept: Kept) -> Answer:
    digest = kept.digest.encode()
    headers = [
        (b"content-type", kept.media_type.encode()),
        (b"docker-content-digest", digest),
        (b"etag", b'"%b"' % digest),
    ]
    return Answer(200, headers, kept.data)


def accepts_index(accept: str | None) -> bool:
    """Whether a client understands an index: all do but those that list what they take without one."""
    if not accept or any(kind in accept for kind in (*oci.INDEXES, *ANYTHING)):
        return True
    return not any(kind in accept for kind in oci.MANIFESTS)


def refusal(given: Refusal) -> AnswerError:
    """A provider's refusal as an answer."""
    after = (
        {"Retry-After": str(max(1, math.ceil(given.retry_after)))} if given.retry_after is not None else None
    )
    return AnswerError(given.status, given.code, given.message, given.detail, after)
