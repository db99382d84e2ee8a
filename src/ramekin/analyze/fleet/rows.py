"""A fleet's figures as tables for terminals, and as plain data for machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ramekin.analyze.fleet.report import Fleet
from ramekin.analyze.fleet.whatif import called, counted, often

Table = tuple[str, Sequence[str], list[tuple[str, ...]], tuple[int, ...]]
"""A title, column heads, rows, and which columns are numbers."""


def plain(fleet: Fleet) -> dict[str, Any]:
    """The whole of it, as JSON can hold it."""
    import msgspec

    data: dict[str, Any] = msgspec.to_builtins(fleet)
    data["payers"] = [{**msgspec.to_builtins(one), "pays": one.pays} for one in fleet.payers]
    data["notes"] = list(notes(fleet))
    return data


def tables(fleet: Fleet, size: Callable[[int], str], shown: int) -> Iterator[Table]:
    """What a terminal shows: figures first, then who pays, bases and what-ifs."""
    f = fleet.figures
    loss = f"{size(f.chain_loss)} of it the same layers above others" if f.chain_loss else ""
    unpacked = "" if fleet.deep else "as stored: sizes on disk need the layers"
    rows: list[tuple[str, ...]] = [
        ("images, each alone", size(f.alone), f"{counted(f.images, 'image')}, {counted(f.layers, 'layer')}"),
        ("a registry stores", size(f.registry), f"and {size(f.documents)} of manifests and configs"),
        ("a node without any pulls for one", size(f.cold), f"on average; {size(f.coldest)} at most"),
        ("a node pulls for all", size(f.transfer), "each blob once"),
        ("a node keeps unpacked", size(f.disk), "; ".join(filter(None, (loss, unpacked)))),
    ]
    if fleet.memory is not None:
        m = fleet.memory
        rows.append(
            (
                "memory of programs and libraries",
                size(m.shared),
                f"{size(m.alone)} unshared; {size(m.ideal)} at best",
            )
        )
    if fleet.packages is not None:
        p = fleet.packages
        rows.append(
            ("packages", size(p.layers), f"{p.count:,} of them, {size(p.packages)} if each was there once")
        )
    if fleet.files is not None:
        c = fleet.files
        rows.append(
            ("files", size(c.layers), f"{c.files:,} contents, {size(c.contents)} if each was there once")
        )
    yield "Bytes", ("what", "bytes", ""), rows, (1,)
    yield (
        "Who pays",
        ("image", "pays", "its own", "its share", "size"),
        [
            (one.name, size(one.pays), size(one.own), size(one.share), size(one.size))
            for one in fleet.payers[:shown]
        ],
        (1, 2, 3, 4),
    )
    if fleet.shared:
        yield (
            "Layers that save most",
            ("layer", "images", "chains", "bytes", "saved", "made by"),
            [
                (
                    one.blob.removeprefix("sha256:")[:12],
                    str(one.images),
                    str(one.chains),
                    size(one.stored),
                    size(one.saved),
                    " ".join(one.made_by.split())[:60],
                )
                for one in fleet.shared[:shown]
            ],
            (1, 2, 3, 4),
        )
    if fleet.bases.bases:
        yield (
            "Bases",
            ("base", "distribution", "images", "layers", "bytes"),
            [
                (called(one), str(one.identity), str(len(one.images)), str(one.layers), size(one.stored))
                for one in fleet.bases.bases[:shown]
            ],
            (2, 3, 4),
        )
    if fleet.bases.kin:
        yield (
            "Builds of one base",
            ("base", "and", "same bytes"),
            [
                (
                    called(fleet.bases.base(one.one)),
                    called(fleet.bases.base(one.other)),
                    "" if one.common is None else f"{one.common:.0%}",
                )
                for one in fleet.bases.kin[:shown]
            ],
            (2,),
        )
    now = fleet.scenarios[0]
    yield (
        "What if",
        ("", "registry", "cold pull", "disk", "a year of updates", "saved a year"),
        [
            (
                one.title,
                size(one.figures.registry),
                size(one.figures.cold),
                size(one.figures.disk),
                size(one.yearly),
                size(now.yearly - one.yearly)
                if one.yearly <= now.yearly
                else f"-{size(one.yearly - now.yearly)}",
            )
            for one in fleet.scenarios
        ],
        (1, 2, 3, 4, 5),
    )


def notes(fleet: Fleet) -> Iterator[str]:
    """What the figures take for granted."""
    yield (
        "engines share a layer on disk only where all layers below it are the same (chain ID); disk is "
        "counted so, for a node with all images; containerd keeps the pulled blobs beside it"
    )
    rates = fleet.rates
    yield (
        f"each base is taken to be rebuilt {often(rates.base_builds)}, with all layers above it, and "
        f"each package to be updated {often(rates.package_updates)}; --base-builds and --package-updates "
        "change that"
    )
    if not fleet.deep:
        yield "without --shallow there are figures by package, by file, of memory and of layers by package"
    elif fleet.memory is not None and fleet.memory.unknown:
        yield (
            f"memory leaves out images whose program is not known: {', '.join(fleet.memory.unknown[:5])}"
            + (f" and {len(fleet.memory.unknown) - 5:,} more" if len(fleet.memory.unknown) > 5 else "")
        )
