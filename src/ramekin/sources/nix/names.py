"""Names for store paths: by the path itself, by a channel's files, by a local Nix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramekin.errors import NotFoundError
from ramekin.progress import Progress
from ramekin.sources.nix import paths
from ramekin.sources.nix.cache import Caches
from ramekin.sources.nix.model import NixPackage
from ramekin.store.store import Store

if TYPE_CHECKING:
    from ramekin.sources.nix.source import NixSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A store path that a name stands for, and what the channel says of it."""

    base: str
    attribute: str = ""
    output: str = ""
    description: str = ""
    priority: int = 5


class Names:
    """What finds store paths by words."""

    def __init__(self, caches: Caches, store: Store, settings: NixSettings) -> None:
        self._caches, self._store, self._settings = caches, store, settings

    def refresh(self, progress: Progress, *, force: bool) -> str:
        return ""

    def find(self, words: str, architecture: str) -> tuple[Found, ...]:
        """The store paths that one request stands for."""
        base = words.rpartition("/")[2]
        if paths.is_base(base):
            return (Found(base=base),)
        if paths.is_hash(words):
            return (Found(base=self._caches.info(words).base),)
        raise NotFoundError(f"there is no {words}")

    def all_of(self, name: str, architecture: str) -> tuple[Found, ...]:
        return self.find(name, architecture)

    def search(self, words: Sequence[str], architecture: str) -> tuple[NixPackage, ...]:
        return ()
