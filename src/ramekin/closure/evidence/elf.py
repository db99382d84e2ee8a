"""What the dynamic loader would read in an ELF file (System V ABI, 4 and 5; Linux symbol versioning).

A small reader of its own: it touches the headers, the dynamic section and the version tables, and checks
every offset and count, since any byte may be hostile. Addresses are turned into offsets by program headers,
so section headers may be missing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

MAGIC = b"\x7fELF"

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_DT_VERDEF, _DT_VERDEFNUM, _DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
_MOST_ENTRIES = 1 << 14
_SHF_ALLOC, _SHF_EXECINSTR, _SHT_PROGBITS = 2, 4, 1
_VER_FLG_WEAK = 2


class BadElf(Exception):  # noqa: N818 - never leaves this folder
    """The file starts like an ELF file and goes on like none; the message says where."""


@dataclass(slots=True)
class ElfFile:
    """`kind` is e_type (2 program, 3 shared object), `strings` are the runs of read-only bytes (offset,
    size).
    """

    machine: str
    kind: int
    interpreter: str = ""
    soname: str = ""
    needed: list[str] = field(default_factory=list)
    asked: dict[str, list[str]] = field(default_factory=dict)
    defined: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    inherits: bool = False
    dynamic: bool = False
    names: bytes = b""
    strings: list[tuple[int, int]] = field(default_factory=list)


def read(data: bytes) -> ElfFile:
    """The loader's view of `data`, the whole file; `BadElf` says what is wrong."""
    if len(data) < 20 or data[:4] != MAGIC:
        raise BadElf("it is too short")
    wide, order = data[4], data[5]
    if wide not in (1, 2) or order not in (1, 2):
        raise BadElf("its class or byte order is unknown")
    sign = "<" if order == 1 else ">"
    try:
        return _read(data, wide == 2, sign, f"{32 * wide}-{order}")
    except (struct.error, OverflowError) as error:
        raise BadElf("a table leads out of the file") from error


def _read(data: bytes, wide: bool, sign: str, prefix: str) -> ElfFile:
    kind, machine = struct.unpack_from(sign + "HH", data, 16)
    header = struct.unpack_from(sign + ("QQIHHHHHH" if wide else "IIIHHHHHH"), data, 32 if wide else 28)
    phoff, shoff, _flags, _, phentsize, phnum, shentsize, shnum, _ = header
    file = ElfFile(f"{prefix}-{machine}", kind)
    loads: list[tuple[int, int, int]] = []
    readable: list[tuple[int, int]] = []
    dynamic: tuple[int, int] | None = None
    size = 56 if wide else 32
    if phnum and phentsize != size:
        raise BadElf("its program headers have an unknown size")
    for place in range(phoff, phoff + phnum * size, size):
        if wide:
            p_type, p_flags, offset, address, _, filesz = struct.unpack_from(sign + "IIQQQQ", data, place)
        else:
            p_type, offset, address, _, filesz, _, p_flags = struct.unpack_from(sign + "IIIIIII", data, place)
        if p_type == _PT_LOAD:
            loads.append((address, filesz, offset))
            if not p_flags & 1:
                readable.append((offset, filesz))
        elif p_type == _PT_DYNAMIC:
            dynamic = (offset, filesz)
        elif p_type == _PT_INTERP and filesz < 4096:
            file.interpreter = _text(data[offset : offset + filesz].split(b"\0", 1)[0])
    if dynamic is not None:
        file.dynamic = True
        _dynamic(data, wide, sign, dynamic, loads, file)
    file.strings = _sections(data, wide, sign, shoff, shentsize, shnum) or [
        (offset, min(length, len(data) - offset)) for offset, length in readable if offset < len(data)
    ]
    return file


