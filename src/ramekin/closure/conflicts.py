"""Who owns a path that several packages bring (Debian Policy, 7.6.1, and dpkg-divert(1))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ramekin.closure.model import PackageFacts
from ramekin.errors import RamekinError


class FileConflictError(RamekinError):
    """Two packages claim one path and nothing says which of them owns it."""


def claims(
    facts: Sequence[PackageFacts], replaces: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, str]]:
    """For each package that must give way: its paths that do, and where the file goes ("" for nowhere).

    `replaces` names for each package those whose files it may take over. `FileConflictError` names the two
    packages and the path, unless both files are the same.
    """
    giving: dict[str, dict[str, str]] = {}
    diverted = {
        diversion.path: (known.name, diversion.to) for known in facts for diversion in known.diversions
    }
    owners: dict[str, tuple[str, str]] = {}
    for known in sorted(facts, key=lambda one: one.name):
        for path, identity in known.claimed():
            diversion = diverted.get(path)
            if diversion is not None and diversion[0] != known.name:
                giving.setdefault(known.name, {})[path] = diversion[1]
                path = diversion[1]
            before = owners.get(path)
            if before is None:
                owners[path] = (known.name, identity)
            elif before[0] != known.name and before[1] != identity:
                loser = _loser(before[0], known.name, path, replaces)
                giving.setdefault(loser, {})[path] = ""
                if loser == before[0]:
                    owners[path] = (known.name, identity)
    _no_link_above(facts)
    return giving


def _no_link_above(facts: Sequence[PackageFacts]) -> None:
    """Refuse files below a path that another package has as a link: a layer would replace the link."""
    links = {
        path: known.name
        for known in facts
        for path, identity in known.claimed()
        if identity.startswith("symlink")
    }
    for known in facts:
        seen = ""
        for path, _ in known.claimed():
            parent = path.rpartition("/")[0]
            if parent == seen:
                continue
            seen = parent
            while parent:
                if parent in links and links[parent] != known.name:
                    raise FileConflictError(
                        f"the package {links[parent]} brings /{parent} as a link, "
                        f"and {known.name} files below it",
                        hint="leave one of them out, or report it to the distribution",
                    )
                parent = parent.rpartition("/")[0]


def _loser(first: str, second: str, path: str, replaces: Mapping[str, tuple[str, ...]]) -> str:
    if first in replaces.get(second, ()):
        return first
    if second in replaces.get(first, ()):
        return second
    raise FileConflictError(
        f"the packages {first} and {second} both bring /{path}, with different content",
        hint="leave one of them out, or report the missing Replaces to the distribution",
    )
