"""One blob's way into a repository (distribution-spec, Pushing blobs).

HEAD blob -> there: done
POST uploads?mount=&from= -> 201: done
  else a session: small blobs go in one PUT; large ones in a PATCH, which a lost connection does not
  undo: GET of the session says how far it came, and the next PATCH goes on from there. A session that
  is gone, or whose bytes came to another digest, is begun anew.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Protocol
from urllib.parse import quote, urljoin

from ramekin.errors import FormatError, NetworkError, RamekinError
from ramekin.http import MAX_WAIT, RETRIED, Body, HttpError, Response
from ramekin.image.image import Blobs
from ramekin.image.oci import Descriptor

WHOLE = 4 << 20
"""Bytes up to which a blob goes in one PUT: sending it again costs less than asking how far it came."""

TRIES = 6
CHUNK = 1 << 18
PART = 48 << 20
"""Bytes of one PATCH once a proxy said that a body was too large (413)."""


class Endpoint(Protocol):
    """The requests of one repository, authorized for pulling and pushing."""

    @property
    def shown(self) -> str:
        """The repository as messages name it."""

    def url(self, path: str) -> str:
        """The address of something below the repository."""

    def push(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] = ...,
        body: Body = ...,
        length: int | None = ...,
        allow: tuple[int, ...] = ...,
        retries: int | None = ...,
        origin: str = ...,
    ) -> Response:
        """Send a request that may write; `origin` is a repository whose blobs are read for it."""


class Upload:
    """The upload of `blob`, read from `source`, into the repository behind `endpoint`.

    `advance` is told each byte that has arrived, once; `check` may raise to stop; `backoff` is the first
    wait after a failure, in seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        blob: Descriptor,
        source: Blobs,
        *,
        advance: Callable[[int], None],
        check: Callable[[], None],
        backoff: float = 0.5,
    ) -> None:
        self._endpoint = endpoint
        self._blob = blob
        self._source = source
        self._advance = advance
        self._check = check
        self._backoff = backoff
        self._told = 0
        self._part = 0

    def run(self, mount_from: tuple[str, ...] = ()) -> str:
        """Do it; how it came there: `there`, `mounted` or `sent`."""
        if self._is_there():
            self._tell(self._blob.size)
            return "there"
        location = ""
        for repository in mount_from:
            mounted, location = self._mount(repository)
            if mounted:
                self._tell(self._blob.size)
                return "mounted"
            if location:
                break
        self._send(location)
        self._tell(self._blob.size)
        return "sent"

    def _is_there(self) -> bool:
        url = self._endpoint.url(f"blobs/{self._blob.digest}")
        with self._endpoint.push("HEAD", url, allow=(404,)) as response:
            return response.status == 200 and response.size in (None, self._blob.size)

    def _mount(self, repository: str) -> tuple[bool, str]:
        """Ask for the blob of another repository: whether that was done, else the session begun instead."""
        query = f"mount={quote(self._blob.digest)}&from={quote(repository, safe='')}"
        url = self._endpoint.url(f"blobs/uploads/?{query}")
        try:
            with self._endpoint.push("POST", url, body=b"", origin=repository) as response:
                return response.status == 201, self._location(response) if response.status == 202 else ""
        except NetworkError:
            # no right to read there, or a registry that knows no mounting: then it is sent
            return False, ""

    def _begin(self) -> str:
        with self._endpoint.push("POST", self._endpoint.url("blobs/uploads/"), body=b"") as response:
            location = self._location(response)
        if not location:
            raise FormatError(f"{self._endpoint.shown}: the registry began an upload without saying where")
        return location

    @staticmethod
    def _location(response: Response) -> str:
        location = response.headers.get("location", "")
        return urljoin(response.url, location) if location else ""

    def _send(self, location: str) -> None:
        failures = 0
        offset = 0
        try:
            while True:
                try:
                    location = location or self._begin()
                    if self._blob.size > WHOLE:
                        while offset < self._blob.size:
                            location, offset = self._patch(location, offset)
                    self._finish(location)
                    return
                except NetworkError as error:
                    failures += 1
                    if failures >= TRIES or not self._may_recover(error):
                        raise
                    self._check()
                    time.sleep(self._wait(failures, error))
                    if self._is_there():
                        return
                    location, offset = self._state(location, error)
        except BaseException as error:
            if location and isinstance(error, RamekinError):
                self._cancel(location)
            raise

    def _may_recover(self, error: NetworkError) -> bool:
        """Whether going on can help. A 400 may mean bytes that were damaged on their way, a 413 a proxy."""
        if not isinstance(error, HttpError):
            return True
        if error.status == 413 and self._part == 0 and self._blob.size > WHOLE:
            self._part = PART
            return True
        return error.status in RETRIED or error.status in (400, 404, 416)

    def _wait(self, failures: int, error: NetworkError) -> float:
        asked: float = error.retry_after if isinstance(error, HttpError) else 0.0
        if asked > MAX_WAIT:
            raise error
        return max(asked, self._backoff * 2.0 ** (failures - 1) * random.uniform(0.75, 1.25))

    def _state(self, location: str, error: NetworkError) -> tuple[str, int]:
        """Where to go on, and from which byte; an empty location for a new session."""
        lost = isinstance(error, HttpError) and error.status in (400, 404)
        if lost or not location or self._blob.size <= WHOLE:
            return "", 0
        try:
            with self._endpoint.push("GET", location, retries=0) as response:
                return self._location(response) or location, _arrived(response)
        except NetworkError:
            return "", 0

    def _patch(self, location: str, offset: int) -> tuple[str, int]:
        """Send bytes from `offset` on; the session's next address and how many bytes it now has."""
        end = min(self._blob.size, offset + (self._part or self._blob.size))
        headers = {"Content-Type": "application/octet-stream"}
        # the first and only part goes without a range, as Docker's clients send it: some registries take
        # no other; distribution-spec has `FIRST-LAST` where HTTP has `bytes FIRST-LAST/SIZE`
        if offset or end < self._blob.size:
            headers["Content-Range"] = f"{offset}-{end - 1}"
        with self._endpoint.push(
            "PATCH",
            location,
            headers=headers,
            body=lambda: self._bytes(offset, end),
            length=end - offset,
            retries=0,
        ) as response:
            arrived = _arrived(response) if "range" in response.headers else end
            if arrived <= offset:
                raise NetworkError(f"{self._endpoint.shown}: the registry keeps nothing of what it is sent")
            return self._location(response) or location, min(arrived, end)

    def _finish(self, location: str) -> None:
        mark = "&" if "?" in location else "?"
        url = f"{location}{mark}digest={quote(self._blob.digest)}"
        whole = self._blob.size <= WHOLE
        with self._endpoint.push(
            "PUT",
            url,
            headers={"Content-Type": "application/octet-stream"},
            body=(lambda: self._bytes(0, self._blob.size)) if whole else b"",
            length=self._blob.size if whole else None,
            retries=0,
        ):
            return

    def _bytes(self, start: int, end: int) -> Iterator[bytes]:
        """The blob's bytes from `start` to `end`; read from its first byte on, so that they are verified."""
        with self._source.open(self._blob) as stream:
            at = 0
            while at < end and (chunk := stream.read(min(CHUNK, (start if at < start else end) - at))):
                self._check()
                at += len(chunk)
                if at > start:
                    yield chunk
                    self._tell(at)

    def _tell(self, arrived: int) -> None:
        if arrived > self._told:
            self._advance(arrived - self._told)
            self._told = arrived

    def _cancel(self, location: str) -> None:
        try:
            self._endpoint.push("DELETE", location, allow=range(400, 600), retries=0).close()  # type: ignore[arg-type]
        except RamekinError:
            pass


def _arrived(response: Response) -> int:
    """How many bytes a session has, by its Range field `0-LAST`. `0-0` is written for none, too."""
    first, dash, last = response.headers.get("range", "").removeprefix("bytes=").partition("-")
    if first == "0" and dash and last.isascii() and last.isdigit() and last != "0":
        return int(last) + 1
    return 0
