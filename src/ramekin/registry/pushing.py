"""Pushes and deletions (spec.md, Push and Content Management; end-4 to end-7, end-9 to end-11, end-13)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ramekin.registry import faults, manifests, names, ranges
from ramekin.registry.exchange import Answer, Request
from ramekin.registry.faults import AnswerError
from ramekin.registry.uploads import Intake
from ramekin.store.digest import Digest, of

if TYPE_CHECKING:
    from ramekin.registry.access import Access
    from ramekin.registry.site import Site

SUBJECT = b"oci-subject"
HOLDERS = 64
"""Repositories that are looked at for a blob that a client wants from anywhere."""


class Pushing:
    """Answers what changes a repository."""

    def __init__(self, site: Site, access: Access) -> None:
        self._site, self._access = site, access
        self._catalog, self._uploads = site.catalog, site.uploads
        self._limits = site.config.limits

    # ---- blobs

    async def start(self, request: Request, repository: str) -> Answer:
        """end-4a, end-4b and end-11."""
        query = request.query
        if "mount" in query:
            digest = names.digest(query["mount"])
            if await self._mount(request, repository, digest, query.get("from", "")):
                return _created(f"/v2/{repository}/blobs/{digest}", digest)
        elif "digest" in query:
            digest = names.digest(query["digest"])
            session = await self._site.write(self._uploads.start, repository)
            try:
                await self._take(request, repository, session, None)
                return await self._finish(repository, session, digest)
            except BaseException:
                # nobody was told its name
                await self._site.write(self._uploads.cancel, repository, session)
                raise
        session = await self._site.write(self._uploads.start, repository)
        return _state(202, repository, session, 0)

    async def _mount(self, request: Request, repository: str, digest: Digest, source: str) -> bool:
        """Whether the repository has the blob now, from one that the client may pull from."""
        if source:
            candidates = [names.repository(source)]
        else:
            candidates = (await self._site.look(self._catalog.holders, digest))[:HOLDERS]
        for candidate in candidates:
            if self._access.allowed(request.who, "pull", candidate) and await self._site.holds(
                candidate, digest
            ):
                return await self._site.write(self._catalog.link, repository, digest)
        return False

    async def status(self, request: Request, repository: str, session: str) -> Answer:
        """end-13."""
        return _state(204, repository, session, await self._offset(repository, session))

    async def _offset(self, repository: str, session: str) -> int:
        known = names.is_session(session)
        offset = await self._site.look(self._uploads.offset, repository, session) if known else None
        if offset is None:
            raise faults.upload_unknown(session)
        return offset

    async def patch(self, request: Request, repository: str, session: str) -> Answer:
        """end-5: a chunk, or a stream of unknown length."""
        await self._offset(repository, session)
        offset = await self._take(request, repository, session, request.header(b"content-range"))
        return _state(202, repository, session, offset)

    async def finish(self, request: Request, repository: str, session: str) -> Answer:
        """end-6: the last chunk, or nothing more, and the digest of all."""
        await self._offset(repository, session)
        digest = names.digest(request.query.get("digest", ""))
        if request.length != 0:
            await self._take(request, repository, session, request.header(b"content-range"))
        return await self._finish(repository, session, digest)

    async def _finish(self, repository: str, session: str, digest: Digest) -> Answer:
        await self._site.write(self._uploads.finish, repository, session, digest)
        return _created(f"/v2/{repository}/blobs/{digest}", digest)

    async def cancel(self, request: Request, repository: str, session: str) -> Answer:
        """As Docker's registry has it."""
        await self._offset(repository, session)
        await self._site.write(self._uploads.cancel, repository, session)
        return Answer.empty(204)

    async def _take(self, request: Request, repository: str, session: str, placed: str | None) -> int:
        """Take a request's body into a session; returns the bytes that the session then has."""
        first = ranges.chunk(placed, request.length) if placed is not None else None
        intake = await self._site.write(self._open, repository, session)
        try:
            if first is not None and first != intake.offset:
                detail = f"the next chunk begins at {intake.offset}, not at {first}"
                raise faults.upload_invalid(detail, 416, _place(repository, session, intake.offset))
            await self._pour(request, intake)
        finally:
            await self._site.write(intake.close)
        return intake.offset

    def _open(self, repository: str, session: str) -> Intake:
        # a client that lost its connection may be back before the server has noticed
        for attempt in range(40):
            try:
                intake = self._uploads.open(repository, session)
            except faults.BusyError:
                if attempt == 39:
                    raise
                time.sleep(0.05)
                continue
            if intake is None:
                raise faults.upload_unknown(session)
            return intake
        raise faults.BusyError

    async def _pour(self, request: Request, intake: Intake) -> None:
        """Write what comes, while the next piece comes."""
        loop = asyncio.get_running_loop()
        limit = self._limits.blob - intake.offset
        pending: asyncio.Future[None] | None = None
        try:
            async for chunk in request.chunks(limit, self._limits.body_seconds):
                if pending is not None:
                    await pending
                pending = loop.run_in_executor(self._site.pool, intake.write, chunk)
        finally:
            if pending is not None:
                await asyncio.shield(pending)

    async def delete_blob(self, request: Request, repository: str, reference: str) -> Answer:
        """end-10."""
        digest = names.digest(reference)
        gone = await self._site.write(self._catalog.unlink, repository, digest)
        self._site.lost(repository, digest)
        if not gone:
            raise faults.blob_unknown(digest)
        return Answer.empty(202)

    # ---- manifests

    async def manifest(self, request: Request, repository: str, reference: str) -> Answer:
        """end-7."""
        limit = self._limits.manifest
        if request.length is not None and request.length > limit:
            raise faults.manifest_invalid(f"it has more than {limit} bytes", 413)
        by_digest = ":" in reference
        if by_digest:
            names.digest(reference)
        elif not names.is_tag(reference):
            raise faults.manifest_invalid(
                f"{reference[:150]!r} is not a tag: letters, digits, '_', '.' and '-', of at most 128"
            )
        try:
            data = await request.body(limit, self._limits.body_seconds)
        except AnswerError as error:
            if error.status == 413:
                raise faults.manifest_invalid(f"it has more than {limit} bytes", 413) from None
            raise
        if by_digest and of(data) != reference:
            raise faults.digest_invalid(reference, f"what was pushed has the digest {of(data)}")
        kind = (request.header(b"content-type") or "").partition(";")[0].strip()
        document = manifests.read(data, kind if kind != "application/json" else "")
        await self._site.write(self._catalog.push, repository, document, None if by_digest else reference)
        self._site.changed(repository)
        answer = _created(f"/v2/{repository}/manifests/{document.digest}", document.digest)
        if document.subject is not None:
            answer.headers.append((SUBJECT, document.subject.encode()))
        return answer

    async def delete_manifest(self, request: Request, repository: str, reference: str) -> Answer:
        """end-9: a tag, or a manifest with all tags that stand for it."""
        if ":" in reference:
            digest = names.digest(reference)
            gone = await self._site.write(self._catalog.remove, repository, digest)
        elif names.is_tag(reference):
            gone = await self._site.write(self._catalog.untag, repository, reference)
        else:
            gone = False
        self._site.changed(repository)
        if not gone:
            raise faults.manifest_unknown(repository, reference)
        return Answer.empty(202)


def _created(location: str, digest: str) -> Answer:
    return Answer.empty(201, Location=location, Docker_Content_Digest=digest)


def _place(repository: str, session: str, offset: int) -> dict[str, str]:
    return {
        "Location": f"/v2/{repository}/blobs/uploads/{session}",
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": session,
    }


def _state(status: int, repository: str, session: str, offset: int) -> Answer:
    answer = Answer(status)
    answer.headers = [
        (name.lower().encode(), text.encode()) for name, text in _place(repository, session, offset).items()
    ]
    return answer
