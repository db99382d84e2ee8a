"""Where packages come from: a folder a kind, behind the one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ramekin.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ramekin.build.request import Mirror
    from ramekin.sources.protocol import Source
    from ramekin.store.store import Store


def open_source(name: str, store: Store, *, mirrors: Sequence[Mirror] = ()) -> Source:
    """The source called `name`, as in `debian:bookworm`; `UsageError` for a kind that there is not."""
    kind = name.partition(":")[0]
    if kind != "debian":
        raise UsageError(f"there is no kind of source called {kind!r}", hint="write debian or debian:SUITE")
    from ramekin.sources.debian.source import DebianSettings, MirrorEntry, open_source

    entries = tuple(
        MirrorEntry(
            uri=mirror.uri, suites=mirror.suites, components=mirror.components, signed_by=mirror.signed_by
        )
        for mirror in mirrors
    )
    return open_source(name, store, DebianSettings(mirrors=entries))
