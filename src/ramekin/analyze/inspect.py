"""How all is found out that `ramekin inspect` tells of one image (`inspection`)."""

from __future__ import annotations

from collections.abc import Iterator

from ramekin.analyze import waste
from ramekin.analyze.inspection import (
    Copies,
    FileRow,
    Inspection,
    Layer,
    Loss,
    PackageRow,
    Savings,
    Share,
    keep,
)
from ramekin.analyze.inspection import known as known
from ramekin.analyze.model import Count, ReadImage
from ramekin.analyze.owners import Owned, Owners, owners
from ramekin.analyze.stack import DELETED, OVERWRITTEN, REPEATED, TOUCHED, Stack, stack
from ramekin.analyze.treemap import treemap
from ramekin.image.tree import Kind
from ramekin.store.store import Store

MOST = 500
"""Entries of each list."""
NOBODY = "nobody"


def inspect(image: ReadImage, store: Store | None = None) -> Inspection:
    """Find out all, and keep it in `store`."""
    found = of_stack(stack(image))
    if store is not None:
        keep(found, image.outline, store)
    return found


def of_stack(stacked: Stack) -> Inspection:
    """Everything that the stacked layers tell."""
    image, told = stacked.image, stacked.image.outline
    owned = owners(stacked)
    facts = _Facts(stacked, owned)
    duplicates, copies, surplus = _duplicates(stacked, facts)
    lost = sum(loss.size for loss in stacked.lost)
    return Inspection(
        image=told.name,
        digest=told.root.digest,
        platform=str(told.platform or ""),
        created=told.config.created,
        stored=told.stored,
        size=stacked.size,
        files=len(facts.paths),
        folders=len(stacked.files) - len(facts.paths),
        efficiency=stacked.efficiency,
        savings=Savings(
            lost=lost,
            duplicates=duplicates.size,
            symbols=sum(size for path, size in facts.symbols.items() if path not in surplus),
            unneeded=sum(share.size for share in facts.categories()),
        ),
        layers=tuple(
            Layer(
                number=number,
                digest=blob.digest,
                command=plain(command),
                stored=blob.size,
                size=change.size,
                lost=change.lost,
                added=change.added,
                changed=change.changed,
                deleted=change.deleted,
                absent=layer.absent,
            )
            for number, (blob, command, change, layer) in enumerate(
                zip(told.layers, told.commands, stacked.layers, image.layers, strict=True), 1
            )
        ),
        losses=_losses(stacked),
        lost=tuple(
            Loss(plain(loss.path), loss.size, loss.layer + 1, loss.by + 1, loss.how)
            for loss in stacked.lost[:MOST]
        ),
        duplicates=duplicates,
        copies=copies,
        categories=facts.categories(),
        systems=_systems(owned),
        packages=_packages(owned),
        biggest_folders=_folders(facts),
        biggest_files=_files(stacked, facts),
        by_folder=treemap(facts.rows()),
        by_package=treemap(facts.rows_by_package()),
    )


def _losses(stacked: Stack) -> dict[str, Count]:
    sizes = {
        how: [loss.size for loss in stacked.lost if loss.how == how]
        for how in (DELETED, OVERWRITTEN, TOUCHED, REPEATED)
    }
    return {how: Count(len(found), sum(found)) for how, found in sizes.items() if found}


class _Facts:
    """Owner, waste and bytes of every file; a content is counted at its first name."""

    def __init__(self, stacked: Stack, owned: Owners) -> None:
        self._stacked, self._owned = stacked, owned
        self.paths: list[str] = []
        self.sizes: list[int] = []
        self.waste: list[str] = []
        self.symbols: dict[str, int] = {}
        seen: set[int] = set()
        for path, placed in stacked.files.items():
            if placed.file.kind is Kind.DIRECTORY:
                continue
            inode = placed.inode
            size = 0
            if inode is not None and id(inode) not in seen:
                if inode.names > 1:
                    seen.add(id(inode))
                size = inode.file.size
            self.paths.append(path)
            self.sizes.append(size)
            category = waste.category(path) if size else ""
            self.waste.append(category)
            elf = stacked.traits(path).get("elf") if size and not category else None
            if elf is not None and elf.get("kind") in ("program", "library"):
                spare = min(size, elf.get("debug", 0) + elf.get("symbols", 0))
                if spare:
                    self.symbols[path] = spare

    def owner(self, path: str) -> str:
        package = self._owned.package(path)
        return f"{package.system}/{package.name}" if package else ""

    def system(self, path: str) -> str:
        package = self._owned.package(path)
        return package.system if package else NOBODY

    def categories(self) -> tuple[Share, ...]:
        files = dict.fromkeys(waste.CATEGORIES, 0)
        sizes = dict.fromkeys(waste.CATEGORIES, 0)
        for category, size in zip(self.waste, self.sizes, strict=True):
            if category:
                files[category] += 1
                sizes[category] += size
        return tuple(
            Share(name, files[name], sizes[name])
            for name in sorted(sizes, key=lambda name: -sizes[name])
            if files[name]
        )

    def rows(self) -> Iterator[tuple[list[str], int, str, str]]:
        """Path, bytes, packaging system and waste of each file with bytes."""
        for path, size, category in zip(self.paths, self.sizes, self.waste, strict=True):
            if size:
                yield plain(path).split("/"), size, self.system(path), category

    def rows_by_package(self) -> Iterator[tuple[list[str], int, str, str]]:
        """The same below system and package."""
        for path, size, category in zip(self.paths, self.sizes, self.waste, strict=True):
            if not size:
                continue
            package = self._owned.package(path)
            if package is None:
                yield [NOBODY, *plain(path).split("/")], size, NOBODY, category
            else:
                yield [package.system, str(package), plain(path)], size, package.system, category


