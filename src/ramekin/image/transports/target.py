"""Files and folders that appear whole or not at all, and what is said when they cannot.

What is made is written beside its place and renamed: whatever stood there before stays until then, and a
failure or Ctrl-C takes the unfinished part away. A kill leaves at most a hidden file named `.ramekin-…`.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ramekin.errors import RamekinError, UsageError
from ramekin.image.removal import remove

TEMPORARY = ".ramekin-"
"""How the names of all unfinished files and folders start."""

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, or choose another place",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose another place",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EFBIG: "the file system has no room for a file of this size",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextmanager
def explained(target: Path | str) -> Iterator[None]:
    """Turn errors of the system into a `RamekinError` that names `target`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RamekinError(f"{target}: {reason}", hint=_HINTS.get(error.errno or 0)) from error


def temporary(folder: Path) -> Path:
    """A name in `folder` that nobody else has."""
    return folder / f"{TEMPORARY}{secrets.token_hex(8)}"


def create(path: Path, *, mode: int = 0o666) -> BinaryIO:
    """A new file that must not be there yet, with permissions by the umask."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb", 1 << 18)


def settle(stream: BinaryIO) -> None:
    """Have all that was written to `stream` on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def settle_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file `target` when the block ends well."""
    with explained(target):
        target = target.resolve()
        if target.exists() and not target.is_file():
            raise UsageError(f"{target} is not a file", hint="choose another name")
        if not target.parent.is_dir():
            raise UsageError(f"{target.parent} is not a folder", hint="create it first")
        unfinished = temporary(target.parent)
        try:
            with create(unfinished) as stream:
                yield stream
                settle(stream)
            unfinished.rename(target)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        settle_folder(target.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when the block ends well; `target` must be absent or empty."""
    with explained(target):
        target = target.absolute()
        require_free(target)
        if not target.parent.is_dir():
            raise UsageError(f"{target.parent} is not a folder", hint="create it first")
        unfinished = temporary(target.parent)
        unfinished.mkdir()
        try:
            yield unfinished
            # rename(2) takes the place of an empty folder, and only of an empty one
            unfinished.rename(target)
        except BaseException:
            remove(unfinished)
            raise
        settle_folder(target.parent)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder for temporary files in `folder`, which must be there; removed when the block ends."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="create it first")
    own = temporary(folder)
    own.mkdir()
    try:
        yield own
    finally:
        remove(own)


def require_free(target: Path) -> None:
    """`UsageError` unless `target` is absent or an empty folder."""
    try:
        info = target.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        raise UsageError(f"{target} is there already and is not a folder", hint="choose another name")
    if any(target.iterdir()):
        raise UsageError(f"{target} is not empty", hint="choose another name, or remove it first")
