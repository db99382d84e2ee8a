"""One request and its answer, on bare ASGI: what a registry does is too little to pay for more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from ramekin.registry.access import NOBODY, Identity
from ramekin.registry.faults import AnswerError
from ramekin.store.backend import StoreError

Scope = Mapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Mapping[str, Any]], Any]

HEADERS = ((b"docker-distribution-api-version", b"registry/2.0"), (b"x-content-type-options", b"nosniff"))
"""What every answer of the API has."""
RATE = 1024
"""Bytes a second that a client has to send or take on average, once it was waited for long enough."""


class GoneError(Exception):
    """The client has closed the connection."""


@dataclass(frozen=True, slots=True)
class File:
    """Bytes of a local file: all, or from `first` up to and without `end`."""

    path: str
    first: int
    end: int
    size: int


@dataclass(slots=True)
class Answer:
    """What a client is told. `length` is the number of bytes when they are not in `body`."""

    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    file: File | None = None
    stream: AsyncIterator[bytes] | None = None
    length: int | None = None

    @classmethod
    def empty(cls, status: int, **headers: str) -> Answer:
        """No body; `Docker_Content_Digest="…"` is the header of that name."""
        return cls(
            status,
            [(name.replace("_", "-").lower().encode(), text.encode()) for name, text in headers.items()],
        )

    @classmethod
    def json(cls, data: bytes, media_type: str = "application/json") -> Answer:
        return cls(200, [(b"content-type", media_type.encode())], data)

    @classmethod
    def error(cls, error: AnswerError) -> Answer:
        return cls(error.status, [(b"content-type", b"application/json"), *error.headers], error.body())


class Request:
    """A request as handlers see it."""

    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.scope, self.receive, self.id = scope, receive, request_id
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.who: Identity = NOBODY
        self.kind = "other"
        self.received = 0

    @cached_property
    def headers(self) -> dict[bytes, bytes]:
        """Headers by lower-case name; the last of several, but all of `Accept`."""
        found: dict[bytes, bytes] = {}
        for name, value in self.scope["headers"]:
            found[name] = found[name] + b"," + value if name == b"accept" and name in found else value
        return found

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return value.decode("latin-1") if value is not None else None

    @cached_property
    def query(self) -> dict[str, str]:
        """The first value of every parameter."""
        found: dict[str, str] = {}
        text = self.scope["query_string"].decode("latin-1")
        try:
            for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=64, errors="strict"):
                found.setdefault(name, value)
        except ValueError:
            raise AnswerError(400, "UNSUPPORTED", "the query is not one", {"query": text[:200]}) from None
        return found

    @property
    def address(self) -> str:
        client = self.scope.get("client")
        return client[0] if client else ""

    @cached_property
    def length(self) -> int | None:
        """The announced bytes of the body."""
        text = self.header(b"content-length")
        return int(text) if text is not None and text.isascii() and text.isdigit() else None

    async def chunks(self, limit: int, patience: float, *, size: int = 1 << 20) -> AsyncIterator[bytes]:
        """The body in pieces of about `size` bytes, of no more than `limit` together.

        `GoneError` when the client leaves before its end, after what it has sent; 408 when nothing comes
        for `patience` seconds, or less than `RATE` bytes a second while they are waited for.
        """
        if self.length is not None and self.length > limit:
            raise _too_large(limit)
        parts: list[bytes] = []
        held, waited = 0, 0.0
        while True:
            asked = time.monotonic()
            message = None
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    message = await self.receive()
            waited += time.monotonic() - asked
            if message is None or (waited > patience and self.received < RATE * waited):
                if held:
                    yield b"".join(parts)
                raise AnswerError(
                    408,
                    "BLOB_UPLOAD_INVALID",
                    "the request stopped in the middle, or comes too slowly",
                    None,
                    {"Connection": "close"},
                )
            gone = message["type"] == "http.disconnect"
            if not gone:
                data = message.get("body", b"")
                self.received += len(data)
                if self.received > limit:
                    raise _too_large(limit)
                if data:
                    parts.append(data)
                    held += len(data)
            more = not gone and message.get("more_body", False)
            if held and (held >= size or not more):
                yield parts[0] if len(parts) == 1 else b"".join(parts)
                parts, held = [], 0
            if gone or (not more and self.length is not None and self.received < self.length):
                raise GoneError
            if not more:
                return

    async def body(self, limit: int, patience: float) -> bytes:
        """All of the body."""
        return b"".join([chunk async for chunk in self.chunks(limit, patience)])


def _too_large(limit: int) -> AnswerError:
    detail = {"limit": limit}
    return AnswerError(413, "SIZE_INVALID", "the request is too large", detail, {"Connection": "close"})


def too_many_header_bytes(scope: Scope, limit: int) -> AnswerError | None:
    """431 for a request whose head is larger than allowed."""
    size = len(scope["path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size <= limit:
        return None
    return AnswerError(431, "SIZE_INVALID", "the request's head is too large", {"limit": limit})


async def send_answer(send: Send, answer: Answer, *, head: bool, extra: list[tuple[bytes, bytes]]) -> int:
    """Send an answer and return its bytes; a HEAD gets the headers alone."""
    length = answer.length if answer.length is not None else len(answer.body)
    headers = [*answer.headers, *HEADERS, *extra]
    if answer.status not in (204, 304) and answer.length is None:
        headers.append((b"content-length", str(length).encode()))
    elif answer.length is not None:
        headers.append((b"content-length", str(answer.length).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if head or answer.status in (204, 304):
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return 0
    if answer.file is not None:
        await _send_file(send, answer.file)
    elif answer.stream is not None:
        async for chunk in answer.stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    else:
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})
    return length


_PIECES = 8
"""Large files that are sent in pieces at once: that is faster than the server's own reading, and each holds a
piece or two of `_PIECE` bytes in memory. Further ones are left to the server."""

_PIECE = 1 << 20

_in_pieces = 0


async def _send_file(send: Send, file: File) -> None:
    global _in_pieces
    whole = file.first == 0 and file.end == file.size
    if whole and (file.size <= _PIECE or _in_pieces >= _PIECES):
        # the server reads the file itself, without Python
        await send({"type": "http.response.pathsend", "path": file.path})
        return
    import os

    loop = asyncio.get_running_loop()
    descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    _in_pieces += 1
    try:
        place = file.first
        while place < file.end:
            count = min(_PIECE, file.end - place)
            data = await loop.run_in_executor(None, os.pread, descriptor, count, place)
            if not data:
                raise StoreError(f"{file.path} is shorter than it was")
            place += len(data)
            await send({"type": "http.response.body", "body": data, "more_body": place < file.end})
    finally:
        _in_pieces -= 1
        os.close(descriptor)