def _duplicates(stacked: Stack, facts: _Facts) -> tuple[Count, tuple[Copies, ...], set[str]]:
    """Contents that are in the image more than once, and the paths of all copies but one.

    What is waste by its category is not counted again.
    """
    groups: dict[bytes, list[str]] = {}
    for path, size, category in zip(facts.paths, facts.sizes, facts.waste, strict=True):
        if size and not category:
            groups.setdefault(stacked.files[path].content.digest, []).append(path)
    found = []
    surplus: set[str] = set()
    for paths in groups.values():
        if len(paths) > 1:
            surplus.update(paths[1:])
            size = stacked.files[paths[0]].size
            found.append(Copies(size, len(paths), size * (len(paths) - 1), tuple(map(plain, paths[:10]))))
    found.sort(key=lambda group: (-group.wasted, group.paths))
    files = sum(group.copies - 1 for group in found)
    return Count(files, sum(group.wasted for group in found)), tuple(found[:MOST]), surplus


def _systems(owned: Owners) -> tuple[Share, ...]:
    files: dict[str, int] = {NOBODY: owned.nobody.files}
    sizes: dict[str, int] = {NOBODY: owned.nobody.size}
    for package, part in zip(owned.packages, owned.owned, strict=True):
        files[package.system] = files.get(package.system, 0) + part.files
        sizes[package.system] = sizes.get(package.system, 0) + part.size
    return tuple(
        Share(name, files[name], sizes[name])
        for name in sorted(sizes, key=lambda n: (-sizes[n], n))
        if files[name]
    )


def _packages(owned: Owners) -> tuple[PackageRow, ...]:
    def row(name: str, part: Owned) -> tuple[int, str]:
        return -part.size, name

    pairs = sorted(zip(owned.packages, owned.owned, strict=True), key=lambda pair: row(pair[0].name, pair[1]))
    return tuple(
        PackageRow(package.system, package.name, package.version, part.files, part.size)
        for package, part in pairs[: 4 * MOST]
        if part.files
    )


def _folders(facts: _Facts) -> tuple[Share, ...]:
    """The biggest folders, those left out that have all their bytes in one folder below."""
    sizes: dict[str, int] = {}
    files: dict[str, int] = {}
    for path, size in zip(facts.paths, facts.sizes, strict=True):
        folder = path.rpartition("/")[0]
        sizes[folder] = sizes.get(folder, 0) + size
        files[folder] = files.get(folder, 0) + 1
    all_sizes, all_files = dict(sizes), dict(files)
    for folder, size in sizes.items():
        above = folder
        while above:
            above = above.rpartition("/")[0]
            all_sizes[above] = all_sizes.get(above, 0) + size
            all_files[above] = all_files.get(above, 0) + files[folder]
    return _top_folders(all_sizes, all_files)


def _top_folders(sizes: dict[str, int], files: dict[str, int]) -> tuple[Share, ...]:
    largest_below: dict[str, int] = {}
    for folder, size in sizes.items():
        if folder:
            above = folder.rpartition("/")[0]
            largest_below[above] = max(largest_below.get(above, 0), size)
    rows = [
        Share(plain(folder), files[folder], size)
        for folder, size in sizes.items()
        if folder and size > largest_below.get(folder, 0)
    ]
    rows.sort(key=lambda share: (-share.size, share.name))
    return tuple(rows[:MOST])


def _files(stacked: Stack, facts: _Facts) -> tuple[FileRow, ...]:
    rows = sorted(zip(facts.sizes, facts.paths, facts.waste, strict=True), key=lambda row: (-row[0], row[1]))
    return tuple(
        FileRow(plain(path), size, stacked.files[path].layer + 1, facts.owner(path), category)
        for size, path, category in rows[: 4 * MOST]
        if size
    )


def plain(text: str) -> str:
    """`text` as JSON and terminals can hold it: bytes of names that are not UTF-8 become escapes."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
