"""Store paths of Nix in images: their evidence, links to what was asked for, and Nix's own database.

A store path goes into an image as it is: nothing of it is sliced, and no recipe is for it. What it needs is
what its files name: other store paths, whose hashes stand in programs, scripts and links.
"""

from __future__ import annotations

from functools import cache

STORE = "nix/store/"
"""Where all store paths are, as a tree path."""

MTIME = 1
"""The time that every file in a Nix store has, in seconds since 1970."""

_HASH = 32


@cache
def revision() -> str:
    """A digest of this folder: equal revisions prepare and scan equal store paths to equal results."""
    import hashlib
    from pathlib import Path

    state = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        data = path.read_bytes()
        state.update(f"{path.name} {len(data)}\n".encode())
        state.update(data)
    return state.hexdigest()


def owner(path: str) -> str:
    """The base name of the store path that a tree path lies in, or "" for one that lies in none."""
    if not path.startswith(STORE):
        return ""
    return path[len(STORE) :].partition("/")[0]


def title(name: str) -> str:
    """What people call a store path with the base name `name`: all that stands after the hash."""
    return name[_HASH + 1 :] if is_base(name) else name


def is_base(name: str) -> bool:
    """Whether `name` looks like a store path's base name."""
    return len(name) > _HASH + 1 and name[_HASH] == "-" and name[:_HASH].isalnum()
