"""What every program may silently expect to find, as small layers that all images share."""

from __future__ import annotations

from ramekin.errors import UsageError
from ramekin.image import tree
from ramekin.image.tree import Tree
from ramekin.sources.protocol import SuiteFacts

NAMES = ("accounts", "ca-certificates", "nsswitch", "os-release", "skeleton", "tmp", "tzdata")
PACKAGES = ("ca-certificates", "tzdata")


def leave_out(names: frozenset[str]) -> frozenset[str]:
    """Check names of essentials to leave out, with or without `essentials/` before them."""
    for name in names:
        if name not in NAMES:
            raise UsageError(f"there are no essentials named {name!r}", hint="they are " + ", ".join(NAMES))
    return names


def packages(leave_out: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Packages that stand in every image; what they depend on is not followed."""
    return tuple(name for name in PACKAGES if name not in leave_out)


def essentials(suite: SuiteFacts, leave_out: frozenset[str] = frozenset()) -> tuple[tuple[str, Tree], ...]:
    """The lowest layers of every image, lowest first: each a name and a tree."""
    skeleton = [tree.directory(path) for path in ("etc", "usr", "usr/bin", "var", "tmp")]
    return (("skeleton", Tree(skeleton)),)
