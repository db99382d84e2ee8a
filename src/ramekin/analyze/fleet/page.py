"""The page of `ramekin fleet`: figures, who pays for what, what-ifs side by side, who shares with whom."""

from __future__ import annotations

from collections.abc import Callable

from ramekin.analyze.fleet import rows
from ramekin.analyze.fleet.report import Fleet
from ramekin.analyze.fleet.whatif import Scenario, called
from ramekin.analyze.page.model import Bar, Bars, Column, Figure, Matrix, Page, Part, Table
from ramekin.analyze.page.numbers import signed, size

PAYERS = 300
MATRIX = 60
"""Images that the matrix has at most: those that cost most."""
_OWN, _SHARE, _NOW, _THEN = "lost", "kept", "changed", "added"


def page(fleet: Fleet) -> Page:
    """A fleet as a page."""
    names = short(fleet.names)
    return Page(
        title=f"A fleet of {len(fleet.names):,} images",
        subtitle="all files read" if fleet.deep else "manifests only",
        figures=_figures(fleet),
        bars=(_payers(fleet, names), *_scenarios(fleet), *_memory(fleet, names)),
        matrix=_matrix(fleet, names),
        tables=_tables(fleet),
        notes=tuple(rows.notes(fleet)),
    )


def short(names: tuple[str, ...]) -> dict[str, str]:
    """The names without what all begin with, up to a `/` or `:`."""
    first, last = min(names, default=""), max(names, default="")
    pairs = enumerate(zip(first, last, strict=False))
    same = next((n for n, pair in pairs if pair[0] != pair[1]), len(first)) if len(names) > 1 else 0
    cut = max(first.rfind("/", 0, same), first.rfind(":", 0, same)) + 1
    return {name: name[cut:] for name in names}


def _figures(fleet: Fleet) -> tuple[Figure, ...]:
    f = fleet.figures
    saved = f"{1 - f.registry / f.alone:.0%} less than the {size(f.alone)} of all images" if f.alone else ""
    found = [
        Figure("A registry stores", size(f.registry), saved),
        Figure("A node without any pulls", size(f.cold), f"for one image; {size(f.coldest)} at most"),
        Figure(
            "A node with all keeps unpacked" if fleet.deep else "A node with all keeps",
            size(f.disk),
            f"{size(f.chain_loss)} of it the same layers above others"
            + ("" if fleet.deep else "; in stored bytes"),
        ),
    ]
    if fleet.memory is not None:
        m = fleet.memory
        found.append(
            Figure("Memory of programs and libraries", size(m.shared), f"{size(m.alone)} without sharing")
        )
    best = min(fleet.scenarios, key=lambda one: one.yearly)
    if best is not fleet.scenarios[0]:
        now = fleet.scenarios[0]
        found.append(Figure("Saved in a year at best", size(now.yearly - best.yearly), best.title.lower()))
    return tuple(found)


def _payers(fleet: Fleet, names: dict[str, str]) -> Bars:
    bars = tuple(
        Bar(names[one.name], size(one.pays), (Part(one.own, _OWN), Part(one.share, _SHARE)))
        for one in fleet.payers[:PAYERS]
    )
    more = f" The dearest {PAYERS} of {len(fleet.payers):,}." if len(fleet.payers) > PAYERS else ""
    return Bars(
        "Who pays for what",
        "What a registry stores, divided among the images: a layer of several is paid for by all of them."
        + more,
        ((_OWN, "only this image has it"), (_SHARE, "its share of what it has with others")),
        bars,
    )


def _scenarios(fleet: Fleet) -> tuple[Bars, ...]:
    if len(fleet.scenarios) < 2:
        return ()
    now = fleet.scenarios[0]

    def group(title: str, note: str, of: Callable[[Scenario], int]) -> Bars:
        bars = tuple(
            Bar(
                one.title,
                size(of(one)) if one is now else f"{size(of(one))} ({signed(of(one) - of(now))})",
                (Part(of(one), _NOW if one is now else _THEN),),
                one.how,
            )
            for one in fleet.scenarios
        )
        return Bars(title, note, (), bars)

    return (
        group("What if: a registry stores", "", lambda one: one.figures.registry),
        group("What if: a node with all images keeps", "", lambda one: one.figures.disk),
        group("What if: a node without any pulls for one image", "On average.", lambda one: one.figures.cold),
        group(
            "What if: a year of updates",
            "What a registry newly stores in a year, and a node with all images pulls.",
            lambda one: one.yearly,
        ),
    )


