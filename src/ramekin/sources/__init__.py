"""Where packages come from: a folder a kind, behind the one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ramekin.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ramekin.sources.mirror import Mirror
    from ramekin.sources.nix.source import NixSettings
    from ramekin.sources.protocol import Source
    from ramekin.store.store import Store

KINDS = ("debian", "nix")
"""The kinds of sources: what stands before the colon of a source's name, and of a package's."""


def open_source(
    name: str, store: Store, *, mirrors: Sequence[Mirror] = (), nix: NixSettings | None = None
) -> Source:
    """The source called `name`, as in `debian:bookworm`; `UsageError` for a kind that there is not.

    `mirrors` are those of a Debian source, `nix` are the settings of one of Nix.
    """
    kind = name.partition(":")[0]
    if kind == "nix":
        from ramekin.sources.nix import source as of_nix

        return of_nix.open_source(name, store, nix)
    if kind not in KINDS:
        raise UsageError(
            f"there is no kind of source called {kind!r}", hint="write debian:SUITE or nix:CACHE"
        )
    from ramekin.sources.debian.source import DebianSettings, open_source

    return open_source(name, store, DebianSettings(mirrors=tuple(mirrors)))
