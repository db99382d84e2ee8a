"""The page of `ramekin diff`."""

from __future__ import annotations

from ramekin.analyze.diff import ADDED, CHANGED, REMOVED, Difference
from ramekin.analyze.page.model import Bar, Bars, Colouring, Column, Figure, Map, Page, Part, Table
from ramekin.analyze.page.numbers import signed, size
from ramekin.analyze.treemap import treemap

_MOST = 10_000


def difference(found: Difference) -> Page:
    """What two images have not in common, as a page."""
    fetch = found.fetch
    counts = {
        change: sum(1 for one in found.files if one.change == change) for change in (ADDED, REMOVED, CHANGED)
    }
    return Page(
        title=f"{found.before} → {found.after}",
        subtitle=f"{found.before_digest}  →  {found.after_digest}",
        figures=(
            Figure("Content", signed(found.size_after - found.size_before), _sizes(found)),
            Figure("Files", f"{len(found.files):,}", _counts(counts)),
            Figure("Packages", f"{len(found.packages):,}", "added, removed or of another version"),
            Figure("A node that has the first fetches", size(fetch.size), _fetched(found)),
        ),
        bars=(_bars(found),),
        map_title="Where the difference is",
        maps=(Map("Folders", treemap(_rows(found))),) if found.files else (),
        colourings=(Colouring("Change", "systems"),),
        tables=_tables(found),
    )


def _sizes(found: Difference) -> str:
    return f"{size(found.size_before)} before, {size(found.size_after)} after"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {change}" for change, count in counts.items())


def _fetched(found: Difference) -> str:
    fetch = found.fetch
    return (
        f"{fetch.layers} of {fetch.layers_all} layers, of {size(fetch.size_all)} in all;"
        f" {fetch.unpacked} are unpacked anew, as engines share a layer only with the same ones below it"
    )


def _bars(found: Difference) -> Bars:
    parts = []
    for change in (ADDED, CHANGED, REMOVED):
        total = sum(max(one.before or 0, one.after or 0) for one in found.files if one.change == change)
        if total:
            parts.append(Bar(change, size(total), (Part(total, change),)))
    return Bars("Contents that differ", "For changed files the larger of both.", (), tuple(parts))


def _rows(found: Difference) -> list[tuple[list[str], int, str, str]]:
    return [
        (one.path.split("/"), count, one.change, "")
        for one in found.files
        if (count := max(one.before or 0, one.after or 0))
    ]


def _tables(found: Difference) -> tuple[Table, ...]:
    return (
        Table(
            "Files",
            (
                Column("Path", "path"),
                Column("Change"),
                Column("What"),
                Column("Before", "size"),
                Column("After", "size"),
                Column("Owner"),
            ),
            tuple(
                (one.path, one.change, ", ".join(one.what), one.before, one.after, one.package)
                for one in found.files[:_MOST]
            ),
            f"The first {_MOST:,} of {len(found.files):,}." if len(found.files) > _MOST else "",
        ),
        Table(
            "Packages",
            (
                Column("Name"),
                Column("System"),
                Column("Change"),
                Column("Before"),
                Column("After"),
                Column("Size", "size"),
            ),
            tuple(
                (one.name, one.system, one.change, one.before, one.after, one.size_after)
                for one in found.packages
            ),
        ),
        Table(
            "Settings",
            (Column("Name"), Column("Before"), Column("After")),
            tuple((one.name, one.before, one.after) for one in found.settings),
        ),
    )
