"""What a page shows. Everything on it is one of these, in this order; what is empty is left out."""

from __future__ import annotations

import msgspec

from ramekin.analyze.treemap import Node


class Figure(msgspec.Struct, frozen=True):
    """A number with its name, and a line that explains it."""

    label: str
    value: str
    note: str = ""


class Part(msgspec.Struct, frozen=True):
    """A piece of a bar. `colour` is one of `COLOURS` in report.js."""

    size: int
    colour: str


class Bar(msgspec.Struct, frozen=True):
    """A row of a bar chart; `detail` is shown below the label."""

    label: str
    text: str
    parts: tuple[Part, ...]
    detail: str = ""


class Bars(msgspec.Struct, frozen=True):
    """Bars on one scale. `legend` names the colours: (colour, meaning)."""

    title: str
    note: str
    legend: tuple[tuple[str, str], ...]
    bars: tuple[Bar, ...]


class Map(msgspec.Struct, frozen=True):
    """A treemap. Of several on a page one is shown, chosen by its name."""

    name: str
    nodes: tuple[Node, ...]


class Colouring(msgspec.Struct, frozen=True):
    """A way to colour treemaps: by the largest of a node's `systems`, or by how much of it is `waste`.

    `low` and `high` are what it means that nothing or all of a node is waste.
    """

    name: str
    by: str
    low: str = "needed"
    high: str = "could do without"


class Column(msgspec.Struct, frozen=True):
    """`kind` is text, path, count or size (bytes)."""

    title: str
    kind: str = "text"


class Table(msgspec.Struct, frozen=True):
    """A table that can be searched and sorted; `total` is how many rows there would be, if more."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | int | None, ...], ...]
    note: str = ""
    total: int = 0


class Matrix(msgspec.Struct, frozen=True):
    """What two of the same names have in common: `values[i][j]` is bytes, `shares[i][j]` from 0 to 1."""

    title: str
    note: str
    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]


class Page(msgspec.Struct, frozen=True):
    """A whole page."""

    title: str
    subtitle: str
    figures: tuple[Figure, ...] = ()
    bars: tuple[Bars, ...] = ()
    map_title: str = ""
    map_choice: str = "Arranged by"
    maps: tuple[Map, ...] = ()
    colourings: tuple[Colouring, ...] = ()
    matrix: Matrix | None = None
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
