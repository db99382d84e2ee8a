"""What two images have not in common: files, packages, configuration, and what a node must fetch."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ramekin.analyze.inspect import plain
from ramekin.analyze.model import Outline, ReadImage
from ramekin.analyze.owners import Owners, owners
from ramekin.analyze.stack import Placed, Stack, stack
from ramekin.image.oci import Descriptor
from ramekin.image.tree import Kind, sort_key

ADDED, REMOVED, CHANGED = "added", "removed", "changed"


class FileDifference(msgspec.Struct, frozen=True):
    """A path whose entries differ. `before` and `after` are sizes, None where there is none; `what` names the
    properties that differ, for changed ones: content, kind, target, mode, owner, attributes.
    """

    path: str
    change: str
    before: int | None
    after: int | None
    package: str
    what: tuple[str, ...] = ()


class PackageDifference(msgspec.Struct, frozen=True):
    """A package that is in one image only, or in another version. Sizes are of its files."""

    system: str
    name: str
    change: str
    before: str
    after: str
    size_before: int
    size_after: int


class SettingDifference(msgspec.Struct, frozen=True):
    """A field of the configuration, in the words of image-spec."""

    name: str
    before: str
    after: str


class Fetch(msgspec.Struct, frozen=True):
    """What a node that has the first image fetches for the second, and what it keeps of it.

    A blob that is there under its digest is not fetched. Engines keep a layer unpacked once only for the same
    layers below it: `unpacked` counts the layers that must be laid out anew, whether fetched or not.
    """

    layers: int
    layers_all: int
    size: int
    size_all: int
    unpacked: int


class Difference(msgspec.Struct, frozen=True):
    """From image `before` to image `after`. Sizes are contents, each once."""

    before: str
    after: str
    before_digest: str
    after_digest: str
    size_before: int
    size_after: int
    fetch: Fetch
    files: tuple[FileDifference, ...]
    packages: tuple[PackageDifference, ...]
    settings: tuple[SettingDifference, ...]

    @property
    def same(self) -> bool:
        """Whether the two hold the same files and are started the same way."""
        return not (self.files or self.packages or self.settings)


def diff(before: ReadImage, after: ReadImage) -> Difference:
    """What changes from one image to the other."""
    old, new = stack(before), stack(after)
    old_owners, new_owners = owners(old), owners(new)
    return Difference(
        before=before.outline.name,
        after=after.outline.name,
        before_digest=before.outline.root.digest,
        after_digest=after.outline.root.digest,
        size_before=old.size,
        size_after=new.size,
        fetch=fetch(before.outline, after.outline),
        files=tuple(_files(old, new, old_owners, new_owners)),
        packages=tuple(_packages(old_owners, new_owners)),
        settings=settings(before.outline, after.outline),
    )


def fetch(before: Outline, after: Outline) -> Fetch:
    """What a node with one image fetches for another; manifests are enough to know."""
    wanted: dict[str, Descriptor] = {layer.digest: layer for layer in after.layers}
    there = {layer.digest for layer in before.layers}
    missing = [layer for digest, layer in wanted.items() if digest not in there]
    common = 0
    for one, other in zip(before.diff_ids, after.diff_ids, strict=False):
        if one != other:
            break
        common += 1
    return Fetch(
        layers=len(missing),
        layers_all=len(wanted),
        size=sum(layer.size for layer in missing),
        size_all=sum(layer.size for layer in wanted.values()),
        unpacked=len(after.diff_ids) - common,
    )


def _files(old: Stack, new: Stack, old_owners: Owners, new_owners: Owners) -> Iterable[FileDifference]:
    found = []
    for path in old.files.keys() | new.files.keys():
        one, other = old.files.get(path), new.files.get(path)
        whose = new_owners if other is not None else old_owners
        package = whose.package(path)
        name = f"{package.system}/{package.name}" if package else ""
        if one is None and other is not None:
            found.append(FileDifference(path, ADDED, None, other.size, name))
        elif one is not None and other is None:
            found.append(FileDifference(path, REMOVED, one.size, None, name))
        elif one is not None and other is not None and (what := _what(one, other)):
            found.append(FileDifference(path, CHANGED, one.size, other.size, name, what))
    found.sort(key=lambda difference: sort_key(difference.path))
    return [msgspec.structs.replace(one, path=plain(one.path)) for one in found]


def _what(one: Placed, other: Placed) -> tuple[str, ...]:
    before, after = one.content, other.content
    if before.kind is not after.kind:
        return ("kind",)
    pairs = (
        ("content", before.digest != after.digest),
        ("target", before.kind is Kind.SYMLINK and before.target != after.target),
        ("device", before.device != after.device),
        ("mode", before.mode != after.mode and before.kind is not Kind.SYMLINK),
        ("owner", (before.uid, before.gid) != (after.uid, after.gid)),
        ("attributes", before.xattrs != after.xattrs),
    )
    return tuple(name for name, differs in pairs if differs)


def _packages(old: Owners, new: Owners) -> Iterable[PackageDifference]:
    before, after = _by_name(old), _by_name(new)
    for system, name in sorted(before.keys() | after.keys()):
        versions_before, size_before = before.get((system, name), ("", 0))
        versions_after, size_after = after.get((system, name), ("", 0))
        if versions_before == versions_after:
            continue
        change = ADDED if not versions_before else REMOVED if not versions_after else CHANGED
        yield PackageDifference(
            system, name, change, versions_before, versions_after, size_before, size_after
        )


def _by_name(found: Owners) -> dict[tuple[str, str], tuple[str, int]]:
    """Versions (several joined) and bytes of every name."""
    versions: dict[tuple[str, str], set[str]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for package, owned in zip(found.packages, found.owned, strict=True):
        name = package.name
        versions.setdefault((package.system, name), set()).add(package.version or "?")
        sizes[package.system, name] = sizes.get((package.system, name), 0) + owned.size
    return {name: (", ".join(sorted(found)), sizes[name]) for name, found in versions.items()}


def settings(before: Outline, after: Outline) -> tuple[SettingDifference, ...]:
    """Fields of the two configurations that differ, each variable and label by itself."""
    old, new = _settings(before), _settings(after)
    return tuple(
        SettingDifference(name, old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _settings(told: Outline) -> dict[str, str]:
    config = told.config
    found = {"architecture": config.architecture, "os": config.os, "variant": config.variant}
    if (run := config.config) is not None:
        found |= {
            "User": run.user,
            "WorkingDir": run.working_dir,
            "StopSignal": run.stop_signal,
            "Entrypoint": _words(run.entrypoint),
            "Cmd": _words(run.cmd),
            "ExposedPorts": _words(sorted(run.exposed_ports or ())),
            "Volumes": _words(sorted(run.volumes or ())),
        }
        for variable in run.env or ():
            name, _, value = variable.partition("=")
            found[f"Env {name}"] = value
        for name, value in (run.labels or {}).items():
            found[f"Labels {name}"] = value
    return {name: plain(value) for name, value in found.items() if value}


def _words(words: Iterable[str] | None) -> str:
    return msgspec.json.encode(list(words)).decode() if words else ""
