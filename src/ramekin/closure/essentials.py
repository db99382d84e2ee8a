"""What every program may silently expect to find, as small trees that stand lowest in all images.

| name | holds |
|---|---|
| `skeleton` | Debian's folders, the links of a merged /usr, mount points; cannot be left out |
| `accounts` | passwd and group with the base accounts and `nonroot` (65532) |
| `nsswitch` | nsswitch.conf: files, then DNS |
| `os-release` | what the suite says of itself |
| `tmp` | /tmp and /var/tmp for everyone |
| `locale` | C.UTF-8, the only one that is no choice of language: a part of Debian's package libc-bin |
| `ca-certificates`, `tzdata` | Debian's packages of that name, without what they depend on |

All of the first five depend on the suite alone, so they are one layer under everything.
"""

from __future__ import annotations

import difflib
import re

from ramekin.closure import accounts
from ramekin.closure.files import SKELETON
from ramekin.closure.merged import LINKS
from ramekin.errors import UsageError
from ramekin.image import tree as trees
from ramekin.image.tree import Entry, Tree
from ramekin.sources.protocol import SuiteFacts

NAMES = ("accounts", "ca-certificates", "locale", "nsswitch", "os-release", "skeleton", "tmp", "tzdata")
PACKAGES = {"ca-certificates": "ca-certificates", "locale": "libc-bin", "tzdata": "tzdata"}
PARTS = {
    "libc-bin": re.compile(
        "usr/lib/locale/.*|usr/share/doc/libc-bin/copyright|var/lib/dpkg/status.d/.*", re.DOTALL
    )
}
"""Packages of which only these paths are essential; the rest stays where somebody needs any of it."""
MTIME = 0

_NSSWITCH = """\
passwd:     files
group:      files
shadow:     files
gshadow:    files
hosts:      files dns
networks:   files
protocols:  files
services:   files
ethers:     files
rpc:        files
netgroup:   nis
"""
_MODES = {
    "home/nonroot": (0o700, accounts.NONROOT, accounts.NONROOT),
    "proc": (0o555, 0, 0),
    "root": (0o700, 0, 0),
    "run/lock": (0o1777, 0, 0),
    "sys": (0o555, 0, 0),
    "tmp": (0o1777, 0, 0),
    "usr/local": (0o755, 0, 0),
    "var/local": (0o2775, 0, 50),
    "var/mail": (0o2775, 0, 8),
    "var/tmp": (0o1777, 0, 0),
}


def check(names: frozenset[str]) -> frozenset[str]:
    """`names` of essentials to leave out; `UsageError` for one that is not known or cannot be left out."""
    for name in sorted(names):
        if name == "skeleton":
            raise UsageError(
                "the folders of an image cannot be left out", hint="drop another of the essentials"
            )
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(NAMES)}"
            raise UsageError(f"there are no essentials named {name!r}", hint=hint)
    return names


def packages(leave_out: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Packages that stand in every image; what they depend on is not followed."""
    return tuple(package for name, package in PACKAGES.items() if name not in leave_out)


def essentials(suite: SuiteFacts, leave_out: frozenset[str] = frozenset()) -> tuple[tuple[str, Tree], ...]:
    """The lowest layers of every image, lowest first: each a name and a tree."""
    check(leave_out)
    entries = [*_skeleton(suite)]
    if "tmp" not in leave_out:
        entries += [_folder("tmp"), _folder("var/tmp")]
    if "accounts" not in leave_out:
        entries.append(trees.file("etc/passwd", accounts.passwd(()), mtime=MTIME))
        entries.append(trees.file("etc/group", accounts.group(()), mtime=MTIME))
    if "nsswitch" not in leave_out:
        entries.append(trees.file("etc/nsswitch.conf", _NSSWITCH.encode(), mtime=MTIME))
    if "os-release" not in leave_out and suite.os_release:
        entries.append(trees.file("usr/lib/os-release", suite.os_release.encode(), mtime=MTIME))
        entries.append(trees.symlink("etc/os-release", "../usr/lib/os-release", mtime=MTIME))
    return (("base", Tree(entries)),)


def _folder(path: str) -> Entry:
    mode, uid, gid = _MODES.get(path, (0o755, 0, 0))
    return trees.directory(path, mode=mode, uid=uid, gid=gid, mtime=MTIME)


def _skeleton(suite: SuiteFacts) -> list[Entry]:
    entries = [_folder(path) for path in sorted(SKELETON - {"tmp", "var/tmp"})]
    entries.append(_folder("home/nonroot"))
    for link, target in sorted(suite.merged.items()):
        entries.append(trees.symlink(link, target, mtime=MTIME))
        entries.append(_folder(target))
    entries += [trees.symlink(link, f"/{target}", mtime=MTIME) for link, target in LINKS.items()]
    return entries
