"""Where sources keep what they know between runs: indexes that are made anew when they are gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramekin.store.store import Store


def index_folder(store: Store) -> Path:
    """Where indexes are: in the store's folder, or in the cache folder for a store that is not local."""
    if store.root is not None:
        return store.root / "indexes"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return Path(cache if cache.startswith("/") else Path("~/.cache").expanduser()) / "ramekin" / "indexes"
