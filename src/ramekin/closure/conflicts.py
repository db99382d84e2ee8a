"""Who owns a path that several packages bring (Debian Policy, 7.6.1 and dpkg-divert(1))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ramekin.closure.model import PackageFacts
from ramekin.errors import RamekinError


class FileConflictError(RamekinError):
    """Two packages claim one path and nothing says which of them owns it."""


def claims(
    facts: Sequence[PackageFacts], replaces: Mapping[str, tuple[str, ...]]
) -> Mapping[str, Mapping[str, str]]:
    """For each package that must give way: its paths that do, and where the file goes ("" for nowhere).

    `replaces` names for each package those whose files it may take over. `FileConflictError` names the two
    packages and the path, unless both files are the same.
    """
    return {}
