"""`ramekin store`: look after the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ramekin.cli import examples, options, terminal
from ramekin.cli.options import JsonOption, StoreOption
from ramekin.errors import UsageError

if TYPE_CHECKING:
    from ramekin.registry.sweeping import Swept
    from ramekin.store.store import Store

app = App(name="store", help="Look after the store.", help_epilogue=examples.STORE, help_format="plaintext")

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@app.command
def du(*, store: StoreOption = None, json: JsonOption = False) -> int:
    """Say what the store holds."""
    from ramekin.store import cleaning

    usage = cleaning.usage(options.open_store(store))
    if json:
        terminal.write_json(usage)
        return 0
    rows = [("blobs", usage.blobs), ("results", usage.results), ("debris", usage.debris), ("bad", usage.bad)]
    terminal.write_table(
        ("what", "number", "size"),
        [(name, f"{count.number:,}", terminal.size(count.size)) for name, count in rows],
        numbers=(1, 2),
    )
    terminal.say(f"{terminal.size(usage.size)} in {usage.location}")
    return 0


@app.command
def verify(*, store: StoreOption = None, json: JsonOption = False) -> int:
    """Read every blob again and move damaged ones aside; exit with 1 when there was any."""
    from ramekin.store import cleaning

    with terminal.progress() as progress:
        found = cleaning.verify(options.open_store(store), progress)
    if json:
        terminal.write_json(found)
    else:
        for damage in found.damage:
            moved = f", moved to {damage.moved}" if damage.moved else ", removed"
            terminal.write(f"{damage.name}: {damage.reason}{moved}")
        read = f"{terminal.plural(found.blobs.number, 'blob')}, {found.results.number:,} results read"
        terminal.say(f"{read}, {len(found.damage) or 'none'} damaged")
    return 1 if found.damage else 0


@app.command
def gc(
    *,
    older_than: Annotated[
        float | None, Parameter(name="--older-than", help="Remove what was not used for this many days.")
    ] = None,
    keep_size: Annotated[
        str | None,
        Parameter(
            name="--keep-size", help="Remove what was unused longest until this much is left, as in 5GB."
        ),
    ] = None,
    dry_run: Annotated[
        bool, Parameter(name="--dry-run", help="Only say what would be removed, and why.")
    ] = False,
    config: Annotated[
        Path | None,
        Parameter(name="--config", help="The registry's configuration, for what it keeps.", metavar="FILE"),
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> int:
    """Remove what is broken or left behind, and what is older or more than is wanted."""
    from ramekin.store import cleaning

    if older_than is not None and not 0 <= older_than < 1e6:
        raise UsageError(f"--older-than: {older_than:g} days cannot be", hint="choose 0 or more")
    limit = size(keep_size) if keep_size is not None else None
    opened = options.open_store(store)
    swept, roots = _sweep(opened, config, dry_run=dry_run)
    collected = cleaning.collect(
        opened,
        older_than=older_than * 86400 if older_than is not None else None,
        size_limit=limit,
        dry_run=dry_run,
        roots=roots,
    )
    if json:
        terminal.write_json({"registry": swept, "store": collected})
        return 0
    if dry_run:
        for one in swept.removed:
            terminal.write(f"{one.kind} {one.name}: {one.why}")
        for name, why in zip(collected.removed, collected.reasons, strict=True):
            terminal.write(f"{name}: {why}")
    freed = [one for one in swept.removed if one.kind == "blob"]
    rows = [("blobs", collected.blobs), ("results", collected.results), ("debris", collected.debris)]
    terminal.write_table(
        ("removed", "number", "size"),
        [("of the registry", f"{len(freed):,}", terminal.size(swept.size))]
        + [(name, f"{count.number:,}", terminal.size(count.size)) for name, count in rows],
        numbers=(1, 2),
    )
    would = "would be " if dry_run else ""
    terminal.say(f"{terminal.size(collected.kept.size)} {would}kept in {collected.location}")
    return 0


def _sweep(store: Store, config: Path | None, *, dry_run: bool) -> tuple[Swept, frozenset[str]]:
    """What the registry in the store need not keep, and the blobs that it must."""
    from ramekin.registry import sweeping, uploads
    from ramekin.registry.catalog import Catalog

    policy = sweeping.Policy()
    if config is not None:
        from ramekin.registry import config as configuration

        policy = sweeping.Policy.of(configuration.read(config).cleaning)
    catalog = Catalog(store)
    if not sweeping.has_registry(catalog):
        return sweeping.Swept(dry_run, ()), frozenset()
    swept = sweeping.sweep(catalog, uploads.of(catalog), policy, dry_run=dry_run)
    return swept, sweeping.roots(catalog)


def size(text: str) -> int:
    """Bytes from `5GB`, `500 MB`, `1024`; `UsageError` otherwise."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kmgt]?)b?", text.strip().lower(), re.ASCII)
    if found is None:
        raise UsageError(f"--keep-size: {text!r} is not a size", hint="write it as 500MB or 5GB")
    return int(float(found[1]) * _UNITS[found[2]])
