"""Store paths of Nix in an image: which there are, how they are linked, and what Nix is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ramekin.build.closures import Closed, kinds, parted, unmatched
from ramekin.build.configure import Start
from ramekin.build.packages import Bench, Preparation, examine
from ramekin.build.request import ImageRequest, NixChoices, split_kind
from ramekin.closure import storepaths
from ramekin.closure.follow import Asked
from ramekin.closure.storepaths import follow, profile
from ramekin.errors import UsageError
from ramekin.image.tree import Kind, Tree
from ramekin.plan import order
from ramekin.sources.protocol import Resolution, Source

if TYPE_CHECKING:
    from ramekin.sources.nix.model import NixPackage
    from ramekin.sources.nix.source import NixSettings

ESSENTIALS = ("cacert", "tzdata")
"""The packages of nixpkgs that stand for CA certificates and time zones."""

PROFILE = "nix-profile"
"""What the layer of links is called."""

_ZONEINFO = "usr/share/zoneinfo"
_ESSENTIALS = {"cacert": "ca-certificates", "tzdata": "tzdata"}


def choices(request: ImageRequest) -> NixChoices:
    """What a request says of Nix."""
    return request.nix or NixChoices()


def settings(request: ImageRequest) -> NixSettings:
    """Where the store paths of a request come from."""
    from ramekin.sources.nix.source import NixSettings

    said = choices(request)
    return NixSettings(caches=said.caches, trusted_keys=said.trusted_keys, channel=said.channel or "")


def essentials(request: ImageRequest) -> tuple[str, ...]:
    """The names of those packages of nixpkgs that an image has besides what is asked for.

    Where there are packages of a distribution, its own are there.
    """
    if choices(request).essentials != "nixpkgs" or "debian" in kinds(request):
        return ()
    asked = request.by_kind().get("nix", ())
    return tuple(
        name for name in ESSENTIALS if _ESSENTIALS[name] not in request.leave_out and name not in asked
    )


def resolve(names: Sequence[str], architecture: str, source: Source) -> Resolution:
    """The closure of `names` in the order in which its store paths are laid out."""
    found = source.resolve(names, architecture)
    return replace(found, packages=order.by_reach(found.packages, found.edges))


def requested(resolution: Resolution, names: Iterable[str]) -> tuple[str, ...]:
    """The base names of the store paths that were asked for, in the order of the requests `names`."""
    found: dict[str, list[str]] = {}
    for package in resolution.packages:
        reason = resolution.reasons.get(package.name)
        if reason is not None and not reason.by:
            found.setdefault(reason.relation, []).append(package.name)
    ordered = [name for text in names for name in found.pop(text, ())]
    return tuple(dict.fromkeys([*ordered, *(name for others in found.values() for name in others)]))


def close(resolution: Resolution, request: ImageRequest, how: Preparation, bench: Bench) -> Closed:
    """The store paths of an image; without evidence nothing is left out and nothing looked at closer."""
    by_evidence = request.closure != "depends"
    examined = examine(resolution.packages, how, bench, evidence=by_evidence)
    if not by_evidence:
        facts = tuple(examined[package.name].facts for package in resolution.packages)
        return Closed(resolution.packages, facts, None, ())
    asked = Asked(
        keep=request.keep, drop=request.drop, programs=(request.entrypoint or request.cmd or ())[:1]
    )
    names = requested(resolution, _names(request))
    evidence = {name: known.evidence for name, known in examined.items() if known.evidence is not None}
    if request.closure == "files":
        detail = {package.name: bench.detail(package, how) for package in resolution.packages}
        followed = follow.files(resolution, evidence, detail, asked, names)
    else:
        followed = follow.packages(resolution, evidence, asked, names)
    packages = tuple(package for package in resolution.packages if package.name in followed.names)
    return Closed(
        packages,
        tuple(examined[package.name].facts for package in packages),
        followed,
        followed.files,
        unmatched(request, followed, examined),
    )


def _names(request: ImageRequest) -> tuple[str, ...]:
    return (*request.by_kind().get("nix", ()), *essentials(request))


def check(request: ImageRequest) -> None:
    """`UsageError` for wishes that contradict each other."""
    if choices(request).database and (request.closure == "files" or request.drop):
        raise UsageError(
            "Nix's database says that store paths are whole, and this image leaves out files of them",
            hint="build it with `--closure packages` and without --drop, or without the database",
        )


def finish(
    closed: Closed,
    resolution: Resolution,
    request: ImageRequest,
    own: Sequence[tuple[str, Tree]],
    signatures: Mapping[str, tuple[str, ...]],
) -> tuple[tuple[tuple[str, Tree], ...], tuple[str, ...]]:
    """Named trees to stand above all store paths, and what there is to say of files that gave way.

    `own` are the other trees of the image's own.
    """
    paths = parted(resolution, "nix", request)
    names = requested(paths, _names(request))
    packages = [cast("NixPackage", package) for package in closed.packages if package.kind == "nix"]
    known = {package.name: package for package in packages}
    facts = {one.name: one for one in closed.facts if one.name in known}
    entries = [entry for _, files in own for entry in files.entries()]
    made = profile.profile(
        [profile.Asked(name, known[name].priority) for name in names if name in known],
        facts,
        paths,
        gone={file.path for file in closed.gone},
        present={entry.path for entry in entries if entry.kind is not Kind.DIRECTORY},
        folders={entry.path for entry in entries if entry.kind is Kind.DIRECTORY},
        local="debian" in kinds(request),
        links=choices(request).links is not False,
    )
    trees = [(PROFILE, made.tree)]
    if choices(request).database:
        from ramekin.closure.storepaths import database

        trees.append(("nix-database", database.database(packages, signatures, roots=names)))
    return tuple((title, tree) for title, tree in trees if len(tree)), made.conflicts


def start(closed: Closed, resolution: Resolution, request: ImageRequest, links: Tree) -> Start:
    """How the image starts where the first package is a store path, and what its links ask for."""
    paths = parted(resolution, "nix", request)
    zones = links.get(_ZONEINFO)
    return Start(
        _program(closed, paths, request, links),
        {} if zones is None else {"TZDIR": f"/{_ZONEINFO}"},
        requested(paths, request.by_kind().get("nix", ())),
    )


def _program(closed: Closed, paths: Resolution, request: ImageRequest, links: Tree) -> str | None:
    """The program that the first store path asked for is known for, as an absolute path.

    It is what nixpkgs calls its main program, else the one that is named like it; of several outputs the
    first that has it. By the image's own link where there is one.
    """
    kind, name = split_kind(request.packages[0])
    if (kind or request.kind) != "nix":
        return None
    packages = {package.name: cast("NixPackage", package) for package in closed.packages}
    facts = {one.name: {path for path, _ in one.claimed()} for one in closed.facts}
    asked = [
        one for one in requested(paths, (name,)) if one in packages and paths.reasons[one].relation == name
    ]
    gone = {file.path for file in closed.gone}
    targets = {entry.target: path for path, entry in links.items()}
    words = [*(packages[one].program for one in asked), *(packages[one].origin for one in asked)]
    for word in filter(None, words):
        for one in asked:
            for folder in ("bin", "sbin"):
                path = f"{storepaths.STORE}{one}/{folder}/{word}"
                # or by a folder that is a link, which the image's own links know
                if (path in facts[one] and path not in gone) or "/" + path in targets:
                    return "/" + targets.get("/" + path, path)
    return None
