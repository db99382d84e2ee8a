"""The image's last small layer: what depends on all its packages together."""

from __future__ import annotations

from collections.abc import Sequence

from ramekin.closure.model import Hints, PackageFacts
from ramekin.image.tree import Tree
from ramekin.sources.protocol import SuiteFacts


def finish(
    facts: Sequence[PackageFacts],
    *,
    suite: SuiteFacts,
    architecture: str,
    leave_out: frozenset[str] = frozenset(),
) -> tuple[tuple[str, Tree], ...]:
    """Named trees to put on top, in order; empty ones are left away.

    `facts` are of all packages of the image, in any order; `leave_out` names essentials left out.
    """
    return ()


def hints(facts: Sequence[PackageFacts], requested: Sequence[str]) -> Hints:
    """The image hints of the first requested package whose recipe gives any."""
    return Hints()
