"""A store in a local folder, on plain POSIX files.

Names are plain strings here: a warm build looks up hundreds of them, and `Path` objects would cost more
than the system calls.
"""
# ruff: noqa: PTH102, PTH103, PTH104, PTH108, PTH116, PTH118, PTH120, PTH123, PTH208

from __future__ import annotations

import atexit
import contextlib
import fcntl
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from ramekin.store.backend import Stored, failure

USE_GRAIN = 600.0
"""Seconds within which two uses of a thing count as one, so that a warm build writes nothing."""

_RACES = 16
"""Times that a folder is made which sweepers remove before a file gets into it."""

T = TypeVar("T")


class Folder:
    """The backend on a folder, which is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root: Path = root
        self.location = str(root)
        self._base = self.location + "/"
        self._made: set[str] = set()
        self._renamed: set[str] = set()
        self._lock = -1
        self._hold()

    def __del__(self) -> None:
        # at the end of the process modules may be gone, and descriptors close by themselves
        if self._lock >= 0 and os is not None:
            os.close(self._lock)

    def _hold(self, flags: int = 0) -> None:
        """Hold the store's lock shared, for as long as this object lives."""
        if self._lock >= 0:
            return
        try:
            descriptor = os.open(self._base + "lock", os.O_RDONLY | os.O_CLOEXEC | flags, 0o666)
        except OSError:
            return
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        self._lock = descriptor

    def _folder(self, name: str) -> None:
        """Have the folder `name`, and every one above it."""
        if name in self._made:
            return
        if not self._made:
            os.makedirs(self.root, exist_ok=True)
            self._hold(os.O_CREAT)
        os.makedirs(self._base + name, exist_ok=True)
        self._made.add(name)

    def _in(self, folder: str, act: Callable[[], T]) -> T:
        """What `act` gives, which needs a folder: made anew when sweepers remove it, or a part, meanwhile."""
        for _ in range(_RACES - 1):
            with contextlib.suppress(FileNotFoundError):
                self._folder(folder)
                return act()
            self._made.discard(folder)
        self._folder(folder)
        return act()

    def size(self, name: str) -> int | None:
        path = self._base + name
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failure(error, self.location, f"look for {name}") from None
        _use(path, status)
        return status.st_size

    def open(self, name: str, *, use: bool = True) -> tuple[BinaryIO, int] | None:
        path = self._base + name
        try:
            raw = io.FileIO(path, "rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failure(error, self.location, f"read {name}") from None
        status = os.fstat(raw.fileno())
        if use:
            _use(path, status)
        return raw, status.st_size

    def read(self, name: str, *, use: bool = True) -> bytes | None:
        found = self.open(name, use=use)
        if found is None:
            return None
        with found[0] as stream:
            try:
                return stream.read()
            except OSError as error:
                raise failure(error, self.location, f"read {name}") from None

    def write(self, name: str, data: bytes) -> None:
        staged = self.stage()
        try:
            staged.write(data)
            staged.replace(name)
        finally:
            staged.discard()

    def stage(self) -> StagedFile:
        return StagedFile(self)

    def flush(self) -> None:
        # sets lose nothing to other threads here: what is added meanwhile is left for the next time
        done = list(self._renamed)
        self._renamed.difference_update(done)
        try:
            # a folder that is new must itself be in the one above it
            for path in [*done, *sorted({os.path.dirname(path) for path in done})]:
                _sync_folder(path)
        except OSError as error:
            raise failure(error, self.location, "flush to disk") from None

    def delete(self, name: str) -> None:
        try:
            os.unlink(self._base + name)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise failure(error, self.location, f"remove {name}") from None

    def move(self, name: str, other: str) -> None:
        try:
            self._folder(os.path.dirname(other))
            os.rename(self._base + name, self._base + other)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise failure(error, self.location, f"move {name}") from None

    def list(self, folder: str) -> Iterator[Stored]:
        pending = [folder]
        while pending:
            current = pending.pop()
            try:
                with os.scandir(self._base + current) as entries:
                    for entry in entries:
                        name = f"{current}/{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(name)
                            continue
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        yield Stored(name, status.st_size, status.st_mtime)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise failure(error, self.location, f"list {current}") from None

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        path = self._base + name
        try:
            while True:
                descriptor = self._in(
                    os.path.dirname(name),
                    lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666),
                )
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_at(descriptor, path):
                    break
                # the holder before us removed the file that we waited for
                os.close(descriptor)
        except OSError as error:
            raise failure(error, self.location, f"lock {name}") from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
            os.close(descriptor)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        if self._lock < 0:
            self._hold()
        if self._lock < 0:
            yield False
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            got = True
        except OSError:
            got = False
        try:
            yield got
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def desk(self) -> Path:
        """This process's own folder in staging."""
        try:
            self._folder("staging")
            return _desk(self._base + "staging")
        except OSError as error:
            raise failure(error, self.location, "make a folder in staging/") from None

    def scratch(self) -> Path:
        folder = self.desk() / "scratch"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise failure(error, self.location, "make a folder for temporary files") from None
        return folder

    def sweep(self, *, dry_run: bool) -> tuple[int, int]:
        count, size = 0, 0
        staging = self._base + "staging"
        for name in _listdir(staging):
            with _dead(f"{staging}/{name}") as dead:
                if not dead:
                    continue
                count += 1
                size += _size_of(f"{staging}/{name}")
                if not dry_run:
                    _remove_tree(f"{staging}/{name}")
        locks = self._base + "locks"
        for name in _listdir(locks):
            with _dead(f"{locks}/{name}") as dead:
                if dead and not dry_run:
                    with contextlib.suppress(OSError):
                        os.unlink(f"{locks}/{name}")
        return count, size


