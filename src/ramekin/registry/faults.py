"""Failures as the distribution specification has them told (spec.md, Error Codes)."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec

from ramekin.errors import RamekinError
from ramekin.store.backend import StoreError, failure

Headers = Sequence[tuple[bytes, bytes]]


class AnswerError(RamekinError):
    """An answer that is an error: a status, a code of the specification, and what a person can use."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        detail: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.detail = status, code, detail
        self.headers = tuple((name.lower().encode(), text.encode()) for name, text in (headers or {}).items())

    def body(self) -> bytes:
        """The JSON that the specification asks for."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return msgspec.json.encode({"errors": [error]})


class BusyError(AnswerError):
    """Another request is sending to the same upload."""

    def __init__(self) -> None:
        detail = {"reason": "another request is sending to this upload"}
        super().__init__(409, "BLOB_UPLOAD_INVALID", "blob upload invalid", detail, {"Retry-After": "1"})


class FullError(StoreError):
    """There is no room left where the store is."""


def failed(error: OSError, location: str, what: str) -> NoReturn:
    """Raise the `StoreError` for an operating system error; `FullError` when the disk is full."""
    found = failure(error, location, what)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise FullError(found.message, hint=found.hint) from None
    raise found from None


def of_store(error: StoreError) -> AnswerError:
    """What a client is told of a store that fails: that it may come again, not where the store is."""
    if isinstance(error, FullError):
        return AnswerError(507, "UNAVAILABLE", "the registry's disk is full", "pulls are served on")
    return AnswerError(503, "UNAVAILABLE", "the registry's store does not answer", None, {"Retry-After": "5"})


def name_invalid(repository: str, reason: str) -> AnswerError:
    return AnswerError(
        400, "NAME_INVALID", "invalid repository name", {"name": repository[:300], "reason": reason}
    )


def name_unknown(repository: str) -> AnswerError:
    return AnswerError(404, "NAME_UNKNOWN", "repository name not known to registry", {"name": repository})


def digest_invalid(text: str, reason: str = "") -> AnswerError:
    detail = {
        "digest": text[:200],
        "reason": reason or "a digest is 'sha256:' followed by 64 lower-case hex digits",
    }
    return AnswerError(400, "DIGEST_INVALID", "provided digest did not match uploaded content", detail)


def manifest_unknown(repository: str, reference: str) -> AnswerError:
    detail = {"name": repository, "reference": reference[:200]}
    return AnswerError(404, "MANIFEST_UNKNOWN", "manifest unknown to registry", detail)


def manifest_invalid(reason: str, status: int = 400) -> AnswerError:
    return AnswerError(status, "MANIFEST_INVALID", "manifest invalid", {"reason": reason})


def blob_unknown(digest: str) -> AnswerError:
    return AnswerError(404, "BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest})


def upload_unknown(session: str) -> AnswerError:
    return AnswerError(
        404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", {"session": session[:100]}
    )


def upload_invalid(reason: str, status: int = 400, headers: Mapping[str, str] | None = None) -> AnswerError:
    return AnswerError(status, "BLOB_UPLOAD_INVALID", "blob upload invalid", {"reason": reason}, headers)
