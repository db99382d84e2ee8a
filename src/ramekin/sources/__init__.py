"""Where packages come from: a folder a kind, behind the one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ramekin.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ramekin.sources.mirror import Mirror
    from ramekin.sources.protocol import Source
    from ramekin.store.store import Store

KINDS = ("debian",)
"""The kinds of sources: what stands before the colon of a source's name."""


def open_source(name: str, store: Store, *, mirrors: Sequence[Mirror] = ()) -> Source:
    """The source called `name`, as in `debian:bookworm`; `UsageError` for a kind that there is not."""
    kind = name.partition(":")[0]
    if kind not in KINDS:
        raise UsageError(f"there is no kind of source called {kind!r}", hint="write debian or debian:SUITE")
    from ramekin.sources.debian.source import DebianSettings, open_source

    return open_source(name, store, DebianSettings(mirrors=tuple(mirrors)))
