"""Records of a store in a local folder: one file a record.

A write is a temporary file, its fsync, a rename and the folder's fsync. Names are plain strings: a pull looks
up two or three of them, and `Path` objects would cost more than the system calls.
"""
# ruff: noqa: PTH103, PTH104, PTH106, PTH108, PTH116, PTH120

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ramekin.registry.faults import failed
from ramekin.registry.records import ROOT, Listed, Record, Version
from ramekin.store.folder import Folder
from ramekin.store.store import Store

CLOCK = 0.05
"""Seconds within which a file system may give two changes the same time."""
KNOWN_LIMIT = 100_000
"""Folders that are remembered as being on disk for good."""


class FolderRecords:
    """See `records.Records`."""

    remote = False

    def __init__(self, store: Store) -> None:
        assert isinstance(store.backend, Folder)
        self._folder = store.backend
        self.base = store.location + "/"
        self.location = store.location
        self._known: set[str] = set()

    def read(self, name: str) -> Record | None:
        try:
            descriptor = os.open(self.base + name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                # no record of ours is a link
                return None
            failed(error, self.location, f"read {name}")
        try:
            status = os.fstat(descriptor)
            data = os.read(descriptor, status.st_size + 1)
            while len(data) < status.st_size and (more := os.read(descriptor, status.st_size)):
                data += more
            return Record(data, (status.st_ino, status.st_mtime_ns, status.st_size), status.st_mtime)
        except OSError as error:
            failed(error, self.location, f"read {name}")
        finally:
            os.close(descriptor)

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(self.base + name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            failed(error, self.location, f"look for {name}")

    def version(self, name: str) -> Version | None:
        status = self._stat(name)
        return (status.st_ino, status.st_mtime_ns, status.st_size) if status is not None else None

    def written(self, name: str) -> float | None:
        status = self._stat(name)
        return status.st_mtime if status is not None else None

    def blob_size(self, name: str) -> int | None:
        status = self._stat(name)
        return status.st_size if status is not None else None

    def write(self, name: str, data: bytes) -> None:
        target, temporary = self.base + name, ""
        try:
            temporary = self._temporary(data)
            self._into(os.path.dirname(name), lambda: os.rename(temporary, target))
            self.settle(name)
        except OSError as error:
            if temporary:
                _remove(temporary)
            failed(error, self.location, f"write {name}")

    def create_secret(self, name: str, data: bytes) -> None:
        self.create(name, data, mode=0o600)

    def create(self, name: str, data: bytes, *, mode: int = 0o644) -> bool:
        if self._stat(name) is not None:
            self.settle(name)
            return False
        target, temporary = self.base + name, ""
        try:
            temporary = self._temporary(data, mode)
            self._into(os.path.dirname(name), lambda: os.link(temporary, target))
            created = True
        except FileExistsError:
            created = False
        except OSError as error:
            failed(error, self.location, f"write {name}")
        finally:
            if temporary:
                _remove(temporary)
        self.settle(name)
        return created

    def begin(self, name: str, data: bytes) -> None:
        assert not data, "only an empty file is whole without fsync"
        target = self.base + name
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            self._into(os.path.dirname(name), lambda: os.close(os.open(target, flags, 0o644)))
        except OSError as error:
            failed(error, self.location, f"write {name}")

    def settle(self, name: str) -> None:
        """Flush the record's folder, and the folders above it that are not known to be on disk."""
        try:
            folder = os.path.dirname(name)
            self._sync(folder)
            while folder != ROOT and folder not in self._known:
                above = os.path.dirname(folder)
                self._sync(above)
                if len(self._known) > KNOWN_LIMIT:
                    self._known.clear()
                self._known.add(folder)
                folder = above
        except OSError as error:
            failed(error, self.location, f"write {name}")

    def touch(self, name: str) -> None:
        try:
            os.utime(self.base + name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            failed(error, self.location, f"touch {name}")

    def delete(self, name: str) -> None:
        """Remove a record, for good when this returns."""
        try:
            os.unlink(self.base + name)
            self._sync(os.path.dirname(name))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            failed(error, self.location, f"remove {name}")

    def delete_blob(self, name: str) -> None:
        try:
            os.unlink(self.base + name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            failed(error, self.location, f"remove {name}")

    def names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.base + folder) as entries:
                return sorted(entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            failed(error, self.location, f"list {folder}")

    def listing(self, folder: str) -> object:
        status = self._stat(folder)
        if status is None:
            return None
        if time.time() - status.st_mtime < CLOCK:
            # another change may still get the same time
            return object()
        return (status.st_ino, status.st_mtime_ns)

    def walk(self, folder: str) -> Iterator[Listed]:
        for found in self._folder.list(folder):
            yield Listed(found.name, found.size, found.used)

    @contextmanager
    def steady(self) -> Iterator[None]:
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def sweeping(self) -> Iterator[Callable[[], bool]]:
        with self._locked(fcntl.LOCK_EX):
            yield lambda: True

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        path = f"{self.base}{ROOT}/sweep.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            try:
                descriptor = os.open(path, flags, 0o644)
            except FileNotFoundError:
                self._folder._folder(ROOT)
                os.makedirs(self.base + ROOT, exist_ok=True)
                descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            failed(error, self.location, "lock the registry's records")
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def prune(self) -> None:
        for top in ("repositories", "links"):
            for path, _, _ in os.walk(f"{self.base}{ROOT}/{top}", topdown=False):
                with suppress(OSError):
                    os.rmdir(path)

    def keep_file(self, path: str, name: str) -> None:
        """Give a finished file of the store's disk its name below the root, for good."""
        target = self.base + name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
                # a layout may later hold it as a hard link
                os.fchmod(descriptor, 0o444)
            finally:
                os.close(descriptor)
            self._into(os.path.dirname(name), lambda: os.rename(path, target))
            self._sync(os.path.dirname(name))
        except OSError as error:
            failed(error, self.location, f"write {name}")

    def sync_blob(self, name: str) -> None:
        """Wait until a blob that somebody else gave its name is there for good."""
        try:
            self._sync(os.path.dirname(name))
        except OSError as error:
            failed(error, self.location, f"write {name}")

    def _into(self, wanted: str, act: Callable[[], None]) -> None:
        """Do what makes a name in the folder `wanted`, and make the folder first where it is missing."""
        folder = wanted
        try:
            act()
        except FileNotFoundError:
            self._folder._folder(ROOT)
            while folder != ROOT and folder.startswith(ROOT):
                self._known.discard(folder)
                folder = os.path.dirname(folder)
            for attempt in range(5):
                os.makedirs(self.base + wanted, exist_ok=True)
                try:
                    act()
                    return
                except FileNotFoundError:
                    # pruned once more; a temporary file that is missing itself stays so
                    if attempt == 4:
                        raise

    def _temporary(self, data: bytes, mode: int = 0o644) -> str:
        """A file of this process's own with `data`, on disk."""
        path = f"{self._folder.desk()}/record-{os.urandom(8).hex()}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except OSError:
            _remove(path)
            raise
        finally:
            os.close(descriptor)
        return path

    def _sync(self, folder: str) -> None:
        try:
            descriptor = os.open(self.base + folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            # pruned meanwhile, with all that was in it
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
