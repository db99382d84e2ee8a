"""What the words after `ramekin build` mean: packages, a spec file, or images of one.

The rule, in this order:

1. no word: all images of `ramekin.yaml` in the current folder;
2. the first word ends in `.yaml` or `.yml`, or begins with `/`, `./` or `../`: it is a spec, the others are
   names of images in it (`/nix/store/…` is a package);
3. there is a `ramekin.yaml` in the current folder and every word is the name of an image in it: those images;
4. else the words are packages of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ramekin.build import fields, lock, request
from ramekin.build.lock import LockedImage, LockFile
from ramekin.build.request import Choices, ImageRequest
from ramekin.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from ramekin.build.spec import Spec

SPEC = "ramekin.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The images that were asked for and what binds them.

    `lock` is the lock file, there or not, or None where there is none to be; `pinned` is its content when it
    is there. `writes` says that a build shall write it when it is not. `notes` are for the user to know.
    """

    requests: tuple[ImageRequest, ...]
    lock: Path | None = None
    pinned: LockFile | None = None
    writes: bool = False
    spec: Path | None = None
    jobs: int | None = None
    store: str | None = None
    plain_http: bool | None = None
    notes: tuple[str, ...] = ()

    def locked(self, request: ImageRequest) -> LockedImage | None:
        """What the lock says of an image; `LockError` when it was made for another request."""
        if self.pinned is None:
            return None
        way = (
            f"run `ramekin lock {self.spec}`"
            if self.spec and self.spec.name != SPEC
            else "run `ramekin lock`"
        )
        if self.spec is None:
            way = f"remove {self.lock} to have it made anew, or name another file"
        return lock.find(self.pinned, request, where=str(self.lock), hint=way)


def is_spec(word: str) -> bool:
    """Whether a word of the command line names a spec file rather than a package or an image."""
    if word.startswith(request.STORE_PATHS):
        return False
    return word.endswith((".yaml", ".yml")) or word.startswith(("/", "./", "../"))


def select(
    words: Sequence[str], choices: Choices, *, lock_file: str | None = None, folder: Path | None = None
) -> Selection:
    """Apply the rule above to `words`; `choices` are the command line's, which have the most say.

    `folder` is the current one. `lock_file` is used when it exists and otherwise written by the build.
    """
    folder = folder or Path()
    own = folder / SPEC
    if not words or is_spec(words[0]):
        return spec(words, choices, lock_file=lock_file, folder=folder)
    notes: tuple[str, ...] = ()
    if own.is_file():
        names = _image_names(own)
        known = [word for word in words if word in names]
        if len(known) == len(words):
            return _of_spec(own, words, choices, lock_file)
        if known:
            other = next(word for word in words if word not in names)
            names_are = "is an image" if len(known) == 1 else "are images"
            notes = (f"{', '.join(known)} in {own} {names_are}, but {other} is not: all taken as packages",)
    packages = tuple(fields.package(word, where="build") for word in words)
    name = request.bare_name(packages[0])
    one = request.fold(name, (replace(choices, packages=packages),), where="build")
    path = Path(lock_file) if lock_file else None
    pinned = _pinned(path, needed=True)
    return Selection(requests=(one,), lock=path, pinned=pinned, writes=path is not None, notes=notes)


def spec(
    words: Sequence[str], choices: Choices, *, lock_file: str | None = None, folder: Path | None = None
) -> Selection:
    """The images of a spec: `words` are `[SPEC] [IMAGE…]`."""
    path = (folder or Path()) / SPEC
    if words and is_spec(words[0]):
        path, words = Path(words[0]), words[1:]
        if not path.exists():
            raise NotFoundError(f"there is no spec file {path}")
    elif not path.exists():
        raise UsageError(
            f"there is no {SPEC} here",
            hint="name a spec file, or packages: `ramekin build redis-server`",
        )
    return _of_spec(path, words, choices, lock_file)


def _of_spec(path: Path, names: Sequence[str], choices: Choices, lock_file: str | None) -> Selection:
    from ramekin.build import spec as specs

    read: Spec = specs.read(path)
    requests = read.requests(names, choices)
    at = Path(lock_file) if lock_file else read.lock
    return Selection(
        requests=requests,
        lock=at,
        pinned=_pinned(at, needed=lock_file is not None),
        writes=lock_file is not None,
        spec=path,
        jobs=read.jobs,
        store=read.store,
        plain_http=read.plain_http,
    )


def _pinned(path: Path | None, *, needed: bool) -> LockFile | None:
    """The lock when it is there; `UsageError` when a new one is `needed` and has no folder to be in."""
    if path is None or path.exists():
        return lock.read(path) if path is not None else None
    if needed and not path.parent.is_dir():
        raise UsageError(f"{path} cannot be made: {path.parent} is not a folder", hint="create it first")
    return None


def _image_names(path: Path) -> frozenset[str]:
    """The names of a spec's images, without checking the rest of it."""
    from ramekin import yaml_source

    data = yaml_source.read(path).data
    images = data.get("images") if isinstance(data, dict) else None
    return frozenset(images) if isinstance(images, dict) else frozenset()
