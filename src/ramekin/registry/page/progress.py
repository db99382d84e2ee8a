"""A build as server-sent events (HTML Living Standard, section 9.2).

data: {"started": true, "steps": [{"label": "packages", "total": 9, "unit": "B", "done": 3, "ended": false}],
       "lines": []}
…
event: end
data: {"digest": "sha256:…"}        or    {"error": "…"}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from ramekin.registry.provider import Refusal

if TYPE_CHECKING:
    from ramekin.registry.ondemand.builds import Build, Outcome

_QUIET = 15.0
"""Seconds after which something is sent, so that no proxy thinks that nobody is there."""


async def events(build: Build | Outcome) -> AsyncIterator[bytes]:
    """All that happens in a build from now on, then how it ended."""
    from ramekin.registry.ondemand.builds import Build

    if isinstance(build, Build):
        changes = build.changes()
        following = asyncio.ensure_future(anext(changes, None))
        try:
            while True:
                done, _ = await asyncio.wait([following], timeout=_QUIET)
                if not done:
                    yield b": still there\n\n"
                    continue
                if following.result() is None:
                    break
                yield _event({"started": build.started, "steps": _steps(build), "lines": build.lines[-20:]})
                following = asyncio.ensure_future(anext(changes, None))
        finally:
            following.cancel()
        yield _event({"started": True, "steps": _steps(build), "lines": build.lines[-20:]})
        outcome = build.outcome.result()
    else:
        outcome = build
    if isinstance(outcome, Refusal):
        yield _event({"error": outcome.message}, "end")
    else:
        yield _event({"digest": outcome.answer.digest}, "end")


def _steps(build: Build) -> list[dict[str, object]]:
    return [
        {
            "label": step.label,
            "total": step.total,
            "unit": step.unit,
            "done": step.done,
            "ended": step.ended,
        }
        for _, step in sorted(build.steps.items())
    ]


def _event(data: object, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"
