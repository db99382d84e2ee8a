"""Recipes: what a package needs beyond its files, said in data (`data/recipes/NAME.yaml`).

A file's name is a package name in which `_` stands for a version such as 15 or 8.2, so that the recipe for a
package is found without opening any other: `postgresql-_.yaml` serves `postgresql-15`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from ramekin.closure import accounts, certificates, data
from ramekin.closure.files import Files
from ramekin.closure.model import Alternative, DeferredLink, Hints
from ramekin.closure.multiarch import MULTIARCH
from ramekin.closure.scripts import Outcome
from ramekin.closure.slices import glob
from ramekin.errors import FormatError
from ramekin.image.tree import Kind

_FOLDER = data.ROOM / "recipes"


@cache
def _names() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Patterns of package names and the recipe's file name, exact names first."""
    names = sorted(path.name.removesuffix(".yaml") for path in _FOLDER.glob("*.yaml"))
    names.sort(key=lambda name: ("_" in name, name))
    return tuple((re.compile(re.escape(name).replace("_", r"[0-9][0-9.]*") + r"\Z"), name) for name in names)


@cache
def recipe(package: str) -> data.Recipe | None:
    """The recipe for a package, or None."""
    for pattern, name in _names():
        if pattern.match(package):
            return data.load(f"recipes/{name}.yaml", data.Recipe)
    return None


@cache
def _needs() -> data.Needs:
    return data.load("needs.yaml", data.Needs)


def needs(packages: Iterable[str]) -> dict[str, str]:
    """Packages that some of `packages` use without saying so, each with the reason.

    Debian leaves dependencies on Essential packages unsaid; an image has only what is asked for.
    """
    found: dict[str, str] = {}
    for package in packages:
        for pattern, needed in _needs().needs.items():
            if re.fullmatch(re.escape(pattern).replace("_", r"[0-9][0-9.]*"), package):
                for name, reason in needed.items():
                    found.setdefault(name, f"{package}: {reason}")
    return found


def _fill(package: str, files: Files | None = None) -> Callable[[str], str]:
    """Puts the version in the package's name for `{version}`, its folder of libraries for `{triplet}`."""
    version = (re.search(r"[0-9][0-9.]*", package) or [""])[0]
    folders = (name for name in MULTIARCH.values() if files and f"usr/lib/{name}" in files.entries)
    triplet = next(folders, "")
    return lambda text: text.replace("{version}", version).replace("{triplet}", triplet)


def apply(found: data.Recipe, package: str, files: Files, outcome: Outcome) -> None:
    """Do to `files` what a recipe says. `FormatError` when it names what the package has not."""
    fill = _fill(package, files)
    for name in found.users:
        user = accounts.table().users.get(name)
        if user is None:
            raise FormatError(f"the recipe of {package} names the user {name}, who is not in accounts.yaml")
        outcome.users[name] = user
        if any(group.name == name for group in accounts.table().groups.values()):
            outcome.groups.setdefault(name, accounts.group_id(name))
    for name in found.groups:
        outcome.groups.setdefault(name, accounts.group_id(name))
    for path in found.remove:
        pattern = glob(fill(path))
        for gone in [one for one in files.entries if pattern.match(one)]:
            files.remove("/" + gone)
    for directory in found.directories:
        files.make_folder(
            "/" + fill(directory.path), int(directory.mode, 8), _uid(directory.owner), _gid(directory.group)
        )
    for file in found.files:
        path = "/" + fill(file.path)
        if file.copy is not None:
            source = files.resolve("/" + fill(file.copy))
            if source is None or source.content is None:
                outcome.say(f"recipe: /{fill(file.copy)} is not in this version, so {path} was not made")
                continue
            files.write(path, source.content, int(file.mode, 8))
        else:
            files.write(path, fill(file.text or "").encode(), int(file.mode, 8))
        files.change(path, uid=_uid(file.owner), gid=_gid(file.group))
    for link in found.links:
        if not link.when and not link.if_free:
            files.link("/" + fill(link.path), fill(link.target))
    for rule in found.owners:
        pattern = glob(fill(rule.path))
        for hit in [
            one
            for one, entry in files.entries.items()
            if entry.kind is not Kind.SYMLINK and pattern.match(one)
        ]:
            files.change(
                "/" + hit,
                mode=int(rule.mode, 8) if rule.mode else None,
                uid=_uid(rule.owner) if rule.owner else None,
                gid=_gid(rule.group) if rule.group else None,
            )
    for one in found.alternatives:
        candidate = Alternative(fill(one.name), fill(one.link), fill(one.path), one.priority)
        outcome.alternatives.append(candidate)
    outcome.say(f"recipe: {found.reason}")


def deferred(found: data.Recipe, package: str, files: Files) -> tuple[DeferredLink, ...]:
    """Links that a recipe makes only beside other packages, or only where no package has the path."""
    fill = _fill(package, files)
    links = [
        DeferredLink(fill(link.path), fill(link.target), fill(link.when))
        for link in found.links
        if link.when or link.if_free
    ]
    for name in found.built_in:
        maker = _LINKS.get(name)
        if maker is not None:
            links.extend(maker(files))
    return tuple(links)


def hints(found: data.Recipe, package: str) -> Hints:
    """What a recipe says about running an image; the user as numbers."""
    image = found.image
    fill_one = _fill(package)

    def fill(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(fill_one, texts))

    user = ""
    if image.user:
        known = accounts.table().users[image.user]
        user = f"{known.uid}:{known.gid}"
    return Hints(
        fill(image.entrypoint),
        fill(image.cmd),
        fill(image.env),
        user,
        fill_one(image.workdir),
        image.ports,
        fill(image.volumes),
        image.stop_signal,
    )


def _busybox_links(files: Files) -> list[DeferredLink]:
    """A link for each applet, by the list of names in the program itself."""
    entry = files.resolve("/usr/bin/busybox")
    if entry is None or entry.size > 16 << 20:
        return []
    found = re.search(rb"\0\[\0\[\[\0(?:[a-z0-9_.+-]+\0){40,}", entry.read())
    if found is None:
        return []
    names = [name.decode() for name in found.group().split(b"\0") if name]
    return [DeferredLink(f"usr/bin/{name}", "busybox", "") for name in names if name != "busybox"]


_LINKS: dict[str, Callable[[Files], list[DeferredLink]]] = {"busybox-applets": _busybox_links}
BUILT_IN = frozenset((*_LINKS, "ca-bundle", "java-key-store"))


def certificates_of(found: data.Recipe | None, files: Files) -> bytes:
    """The CA bundle, made if the recipe asks for it."""
    return certificates.make_bundle(files) if found is not None and "ca-bundle" in found.built_in else b""


def _uid(name: str) -> int:
    return int(name) if name.isdigit() else accounts.user_id(name)


def _gid(name: str) -> int:
    return int(name) if name.isdigit() else accounts.group_id(name)
