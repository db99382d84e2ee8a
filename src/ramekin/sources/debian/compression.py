"""How Debian's files are compressed, by the endings of their names (deb(5); DebianRepository/Format)."""

from __future__ import annotations

from types import MappingProxyType

SUFFIXES = MappingProxyType(
    {".xz": "xz", ".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lzma": "lzma", "": "none"}
)
"""The names that `image.compress` has for them, in the order in which indexes are preferred."""
