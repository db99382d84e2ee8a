"""The lock file: every package of every image by version, SHA-256 and size, so that a build is repeatable.

It also keeps what the indexes said beside that (who needs whom, why, who replaces whom, what the suite looks
like), so that a locked build asks no index anything. The file is JSON, indented and sorted, one value a line:
it is made to be read in a review.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from ramekin.build.request import ImageRequest
from ramekin.errors import FormatError, NotFoundError, RamekinError
from ramekin.sources.protocol import Package, Reason, Resolution, SuiteFacts
from ramekin.store import digest as digests
from ramekin.store.digest import Digest

if TYPE_CHECKING:
    from ramekin.sources.nix.model import NixPackage

VERSION: Literal[1] = 1
NAME = "ramekin.lock.json"


class LockError(RamekinError):
    """The lock does not answer the request that was made."""


class LockedPath(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a cache and a channel said of a store path, as `sources.nix.model.NixPackage` has it.

    `itself` says whether it refers to itself, `signatures` are those that the cache had.
    """

    itself: bool = False
    deriver: str = ""
    ca: str = ""
    attribute: str = ""
    output: str = ""
    priority: int = 5
    program: str = ""
    signatures: tuple[str, ...] = ()


class LockedPackage(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A package pinned. `size` and `installed_size` are in bytes, `sha256` is bare hex.

    `needs` are the names of the chosen packages that it depends on, `by` and `relation` say who asked for it
    (`""` for the user), `replaces` whose files it may take over. `path` is set for store paths of Nix.
    """

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    installed_size: int = 0
    origin: str = ""
    origin_version: str = ""
    suite: str = ""
    location: str = ""
    by: str = ""
    relation: str = ""
    needs: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    path: LockedPath | None = None

    def package(self) -> Package:
        """The package, without its description, which no lock holds."""
        fields: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "architecture": self.architecture,
            "digest": digests.from_hex(self.sha256),
            "size": self.size,
            "installed_size": self.installed_size,
            "origin": self.origin,
            "origin_version": self.origin_version,
            "suite": self.suite,
            "location": self.location,
        }
        path = self.path
        if path is None:
            return Package(**fields)
        from ramekin.sources.nix.model import NixPackage

        return NixPackage(
            **fields,
            references=tuple(sorted((*self.needs, *((self.name,) if path.itself else ())))),
            deriver=path.deriver,
            ca=path.ca,
            attribute=path.attribute,
            output=path.output,
            priority=path.priority,
            program=path.program,
        )


class LockedSuite(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`SuiteFacts` at the time of locking."""

    name: str
    merged: dict[str, str] = {}
    os_release: str = ""


class LockedClosure(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The closure of one image for one architecture. `state` is the digest of the indexes that gave it.

    `requested` is what was asked for, `wanted` the Essential packages that evidence added to it. `packages`
    are all that the image may hold, in dependency order; evidence chooses among them.
    """

    state: Digest
    requested: tuple[str, ...]
    wanted: tuple[str, ...] = ()
    suite: LockedSuite
    packages: tuple[LockedPackage, ...]

    def resolution(self, architecture: str) -> Resolution:
        """The resolution that was locked: `closure(x.resolution(a), …)` equals x."""
        return Resolution(
            architecture=architecture,
            requested=self.requested,
            packages=tuple(package.package() for package in self.packages),
            reasons={package.name: Reason(package.by, package.relation) for package in self.packages},
            edges={package.name: package.needs for package in self.packages},
            replaces={package.name: package.replaces for package in self.packages if package.replaces},
        )

    def facts(self) -> SuiteFacts:
        """What an image looks like below its packages."""
        return SuiteFacts(self.suite.name, dict(self.suite.merged), self.suite.os_release)

    def signatures(self) -> dict[str, tuple[str, ...]]:
        """The signatures of store paths by the names of their packages."""
        return {package.name: package.path.signatures for package in self.packages if package.path}


class LockedImage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One image pinned, with those parts of its request that decide which packages it has.

    `essentials` are `NixChoices.essentials`.
    """

    source: str
    packages: tuple[str, ...]
    recommends: bool = False
    closure: str = "packages"
    leave_out: tuple[str, ...] = ()
    essentials: str = ""
    architectures: dict[str, LockedClosure]


class LockFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The whole file: images by name."""

    version: Literal[1]
    images: dict[str, LockedImage] = {}

    def with_images(self, images: Mapping[str, LockedImage]) -> LockFile:
        """This lock with `images` added or put in place of those of the same names."""
        return LockFile(version=VERSION, images={**self.images, **images})


def closure(
    resolution: Resolution,
    *,
    state: Digest,
    facts: SuiteFacts,
    wanted: tuple[str, ...] = (),
    signatures: Mapping[str, tuple[str, ...]] | None = None,
) -> LockedClosure:
    """Pin a resolution that an index of the given `state` gave; `signatures` are of store paths."""
    return LockedClosure(
        state=state,
        requested=resolution.requested,
        wanted=wanted,
        suite=LockedSuite(name=facts.name, merged=dict(facts.merged), os_release=facts.os_release),
        packages=tuple(_pin(package, resolution, signatures or {}) for package in resolution.packages),
    )


def image(request: ImageRequest, closures: Mapping[str, LockedClosure]) -> LockedImage:
    """Pin a request by the closures of its architectures."""
    return LockedImage(
        source=request.source,
        packages=request.packages,
        recommends=request.recommends,
        closure=request.closure,
        leave_out=tuple(sorted(set(request.leave_out))),
        essentials=_essentials(request),
        architectures={name: closures[name] for name in sorted(closures)},
    )


def _essentials(request: ImageRequest) -> str:
    return (request.nix.essentials or "") if request.nix else ""


def _pin(
    package: Package, resolution: Resolution, signatures: Mapping[str, tuple[str, ...]]
) -> LockedPackage:
    reason = resolution.reasons.get(package.name, Reason("", ""))
    path: LockedPath | None = None
    if package.kind == "nix":
        path = _pin_path(cast("NixPackage", package), signatures.get(package.name, ()))
    return LockedPackage(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        sha256=digests.hex_of(package.digest),
        size=package.size,
        installed_size=package.installed_size,
        origin=package.origin,
        origin_version=package.origin_version,
        suite=package.suite,
        location=package.location,
        by=reason.by,
        relation=reason.relation,
        needs=tuple(resolution.edges.get(package.name, ())),
        replaces=tuple(resolution.replaces.get(package.name, ())),
        path=path,
    )


def _pin_path(package: NixPackage, signatures: tuple[str, ...]) -> LockedPath:
    return LockedPath(
        itself=package.name in package.references,
        deriver=package.deriver,
        ca=package.ca,
        attribute=package.attribute,
        output=package.output,
        priority=package.priority,
        program=package.program,
        signatures=tuple(sorted(signatures)),
    )


def disagreements(request: ImageRequest, locked: LockedImage) -> tuple[str, ...]:
    """What the request says that the lock was not made for, one clause each; empty when they agree."""
    found: list[str] = []
    if request.source != locked.source:
        found.append(f"the source is {request.source}, locked is {locked.source}")
    found += _sets("package", request.packages, locked.packages)
    if not found and request.packages != locked.packages:
        found.append("the packages stand in another order")
    if request.recommends != locked.recommends:
        found.append(f"recommends is {_yes(request.recommends)}, locked is {_yes(locked.recommends)}")
    if request.closure != locked.closure:
        found.append(f"the closure is by {request.closure}, locked is by {locked.closure}")
    found += _sets("left-out essential", request.leave_out, locked.leave_out)
    if (asked := _essentials(request)) != locked.essentials:
        found.append(f"essentials are {asked or 'own'}, locked are {locked.essentials or 'own'}")
    found += [
        f"architecture {name} is not locked"
        for name in request.architectures
        if name not in locked.architectures
    ]
    return tuple(found)


def _sets(what: str, asked: Iterable[str], locked: Iterable[str]) -> list[str]:
    before, after = set(locked), set(asked)
    return [f"{what} {name} is not locked" for name in sorted(after - before)] + [
        f"{what} {name} is locked but not asked for" for name in sorted(before - after)
    ]


def _yes(value: bool) -> str:
    return "on" if value else "off"


def find(lock: LockFile, request: ImageRequest, *, where: str, hint: str) -> LockedImage:
    """The pinned image that answers `request`; `LockError` says how lock and request disagree."""
    locked = lock.images.get(request.name)
    if locked is None:
        raise LockError(f"{where} does not hold the image {request.name}", hint=hint)
    if found := disagreements(request, locked):
        raise LockError(f"{where} was made for another {request.name}: {'; '.join(found)}", hint=hint)
    return locked


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A package that differs between two locks; an empty version means that it is not there."""

    name: str
    before: str = ""
    after: str = ""


def changes(old: LockedClosure | None, new: LockedClosure) -> tuple[Change, ...]:
    """What differs between two closures by name: other versions, packages come and gone, other bytes."""
    before = {package.name: package for package in old.packages} if old else {}
    after = {package.name: package for package in new.packages}
    return tuple(
        Change(
            name=name,
            before=before[name].version if name in before else "",
            after=after[name].version if name in after else "",
        )
        for name in sorted(before.keys() | after.keys())
        if name not in before or name not in after or before[name].sha256 != after[name].sha256
    )


def encode(lock: LockFile) -> bytes:
    """The file's bytes: the same lock gives the same bytes always."""
    return msgspec.json.format(msgspec.json.encode(lock, order="deterministic"), indent=2) + b"\n"


class _Header(msgspec.Struct):
    version: object = None


def decode(data: bytes, *, where: str) -> LockFile:
    """Read a lock; `FormatError` names the field at fault."""
    again = "remove it to have it made anew"
    try:
        header = msgspec.json.decode(data, type=_Header)
        if header.version != VERSION:
            raise FormatError(
                f"{where} has version {header.version}, this Ramekin reads version {VERSION}", hint=again
            )
        lock = msgspec.json.decode(data, type=LockFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{where} is not a lock file: {error}", hint=again) from None
    for name, image in lock.images.items():
        for architecture, pinned in image.architectures.items():
            place = f"{where}: images.{name}.architectures.{architecture}"
            _check(pinned, place, again)
    return lock


_HEX = re.compile(r"[0-9a-f]{64}")


def _check(pinned: LockedClosure, place: str, hint: str) -> None:
    if not _HEX.fullmatch(pinned.state.removeprefix("sha256:")):
        raise FormatError(f"{place}.state is not a digest", hint=hint)
    seen: set[str] = set()
    for package in pinned.packages:
        if not _HEX.fullmatch(package.sha256):
            raise FormatError(f"{place}: {package.name} has no SHA-256 but {package.sha256!r}", hint=hint)
        if package.size < 0 or package.installed_size < 0:
            raise FormatError(f"{place}: {package.name} has a negative size", hint=hint)
        if package.name in seen:
            raise FormatError(f"{place}: {package.name} is there twice", hint=hint)
        seen.add(package.name)


def read(path: Path) -> LockFile:
    """The lock in a file; `NotFoundError` when there is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"there is no lock file {path}", hint="`ramekin lock` makes it") from None
    except OSError as error:
        raise RamekinError(f"{path} cannot be read: {error.strerror}") from None
    return decode(data, where=str(path))


def write(lock: LockFile, path: Path) -> bool:
    """Put the lock in a file, whole or not at all; False when the file has these bytes already."""
    data = encode(lock)
    temporary: str | None = None
    try:
        if path.is_file() and path.read_bytes() == data:
            return False
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise RamekinError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return True
