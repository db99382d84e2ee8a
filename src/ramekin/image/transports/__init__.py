"""The places that images are read from and written to: one module a medium.

Each medium's module is imported when a reference names it, for a build into a folder needs no network code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from ramekin.errors import NotFoundError, UsageError
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor, Platform
from ramekin.image.reference import Reference
from ramekin.progress import SILENT, Progress

__all__ = ["copy", "read", "replaces", "write"]


@contextmanager
def read(
    reference: Reference,
    *,
    plain_http: bool = False,
    progress: Progress = SILENT,
    spool: Path | None = None,
) -> Iterator[Image]:
    """The image that `reference` names, usable for as long as the context lasts.

    Archives are opened into temporary files in `spool` (default: a temporary folder of the system); the
    other media are read as blobs are opened. `NotFoundError` when there is no such image, `FormatError` when
    it is broken, `NetworkError` when its registry cannot be reached.
    """
    with ExitStack() as stack:
        match reference.transport:
            case "oci":
                from ramekin.image.transports import layout

                yield layout.read(reference)
            case "docker":
                from ramekin.image.transports import registry

                yield stack.enter_context(registry.read(reference, plain_http=plain_http))
            case "dir":
                from ramekin.image.transports import directory

                yield directory.read(reference)
            case "oci-archive":
                from ramekin.image.transports import archive

                yield archive.read(reference, spool=spool or _temporary(stack))
            case "docker-archive":
                from ramekin.image.transports import docker_archive

                yield docker_archive.read(reference, spool=spool or _temporary(stack))
            case "docker-daemon":
                from ramekin.image.transports import daemon

                yield daemon.read(reference, spool=spool or _temporary(stack), progress=progress)
            case "rootfs":
                from ramekin.image.transports import rootfs

                yield rootfs.read(reference, spool=spool or _temporary(stack), progress=progress)
            case other:
                raise UsageError(f"{reference}: images cannot be read from {other}:")


def write(
    image: Image,
    reference: Reference,
    *,
    jobs: int = 8,
    plain_http: bool = False,
    progress: Progress = SILENT,
    platform: Platform | None = None,
) -> Descriptor:
    """Write `image` to the place that `reference` names; its descriptor there.

    `jobs` transfers run at once. Media that hold one image (docker-archive, rootfs) take the one for
    `platform`, by default this machine's. The target is written whole or left as it was.
    """
    match reference.transport:
        case "oci":
            from ramekin.image.transports import layout

            return layout.write(image, reference, jobs=jobs, progress=progress)
        case "docker":
            from ramekin.image.transports import registry

            return registry.write(image, reference, jobs=jobs, plain_http=plain_http, progress=progress)
        case "dir":
            from ramekin.image.transports import directory

            return directory.write(image, reference, jobs=jobs, progress=progress)
        case "oci-archive":
            from ramekin.image.transports import archive

            return archive.write(image, reference, jobs=jobs, progress=progress)
        case "docker-archive":
            from ramekin.image.transports import docker_archive

            return docker_archive.write(image, reference, jobs=jobs, progress=progress, platform=platform)
        case "rootfs":
            from ramekin.image.transports import rootfs

            return rootfs.write(image, reference, jobs=jobs, progress=progress, platform=platform)
        case other:
            raise UsageError(f"{reference}: images cannot be written to {other}:")


def replaces(image: Image, source: Reference, target: Reference) -> bool:
    """Whether what is written to `target` takes the place of `image`, which was read from `source`."""
    if source.transport != target.transport:
        return False
    if source.transport == "docker":
        # by its digest it stays to be had, whatever its tag becomes
        names = {(one.location, one.tag or "latest") for one in (source, target)}
        return source.digest is None and len(names) == 1
    if Path(source.location).resolve() != Path(target.location).resolve():
        return False
    if source.transport != "oci":
        return True
    from ramekin.image.transports import layout

    tag = layout.tag_for(image, target)
    if source.tag:
        return source.tag == tag
    try:
        return layout.read(replace(source, tag=tag, digest=None)).root.digest == image.root.digest
    except NotFoundError:
        return False


def copy(
    source: Reference,
    target: Reference,
    *,
    jobs: int = 8,
    plain_http: bool = False,
    progress: Progress = SILENT,
    platform: Platform | None = None,
) -> Descriptor:
    """Copy an image with its referrers, byte by byte, and all platforms of an index unless one is named.

    A medium that holds no referrers gets none, which a note says.
    """
    with read(source, plain_http=plain_http, progress=progress) as image:
        if image.referrers and target.transport in _BARE:
            kinds = ", ".join(sorted({entry.artifact_type or "an artifact" for entry in image.referrers}))
            progress.note(f"{target.transport}: holds the image alone, without what refers to it: {kinds}")
        chosen = image if platform is None else image.choose(platform)
        return write(chosen, target, jobs=jobs, plain_http=plain_http, progress=progress, platform=platform)


_BARE = frozenset({"dir", "docker-archive", "rootfs"})
"""Media that cannot hold what refers to an image."""


def _temporary(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ramekin-")))