class StagedFile:
    """A temporary file in this process's folder in staging."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._path = f"{folder.desk()}/blob-{os.urandom(8).hex()}"
        try:
            # read-only from birth: a layout may later hold it as a hard link
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        except OSError as error:
            raise failure(error, folder.location, "write") from None
        self._file = open(descriptor, "wb", buffering=1 << 18)  # noqa: SIM115

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise failure(error, self._folder.location, "write") from None

    def commit(self, name: str) -> None:
        folder = self._folder
        target = folder._base + name
        try:
            self._file.flush()
            size = os.fstat(self._file.fileno()).st_size
            if folder.size(name) == size:
                return
            os.fsync(self._file.fileno())
            self._rename(target)
            folder._renamed.add(os.path.dirname(target))
        except OSError as error:
            raise failure(error, folder.location, f"write {name}") from None

    def replace(self, name: str) -> None:
        """Give the bytes a name, in place of what had it, without waiting for the disk."""
        try:
            self._file.flush()
            self._rename(self._folder._base + name)
        except OSError as error:
            raise failure(error, self._folder.location, f"write {name}") from None

    def _rename(self, target: str) -> None:
        name = os.path.dirname(target)[len(self._folder._base) :]
        self._folder._in(name, lambda: os.rename(self._path, target))
        self._path = ""

    def discard(self) -> None:
        try:
            self._file.close()
        except OSError:
            # what was still buffered did not fit on the disk, and nobody wants it any more
            pass
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._path = ""


def _use(path: str, status: os.stat_result) -> None:
    if time.time() - status.st_mtime > USE_GRAIN:
        try:
            os.utime(path)
        except OSError:
            # a store that cannot be written still can be read
            pass


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether an open file is (still) the one at `path`."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _listdir(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _remove_tree(path: str | Path) -> None:
    # imported here, for it brings in every compression module and a warm build needs none
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def _size_of(path: str) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


@contextmanager
def _dead(path: str) -> Iterator[bool]:
    """Whether no living process holds `path`; nobody can take it before the context ends."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        dead = _is_at(descriptor, path)
    except OSError:
        dead = False
    try:
        yield dead
    finally:
        os.close(descriptor)


_desks: dict[tuple[int, str], Path] = {}
_desks_guard = threading.Lock()


def _desk(staging: str) -> Path:
    """The folder of this process in `staging`, kept locked as a sign of life until the process ends."""
    own = (os.getpid(), staging)
    desk = _desks.get(own)
    if desk is not None:
        return desk
    with _desks_guard:
        if own in _desks:
            return _desks[own]
        _sweep_dead_desks(staging)
        while True:
            path = f"{staging}/{own[0]}-{os.urandom(4).hex()}"
            os.mkdir(path, 0o700)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, path):
                break
            # someone who sweeps took it for a dead one before we had locked it
            os.close(descriptor)
        _desks[own] = Path(path)
        atexit.register(_clear_desk, *own)
        return _desks[own]


def _sweep_dead_desks(staging: str) -> None:
    for name in _listdir(staging):
        with _dead(f"{staging}/{name}") as dead:
            if dead:
                _remove_tree(f"{staging}/{name}")


def _clear_desk(pid: int, staging: str) -> None:
    # a forked child runs this too, and its parent still works there
    if pid == os.getpid() and (desk := _desks.pop((pid, staging), None)) is not None:
        _remove_tree(desk)
