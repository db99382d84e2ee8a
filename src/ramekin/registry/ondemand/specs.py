"""Images of spec files, served under the names that they have there and made anew when a file changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ramekin.build import lock
from ramekin.build.lock import LockedImage
from ramekin.build.request import ImageRequest
from ramekin.errors import RamekinError
from ramekin.image.reference import split_name
from ramekin.registry.ondemand.names import ARCHITECTURES

_PAUSE = 1.0
"""Seconds between two looks at the files."""

_Stamp = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class SpecImage:
    """An image of a spec: its request, what its lock file pins, and the tags that it has.

    `error` is set in place of them where the spec is broken now or does not agree with its lock.
    """

    request: ImageRequest | None
    locked: LockedImage | None = None
    tags: tuple[str, ...] = ("latest",)
    error: RamekinError | None = None


@dataclass
class Specs:
    """All spec files of a server."""

    paths: Sequence[Path]
    _images: dict[str, SpecImage] = field(default_factory=dict)
    _stamps: _Stamp = ()
    _looked: float = float("-inf")

    def load(self) -> None:
        """Read the files; a broken one is an error."""
        self._stamps = self._now()
        self._images = {name: image for path in self.paths for name, image in _read(path).items()}

    def images(self) -> dict[str, SpecImage]:
        """All images by name, as the files have them now."""
        now = time.monotonic()
        if now - self._looked < _PAUSE:
            return self._images
        self._looked = now
        stamps = self._now()
        if stamps != self._stamps:
            try:
                self.load()
            except RamekinError as error:
                # what was served is answered with what is wrong, not with packages of the same name
                self._images = {name: SpecImage(None, error=error) for name in self._images}
        return self._images

    def _now(self) -> _Stamp:
        files = [file for path in self.paths for file in (path, path.parent / lock.NAME)]
        return tuple(_stamp(file) for file in files)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: Path) -> dict[str, SpecImage]:
    from ramekin.build import spec as specs

    read = specs.read(path)
    pinned = lock.read(read.lock) if read.lock.exists() else None
    found = {}
    for name in read.images:
        (request,) = read.requests((name,))
        said = read.images[name].architectures or read.defaults.architectures
        request = replace(request, architectures=said or ARCHITECTURES)
        tags = tuple(dict.fromkeys(("latest", *filter(None, (split_name(request.tag)[1],)))))
        request = replace(request, tag="", target="")
        try:
            hint = "run `ramekin lock`"
            locked = lock.find(pinned, request, where=str(read.lock), hint=hint) if pinned else None
        except lock.LockError as error:
            found[name] = SpecImage(None, error=error)
            continue
        found[name] = SpecImage(request, locked, tags)
    return found
