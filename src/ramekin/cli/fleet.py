"""`ramekin fleet`: images judged together, and what sharing costs and saves across them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ramekin.cli import terminal, working
from ramekin.cli.working import JobsOption, JsonOption, PlainHttpOption, StoreOption

if TYPE_CHECKING:
    from ramekin.analyze.fleet.report import Fleet
    from ramekin.analyze.fleet.whatif import Rates
    from ramekin.image.oci import Platform
    from ramekin.image.reference import Reference
    from ramekin.progress import Progress
    from ramekin.store.store import Store

SHOWN = 10


def fleet(
    *words: Annotated[
        str,
        Parameter(
            name="IMAGE",
            help="Images (oci:./web), registries or prefixes of them (docker://HOST/team), "
            "or files that list such, one a line.",
        ),
    ],
    shallow: Annotated[
        bool, Parameter(name="--shallow", help="Read manifests only: enough for all figures of layers.")
    ] = False,
    tags: Annotated[
        str, Parameter(name="--tags", help="Of whole repositories, take the tags that match this glob.")
    ] = "*",
    arch: Annotated[str | None, Parameter(name=["--arch", "-a"], help="Which image of an index.")] = None,
    html: Annotated[
        str | None, Parameter(name="--html", help="Write the report as one self-contained page to FILE.")
    ] = None,
    base_builds: Annotated[
        float, Parameter(name="--base-builds", help="How often a base is rebuilt in a year.")
    ] = 12,
    package_updates: Annotated[
        float, Parameter(name="--package-updates", help="How often a package is updated in a year.")
    ] = 1,
    jobs: JobsOption = None,
    store: StoreOption = None,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Say what images cost together; exit with 1 when some could not be read."""
    from ramekin.analyze.fleet import members
    from ramekin.analyze.fleet.whatif import Rates
    from ramekin.build import configure, request
    from ramekin.errors import UsageError

    if not words:
        raise UsageError("fleet: which images?", hint="name images, a registry, or a file that lists them")
    for option, value in (("--base-builds", base_builds), ("--package-updates", package_updates)):
        if not 0 <= value <= 10_000:
            raise UsageError(f"{option} {value:g} is no number of times a year")
    platform = configure.platform(request.architecture(arch)) if arch else None
    with terminal.progress() as progress:
        places = members.expand(
            words, chosen=members.Filter(tags), plain_http=bool(plain_http), progress=progress
        )
        found = _read(
            places,
            Rates(base_builds, package_updates),
            shallow=shallow,
            platform=platform,
            jobs=working.jobs(jobs, None),
            store=None if shallow else working.open_store(store, None),
            plain_http=bool(plain_http),
            progress=progress,
        )
    if html is not None:
        from ramekin.analyze import page
        from ramekin.analyze.fleet.page import page as page_of

        page.write(Path(html), page_of(found))
        terminal.say(f"wrote {html}")
    if json:
        from ramekin.analyze.fleet import rows

        terminal.write_json(rows.plain(found))
    else:
        _show(found)
    return 1 if found.skipped else 0


def _read(
    places: tuple[Reference, ...],
    rates: Rates,
    *,
    shallow: bool,
    platform: Platform | None,
    jobs: int,
    store: Store | None,
    plain_http: bool,
    progress: Progress,
) -> Fleet:
    """Read the images side by side, leaving out those that cannot be read."""
    from ramekin import workers
    from ramekin.analyze import reading
    from ramekin.analyze.fleet import report
    from ramekin.analyze.model import LayerFiles, Outline, ReadImage
    from ramekin.errors import RamekinError
    from ramekin.store.digest import Digest

    outlines: dict[int, Outline] = {}
    images: dict[int, ReadImage] = {}
    failed: dict[int, RamekinError] = {}
    held: dict[Digest, LayerFiles] = {}

    def take(number: int) -> None:
        place = places[number]
        try:
            if store is None:
                outlines[number] = reading.open_outline(
                    place, platform=platform, plain_http=plain_http, progress=progress
                )
            else:
                images[number] = reading.open_image(
                    place,
                    store,
                    platform=platform,
                    jobs=1,
                    plain_http=plain_http,
                    progress=progress,
                    held=held,
                )
        except RamekinError as error:
            failed[number] = error

    with progress.task("reading images", total=len(places), unit="images") as task:

        def one(number: int, check: object) -> None:
            take(number)
            task.advance(1)

        workers.each(one, list(range(len(places))), jobs=max(jobs, 8) if shallow else jobs)
    for number in sorted(failed):
        progress.warn(f"{places[number]} is left out: {failed[number].message}")
    if len(failed) == len(places):
        raise failed[min(failed)]
    skipped = [str(places[number]) for number in sorted(failed)]
    if store is None:
        return report.shallow([outlines[n] for n in sorted(outlines)], rates, skipped)
    return report.deep([images[n] for n in sorted(images)], rates, skipped)


def _show(found: Fleet) -> None:
    from ramekin.analyze.fleet import rows

    for title, heads, table, numbers in rows.tables(found, terminal.size, SHOWN):
        terminal.write(f"\n{title}")
        terminal.write_table(heads, table, numbers=numbers)
    for note in rows.notes(found):
        terminal.say(note, mark="note", style="36")
