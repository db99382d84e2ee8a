"""NARs fetched into the store: decompressed, hashed as they are and as they came, and only then kept.

The store's blob is the plain NAR under the hash that its cache signed. So it does not matter which cache
gave it and how it was compressed, a warm build decompresses nothing, and trees refer to files within it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from ramekin import workers
from ramekin.errors import (
    DigestMismatchError,
    FormatError,
    NetworkError,
    NotFoundError,
    RamekinError,
    UsageError,
)
from ramekin.progress import Progress, Task
from ramekin.sources.nix import compression, content, paths
from ramekin.sources.nix.cache import Caches
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.sources.protocol import Arrived, Package, ignored
from ramekin.store.digest import Digest
from ramekin.store.store import Store

JOBS = 8
"""How many NARs are fetched at a time: each may need the memory of a decoder."""

_CHUNK = 1 << 20
_HINT = "the cache is broken, or something on the way changed it; try another cache"


def packages(
    wanted: Iterable[Package],
    store: Store,
    caches: Caches,
    progress: Progress,
    *,
    arrived: Arrived = ignored,
    jobs: int = JOBS,
    limit: int,
) -> None:
    """Have each package's NAR in `store`, and tell `arrived`; those of more than `limit` bytes are refused.

    `NotFoundError` when no cache has a package any more, `DigestMismatchError` when all give other bytes,
    `NetworkError` when none answers. What was fetched before a failure stays.
    """
    # two paths that do not name themselves may have the same NAR
    alike: dict[Digest, list[Package]] = {}
    for package in wanted:
        alike.setdefault(package.digest, []).append(package)
        if package.size > limit:
            raise FormatError(
                f"{package.name} has {package.size} bytes, more than the {limit} that are taken",
                hint="raise the limit if you want such a package",
            )
    # the longest first, so that none is left over at the end
    order = sorted(alike.values(), key=lambda group: (-group[0].size, group[0].name))
    with progress.task(
        f"fetch {len(order)} store paths", total=sum(group[0].size for group in order)
    ) as task:

        def work(group: list[Package], check: workers.Check) -> None:
            _one(group[0], store, caches, task, check)
            for package in group:
                arrived(package)

        workers.each(work, order, jobs=jobs)


def _one(package: Package, store: Store, caches: Caches, task: Task, check: workers.Check) -> None:
    failures: list[RamekinError] = []
    others = 0
    for info in _offers(package, caches):
        if info.nar_hash != package.digest or info.nar_size != package.size:
            others += 1
            continue
        done = 0
        try:
            with caches.open(info) as raw, store.stage() as stage:
                proof = content.addressed(info)
                for data in _plain(raw, info):
                    check()
                    stage.write(data)
                    if proof is not None:
                        proof.update(data)
                    done += len(data)
                    task.advance(len(data))
                if proof is not None:
                    proof.check()
                stage.commit(package.digest, package.size)
                return
        except DigestMismatchError as error:
            failures.append(
                DigestMismatchError(f"{package.name} from {info.cache}: {error.message}", hint=_HINT)
            )
        except (NotFoundError, NetworkError, FormatError) as error:
            failures.append(error)
        task.advance(-done)
    for kind in (DigestMismatchError, FormatError, NetworkError):
        for failure in failures:
            if isinstance(failure, kind):
                raise failure
    reason = f": {failures[-1].message}" if failures else ""
    if others and not failures:
        reason = ": what they have under its name is another build of it"
    raise NotFoundError(
        f"no cache has the NAR of {package.name} any more{reason}",
        hint="name another cache that has it, or resolve anew",
    )


def _offers(package: Package, caches: Caches) -> Iterator[NarInfo]:
    """The narinfos of a package, first the one that was believed when it was resolved."""
    if not paths.is_base(package.name):
        raise UsageError(f"{package.name!r} is not a store path")
    asked = paths.hash_of(package.name)
    kept = caches.kept(asked)
    if kept is not None:
        yield kept
    for info in caches.every(asked):
        if info != kept:
            yield info


def _plain(raw: BinaryIO, info: NarInfo) -> Iterator[bytes]:
    """The NAR's bytes out of its file; what the narinfo says of the file and of the size is checked."""
    counted = _Counted(raw, info)
    left = info.nar_size
    plain = compression.decompress(
        io.BufferedReader(counted, 1 << 17), info.compression, where=f"{info.cache}/{info.url}"
    )
    while data := plain.read(_CHUNK):
        left -= len(data)
        if left < 0:
            raise DigestMismatchError(f"its NAR has more than its {info.nar_size} bytes")
        yield data
    if left:
        raise DigestMismatchError(f"its NAR has {info.nar_size - left} bytes instead of {info.nar_size}")
    counted.finish()


class _Counted(io.RawIOBase):
    """The compressed file, whose hash and size are compared at its end with those that it should have."""

    def __init__(self, stream: BinaryIO, info: NarInfo) -> None:
        self._stream, self._info = stream, info
        self._state = hashlib.sha256()
        self._done = 0
        # the hash of a NAR that is not compressed is taken anyway
        self._hashing = info.file_hash is not None and info.compression != "none"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        if self._hashing:
            self._state.update(data)
        self._done += len(data)
        size = self._info.file_size
        if size is not None and self._done > size:
            raise DigestMismatchError(f"its file has more than its {size} bytes")
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> None:
        if self._stream.read(1):
            raise DigestMismatchError("its file has bytes after its end")
        size = self._info.file_size
        if size is not None and self._done != size:
            raise DigestMismatchError(f"its file has {self._done} bytes instead of {size}")
        expected = self._info.file_hash
        if not self._hashing:
            if expected is not None and expected != self._info.nar_hash:
                raise DigestMismatchError("its file is not compressed, and yet has another hash than its NAR")
        elif expected != "sha256:" + self._state.hexdigest():
            raise DigestMismatchError(f"its file does not have the hash {expected}")
