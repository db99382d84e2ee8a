"""ELF files without their symbol tables and debugging information (System V ABI, 4: Object Files).

What goes are sections that no segment maps and the loader never sees: `.symtab` with its strings, and
`.debug_*`. What a program maps stays byte for byte where it is. A file is left alone when anything in it
could be missed: bytes that no header speaks of (a payload behind the program), relocations for a linker, a
signature or checksum of the whole file beside it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ramekin.chunks import Chunks
from ramekin.image.tree import Content, Inline, Kind, Span
from ramekin.slim.contents import Contents
from ramekin.slim.units.catalog import AUTHOR, Catalog
from ramekin.slim.units.model import Selection, Symbols, title
from ramekin.slim.units.table import rule

_ET_EXEC, _ET_DYN = 2, 3
_SHT_SYMTAB, _SHT_NOBITS = 2, 8
_SHT_LINKING = frozenset((4, 9, 17, 18))
"""RELA, REL, GROUP and SYMTAB_SHNDX: with these outside of segments, a linker reads the symbols."""
_SHF_ALLOC, _SHF_INFO_LINK = 2, 64
_MOST_SECTIONS = 4096
_MOST_NAMES = 1 << 20
_MOST_ALIGNED = 1 << 16
_LEAST = 4096
"""Bytes to be saved for which a file is written again."""
_WHOLE_FILE = (".hmac", ".sig", ".asc", ".chk")

_Read = Callable[[int, int], bytes]
"""Bytes of a file: start and size to exactly that many; `ValueError` where there are fewer."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Contents one after the other, as one."""

    parts: tuple[Content, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    def open(self) -> BinaryIO:
        return io.BufferedReader(Chunks(self._pieces()), 1 << 17)

    def _pieces(self) -> Iterator[bytes]:
        for part in self.parts:
            with part.open() as stream:
                while piece := stream.read(1 << 17):
                    yield piece


@dataclass(slots=True)
class _Section:
    """A section header: its fields as they stand, and its name."""

    fields: list[int]
    name: bytes = b""

    @property
    def kind(self) -> int:
        return self.fields[1]

    @property
    def mapped(self) -> bool:
        return bool(self.fields[2] & _SHF_ALLOC)

    @property
    def start(self) -> int:
        return self.fields[4]

    @property
    def size(self) -> int:
        return 0 if self.kind == _SHT_NOBITS else self.fields[5]

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class _Shape:
    """How numbers and headers of a file are laid out."""

    sign: str
    wide: bool

    @property
    def header(self) -> int:
        return 64 if self.wide else 52

    @property
    def section(self) -> struct.Struct:
        return struct.Struct(self.sign + ("IIQQQQIIQQ" if self.wide else "10I"))

    @property
    def tables(self) -> tuple[int, struct.Struct]:
        """Where the header tells of its tables: e_phoff to e_shstrndx."""
        return (32, struct.Struct(self.sign + ("QQI6H" if self.wide else "3I6H")))

    def segment(self, data: bytes) -> tuple[int, int, int]:
        """Kind, offset and bytes in the file of a program header."""
        if self.wide:
            kind, _, offset, _, _, size = struct.unpack_from(self.sign + "IIQQQQ", data)
        else:
            kind, offset, _, _, size = struct.unpack_from(self.sign + "5I", data)
        return kind, offset, size


def leaner(contents: Contents, selection: Selection, catalog: Catalog) -> dict[str, Content]:
    """New contents of files that stay, by path, as the selection's choice of symbols has it.

    By default files of packages and runtimes give theirs up, and those of the author stay as they are.
    """
    choice = selection.choice.symbols
    kept = selection.kept
    readers = rule("symbols").names
    if choice is Symbols.KEEP or any(unit.kept and title(unit.name) in readers for unit in selection.units):
        return {}
    found: dict[str, Content] = {}
    known: dict[int, Content | None] = {}
    for path, reason in kept.items():
        placed = contents.files[path]
        if placed.inode is None or placed.size < _LEAST or contents.kind(path) is not Kind.FILE:
            continue
        if choice is not Symbols.DROP and catalog.units[reason.unit].kind == AUTHOR:
            continue
        if reason.unit.startswith("rpm:"):  # whose digests of files are signed
            continue
        folder, _, name = path.rpartition("/")
        beside = (f"{folder}/{dot}{name}{end}" for end in _WHOLE_FILE for dot in ("", "."))
        if any(one.strip("/") in kept for one in beside) or f"{path.rpartition('.so')[0]}.chk" in kept:
            continue
        if id(placed.inode) not in known:
            known[id(placed.inode)] = _lean(contents, path)
        content = known[id(placed.inode)]
        if content is not None:
            found[path] = content
    return found


def _lean(contents: Contents, path: str) -> Content | None:
    """The file at a path without symbols; None when it has none to speak of, or is left alone."""
    if contents.read(path, 4) != b"\x7fELF":
        return None
    content = contents.content(path)
    assert content is not None

    def read(start: int, size: int) -> bytes:
        data = contents.read(path, size, start) if start < content.size else b""
        if len(data) != size:
            raise ValueError
        return data

    try:
        pieces = list(_pieces(read, content.size))
    except (struct.error, ValueError):
        return None
    parts = tuple(
        Inline(piece) if isinstance(piece, bytes) else _part(content, contents, path, *piece)
        for piece in pieces
    )
    made = Joined(parts)
    return made if parts and content.size - made.size >= _LEAST else None


def _part(content: Content, contents: Contents, path: str, start: int, size: int) -> Content:
    if isinstance(content, Span):
        return Span(content.path, content.offset + start, size, content.owner)
    return Inline(contents.read(path, size, start))


@dataclass(slots=True)
class _File:
    """What the headers of a file say. `told` are the header's fields of its tables (`_Shape.tables`), `rows`
    is where the section headers are, `mapped` the end of what segments speak of.
    """

    shape: _Shape
    head: bytearray
    told: list[int]
    sections: list[_Section]
    rows: tuple[int, int]
    mapped: int

    @property
    def loose(self) -> list[_Section]:
        """Sections that have bytes and that no segment maps, in the order of the file."""
        found = (one for one in self.sections[1:] if not one.mapped and one.size)
        return sorted(found, key=lambda one: one.start)


def _pieces(read: _Read, total: int) -> Iterator[bytes | tuple[int, int]]:
    """What the file becomes: bytes, and runs (start, size) of what it is; nothing when it is left alone.

    `ValueError` and `struct.error` when it is no file that a linker made.
    """
    file = _parsed(read)
    gone = _gone(file, read, total) if file is not None else set()
    if file is not None and gone and (numbers := _renumbered(file.sections, gone)) is not None:
        yield from _without(file, gone, numbers)


def _parsed(read: _Read) -> _File | None:
    """The headers of a program or shared object; None when it is neither, or is laid out unusually."""
    ident = read(0, 16)
    if ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    shape = _Shape("<" if ident[5] == 1 else ">", ident[4] == 2)
    head = bytearray(read(0, shape.header))
    (kind,) = struct.unpack_from(shape.sign + "H", head, 16)
    at, tables = shape.tables
    told = list(tables.unpack_from(head, at))
    phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, shstrndx = told
    if kind not in (_ET_EXEC, _ET_DYN) or not 0 < shnum < _MOST_SECTIONS or shstrndx >= shnum:
        return None
    if shentsize != shape.section.size or phentsize != (56 if shape.wide else 32):
        return None
    rows = read(shoff, shnum * shentsize)
    sections = [_Section(list(row)) for row in shape.section.iter_unpack(rows)]
    names = read(sections[shstrndx].start, min(sections[shstrndx].size, _MOST_NAMES))
    for section in sections:
        section.name = names[section.fields[0] :].partition(b"\0")[0]
    mapped = _mapped_end(read, shape, phoff, phnum, phentsize)
    return _File(shape, head, told, sections, (shoff, shoff + len(rows)), mapped)


def _gone(file: _File, read: _Read, total: int) -> set[int]:
    """The numbers of sections that go; none when anything could be missed."""
    sections, mapped, loose = file.sections, file.mapped, file.loose
    gone = {number for number, section in enumerate(sections) if number and _is_needless(section)}
    gone |= {sections[number].fields[6] for number in gone if sections[number].kind == _SHT_SYMTAB}
    if not gone or file.told[8] in gone or max(gone) >= len(sections) or file.rows[0] < mapped:
        return set()
    if not _is_followed(sections, gone) or any(one.start < mapped < one.end for one in loose):
        return set()
    if any(section.fields[8] > _MOST_ALIGNED for section in loose):
        return set()
    behind = [section for section in loose if section.start >= mapped]
    return gone if _is_covered(read, behind, mapped, file.rows, total) else set()


def _without(file: _File, gone: set[int], numbers: dict[int, int]) -> Iterator[bytes | tuple[int, int]]:
    """The file without the sections that go, those that stay having new `numbers`."""
    place = file.mapped
    body: list[bytes | tuple[int, int]] = []
    going = {id(file.sections[number]) for number in gone}
    for section in file.loose:
        if section.start < file.mapped or id(section) in going:
            continue
        filled = -place % max(1, section.fields[8])
        body += [bytes(filled), (section.start, section.size)]
        place += filled
        section.fields[4] = place
        place += section.size
    filled = -place % 8
    file.told[1], file.told[7], file.told[8] = place + filled, len(numbers), numbers[file.told[8]]
    at, tables = file.shape.tables
    tables.pack_into(file.head, at, *file.told)
    yield bytes(file.head)
    yield (len(file.head), file.mapped - len(file.head))
    yield from body
    yield bytes(filled)
    for number, section in enumerate(file.sections):
        if number not in gone:
            section.fields[6] = numbers[section.fields[6]]
            if section.fields[2] & _SHF_INFO_LINK:
                section.fields[7] = numbers[section.fields[7]]
            yield file.shape.section.pack(*section.fields)


def _mapped_end(read: _Read, shape: _Shape, phoff: int, phnum: int, size: int) -> int:
    """The end of what segments speak of, headers among them."""
    end = max(shape.header, phoff + phnum * size)
    for number in range(phnum):
        kind, offset, length = shape.segment(read(phoff + number * size, size))
        if kind:
            end = max(end, offset + length)
    return end


def _is_needless(section: _Section) -> bool:
    if section.mapped:
        return False
    if section.kind == _SHT_SYMTAB:
        return True
    return section.name.startswith((b".debug_", b".zdebug_")) or section.name in (b".gdb_index", b".stab")


def _is_followed(sections: Sequence[_Section], gone: set[int]) -> bool:
    """Whether nothing that stays reads what goes."""
    staying = (section for number, section in enumerate(sections) if number not in gone)
    return not any(section.kind in _SHT_LINKING and not section.mapped for section in staying)


def _is_covered(
    read: _Read, loose: Sequence[_Section], mapped: int, headers: tuple[int, int], total: int
) -> bool:
    """Whether all behind the segments is sections and their headers, with nothing but zeros between."""
    place = mapped
    for start, end in sorted([*((section.start, section.end) for section in loose), headers]):
        if start < place or end > total:
            return False
        if start - place > 1 << 16 or any(read(place, start - place)):
            return False
        place = end
    return place == total


def _renumbered(sections: Sequence[_Section], gone: set[int]) -> dict[int, int] | None:
    """Numbers of sections without those that go; None when one that stays needs one that does.

    What is mapped may have named the symbols: of a static program, relocations that need none.
    """
    numbers: dict[int, int] = {}
    for number in range(len(sections)):
        if number not in gone:
            numbers[number] = len(numbers)
    for number in numbers:
        section = sections[number]
        if section.fields[6] not in numbers:
            if not section.mapped or section.fields[6] not in gone:
                return None
            section.fields[6] = 0
        if section.fields[2] & _SHF_INFO_LINK and section.fields[7] not in numbers:
            return None
    return numbers
