"""`ramekin diff`: what two images have not in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ramekin.cli import terminal, working
from ramekin.cli.terminal import plural, size
from ramekin.cli.working import JobsOption, JsonOption, PlainHttpOption, StoreOption

if TYPE_CHECKING:
    from ramekin.analyze.diff import Difference, FileDifference

_MARKS = {"added": "+", "removed": "-", "changed": "~"}


def diff(
    before: Annotated[str, Parameter(help="An image, as in oci:./web:1.")],
    after: Annotated[str, Parameter(help="The image to compare with it.")],
    /,
    *,
    arch: Annotated[
        str | None,
        Parameter(
            name=["--arch", "-a"],
            help="Of indexes, the images of this architecture. Default: this machine's.",
        ),
    ] = None,
    html: Annotated[
        Path | None, Parameter(name="--html", help="Write a page for browsers to this file.", metavar="FILE")
    ] = None,
    store: StoreOption = None,
    jobs: JobsOption = None,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Say which files, packages and settings differ, and what a node with BEFORE fetches for AFTER."""
    from ramekin.analyze import diff as comparing
    from ramekin.analyze import reading
    from ramekin.image import reference

    platform = None
    if arch is not None:
        from ramekin.build import configure, request

        platform = configure.platform(request.architecture(arch))
    places, opened = [reference.parse(text) for text in (before, after)], working.open_store(store)
    with terminal.progress() as progress:
        images = [
            reading.open_image(
                place,
                opened,
                platform=platform,
                jobs=working.jobs(jobs),
                plain_http=bool(plain_http),
                progress=progress,
            )
            for place in places
        ]
        found = comparing.diff(*images)
    if html is not None:
        from ramekin.analyze import page

        written = page.write(html, page.difference(found))
        terminal.say(f"{html}: {size(written)}, opens in any browser")
    if json:
        terminal.write_json(found)
    elif html is None:
        _show(found)
    return 0


def _show(found: Difference) -> None:
    if found.same:
        terminal.write("no difference in files, packages or settings")
    _part(
        "Settings",
        [(one.name, one.before or "-", one.after or "-") for one in found.settings],
        ("", "before", "after"),
    )
    rows = [
        (
            f"{_MARKS[one.change]} {one.system}: {one.name}",
            one.before or "-",
            one.after or "-",
            _change(one.size_before, one.size_after),
        )
        for one in found.packages
    ]
    _part("Packages", rows, ("package", "before", "after", "size"), numbers=(3,))
    _part("Files", [_file(one) for one in found.files], ("file", "what", "size", "package"), numbers=(2,))
    counts = {change: sum(1 for one in found.files if one.change == change) for change in _MARKS}
    terminal.say(
        f"{counts['added']:,} added, {counts['removed']:,} removed, {counts['changed']:,} changed;"
        f" {size(found.size_before)} before, {size(found.size_after)} after"
    )
    fetch = found.fetch
    terminal.say(
        f"a node with {found.before} fetches {size(fetch.size)} of {size(fetch.size_all)}"
        f" ({fetch.layers} of {plural(fetch.layers_all, 'layer')}) for {found.after}"
        f" and unpacks {plural(fetch.unpacked, 'layer')}"
    )


def _file(one: FileDifference) -> tuple[str, ...]:
    return (
        f"{_MARKS[one.change]} {one.path}",
        ", ".join(one.what),
        _change(one.before or 0, one.after or 0),
        one.package,
    )


def _change(before: int, after: int) -> str:
    sign = "+" if after >= before else "-"
    return f"{sign}{size(abs(after - before))}"


def _part(
    title: str, rows: Sequence[tuple[str, ...]], titles: tuple[str, ...], numbers: tuple[int, ...] = ()
) -> None:
    if rows:
        terminal.write(f"{title}:")
        terminal.write_table(titles, rows, numbers=numbers)
        terminal.write("")
