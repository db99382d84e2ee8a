"""`ramekin store`: look after the store."""

from __future__ import annotations

import re
from typing import Annotated, Any

from cyclopts import App, Parameter

from ramekin.cli import examples, options, terminal
from ramekin.cli.options import JsonOption, StoreOption
from ramekin.errors import UsageError

app = App(name="store", help="Look after the store.", help_epilogue=examples.STORE, help_format="plaintext")

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@app.command
def du(*, store: StoreOption = None, json: JsonOption = False) -> int:
    """Say what the store holds."""
    from ramekin.store import cleaning

    opened = options.open_store(store)
    _tell(opened.location, cleaning.usage(opened), json=json)
    return 0


@app.command
def verify(*, store: StoreOption = None, json: JsonOption = False) -> int:
    """Read every blob again and move damaged ones aside; exit with 1 when there was any."""
    from ramekin.store import cleaning

    opened = options.open_store(store)
    with terminal.progress() as progress:
        report = cleaning.verify(opened, progress)
    _tell(opened.location, report, json=json)
    return 1 if report.bad else 0


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
    dry_run: Annotated[bool, Parameter(name="--dry-run", help="Only say what would be removed.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> int:
    """Remove what is no longer needed."""
    from ramekin.store import cleaning

    opened = options.open_store(store)
    report = cleaning.collect(
        opened,
        older_than=older_than * 86400 if older_than is not None else None,
        size_limit=size(keep_size) if keep_size is not None else None,
        dry_run=dry_run,
    )
    _tell(opened.location, report, json=json)
    return 0


def size(text: str) -> int:
    """Bytes from `5GB`, `500 MB`, `1024`; `UsageError` otherwise."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?)b?", text.strip().lower())
    if found is None:
        raise UsageError(f"--keep-size: {text!r} is not a size", hint="write it as 500MB or 5GB")
    return int(float(found[1]) * _UNITS[found[2]])


def _tell(location: str, report: Any, *, json: bool) -> None:
    import dataclasses

    data = dataclasses.asdict(report)
    if json:
        terminal.write_json({"store": location, **data})
        return
    terminal.write(f"store: {location}")
    for name, value in data.items():
        terminal.write(f"{name.replace('_', ' ')}: {_spell(name, value)}")


def _spell(name: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return (
            terminal.size(value) if any(word in name for word in ("bytes", "size", "freed")) else f"{value:,}"
        )
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)
