"""Laying a tree out in a folder, without ever following a link.

Every component of every path is opened relative to the descriptor of the folder above it and with
O_NOFOLLOW, so that neither the tree nor a process that changes the folder meanwhile can lead a write
outside. Owners are set before modes and attributes, for changing an owner clears the set-user-ID bit and
file capabilities; folders get their modes and times last, for filling them needs the one and changes
the other.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import closing
from pathlib import Path

from ramekin.errors import FormatError, RamekinError
from ramekin.image.spans import Spans
from ramekin.image.tar import canonical
from ramekin.image.tree import Entry, Kind, Span, Tree, to_bytes

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_DEVICES = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK}


def unpack(tree: Tree, root: Path, *, owners: bool) -> tuple[Entry, ...]:
    """`layer.unpack`."""
    with _Walk(root) as walk, closing(Spans()) as spans:
        left_out = []
        entry: Entry | None = None
        try:
            for entry in canonical(tree).entries():
                if entry.kind in _DEVICES and not owners:
                    left_out.append(entry)
                else:
                    _lay(entry, walk, spans, owners)
            for entry in reversed(list(tree.entries())):
                if entry.kind is Kind.DIRECTORY:
                    _dress(entry, walk.folder(to_bytes(entry.path)), owners)
        except OSError as error:
            name = f"{root}/{entry.path if entry else ''}"
            raise RamekinError(f"cannot write {name!r}: {error.strerror}", hint=_hint(error)) from None
    return tuple(left_out)


def _lay(entry: Entry, walk: _Walk, spans: Spans, owners: bool) -> None:
    path = to_bytes(entry.path)
    if entry.kind is Kind.DIRECTORY:
        # its mode comes last; until then it must let us in
        walk.folder(path, make=True)
        return
    if not path:
        raise FormatError(f"the root of the tree is a {entry.kind}")
    parent, _, name = path.rpartition(b"/")
    folder = walk.folder(parent, make=True)
    _check(name, entry)
    if entry.kind is Kind.FILE:
        descriptor = _create(name, folder)
        try:
            _fill(descriptor, entry, spans)
            _dress(entry, descriptor, owners)
        finally:
            os.close(descriptor)
        return
    if entry.kind is not Kind.SYMLINK:
        _clear(name, folder)
    if entry.kind is Kind.HARDLINK:
        target_folder, _, target = to_bytes(entry.target).rpartition(b"/")
        _check(target, entry)
        # the first folder must survive the walk to the second
        own = os.dup(folder)
        try:
            os.link(
                target, name, src_dir_fd=walk.folder(target_folder), dst_dir_fd=own, follow_symlinks=False
            )
        finally:
            os.close(own)
    elif entry.kind is Kind.SYMLINK:
        if not entry.target or "\0" in entry.target:
            raise FormatError(f"entry {entry.path!r} is a symbolic link without a target")
        try:
            os.symlink(to_bytes(entry.target), name, dir_fd=folder)
        except FileExistsError:
            _clear(name, folder)
            os.symlink(to_bytes(entry.target), name, dir_fd=folder)
        if owners:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        os.utime(name, (entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)
    else:
        if entry.kind is Kind.FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
        else:
            os.mknod(name, _DEVICES[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=folder)
        if owners:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        # opened as a path only: opening the thing itself could wait for ever or wake a device
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            Path(f"/proc/self/fd/{handle}").chmod(entry.mode)
        finally:
            os.close(handle)
        os.utime(name, (entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)


def _create(name: bytes, folder: int) -> int:
    """A new file in place of what has its name; what seldom stands in the way is not looked for first."""
    try:
        return os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
    except FileExistsError:
        _clear(name, folder)
        return os.open(name, _NEW_FILE, 0o600, dir_fd=folder)


def _fill(descriptor: int, entry: Entry, spans: Spans) -> None:
    content = entry.content
    if isinstance(content, Span):
        done = 0
        while done < content.size and (data := spans.read(content, done, min(_PIECE, content.size - done))):
            _write(descriptor, data)
            done += len(data)
    elif content is not None:
        with content.open() as stream:
            while data := stream.read(_PIECE):
                _write(descriptor, data)


def _write(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _dress(entry: Entry, descriptor: int, owners: bool) -> None:
    """Give an open file or folder its owner, mode, attributes and time, in the order that keeps them all."""
    if owners:
        os.fchown(descriptor, entry.uid, entry.gid)
    os.fchmod(descriptor, entry.mode)
    for name, value in entry.xattrs:
        if not owners and not name.startswith("user."):
            continue
        try:
            os.setxattr(descriptor, to_bytes(name), value)
        except OSError as error:
            # a file system without attributes holds no file that needs them
            if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
    os.utime(descriptor, (entry.mtime, entry.mtime))


def _check(name: bytes, entry: Entry) -> None:
    if name in (b"", b".", b"..") or b"\0" in name:
        raise FormatError(
            f"entry {entry.path!r} leads out of the tree", hint="the archive is broken or hostile"
        )


def _clear(name: bytes, folder: int) -> None:
    """Remove what stands at `name`, with all below it."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        # never follows links (shutil.rmtree.avoids_symlink_attacks)
        shutil.rmtree(name, dir_fd=folder)


class _Walk:
    """Descriptors of the folders on the way to where the last entry was."""

    def __init__(self, root: Path) -> None:
        try:
            self._open: list[tuple[bytes, int]] = [
                (b"", os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            ]
        except OSError as error:
            raise RamekinError(f"cannot open the folder {root}: {error.strerror}") from None

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.pop()[1])

    def folder(self, path: bytes, *, make: bool = False) -> int:
        """The descriptor of a folder below the root, good until the next call.

        With `make`, folders that are missing are made and what else stands in their place is removed.
        """
        parts = path.split(b"/") if path else []
        common = 0
        while (
            common < len(parts)
            and common + 1 < len(self._open)
            and self._open[common + 1][0] == parts[common]
        ):
            common += 1
        while len(self._open) > common + 1:
            os.close(self._open.pop()[1])
        for part in parts[common:]:
            if part in (b"", b".", b"..") or b"\0" in part:
                raise FormatError(
                    f"path {path!r} leads out of the tree", hint="the archive is broken or hostile"
                )
            self._open.append((part, self._step(part, self._open[-1][1], make)))
        return self._open[-1][1]

    def _step(self, name: bytes, above: int, make: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except OSError as error:
            if not make or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            if error.errno != errno.ENOENT:
                os.unlink(name, dir_fd=above)
        os.mkdir(name, 0o755, dir_fd=above)
        descriptor = os.open(name, _FOLDER, dir_fd=above)
        # whatever the umask is
        os.fchmod(descriptor, 0o755)
        return descriptor


def _hint(error: OSError) -> str | None:
    if error.errno == errno.ENOSPC:
        return "free some space on that disk"
    if error.errno == errno.EPERM:
        return "owners and devices need root"
    return None