def _dynamic(
    data: bytes,
    wide: bool,
    sign: str,
    where: tuple[int, int],
    loads: list[tuple[int, int, int]],
    file: ElfFile,
) -> None:
    offset, length = where
    size = 16 if wide else 8
    count = min(length // size, _MOST_ENTRIES)
    if offset + count * size > len(data):
        raise BadElf("its dynamic section leads out of the file")
    values: dict[int, int] = {}
    needed: list[int] = []
    pairs = struct.unpack_from(f"{sign}{count * 2}{'Q' if wide else 'I'}", data, offset)
    for tag, value in zip(pairs[::2], pairs[1::2], strict=True):
        if tag == 0:
            break
        if tag == _DT_NEEDED:
            needed.append(value)
        else:
            values.setdefault(tag, value)

    def at(tag: int) -> int:
        address = values[tag]
        for start, span, place in loads:
            if start <= address < start + span:
                return address - start + place
        raise BadElf("its dynamic section names an address that no segment loads")

    if _DT_STRTAB not in values:
        return
    start = at(_DT_STRTAB)
    names = data[start : start + min(values.get(_DT_STRSZ, 0), len(data))]
    file.names = names

    def name(place: int) -> str:
        end = names.find(b"\0", place)
        if place >= len(names) or end < 0:
            raise BadElf("its dynamic section names a string that is not there")
        if end - place > 4096:
            raise BadElf("its dynamic section names a string that is too long")
        return _text(names[place:end])

    file.needed = list(dict.fromkeys(name(value) for value in needed))
    if _DT_SONAME in values:
        file.soname = name(values[_DT_SONAME])
    if _DT_RUNPATH in values:
        file.search = [part for part in name(values[_DT_RUNPATH]).split(":") if part]
    elif _DT_RPATH in values:
        file.search = [part for part in name(values[_DT_RPATH]).split(":") if part]
        file.inherits = True
    if _DT_VERNEED in values:
        _asked(data, sign, at(_DT_VERNEED), values.get(_DT_VERNEEDNUM, 0), name, file)
    if _DT_VERDEF in values:
        _defined(data, sign, at(_DT_VERDEF), values.get(_DT_VERDEFNUM, 0), name, file)


def _asked(data: bytes, sign: str, place: int, count: int, name: Callable[[int], str], file: ElfFile) -> None:
    for _ in range(min(count, _MOST_ENTRIES)):
        _, entries, library, first, following = struct.unpack_from(sign + "HHIII", data, place)
        versions = file.asked.setdefault(name(library), [])
        at = place + first
        for _ in range(min(entries, _MOST_ENTRIES)):
            _, flags, _, version, step = struct.unpack_from(sign + "IHHII", data, at)
            if not flags & _VER_FLG_WEAK:
                versions.append(name(version))
            if len(versions) > _MOST_ENTRIES:
                raise BadElf("it asks for too many symbol versions")
            if not step:
                break
            at += step
        if not following:
            break
        place += following


def _defined(
    data: bytes, sign: str, place: int, count: int, name: Callable[[int], str], file: ElfFile
) -> None:
    for _ in range(min(count, _MOST_ENTRIES)):
        _, _, _, _, _, first, following = struct.unpack_from(sign + "HHHHIII", data, place)
        (version,) = struct.unpack_from(sign + "I", data, place + first)
        file.defined.append(name(version))
        if not following:
            break
        place += following


def _sections(
    data: bytes, wide: bool, sign: str, shoff: int, shentsize: int, shnum: int
) -> list[tuple[int, int]]:
    """Runs of initialized data that is neither code nor tables for unwinding."""
    size = 64 if wide else 40
    if not shoff or shentsize != size or shoff + shnum * size > len(data):
        return []
    runs = []
    for place in range(shoff, shoff + shnum * size, size):
        if wide:
            _, kind, flags, _, offset, length, _, _, align, _ = struct.unpack_from(
                sign + "IIQQQQIIQQ", data, place
            )
        else:
            _, kind, flags, _, offset, length, _, _, align, _ = struct.unpack_from(sign + "10I", data, place)
        data_only = kind == _SHT_PROGBITS and flags & _SHF_ALLOC and not flags & _SHF_EXECINSTR
        if data_only and length > 3 and offset + length <= len(data) and align:
            runs.append((offset, length))
    return runs


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
