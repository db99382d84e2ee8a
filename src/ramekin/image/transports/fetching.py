"""Blobs of a registry brought here side by side, for places that are written in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ramekin import workers
from ramekin.image.image import Blobs, Image
from ramekin.image.oci import Descriptor
from ramekin.image.transports import target
from ramekin.progress import Progress
from ramekin.store import digest as digests
from ramekin.store.digest import Digest
from ramekin.store.verify import verified


@dataclass(frozen=True, slots=True)
class _Fetched:
    """Blobs of which some lie in a folder already; implements `image.Blobs`."""

    folder: Path
    here: frozenset[Digest]
    elsewhere: Blobs

    def open(self, blob: Descriptor) -> BinaryIO:
        if blob.digest not in self.here:
            return self.elsewhere.open(blob)
        stream = (self.folder / digests.hex_of(blob.digest)).open("rb", buffering=0)
        return verified(stream, blob.digest, blob.size, where=str(self.folder))


@contextmanager
def fetched(
    image: Image, blobs: tuple[Descriptor, ...], folder: Path, *, jobs: int, progress: Progress
) -> Iterator[Image]:
    """`image` with `blobs` in a temporary folder below `folder` when they come from a registry.

    Blobs of every other place are local, and read where they are.
    """
    if not getattr(image.blobs, "remote", False) or jobs <= 1 or len(blobs) <= 1:
        yield image
        return
    with target.scratch(folder) as scratch:
        with progress.task("fetching", total=sum(blob.size for blob in blobs)) as task:

            def fetch(blob: Descriptor, check: workers.Check) -> None:
                path = scratch / digests.hex_of(blob.digest)
                with image.blobs.open(blob) as data, target.create(path) as out:
                    while chunk := data.read(1 << 18):
                        check()
                        out.write(chunk)
                        task.advance(len(chunk))

            workers.each(fetch, sorted(blobs, key=lambda blob: -blob.size), jobs=jobs)
        here = frozenset(blob.digest for blob in blobs)
        yield replace(image, blobs=_Fetched(scratch, here, image.blobs))
