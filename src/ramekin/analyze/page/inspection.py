"""The page of `ramekin inspect`."""

from __future__ import annotations

from ramekin.analyze import waste
from ramekin.analyze.inspection import Inspection
from ramekin.analyze.page.model import Bar, Bars, Colouring, Column, Figure, Map, Page, Part, Table
from ramekin.analyze.page.numbers import size

_SIZE, _FILES = Column("Size", "size"), Column("Files", "count")


def inspection(found: Inspection) -> Page:
    """All that was found of an image, as a page."""
    savings = found.savings
    return Page(
        title=found.image,
        subtitle="  ".join(filter(None, (found.platform, found.digest, found.created))),
        figures=(
            Figure("Content", size(found.size), f"{found.files:,} files in {found.folders:,} folders"),
            Figure(
                "Stored",
                size(found.stored),
                f"{len(found.layers)} layers, as they are kept where it was read",
            ),
            Figure("Efficiency", f"{found.efficiency:.1%}", "as dive counts it"),
            Figure("A rebuild could save", size(savings.total), _parts(found)),
        ),
        bars=(_layers(found), _unneeded(found)),
        map_title="Where the bytes are",
        maps=(Map("Folders", found.by_folder), Map("Packages", found.by_package)),
        colourings=(Colouring("Owner", "systems"), Colouring("Waste", "waste")),
        tables=_tables(found),
    )


def _parts(found: Inspection) -> str:
    savings = found.savings
    return (
        f"{size(savings.lost)} lost between layers, {size(savings.duplicates)} duplicates,"
        f" {size(savings.symbols)} symbols, {size(savings.unneeded)} not needed"
    )


def _layers(found: Inspection) -> Bars:
    rows = []
    for layer in found.layers:
        deleted = f", deletes {layer.deleted.files:,}" if layer.deleted.files else ""
        changed = f", changes {layer.changed.files:,}" if layer.changed.files else ""
        rows.append(
            Bar(
                label=f"{layer.number}  {layer.absent or layer.command or layer.digest}",
                text=f"{size(layer.size)} ({size(layer.stored)} stored)",
                detail=f"adds {layer.added.files:,}{changed}{deleted}",
                parts=(Part(layer.size - layer.lost, "kept"), Part(layer.lost, "lost")),
            )
        )
    return Bars(
        "Layers, from the lowest",
        "What a later layer overwrites or deletes is stored and fetched all the same.",
        (("kept", "in the image"), ("lost", "overwritten or deleted later")),
        tuple(rows),
    )


def _unneeded(found: Inspection) -> Bars:
    savings = found.savings
    rows = [
        ("lost between layers", "in a lower layer, and overwritten or deleted by a later one", savings.lost)
    ]
    rows.append(("duplicates", "the same content in several files", savings.duplicates))
    rows.append(
        ("symbols", "symbol tables and debugging information that stripping removes", savings.symbols)
    )
    rows += [(share.name, waste.CATEGORIES[share.name], share.size) for share in found.categories]
    return Bars(
        "What a rebuild could save",
        "Each byte is counted once; uncompressed.",
        (),
        tuple(
            Bar(label=name, text=size(count), detail=text, parts=(Part(count, "lost"),))
            for name, text, count in sorted(rows, key=lambda row: -row[2])
            if count
        ),
    )


def _tables(found: Inspection) -> tuple[Table, ...]:
    return (
        Table(
            "Files",
            (
                Column("Path", "path"),
                _SIZE,
                Column("Layer", "count"),
                Column("Owner"),
                Column("Could do without"),
            ),
            tuple((f.path, f.size, f.layer, f.owner, f.waste) for f in found.biggest_files),
            _largest(len(found.biggest_files), found.files),
        ),
        Table(
            "Packages",
            (Column("Name"), Column("Version"), Column("System"), _FILES, _SIZE),
            tuple((p.name, p.version, p.system, p.files, p.size) for p in found.packages),
        ),
        Table(
            "Folders",
            (Column("Path", "path"), _FILES, _SIZE),
            tuple((share.name, share.files, share.size) for share in found.biggest_folders),
        ),
        Table(
            "Lost between layers",
            (
                Column("Path", "path"),
                _SIZE,
                Column("In layer", "count"),
                Column("Lost by", "count"),
                Column("How"),
            ),
            tuple((one.path, one.size, one.layer, one.by, one.how) for one in found.lost),
        ),
        Table(
            "Duplicates",
            (
                Column("Paths", "path"),
                Column("Copies", "count"),
                Column("Each", "size"),
                Column("Wasted", "size"),
            ),
            tuple(("\n".join(one.paths), one.copies, one.size, one.wasted) for one in found.copies),
        ),
    )


def _largest(shown: int, there: int) -> str:
    return f"The {shown:,} largest of {there:,}." if shown < there else ""
