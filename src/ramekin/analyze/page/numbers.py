"""Bytes in words, as terminal and script spell them."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes for people: `9.3 MB`."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            break
        value /= 1000
    return (
        f"{count} B" if unit == "B" else f"{value:.1f} {unit}" if abs(value) < 99.5 else f"{value:.0f} {unit}"
    )


def signed(count: int) -> str:
    """A difference of bytes."""
    return f"{'+' if count >= 0 else '−'}{size(abs(count))}"
