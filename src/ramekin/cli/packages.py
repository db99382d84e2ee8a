"""`ramekin search` and `ramekin show`: what a source has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ramekin.build import fields, request
from ramekin.cli import options, terminal
from ramekin.cli.options import JsonOption, RefreshOption, SourceOption, StoreOption
from ramekin.errors import UsageError

if TYPE_CHECKING:
    from ramekin.progress import Progress
    from ramekin.sources.protocol import Package, Source

OneArchOption = Annotated[
    str | None,
    Parameter(name=["--arch", "-a"], help="The architecture. Default: this machine's own."),
]

_RELATIONS = ("pre_depends", "depends", "recommends", "provides", "conflicts", "breaks", "replaces")


def search(
    *words: Annotated[str, Parameter(help="Words that name or description have, all of them.")],
    source: SourceOption = None,
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
        opened = _open(source, architecture, store, progress, refresh=refresh)
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
                    terminal.size(package.installed_size),
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
    arch: OneArchOption = None,
    refresh: RefreshOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> int:
    """Say what a source knows of a package: its versions, and the newest one's sizes and relations."""
    architecture = request.architecture(arch) if arch else request.host_architecture()
    with terminal.progress() as progress:
        opened = _open(source, architecture, store, progress, refresh=refresh)
        versions = opened.show(package, architecture)
    if json:
        terminal.write_json([_as_data(version) for version in versions])
    else:
        for line in _describe(versions):
            terminal.write(line)
    return 0


def _open(
    name: str | None, architecture: str, store: str | None, progress: Progress, *, refresh: bool
) -> Source:
    from ramekin.sources import open_source

    where = fields.source(name, where="--source") if name else "debian"
    opened = open_source(where, options.open_store(store))
    opened.refresh((architecture,), progress, force=refresh)
    return opened


def _as_data(package: Package) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(package)


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
        ("SHA-256", newest.digest.removeprefix("sha256:")),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name:<{width}}  {value}" for name, value in facts if value]
    return [*lines, "", newest.description] if newest.description else lines
