"""`ramekin inspect`: where the bytes of an image are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ramekin.cli import terminal, working
from ramekin.cli.terminal import plural, size
from ramekin.cli.working import JobsOption, JsonOption, PlainHttpOption, StoreOption
from ramekin.errors import UsageError

if TYPE_CHECKING:
    from ramekin.analyze.inspection import Inspection

_HOW = {
    "deleted": "deleted by a later layer",
    "overwritten": "overwritten by a later layer",
    "touched": "written again with another owner, mode or time only",
    "repeated": "twice in one layer",
}


def inspect(
    image: Annotated[
        str, Parameter(help="The image, as in oci:./web, docker://HOST/REPO:TAG or docker-daemon:NAME.")
    ],
    /,
    *,
    arch: Annotated[
        str | None,
        Parameter(
            name=["--arch", "-a"],
            help="Of an index, the image of this architecture. Default: this machine's.",
        ),
    ] = None,
    html: Annotated[
        Path | None, Parameter(name="--html", help="Write a page for browsers to this file.", metavar="FILE")
    ] = None,
    top: Annotated[int, Parameter(name="--top", help="Rows of each table. Default: 10.", metavar="N")] = 10,
    store: StoreOption = None,
    jobs: JobsOption = None,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Say where the bytes of an image are, whose they are and which it could do without."""
    if top < 0:
        raise UsageError(f"--top: {top} rows cannot be", hint="choose 0 or more")
    found = _inspected(image, arch, store, jobs, bool(plain_http))
    if html is not None:
        from ramekin.analyze import page

        written = page.write(html, page.inspection(found))
        terminal.say(f"{html}: {size(written)}, opens in any browser")
    if json:
        import msgspec

        whole = msgspec.to_builtins(found)
        whole["savings"]["total"] = found.savings.total
        # what only pictures need
        terminal.write_json(
            {key: value for key, value in whole.items() if key not in ("by_folder", "by_package")}
        )
    elif html is None:
        _show(found, top)
    return 0


def _inspected(
    image: str, arch: str | None, store: str | None, jobs: int | None, plain_http: bool
) -> Inspection:
    from ramekin.analyze import inspection, reading
    from ramekin.image import reference, transports

    platform = None
    if arch is not None:
        from ramekin.build import configure, request

        platform = configure.platform(request.architecture(arch))
    place, opened = reference.parse(image), working.open_store(store)
    with (
        terminal.progress() as progress,
        transports.read(place, plain_http=plain_http, progress=progress) as there,
    ):
        told = reading.outline(there, name=str(place), platform=platform)
        found = inspection.known(told, opened)
        if found is None:
            from ramekin.analyze import inspect as inspecting

            read = reading.read_layers(told, there, opened, jobs=working.jobs(jobs), progress=progress)
            found = inspecting.inspect(read, opened)
    return found


def _show(found: Inspection, top: int) -> None:
    terminal.write(f"{found.image}  {found.platform}  {found.digest}")
    terminal.write(
        f"{size(found.size)} in {plural(found.files, 'file')} and {plural(len(found.layers), 'layer')},"
        f" {size(found.stored)} stored"
    )
    _layers(found, top)
    _table(
        "Whose they are", ("owner", "files", "size"), [(s.name, s.files, s.size) for s in found.systems], 99
    )
    rows = [(f"{p.system}: {p.name} {p.version}".strip(), p.files, p.size) for p in found.packages if p.size]
    _table("Biggest packages", ("package", "files", "size"), rows, top)
    _table(
        "Biggest folders",
        ("folder", "files", "size"),
        [(s.name, s.files, s.size) for s in found.biggest_folders],
        top,
    )
    _table("Biggest files", ("file", "size"), [(f.path, f.size) for f in found.biggest_files], top)
    _table(
        "Could do without",
        ("what", "files", "size"),
        [(s.name, s.files, s.size) for s in found.categories],
        99,
    )
    rows = [(_HOW[how], count.files, count.size) for how, count in found.losses.items()]
    _table("In layers and not in the image", ("how", "files", "size"), rows, 99)
    lost = [
        (f"{one.path or '(several)'}  (layer {one.layer}, {one.how} by {one.by})", one.size)
        for one in found.lost
    ]
    _table("Biggest of them", ("file", "size"), lost, top)
    copies = [(f"{one.paths[0]}  and {one.paths[1]}", one.copies, one.wasted) for one in found.copies]
    _table("In the image more than once", ("file", "copies", "wasted"), copies, top)
    _savings(found)


def _layers(found: Inspection, top: int) -> None:
    """All layers, or of many the largest, in their order."""
    layers = found.layers
    if len(layers) > 2 * max(top, 10):
        largest = sorted(layers, key=lambda layer: (-layer.size, layer.number))[: max(top, 10)]
        layers = tuple(sorted(largest, key=lambda layer: layer.number))
    terminal.write("")
    terminal.write(
        "Layers" + (f" ({len(layers)} of {len(found.layers)})" if len(layers) < len(found.layers) else "")
    )
    most = max((layer.size for layer in layers), default=0) or 1
    rows = []
    for layer in layers:
        lost = round(20 * layer.lost / most)
        kept = round(20 * layer.size / most) - lost
        rows.append(
            (
                str(layer.number),
                "█" * kept + "░" * lost,
                size(layer.size),
                size(layer.stored),
                f"+{layer.added.files:,}",
                f"~{layer.changed.files:,}",
                f"-{layer.deleted.files:,}",
                layer.absent or _brief(layer.command),
            )
        )
    titles = ("", "kept █ lost ░", "size", "stored", "added", "changed", "deleted", "made by")
    terminal.write_table(titles, rows, numbers=(0, 2, 3, 4, 5, 6))


def _brief(command: str) -> str:
    text = " ".join(command.removeprefix("/bin/sh -c ").removeprefix("#(nop) ").split())
    return text if len(text) <= 60 else text[:59] + "…"


def _table(title: str, titles: tuple[str, ...], rows: Sequence[tuple[object, ...]], top: int) -> None:
    """A table under a title; nothing when it would be empty. The last column is bytes."""
    if not rows or not top:
        return
    terminal.write("")
    more = f" ({top} of {len(rows):,})" if len(rows) > top else ""
    terminal.write(title + more)
    shown = [
        (str(row[0]), *(f"{cell:,}" for cell in row[1:-1]), size(int(str(row[-1])))) for row in rows[:top]
    ]
    terminal.write_table(titles, shown, numbers=tuple(range(1, len(titles))))


def _savings(found: Inspection) -> None:
    savings = found.savings
    terminal.write("")
    terminal.write(f"Efficiency, as dive counts it: {found.efficiency:.1%}")
    terminal.write(
        f"A rebuild could save {size(savings.total)}: {size(savings.lost)} lost between layers,"
        f" {size(savings.duplicates)} duplicates, {size(savings.symbols)} symbols,"
        f" {size(savings.unneeded)} that images can do without"
    )
