"""Where the bytes of anyone's images are, what is wasted, what is risky and what sharing saves.

Pure but for two edges: `reading` asks transports for layers and keeps what it learnt of each in the store;
`page` writes reports. Everything else works on the values of `model`:

    reading   an image's layers, each read once        -> model.ReadImage
    examine/  what is learnt of a file while it streams by -> traits of model.LayerFiles
    stack     what layers add, change and delete, and the files that are left -> stack.Stack
    owners    which package each file belongs to        -> owners.Owners
    waste     docs, caches, byte code … by path
    inspect, diff   the typed results that commands show
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


@cache
def revision(*parts: str) -> str:
    """A digest of the code of this room, or of those parts of it: what other code found is found again."""
    state = hashlib.sha256()
    root = Path(__file__).parent
    for part in parts or (".",):
        place = root / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else (place,):
            state.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()[:16]
