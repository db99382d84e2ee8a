"""A database file of SQLite, written whole from rows (SQLite, Database File Format).

The library's own files depend on its version and on how they came about. These follow from the rows alone, so
that an image has the same bytes everywhere: b-trees are laid from the sorted cells up, each page filled
before the next.

    rows ──▶ cells of leaf pages ──▶ one cell a page for the pages above ──▶ … ──▶ a root
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

PAGE = 4096
"""Bytes of a page."""

VERSION = 3_040_001
"""The version of SQLite that these files are said to be written by (bytes 96 to 99)."""

_TABLE_LEAF, _TABLE_ABOVE, _INDEX_LEAF, _INDEX_ABOVE = 0x0D, 0x05, 0x0A, 0x02
_HEADER = 100

Value = int | str | None


@dataclass(frozen=True, slots=True)
class Index:
    """An index over some columns; `sql` is empty for those that SQLite makes for a constraint."""

    name: str
    sql: str
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: rows get the ids 1, 2, … in their order. `counts` is for `autoincrement`.

    A column that is the row's id is None in the rows.
    """

    name: str
    sql: str
    rows: Sequence[Sequence[Value]]
    indexes: tuple[Index, ...] = ()
    counts: bool = False


def write(tables: Sequence[Table], *, triggers: Sequence[tuple[str, str, str]] = ()) -> bytes:
    """The file; `triggers` are names, tables and SQL."""
    file = _File()
    schema: list[tuple[Value, ...]] = []
    counted = [(table.name, len(table.rows)) for table in tables if table.counts]
    if counted:
        sequence = "CREATE TABLE sqlite_sequence(name,seq)"
        tables = [*tables, Table("sqlite_sequence", sequence, counted)]
    for table in tables:
        rows = list(enumerate(table.rows, 1))
        schema.append(("table", table.name, table.name, file.table(rows), table.sql))
        for index in table.indexes:
            keys = [
                (*(number if row[c] is None and c == 0 else row[c] for c in index.columns), number)
                for number, row in rows
            ]
            keys.sort(key=_sorting)
            schema.append(("index", index.name, table.name, file.index(keys), index.sql or None))
    for name, table_name, sql in triggers:
        schema.append(("trigger", name, table_name, 0, sql))
    return file.finish(list(enumerate(schema, 1)))


def _sorting(key: Sequence[Value]) -> tuple[tuple[int, int, bytes], ...]:
    """How SQLite compares: nothing before numbers before texts, texts by their bytes."""
    return tuple(
        (0, 0, b"")
        if value is None
        else (1, value, b"")
        if isinstance(value, int)
        else (2, 0, value.encode())
        for value in key
    )


