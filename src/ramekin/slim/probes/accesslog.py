"""Access logs, as a list of what clients really ask for.

Read are the common and combined formats of Apache and nginx, whatever stands around the quoted request line;
lines of JSON with the request or its method and path under one of the usual names; and lines `GET /path`.
Requests with a body are left out, as logs do not have it; each request is taken once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from ramekin.errors import FormatError, NotFoundError, RamekinError

METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that only read."""
LINE_LIMIT = 64 << 10
"""Characters of a line that are looked at."""

_REQUEST = re.compile(r'"([A-Z]{3,10}) (\S+)(?: HTTP/[0-9.]+)?"')
_PLAIN = re.compile(r"([A-Z]{3,10}) (\S+)(?: HTTP/[0-9.]+)?")
_PATHS = ("request_uri", "uri", "path", "url", "RequestPath", "http.url")
_LINES = ("request", "request_line", "requestLine")
_VERBS = ("request_method", "method", "RequestMethod", "http.method", "verb")


def read(path: Path, most: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """The first `most` different reading requests of a log, and how many lines held another one.

    `FormatError` when no line of it holds a request.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            requests, left_out = parse(_lines(stream), most)
    except FileNotFoundError:
        raise NotFoundError(f"there is no access log {path}") from None
    except OSError as error:
        raise RamekinError(f"{path} cannot be read: {error.strerror}") from None
    if not requests and not left_out:
        raise FormatError(
            f"{path}: no line of it holds a request",
            hint='lines have "GET /path HTTP/1.1" in them, are JSON with method and path, or are GET /path',
        )
    return requests, left_out


def _lines(stream: TextIO) -> Iterator[str]:
    """The lines of a stream, of long ones the beginning."""
    while line := stream.readline(LINE_LIMIT):
        yield line
        while not line.endswith("\n") and (line := stream.readline(LINE_LIMIT)):
            pass


def parse(lines: Iterable[str], most: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """The same of lines."""
    found: dict[tuple[str, str], None] = {}
    left_out = 0
    for line in lines:
        request = _request(line[:LINE_LIMIT].strip())
        if request is None:
            continue
        method, path = request
        if method not in METHODS or (len(found) >= most and request not in found):
            left_out += 1
            continue
        found[method, path] = None
    return tuple(found), left_out


def _request(line: str) -> tuple[str, str] | None:
    if line.startswith("{"):
        try:
            return _of_record(json.loads(line))
        except (ValueError, RecursionError):
            return None
    match = _REQUEST.search(line) or _PLAIN.fullmatch(line)
    return _of_words(match[1], match[2]) if match else None


def _of_record(record: Any) -> tuple[str, str] | None:
    """Of one JSON object, such as those of nginx, Caddy and Traefik."""
    if not isinstance(record, dict):
        return None
    inner = record.get("request")
    if isinstance(inner, dict):
        return _of_record(inner)
    for name in _LINES:
        if isinstance(line := record.get(name), str) and (match := _PLAIN.fullmatch(line.strip())):
            return _of_words(match[1], match[2])
    method = next((record[name] for name in _VERBS if isinstance(record.get(name), str)), "GET")
    path = next((record[name] for name in _PATHS if isinstance(record.get(name), str)), None)
    return _of_words(method, path) if path is not None else None


def _of_words(method: str, target: str) -> tuple[str, str] | None:
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError:
            return None
        if parts.scheme not in ("http", "https"):
            return None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return method.upper(), target
