"""Making lock files and bringing them up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ramekin.build import lock
from ramekin.build.lock import Change, LockedImage, LockFile
from ramekin.build.request import ImageRequest

Resolve = Callable[[ImageRequest], LockedImage]


def fill(
    old: LockFile | None, requests: Iterable[ImageRequest], resolve: Resolve, *, whole: bool
) -> LockFile:
    """A lock for `requests` that leaves alone what `old` already pins for the same request.

    `whole` says that these are all the images there are, so that others leave the lock.
    """
    images: dict[str, LockedImage] = {}
    for request in requests:
        pinned = old.images.get(request.name) if old else None
        if pinned is None or lock.disagreements(request, pinned) or _surplus(request, pinned):
            pinned = resolve(request)
        images[request.name] = pinned
    return _joined(old, images, whole=whole)


def renew(
    old: LockFile | None, requests: Iterable[ImageRequest], resolve: Resolve, *, whole: bool
) -> LockFile:
    """A lock with the newest answer to each of `requests`."""
    return _joined(old, {request.name: resolve(request) for request in requests}, whole=whole)


def _surplus(request: ImageRequest, pinned: LockedImage) -> bool:
    return set(pinned.architectures) != set(request.architectures)


def _joined(old: LockFile | None, images: Mapping[str, LockedImage], *, whole: bool) -> LockFile:
    empty = LockFile(version=lock.VERSION)
    return (empty if whole or old is None else old).with_images(images)


def changes(old: LockedImage | None, new: LockedImage) -> dict[str, tuple[Change, ...]]:
    """What differs between two pins of one image, by architecture where something does."""
    found = {
        name: lock.changes(old.architectures.get(name) if old else None, closure)
        for name, closure in sorted(new.architectures.items())
    }
    return {name: items for name, items in found.items() if items}
