"""Slices, recipes and essentials: from a package's files to a layer's tree. Pure: trees in, trees out."""

from __future__ import annotations

from functools import cache


@cache
def revision() -> str:
    """A digest of this room's code and data: equal revisions prepare equal layers from equal packages."""
    import hashlib
    from pathlib import Path

    room = Path(__file__).parent
    state = hashlib.sha256()
    for path in sorted([*room.glob("*.py"), *room.glob("data/*.yaml"), *room.glob("data/recipes/*.yaml")]):
        data = path.read_bytes()
        state.update(f"{path.name} {len(data)}\n".encode())
        state.update(data)
    return state.hexdigest()
