"""A package's files made ready to be a layer.

unpacked tree
  → laid on the merged layout                   merged
  → accounts it declares                        declared
  → its scripts walked, what they do performed  scripts, commands
  → folders it declares                         declared
  → its recipe                                  recipes, certificates
  → libraries noted for ld.so.cache             ldcache
  → slices left out                             slices, gconv
  → records for scanners put in
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping

from ramekin.closure import declared, gconv, ldcache, merged, recipes, scripts, slices
from ramekin.closure.files import Files
from ramekin.closure.model import Alternative, Folder, Hints, PackageFacts, Prepared, SliceChoice, Unknown
from ramekin.image import tree as trees
from ramekin.image.tree import Entry, Kind, Tree
from ramekin.sources.protocol import PackageContent, SuiteFacts

_RECORDS = "var/lib/dpkg/status.d"


def prepare(
    content: PackageContent, *, facts: SuiteFacts, slices: SliceChoice, architecture: str
) -> Prepared:
    """The layer tree of `content` and the facts that the image needs of it.

    Pure: equal arguments (and `closure.revision()`) give an equal result. `architecture` is the image's, for
    packages of architecture `all`. `FormatError` names the package and path at fault.
    """
    package = content.package
    shipped = merged.relocate(content.tree, {**merged.LINKS, **facts.merged}, where=package.name)
    newest = shipped.newest
    files = Files(shipped, facts.merged, newest)
    outcome = scripts.Outcome()
    found = recipes.recipe(package.name)
    covers = [(rule.command, rule.reason) for rule in found.covers] if found is not None else []

    declared.make_accounts(files, outcome)
    for name in ("preinst", "postinst"):
        if name in content.scripts:
            scripts.walk(
                name,
                content.scripts[name],
                package=package.name,
                architecture=architecture,
                files=files,
                outcome=outcome,
                covers=covers,
                templates=content.scripts.get("templates", b""),
            )
    _triggers(content.scripts.get("triggers", b""), covers, outcome)
    declared.make_folders(files, outcome)
    hints = Hints()
    if found is not None:
        recipes.apply(found, package.name, files, outcome)
        outcome.deferred.extend(recipes.deferred(found, package.name, files))
        hints = recipes.hints(found, package.name)
    bundle = recipes.certificates_of(found, files)

    whole = files.tree()
    kept = _sliced(whole, slices)
    tree = gconv.consistent(kept.tree) if "gconv" in {tally.name for tally in kept.tallies} else kept.tree
    left_out = dict(kept.paths)
    sums = _md5sums(content.md5sums, facts.merged)
    if not slices.drop or "dpkg" not in slices.drop:
        tree = tree.plus(_records(content, sums, tree, files.made, newest))
    tree = tree.with_parents(mtime=newest)
    return Prepared(
        tree,
        PackageFacts(
            name=package.name,
            version=package.version,
            architecture=architecture,
            newest=newest,
            claims=_claims(shipped, sums, left_out, files),
            dropped=kept.tallies,
            dropped_paths="\n".join(f"{reason} {_line(path)}" for path, reason in sorted(left_out.items())),
            users=tuple(outcome.users[name] for name in sorted(outcome.users)),
            groups=outcome.group_list(),
            alternatives=tuple(_present(one, tree, whole, files) for one in outcome.alternatives),
            libraries=ldcache.scan(tree),
            library_paths=ldcache.configuration(tree),
            diversions=tuple(outcome.diversions),
            links=tuple(outcome.deferred),
            folders=_folders(tree, files),
            certificates=bundle,
            java_keystore=found is not None and "java-key-store" in found.built_in,
            hints=hints,
            unknown=tuple(outcome.unknown),
            handled=tuple(outcome.handled),
        ),
    )


def _sliced(tree: Tree, choice: SliceChoice) -> slices.Sliced:
    return slices.apply(tree, choice)


def _triggers(text: bytes, covers: list[tuple[str, str]], outcome: scripts.Outcome) -> None:
    """Judge what the package waits for (deb-triggers(5)); activating others' triggers is theirs to judge."""
    known = [*covers, *scripts.needless().triggers.items()]
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        fields = line.split()
        if len(fields) < 2 or not fields[0].startswith("interest"):
            continue
        for pattern, reason in known:
            if fnmatch.fnmatchcase(fields[1], pattern):
                outcome.say(f"trigger {fields[1]}: {reason}")
                break
        else:
            outcome.unknown.append(Unknown("triggers", number, line.strip()))


def _present(one: Alternative, tree: Tree, whole: Tree, files: Files) -> Alternative:
    """An alternative without the links to files that went with a slice or are not in the package."""

    def there(path: str) -> bool:
        place = files.place(path)
        return place in tree or place not in whole

    slaves = tuple(
        slave
        for slave in one.slaves
        if there(slave.path) and slices.matcher(SliceChoice()).slice_of(files.place(slave.link)) is None
    )
    return Alternative(one.name, one.link, one.path, one.priority, slaves)


def _folders(tree: Tree, files: Files) -> tuple[Folder, ...]:
    """Folders with an owner or mode of their own: another package that brings one too must not undo that."""
    return tuple(
        Folder(path, tree[path].mode, tree[path].uid, tree[path].gid)
        for path in sorted(files.made)
        if path in tree
        and tree[path].kind is Kind.DIRECTORY
        and (tree[path].mode, tree[path].uid, tree[path].gid) != (0o755, 0, 0)
    )


def _line(path: str) -> str:
    return (
        path.replace("\\", "\\\\")
        .replace("\n", "\\n")
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "replace")
    )


def _md5sums(text: bytes, moved: Mapping[str, str]) -> dict[str, str]:
    """The package's own digests by tree path."""
    sums: dict[str, str] = {}
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        digest, _, path = line.partition("  ")
        if path:
            sums[merged.place(path.strip("/"), moved)] = digest
    return sums


def _records(
    content: PackageContent, sums: Mapping[str, str], tree: Tree, changed: set[str], mtime: int
) -> list[Entry]:
    """`status.d/NAME` and the digests of those files that are in the layer as the package has them."""
    if not content.status:
        return []
    name = content.package.name
    lines = [
        f"{digest}  {path}\n"
        for path, digest in sums.items()
        if path in tree and (path not in changed) and tree[path].kind is Kind.FILE
    ]
    text = "".join(lines).encode("utf-8", "surrogateescape")
    return [
        trees.file(f"{_RECORDS}/{name}", content.status, mtime=mtime),
        trees.file(f"{_RECORDS}/{name}.md5sums", text, mtime=mtime),
    ]


def _claims(shipped: Tree, sums: Mapping[str, str], left_out: Mapping[str, str], files: Files) -> str:
    """A line for each path that the package brings and that is still there, folders aside."""
    lines: list[str] = []
    for path, entry in zip(shipped, shipped.entries(), strict=True):
        if entry.kind is Kind.DIRECTORY or path in left_out or path not in files.entries:
            continue
        lines.append(f"{_identity(entry, sums.get(path))} {_line(path)}")
    return "\n".join(lines)


def _identity(entry: Entry, md5: str | None) -> str:
    """A word that is equal for files that could take each other's place."""
    if entry.kind is Kind.FILE:
        if md5 is None:
            md5 = hashlib.sha256(entry.read()).hexdigest()[:32] if entry.size < 1 << 22 else "-"
        return f"{entry.mode:o}:{entry.size}:{md5}"
    target = hashlib.sha256(entry.target.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{entry.kind.name.lower()}:{target}"
