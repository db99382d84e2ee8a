"""A closure by evidence, explained: chains in words, and the graph as DOT and SVG."""

from __future__ import annotations

from ramekin.closure.follow import Followed


def chain(followed: Followed, target: str) -> tuple[str, ...]:
    """Why a package (a name) or file (an absolute path) is in the image, from what was asked to it, or why it is not."""
    return ()


def dropped(followed: Followed) -> tuple[tuple[str, int, str], ...]:
    """Every package and file that was left out: its name or absolute path, bytes, and reason; largest first."""
    return ()


def dot(followed: Followed) -> str:
    """The kept packages and the needs between them in the DOT language."""
    return ""


def svg(followed: Followed) -> str:
    """The same graph as a picture."""
    return ""
