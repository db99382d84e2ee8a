"""`ramekin build`: make images from packages or a spec, and put them where they belong."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ramekin.cli import options, terminal
from ramekin.cli.options import (
    ImageOptions,
    JobsOption,
    JsonOption,
    PlainHttpOption,
    RefreshOption,
    StoreOption,
)

if TYPE_CHECKING:
    from ramekin.build.compose import Built, ImageReport
    from ramekin.build.request import ImageRequest
    from ramekin.build.selection import Selection
    from ramekin.image.reference import Reference
    from ramekin.store.digest import Digest

NOTHING = ImageOptions()


@dataclass(frozen=True, slots=True)
class Delivered:
    """An image that is where it was to go."""

    request: ImageRequest
    place: Reference
    digest: Digest
    built: Built


def build(
    *what: Annotated[str, Parameter(help="Packages, or a spec file and images of it.")],
    image: Annotated[ImageOptions, Parameter(name="*")] = NOTHING,
    lock: Annotated[
        str | None,
        Parameter(
            name="--lock",
            help="Use exactly the packages of this lock file; write it if there is none. "
            "Default for a spec: ramekin.lock.json beside it, when it is there.",
        ),
    ] = None,
    refresh: RefreshOption = False,
    jobs: JobsOption = None,
    store: StoreOption = None,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Make images, write them to their targets, and the lock if that was asked for."""
    from ramekin.build import selection, target

    chosen = selection.select(what, image.choices(), lock_file=lock)
    places = target.targets(chosen.requests)
    delivered: list[Delivered] = []
    try:
        with terminal.progress() as progress:
            for note in chosen.notes:
                progress.note(note)
            for request, place in zip(chosen.requests, places, strict=True):
                one = _deliver(
                    chosen, request, place, progress, refresh=refresh, jobs=jobs, store=store, http=plain_http
                )
                delivered.append(one)
            _write_lock(chosen, delivered)
    finally:
        # what was made before an image failed is where it was to go, and said to be
        for one in delivered:
            _summarize(one)
            if not json:
                terminal.write(_line(one))
    if json:
        terminal.write_json({"images": [_as_data(one) for one in delivered]})
    return 0


def _deliver(
    chosen: Selection,
    request: ImageRequest,
    place: Reference,
    progress: Any,
    *,
    refresh: bool,
    jobs: int | None,
    store: str | None,
    http: bool | None,
) -> Delivered:
    from ramekin.build import compose, configure
    from ramekin.image import transports

    workers = options.jobs(jobs, chosen.jobs)
    made = compose.build(
        request,
        store=options.open_store(store, chosen.store),
        progress=progress,
        jobs=workers,
        locked=chosen.locked(request),
        refresh=refresh,
    )
    written = transports.write(
        made.image,
        place,
        jobs=workers,
        plain_http=bool(http if http is not None else chosen.plain_http),
        progress=progress,
        platform=configure.platform(request.architectures[0]) if len(request.architectures) == 1 else None,
    )
    return Delivered(request, place, written.digest, made)


def _write_lock(chosen: Selection, delivered: list[Delivered]) -> None:
    """Write the lock that was asked for, when there is none yet or it was made by this build."""
    from ramekin.build import lock as locks

    if not chosen.writes or chosen.lock is None or chosen.pinned is not None:
        return
    images = {one.request.name: one.built.locked for one in delivered}
    locks.write(locks.LockFile(version=locks.VERSION, images=images), chosen.lock)
    terminal.say(f"wrote {chosen.lock}")


def _line(one: Delivered) -> str:
    from dataclasses import replace

    return str(replace(one.place, digest=one.digest))


def _as_data(one: Delivered) -> dict[str, Any]:
    return {
        "name": one.request.name,
        "target": str(one.place),
        "digest": one.digest,
        "architectures": {report.architecture: report for report in one.built.reports},
    }


def _summarize(one: Delivered) -> None:
    if terminal.is_live(sys.stderr):
        _draw(one)
        return
    for report in one.built.reports:
        terminal.say(f"{one.request.name} {report.architecture}: {_measure(report)}")
        if left := _left_out(report):
            terminal.say(f"{one.request.name} {report.architecture}: left out {left}")


def _measure(report: ImageReport) -> str:
    packages = sum(len(layer.packages) for layer in report.layers)
    layers = terminal.plural(len(report.layers), "layer")
    return f"{terminal.plural(packages, 'package')}, {layers}, {terminal.size(report.size)}"


def _left_out(report: ImageReport) -> str:
    tallies = sorted(report.dropped, key=lambda tally: (-tally.size, tally.name))
    return ", ".join(f"{tally.name} {terminal.size(tally.size)}" for tally in tallies if tally.count)


def _draw(one: Delivered) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("image", Text(one.request.tag or one.request.name, style="bold"))
    table.add_row("target", Text(str(one.place)))
    table.add_row("digest", Text(one.digest))
    for report in one.built.reports:
        table.add_row(report.architecture, Text(_measure(report)))
        if left := _left_out(report):
            table.add_row("left out", Text(left))
    Console(stderr=True).print(table)
