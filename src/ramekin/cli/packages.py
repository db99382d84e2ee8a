"""`ramekin search` and `ramekin show`: what a source has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from ramekin.build import request
from ramekin.cli import options, terminal
from ramekin.cli.options import (
    JsonOption,
    NixCacheOption,
    NixChannelOption,
    NixKeyOption,
    RefreshOption,
    SourceOption,
    StoreOption,
)
from ramekin.errors import UsageError

if TYPE_CHECKING:
    from ramekin.progress import Progress
    from ramekin.sources.nix.model import NixPackage
    from ramekin.sources.protocol import Package, Source

OneArchOption = Annotated[
    str | None,
    Parameter(name=["--arch", "-a"], help="The architecture. Default: this machine's own."),
]

_RELATIONS = ("pre_depends", "depends", "recommends", "provides", "conflicts", "breaks", "replaces")


def search(
    *words: Annotated[str, Parameter(help="Words that name or description have, all of them.")],
    source: SourceOption = None,
    nix_cache: NixCacheOption = (),  # type: ignore[assignment]
    nix_key: NixKeyOption = (),  # type: ignore[assignment]
    nix_channel: NixChannelOption = None,
    arch: OneArchOption = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="How many to show at most.")] = 40,
    refresh: RefreshOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> int:
    """Find packages; exit with 1 when there is none."""
    if not words:
        raise UsageError("nothing to search for", hint="name words, as in `ramekin search key value store`")
    architecture = request.architecture(arch) if arch else request.host_architecture()
    with terminal.progress() as progress:
        nix = options.nix_choices(nix_cache, nix_key, nix_channel)
        opened = _open(source, nix, architecture, store, progress, refresh=refresh)
        found = opened.search(words, architecture)
    shown = found[:limit]
    if json:
        terminal.write_json([_as_data(package) for package in shown])
    else:
        terminal.write_table(
            ("package", "version", "installed", "description"),
            [
                (
                    package.name,
                    package.version,
                    terminal.size(package.installed_size) if package.installed_size else "",
                    _synopsis(package.description),
                )
                for package in shown
            ],
            numbers=(2,),
        )
        if len(found) > len(shown):
            terminal.say(f"{len(found) - len(shown)} more; --limit shows them")
        if not found:
            terminal.say(f"{opened.name} has no package with {' and '.join(words)}")
    return 0 if found else 1


def show(
    package: Annotated[str, Parameter(help="The package's name.")],
    /,
    *,
    source: SourceOption = None,
    nix_cache: NixCacheOption = (),  # type: ignore[assignment]
    nix_key: NixKeyOption = (),  # type: ignore[assignment]
    nix_channel: NixChannelOption = None,
    arch: OneArchOption = None,
    refresh: RefreshOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> int:
    """Say what a source knows of a package: its versions, and the newest one's sizes and relations."""
    architecture = request.architecture(arch) if arch else request.host_architecture()
    kind, name = request.split_kind(package)
    with terminal.progress() as progress:
        nix = options.nix_choices(nix_cache, nix_key, nix_channel)
        opened = _open(source or kind or None, nix, architecture, store, progress, refresh=refresh)
        versions = opened.show(name, architecture)
    if json:
        terminal.write_json([_as_data(version) for version in versions])
    else:
        for line in _describe(versions):
            terminal.write(line)
    return 0


def _open(
    name: str | None,
    nix: request.NixChoices,
    architecture: str,
    store: str | None,
    progress: Progress,
    *,
    refresh: bool,
) -> Source:
    from ramekin.build import compose

    # a channel names store paths and nothing else
    where = options.source(name) if name else "nix" if nix != request.NixChoices() else "debian"
    opened = compose.open_sources(
        request.fold("", [request.Choices(packages=("all",), source=where, nix=nix)], where="--source"),
        options.open_store(store),
    )
    opened.refresh((architecture,), progress, force=refresh)
    return opened


def _of_store_path(package: Package) -> list[tuple[str, str]]:
    if package.kind != "nix":
        return []
    path = cast("NixPackage", package)
    return [
        ("store path", path.location),
        ("attribute", path.attribute),
        ("output", path.output),
        ("program", path.program),
        ("references", " ".join(path.references)),
        ("derivation", path.deriver),
        ("content address", path.ca),
    ]


def _as_data(package: Package) -> dict[str, Any]:
    import dataclasses

    return {**dataclasses.asdict(package), "kind": package.kind}


def _synopsis(description: str) -> str:
    return description.partition("\n")[0]


def _describe(versions: Sequence[Package]) -> list[str]:
    newest = versions[0]
    origin = f"{newest.origin} {newest.origin_version}".strip()
    facts = [
        ("package", newest.name),
        ("version", f"{newest.version} ({newest.suite})" if newest.suite else newest.version),
        ("other versions", ", ".join(f"{other.version} ({other.suite})" for other in versions[1:])),
        ("architecture", newest.architecture),
        ("source package", origin),
        ("archive", terminal.size(newest.size)),
        ("installed", terminal.size(newest.installed_size)),
        *((field.replace("_", "-"), str(getattr(newest, field, ""))) for field in _RELATIONS),
        *_of_store_path(newest),
        ("SHA-256", newest.digest.removeprefix("sha256:")),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name:<{width}}  {value}" for name, value in facts if value]
    return [*lines, "", newest.description] if newest.description else lines
