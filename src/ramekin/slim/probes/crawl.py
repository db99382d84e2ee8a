"""What is found by following links, assets and GET forms, within bounds.

The first container that is crawled decides which addresses there are. The others are asked for the same ones
in the same order, so that a page that is gone is a difference and not a shorter crawl.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from fnmatch import fnmatch
from urllib.parse import urlsplit

from ramekin.slim.probes import body, links
from ramekin.slim.probes.answer import Answer
from ramekin.slim.probes.http import Browser, NoAnswerError, Reply, fields, inside
from ramekin.slim.probes.model import Crawl, Http

QUERIES = 12
"""Addresses with the same path that are asked for: a calendar has a page for every day of every year."""


def explore(probe: Crawl, browser: Browser) -> Iterator[tuple[str, Answer]]:
    """Follow links from a probe's beginnings on: each address that was found, and its answer."""
    end = time.monotonic() + probe.seconds
    waiting = deque((address, 0) for address in probe.start)
    known = set(probe.start)
    queries: Counter[str] = Counter()
    asked = 0
    while waiting and asked < probe.pages and time.monotonic() < end:
        address, depth = waiting.popleft()
        asked += 1
        answer, replies = _get(probe, address, browser)
        yield address, answer
        if depth >= probe.depth or not replies:
            continue
        last = replies[-1]
        host = urlsplit(last.url).netloc
        for link in links.links(last.text(), last.url, body.media_type(last.type)):
            there = _inside(link, host)
            if there is None or there in known or _left_alone(there, probe.skip):
                continue
            path = there.partition("?")[0]
            if asked + len(waiting) >= probe.pages:
                # a page may have more links than there is memory, and these are not asked for anyway
                break
            queries[path] += 1
            if queries[path] > QUERIES:
                continue
            known.add(there)
            waiting.append((there, depth + 1))


def repeat(probe: Crawl, addresses: tuple[str, ...], browser: Browser) -> Iterator[Answer]:
    """Ask for what another crawl found."""
    for address in addresses:
        yield _get(probe, address, browser)[0]


def _get(probe: Crawl, address: str, browser: Browser) -> tuple[Answer, list[Reply]]:
    name = f"{probe.name}: GET {address}"
    request = Http(
        name=name,
        path=address,
        port=probe.port,
        tls=probe.tls,
        host=probe.host,
        session=probe.session,
        headers=(("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),),
        anything=True,
    )
    try:
        replies = browser.follow(request)
    except NoAnswerError as error:
        return Answer(name, "crawl", {"error": str(error)}, (str(error),)), []
    return Answer(name, "crawl", fields(replies)), replies


def _inside(link: str, host: str) -> str | None:
    """The path and query of an address of the container's own."""
    if not inside(link, host):
        return None
    parts = urlsplit(link)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _left_alone(address: str, skip: tuple[str, ...]) -> bool:
    return any(fnmatch(address, pattern) for pattern in skip)
