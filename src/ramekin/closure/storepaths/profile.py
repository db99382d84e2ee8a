"""Links to what was asked for: `/bin/redis-server` for the program in its store path.

asked for ──▶ its folders `bin`, `lib`, `share`, … ──▶ a link for each entry
                                       several have one folder: a folder of links to the entries of all

Where two store paths have the same path, the lower priority wins, and of equal ones the one that was asked
for first; who loses is said. What the image has of its own (`etc/passwd`) is never hidden by a link.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ramekin.closure.model import PackageFacts
from ramekin.closure.storepaths import MTIME, STORE, owner, title
from ramekin.closure.storepaths.follow import command
from ramekin.closure.storepaths.prepare import unline
from ramekin.image import tree as trees
from ramekin.image.tree import Entry, Tree
from ramekin.sources.protocol import Resolution

LOCAL = "usr/local/"
"""Where links stand in an image that has packages of a distribution too, whose files come first in `usr`."""

_OWN = frozenset(("dev", "nix", "nix-support", "proc", "run", "sys", "tmp"))
"""Folders of a store path that are not linked: the image's own, and notes of Nix's builds."""

_UNLINKED = frozenset(("propagated-build-inputs", "share/info/dir", "log"))

_ESSENTIALS = (
    ("bin/sh", "sh"),
    ("usr/bin/env", "env"),
)
"""Paths that scripts and system(3) name, and the command behind each."""

_CERTIFICATES = (
    "etc/ssl/certs/ca-certificates.crt",
    "etc/ssl/certs/ca-bundle.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
)
_BUNDLE = "etc/ssl/certs/ca-bundle.crt"
_ZONES = ("usr/share/zoneinfo", "etc/zoneinfo")
_ZONEINFO = "share/zoneinfo"


@dataclass(frozen=True, slots=True)
class Asked:
    """A store path that was asked for: its base name, and what decides between it and others."""

    name: str
    priority: int = 5


@dataclass(frozen=True, slots=True)
class Profile:
    """The links, and what is to be said of those that gave way."""

    tree: Tree
    conflicts: tuple[str, ...]


@dataclass
class _Folder:
    """One folder of the profile: the store paths that have it, its folders, and whose each other entry is."""

    owners: dict[str, None] = field(default_factory=dict)
    folders: dict[str, _Folder] = field(default_factory=dict)
    leaves: dict[str, str] = field(default_factory=dict)


def profile(
    asked: Sequence[Asked],
    facts: Mapping[str, PackageFacts],
    resolution: Resolution,
    *,
    gone: Collection[str] = (),
    present: Collection[str] = (),
    folders: Collection[str] = (),
    local: bool = False,
    links: bool = True,
) -> Profile:
    """The links of an image.

    `facts` are of all store paths by name, `gone` tree paths that the image does not hold, `present` files
    and links that it has of its own, and `folders` its folders. `local` puts links below `/usr/local`.
    Without `links` there are only those that programs silently expect: `/bin/sh`, `/usr/bin/env`,
    certificates and time zones.
    """
    listed = _Listed(facts, gone)
    names = [one.name for one in asked]
    expected = {} if local else _expected(listed, facts, resolution, names)
    found: dict[str, str] = {}
    merging = _Merging(
        {name: _expanded(name, listed) for name in names},
        {one.name: one.priority for one in asked},
        LOCAL if local else "",
        frozenset(present),
        frozenset(folders) | {parent for path in expected for parent in _parents(path)},
    )
    if links:
        merging.run([one.name for one in sorted(asked, key=lambda one: one.priority)])
        found = merging.found
    for path, target in expected.items():
        if path not in present:
            found.setdefault(path, target)
    entries: list[Entry] = [trees.symlink(path, target, mtime=MTIME) for path, target in found.items()]
    return Profile(Tree(entries).with_parents(mtime=MTIME), tuple(merging.conflicts))


class _Listed:
    """The files of store paths, relative to them, each with its identity; read when they are asked for."""

    def __init__(self, facts: Mapping[str, PackageFacts], gone: Collection[str]) -> None:
        self._facts, self._gone = facts, gone
        self._known: dict[str, dict[str, str]] = {}

    def of(self, name: str) -> Mapping[str, str]:
        found = self._known.get(name)
        if found is None:
            root = f"{STORE}{name}/"
            claimed = self._facts[name].claimed() if name in self._facts else ()
            found = self._known[name] = {
                path[len(root) :]: identity
                for text, identity in claimed
                if (path := unline(text)) and path.startswith(root) and path not in self._gone
            }
        return found


def _expanded(name: str, listed: _Listed) -> dict[str, str]:
    """The files of a store path; a link to a folder of any store path stands for all that is in that."""
    found: dict[str, str] = {}
    for path, identity in listed.of(name).items():
        target = (unline(identity.removeprefix("symlink:")) or "") if identity.startswith("symlink:") else ""
        target = target.lstrip("/")
        other = owner(target)
        inside = target[len(STORE) + len(other) + 1 :] + "/"
        below = [one for one in listed.of(other) if one.startswith(inside)] if len(inside) > 1 else []
        for one in below:
            found[f"{path}/{one[len(inside) :]}"] = listed.of(other)[one]
        if not below:
            found[path] = identity
    return found


def _expected(
    listed: _Listed,
    facts: Mapping[str, PackageFacts],
    resolution: Resolution,
    asked: Sequence[str],
) -> dict[str, str]:
    """A shell, `env`, certificates and time zones where programs look for them, with where they are."""
    found: dict[str, str] = {}
    for path, word in _ESSENTIALS:
        programs = {
            name: [f"{STORE}{name}/{folder}/{word}" for folder in ("bin", "sbin")]
            for name, known in facts.items()
            if f"bin/{word}" in known.claims
        }
        there = {
            name: [one for one in ones if one[len(STORE) + len(name) + 1 :] in listed.of(name)]
            for name, ones in programs.items()
        }
        if (target := command(word, resolution, there, asked)) is not None:
            found[path] = "/" + target
    for name in asked:
        if _BUNDLE in listed.of(name):
            for path in _CERTIFICATES:
                found.setdefault(path, f"/{STORE}{name}/{_BUNDLE}")
        if any(path.startswith(_ZONEINFO + "/") for path in listed.of(name)):
            for path in _ZONES:
                found.setdefault(path, f"/{STORE}{name}/{_ZONEINFO}")
    return found


class _Merging:
    def __init__(
        self,
        listed: Mapping[str, Mapping[str, str]],
        priorities: Mapping[str, int],
        prefix: str,
        present: frozenset[str],
        folders: frozenset[str],
    ) -> None:
        self.listed, self.priorities, self.prefix, self.present = listed, priorities, prefix, present
        self.found: dict[str, str] = {}
        self.conflicts: dict[str, None] = {}
        self.taken = present | folders | {parent for path in present for parent in _parents(path)}
        self.top = _Folder()

    def run(self, names: Sequence[str]) -> None:
        for name in names:
            for path, identity in self.listed.get(name, {}).items():
                if path.partition("/")[0] not in _OWN and path not in _UNLINKED:
                    self._add(name, path, identity)
        for part, folder in sorted(self.top.folders.items()):
            self._inside(part, folder)

    def _add(self, name: str, path: str, identity: str) -> None:
        """Put in a file or link of a store path, unless another store path has something in its place."""
        here, done = self.top, ""
        *parents, last = path.split("/")
        if not parents:
            return
        for part in parents:
            done = f"{done}/{part}" if done else part
            if part in here.leaves:
                self._clash(here.leaves[part], name, done)
                return
            here = here.folders.setdefault(part, _Folder())
            here.owners[name] = None
        if last in here.folders:
            self._clash(next(iter(here.folders[last].owners)), name, path)
        elif (other := here.leaves.setdefault(last, name)) != name and not (
            # both lead to the same file
            identity.startswith("symlink:") and self.listed[other][path] == identity
        ):
            self._clash(other, name, path)

    def _clash(self, winner: str, loser: str, path: str) -> None:
        first, second = self.priorities.get(winner, 5), self.priorities.get(loser, 5)
        why = f"priority {first} before {second}" if first != second else "which was asked for first"
        self.conflicts[f"/{self.prefix}{path} is of {title(winner)} and not of {title(loser)} ({why})"] = None

    def _inside(self, path: str, folder: _Folder) -> None:
        """Links in one folder of the image."""
        for part, one in sorted(folder.leaves.items()):
            self._link(f"{path}/{part}", one)
        for part, inside in sorted(folder.folders.items()):
            below = f"{path}/{part}"
            if len(inside.owners) > 1 or self.prefix + below in self.taken:
                self._inside(below, inside)
            else:
                self._link(below, next(iter(inside.owners)))

    def _link(self, path: str, name: str) -> None:
        place = self.prefix + path
        if place in self.taken or any(parent in self.present for parent in _parents(place)):
            self.conflicts[f"/{place} is the image's own and not of {title(name)}"] = None
        else:
            self.found[place] = f"/{STORE}{name}/{path}"


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
