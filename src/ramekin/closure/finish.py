"""The image's last small layers: what depends on all its packages together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ramekin.closure import accounts, certificates, ldcache
from ramekin.closure.files import Files
from ramekin.closure.model import Alternative, Hints, Library, PackageFacts
from ramekin.image import tree as trees
from ramekin.image.tree import Entry, Tree
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
    `AccountError` when two accounts would share an id.
    """
    facts = sorted(facts, key=lambda known: known.name)
    layers = [
        ("java-certificates", _key_store(facts)),
        ("finish", _last(facts, suite, architecture, leave_out)),
    ]
    return tuple((name, tree) for name, tree in layers if len(tree))


def hints(facts: Sequence[PackageFacts], requested: Sequence[str]) -> Hints:
    """The image hints of the first requested package whose recipe gives any."""
    by_name = {known.name: known for known in facts}
    for request in requested:
        name = request.partition("=")[0].partition("/")[0].partition(":")[0]
        if name in by_name and by_name[name].hints != Hints():
            return by_name[name].hints
    return Hints()


def _key_store(facts: Sequence[PackageFacts]) -> Tree:
    """Java's trusted certificates; equal for all images with the same certificates."""
    source = next((known for known in facts if known.certificates), None)
    if source is None or not any(known.java_keystore for known in facts):
        return Tree()
    data = certificates.key_store(source.certificates, source.newest)
    store = trees.file(certificates.KEYSTORE, data, mtime=source.newest)
    return Tree([store]).with_parents(mtime=source.newest)


def _last(
    facts: Sequence[PackageFacts], suite: SuiteFacts, architecture: str, leave_out: frozenset[str]
) -> Tree:
    newest = max((known.newest for known in facts), default=0)
    files = Files(Tree(), suite.merged, newest)
    claimed = _claimed(facts)
    links = list(_alternatives(facts, files, claimed))
    names = {known.name for known in facts}
    for known in facts:
        for link in known.links:
            if link.path not in claimed and (not link.when or link.when in names):
                links.append((link.path, link.target))
        for folder in known.folders:
            files.make_folder("/" + folder.path, folder.mode, folder.uid, folder.gid)
    for path, target in links:
        if files.entries.get(path) is None:
            files.link("/" + path, target)
    if "accounts" not in leave_out:
        for entry in _accounts(facts, newest):
            files.put(entry)
    libraries = [library for known in facts for library in known.libraries]
    if libraries:
        generic = [
            Library(path, target=files.place(target))
            for path, target in _followed(files.entries.values())
            if ".so" in path
        ]
        cache = ldcache.write(
            [*libraries, *generic],
            [pair for known in facts for pair in known.library_paths],
            merged=suite.merged,
            architecture=architecture,
        )
        files.put(trees.file("etc/ld.so.cache", cache, mtime=newest))
    return files.tree()


def _claimed(facts: Sequence[PackageFacts]) -> set[str]:
    return {path for known in facts for path, _ in known.claimed()}


def _accounts(facts: Sequence[PackageFacts], mtime: int) -> list[Entry]:
    users = [user for known in facts for user in known.users]
    groups = [group for known in facts for group in known.groups]
    if not users and not groups:
        return []
    return [
        trees.file("etc/passwd", accounts.passwd(users), mtime=mtime),
        trees.file("etc/group", accounts.group(groups), mtime=mtime),
    ]


def best(candidates: Iterable[Alternative]) -> Alternative:
    """What update-alternatives(1) chooses by itself: the highest priority, then the first path."""
    return min(candidates, key=lambda one: (-one.priority, one.path))


def _alternatives(
    facts: Sequence[PackageFacts], files: Files, claimed: set[str]
) -> Iterable[tuple[str, str]]:
    by_name: dict[str, list[Alternative]] = {}
    for known in facts:
        for one in known.alternatives:
            by_name.setdefault(one.name, []).append(one)
    for name in sorted(by_name):
        chosen = best(by_name[name])
        for title, link, path in (
            (chosen.name, chosen.link, chosen.path),
            *((slave.name, slave.link, slave.path) for slave in chosen.slaves),
        ):
            place = files.place(link)
            if place not in claimed:
                yield place, f"/etc/alternatives/{title}"
                yield f"etc/alternatives/{title}", path


def _followed(entries: Iterable[Entry]) -> Iterable[tuple[str, str]]:
    """Links over `etc/alternatives` with where they lead in the end."""
    targets = {entry.path: entry.target for entry in entries}
    for path, target in sorted(targets.items()):
        yield path, targets.get(target.lstrip("/"), target)