def _memory(fleet: Fleet, names: dict[str, str]) -> tuple[Bars, ...]:
    if fleet.memory is None or not fleet.memory.images:
        return ()
    bars = tuple(
        Bar(
            names[one.name],
            size(one.mapped + one.private),
            (Part(one.mapped, _SHARE), Part(one.private, _OWN)),
            f"{one.program}, {one.files} files" + (f", {size(one.packed)} unpacked" if one.packed else ""),
        )
        for one in fleet.memory.images[:PAYERS]
    )
    return (
        Bars(
            "What one container maps when it starts",
            "Pages of files are in memory once for all who map the same file of the same layer.",
            ((_SHARE, "pages of files"), (_OWN, "pages of its own")),
            bars,
        ),
    )


def _matrix(fleet: Fleet, names: dict[str, str]) -> Matrix | None:
    if len(fleet.names) < 2:
        return None
    dearest = {one.name for one in fleet.payers[:MATRIX]}
    places = [number for number, name in enumerate(fleet.names) if name in dearest]
    values = tuple(tuple(fleet.matrix[i][j] for j in places) for i in places)
    sizes = [fleet.matrix[i][i] for i in places]
    shares = tuple(
        tuple(round(value / (min(sizes[i], sizes[j]) or 1), 3) for j, value in enumerate(row))
        for i, row in enumerate(values)
    )
    more = f" The {MATRIX} images that cost most." if len(fleet.names) > MATRIX else ""
    return Matrix(
        "Who shares with whom",
        "Stored bytes that two images have in common, in percent of the smaller one. Images on one base "
        "stand together." + more,
        tuple(names[fleet.names[number]] for number in places),
        values,
        shares,
    )


def _tables(fleet: Fleet) -> tuple[Table, ...]:
    bases = {base.key: called(base) for base in fleet.bases.bases}
    found = [
        Table(
            "Images",
            (
                Column("Image", "path"),
                Column("Base"),
                Column("Pays", "size"),
                Column("Its own", "size"),
                Column("Its share", "size"),
                Column("Size", "size"),
            ),
            tuple(
                (one.name, bases.get(fleet.bases.of[one.name], ""), one.pays, one.own, one.share, one.size)
                for one in fleet.payers
            ),
        ),
        Table(
            "Shared layers",
            (
                Column("Layer"),
                Column("Made by", "path"),
                Column("Images", "count"),
                Column("Chains", "count"),
                Column("Size", "size"),
                Column("Saved", "size"),
            ),
            tuple(
                (one.blob[7:19], " ".join(one.made_by.split()), one.images, one.chains, one.stored, one.saved)
                for one in fleet.shared
            ),
            "Each chain is a copy on a node's disk.",
        ),
        Table(
            "Bases",
            (
                Column("Base"),
                Column("Distribution"),
                Column("Images", "count"),
                Column("Layers", "count"),
                Column("Size", "size"),
                Column("Made"),
            ),
            tuple(
                (called(one), str(one.identity), len(one.images), one.layers, one.stored, one.created)
                for one in fleet.bases.bases
            ),
        ),
        Table(
            "Builds of one base",
            (Column("Base"), Column("And"), Column("Same bytes")),
            tuple(
                (bases[one.one], bases[one.other], "" if one.common is None else f"{one.common:.0%}")
                for one in fleet.bases.kin
            ),
        ),
    ]
    if fleet.packages is not None:
        found.append(
            Table(
                "Packages stored several times",
                (
                    Column("Package"),
                    Column("Of"),
                    Column("Images", "count"),
                    Column("Copies", "count"),
                    Column("Size", "size"),
                    Column("Too much", "size"),
                ),
                tuple(
                    (one.package, one.kind, one.images, one.copies, one.size, one.wasted)
                    for one in fleet.packages.repeated
                ),
            )
        )
    if fleet.files is not None:
        found.append(
            Table(
                "Files stored several times",
                (
                    Column("Path", "path"),
                    Column("Layers", "count"),
                    Column("Size", "size"),
                    Column("Too much", "size"),
                ),
                tuple((one.path, one.layers, one.size, one.wasted) for one in fleet.files.repeated),
                "Contents that several layers hold; the path is one of them.",
            )
        )
    return tuple(found)
