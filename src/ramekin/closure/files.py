"""A package's files while recipes and scripts act on them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ramekin.closure import merged as layout
from ramekin.image.tree import Content, Entry, Inline, Kind, Tree

_SKELETON = """
    boot dev etc home media mnt opt proc root run run/lock srv sys tmp usr usr/bin usr/games usr/include
    usr/lib usr/local usr/local/bin usr/local/etc usr/local/games usr/local/include usr/local/lib
    usr/local/man usr/local/sbin usr/local/share usr/local/src usr/sbin usr/share usr/src var var/backups
    var/cache var/lib var/lib/dpkg var/lib/misc var/local var/log var/mail var/opt var/spool var/tmp
"""
SKELETON = frozenset(_SKELETON.split())
"""Folders that every image has, whatever is in it."""

_SHARED_MEMORY = {"run/shm": "dev/shm"}
"""A link that there is once a system runs."""


class Files:
    """The entries of one package by tree path, changed in place and taken out as a `Tree`.

    What a method makes has `mtime`. `made` holds the paths that were made or changed, `removed` those that
    were taken away.
    """

    def __init__(self, tree: Tree, merged: Mapping[str, str], mtime: int) -> None:
        self.entries = {entry.path: entry for entry in tree.entries()}
        self.merged = merged
        self.mtime = mtime
        self.made: set[str] = set()
        self.removed: set[str] = set()
        self._folders = {parent for path in self.entries for parent in _parents(path)}

    def place(self, path: str) -> str:
        """The tree path that an absolute path of a script names."""
        clean = posixpath.normpath("/" + path.lstrip("/")).lstrip("/")
        for links in (layout.LINKS, _SHARED_MEMORY, self.merged):
            clean = layout.place(clean, links)
        return clean

    def is_alias(self, path: str) -> bool:
        """True for a folder that every image has as a link to another, such as /var/run."""
        clean = posixpath.normpath("/" + path.lstrip("/")).lstrip("/")
        return clean in layout.LINKS or clean in _SHARED_MEMORY

    def get(self, path: str) -> Entry | None:
        """The entry at an absolute path, not following links."""
        return self.entries.get(self.place(path))

    def resolve(self, path: str) -> Entry | None:
        """The entry at an absolute path, following links of this package."""
        current = self.place(path)
        for _ in range(16):
            entry = self.entries.get(current)
            if entry is None or entry.kind not in (Kind.SYMLINK, Kind.HARDLINK):
                return entry
            if entry.kind is Kind.HARDLINK:
                current = entry.target
            else:
                current = self.place(posixpath.join("/" + posixpath.dirname(current), entry.target))
        return None

    def is_folder(self, path: str) -> bool:
        """True when an absolute path names a folder here or in every image."""
        place = self.place(path)
        entry = self.resolve(path)
        return (
            (entry is not None and entry.kind is Kind.DIRECTORY)
            or place in self._folders
            or place in SKELETON
        )

    def exists(self, path: str) -> bool:
        """True when an absolute path names something here, or a folder of every image."""
        return self.place(path) in self.entries or self.is_folder(path)

    def matching(self, pattern: str) -> list[str]:
        """Absolute paths that match a shell pattern, sorted."""
        from fnmatch import fnmatchcase

        # fnmatch lets * cross slashes, the shell does not
        wanted = self.place(pattern).split("/")
        found: list[str] = []
        for path in sorted({*self.entries, *self._folders}):
            parts = path.split("/")
            if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
                found.append("/" + path)
        return found

    def put(self, entry: Entry) -> None:
        """Add or replace an entry, and the folders above it."""
        self.entries[entry.path] = entry
        self.made.add(entry.path)
        self.removed.discard(entry.path)
        self._folders.update(_parents(entry.path))

    def make_folder(
        self, path: str, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """A folder and its parents; of one that is there only what is given changes."""
        place = self.place(path)
        if not place:
            return
        before = self.entries.get(place)
        if before is not None and before.kind is not Kind.DIRECTORY:
            return
        if before is None:
            before = Entry(path=place, kind=Kind.DIRECTORY, mode=0o755, mtime=self.mtime)
            if place in SKELETON and mode is None and uid is None:
                return
        self.put(self._with(before, mode, uid, gid))

    def write(self, path: str, content: Content | bytes, mode: int = 0o644) -> None:
        """A file in place of whatever was at an absolute path."""
        if isinstance(content, bytes):
            content = Inline(content)
        self.put(Entry(path=self.place(path), kind=Kind.FILE, mode=mode, mtime=self.mtime, content=content))

    def link(self, path: str, target: str) -> None:
        """A symbolic link in place of whatever was at an absolute path, except a folder of every image."""
        if self.is_alias(path) or self.place(path) in SKELETON:
            return
        self.put(Entry(path=self.place(path), kind=Kind.SYMLINK, mode=0o777, mtime=self.mtime, target=target))

    def change(
        self,
        path: str,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        recursive: bool = False,
    ) -> bool:
        """Another owner or mode for what an absolute path names; False when nothing of this package does."""
        place = self.place(path)
        if place not in self.entries and place in self._folders:
            self.make_folder(path)
        found = self.resolve(path)
        if found is None:
            return False
        chosen = [found]
        if recursive:
            chosen += [entry for name, entry in self.entries.items() if name.startswith(found.path + "/")]
        for entry in chosen:
            if entry.kind is not Kind.SYMLINK:
                self.put(self._with(entry, mode, uid, gid))
        return True

    def remove(self, path: str) -> bool:
        """Take away a file, or a folder with all below it."""
        place = self.place(path)
        gone = [name for name in self.entries if name == place or name.startswith(place + "/")]
        for name in gone:
            del self.entries[name]
        self.removed.update(gone)
        return bool(gone)

    def _with(self, entry: Entry, mode: int | None, uid: int | None, gid: int | None) -> Entry:
        return replace(
            entry,
            mode=entry.mode if mode is None else mode,
            uid=entry.uid if uid is None else uid,
            gid=entry.gid if gid is None else gid,
        )

    def tree(self) -> Tree:
        """All entries, with folders for parents that have none."""
        return Tree(self.entries.values()).with_parents(mtime=self.mtime)


def _parents(path: str) -> Iterator[str]:
    parent = path.rpartition("/")[0]
    while parent:
        yield parent
        parent = parent.rpartition("/")[0]
