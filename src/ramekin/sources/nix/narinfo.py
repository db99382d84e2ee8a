"""What a binary cache says of one store path, and whether that is believed (Nix manual, binary caches)."""

from __future__ import annotations

from dataclasses import dataclass

from ramekin.store.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class NarInfo:
    """A narinfo file. `path` is the full store path, `references` and `deriver` are base names.

    `url` is relative to the cache, `compression` as `compression.py` names it. `nar_hash` and `nar_size` are
    of the uncompressed NAR; `file_hash` and `file_size` of the file, None where the cache does not say.
    """

    path: str
    url: str
    compression: str
    nar_hash: Digest
    nar_size: int
    file_hash: Digest | None = None
    file_size: int | None = None
    references: tuple[str, ...] = ()
    deriver: str = ""
    system: str = ""
    signatures: tuple[str, ...] = ()
    ca: str = ""