class _File:
    def __init__(self) -> None:
        self.pages: list[bytes] = [b""]

    def table(self, rows: Sequence[tuple[int, Sequence[Value]]]) -> int:
        """A b-tree of rows by id; gives the number of its root page."""
        cells = [self._row(number, row) for number, row in rows]
        numbers = [number for number, _ in rows]
        groups = _fill(cells, PAGE - 8)
        below: list[tuple[int, int]] = []
        done = 0
        for group in groups or [[]]:
            done += len(group)
            below.append((self._add(_page(_TABLE_LEAF, group)), numbers[done - 1] if done else 0))
        return self._above_table(below)

    def _above_table(self, below: list[tuple[int, int]]) -> int:
        while len(below) > 1:
            above: list[tuple[int, int]] = []
            for group in _fill([_child(page) + _varint(last) for page, last in below], PAGE - 12):
                members, below = below[: len(group)], below[len(group) :]
                page = _page(_TABLE_ABOVE, group[:-1], right=members[-1][0])
                above.append((self._add(page), members[-1][1]))
            below = above
        return below[0][0]

    def index(self, keys: Sequence[Sequence[Value]]) -> int:
        """A b-tree of sorted keys. A key that parts two pages stands in the page above only."""
        cells = [self._key(key) for key in keys]
        kind, level = _INDEX_LEAF, [(0, cell) for cell in cells]
        right = 0
        while True:
            pages: list[tuple[int, bytes]] = []
            group: list[bytes] = []
            room = PAGE - (8 if kind == _INDEX_LEAF else 12)
            for place, (child, cell) in enumerate(level):
                whole = cell if kind == _INDEX_LEAF else _child(child) + cell
                last = place == len(level) - 1
                if group and sum(len(one) + 2 for one in group) + len(whole) + 2 > room and not last:
                    # this key goes up, and its child is the page's rightmost
                    pages.append((self._add(_page(kind, group, right=child)), cell))
                    group = []
                    continue
                group.append(whole)
            if sum(len(one) + 2 for one in group) > room:
                # the very last key did not fit: the one before it goes up
                (child, cell), last_cell = level[-2], group.pop()
                group.pop()
                pages.append((self._add(_page(kind, group, right=child)), cell))
                group = [last_cell]
            end = self._add(_page(kind, group, right=right))
            if not pages:
                return end
            kind, level, right = _INDEX_ABOVE, pages, end

    def _row(self, number: int, row: Sequence[Value]) -> bytes:
        record = _record(row)
        return _varint(len(record)) + _varint(number) + self._stored(record, PAGE - 35)

    def _key(self, key: Sequence[Value]) -> bytes:
        record = _record(key)
        return _varint(len(record)) + self._stored(record, (PAGE - 12) * 64 // 255 - 23)

    def _stored(self, record: bytes, most: int) -> bytes:
        """A record, or its beginning and the page where it goes on (section 1.6)."""
        if len(record) <= most:
            return record
        least = (PAGE - 12) * 32 // 255 - 23
        kept = least + (len(record) - least) % (PAGE - 4)
        kept = kept if kept <= most else least
        rest = record[kept:]
        parts = [rest[at : at + PAGE - 4] for at in range(0, len(rest), PAGE - 4)]
        first = len(self.pages) + 1
        for place, part in enumerate(parts):
            following = first + place + 1 if place + 1 < len(parts) else 0
            self._add((struct.pack(">I", following) + part).ljust(PAGE, b"\0"))
        return record[:kept] + struct.pack(">I", first)

    def _add(self, page: bytes) -> int:
        self.pages.append(page)
        return len(self.pages)

    def finish(self, schema: Sequence[tuple[int, Sequence[Value]]]) -> bytes:
        """The file with its schema, whose root is the first page."""
        cells = [self._row(number, row) for number, row in schema]
        if sum(len(cell) + 2 for cell in cells) > PAGE - _HEADER - 8:
            raise ValueError("the schema does not fit into one page")
        first = _page(_TABLE_LEAF, cells, offset=_HEADER)
        # change counter, pages, no free ones (2), schema cookie and format, cache, vacuum, UTF-8, unused (3)
        numbers = (1, len(self.pages), 0, 0, 1, 4, 0, 0, 1, 0, 0, 0)
        header = struct.pack(">16sH6B", b"SQLite format 3\0", PAGE, 1, 1, 0, 64, 32, 32)
        header += struct.pack(">12I20xII", *numbers, 1, VERSION)
        return header + first[_HEADER:] + b"".join(self.pages[1:])


def _fill(cells: Sequence[bytes], room: int) -> list[list[bytes]]:
    """Cells by page, in order; each page also has a pointer of two bytes a cell."""
    groups: list[list[bytes]] = []
    left = 0
    for cell in cells:
        if not groups or len(cell) + 2 > left:
            groups.append([])
            left = room
        groups[-1].append(cell)
        left -= len(cell) + 2
    return groups


def _page(kind: int, cells: Sequence[bytes], *, right: int = 0, offset: int = 0) -> bytes:
    """A page of a b-tree: header, pointers, free room, and the cells from the end on."""
    page = bytearray(PAGE)
    end = PAGE
    pointers = []
    for cell in cells:
        end -= len(cell)
        page[end : end + len(cell)] = cell
        pointers.append(end)
    above = kind in (_TABLE_ABOVE, _INDEX_ABOVE)
    head = struct.pack(">BHHHB", kind, 0, len(cells), end % 65536, 0)
    head += struct.pack(">I", right) if above else b""
    page[offset : offset + len(head)] = head
    at = offset + len(head)
    page[at : at + 2 * len(pointers)] = struct.pack(f">{len(pointers)}H", *pointers)
    return bytes(page)


def _child(page: int) -> bytes:
    return struct.pack(">I", page)


def _record(values: Sequence[Value]) -> bytes:
    """A row or key (section 2.1)."""
    kinds, body = b"", b""
    for value in values:
        if value is None:
            kinds += _varint(0)
        elif isinstance(value, str):
            data = value.encode()
            kinds += _varint(13 + 2 * len(data))
            body += data
        elif value in (0, 1):
            kinds += _varint(8 + value)
        else:
            kind, size = next(
                (k, s) for k, s in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 8)) if _fits(value, s)
            )
            kinds += _varint(kind)
            body += value.to_bytes(size, "big", signed=True)
    size = len(kinds) + 1
    if size > 127:
        size += 1
    return _varint(size) + kinds + body


def _fits(value: int, size: int) -> bool:
    return -(1 << (8 * size - 1)) <= value < 1 << (8 * size - 1)


def _varint(value: int) -> bytes:
    """A number of one to nine bytes, seven bits each (all eight of the ninth)."""
    if value < 0 or value >= 1 << 56:
        low = value & 0xFF
        rest = (value & ((1 << 64) - 1)) >> 8
        return bytes([*(0x80 | (rest >> (7 * place)) & 0x7F for place in range(7, -1, -1)), low])
    out = [value & 0x7F]
    value >>= 7
    while value:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes(reversed(out))
