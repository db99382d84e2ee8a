"""ELF files: what the loader reads, what stripping would save, what made them, and which files they name.

System V ABI, chapters 4 and 5. Every offset and count is checked, since any byte may be hostile. Of a damaged
file only what can be told is told.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "elf"
_KINDS = {1: "object", 2: "program", 3: "library", 4: "core"}
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH, _DT_FLAGS_1 = (
    1,
    5,
    10,
    14,
    15,
    29,
    0x6FFFFFFB,
)
_DF_1_PIE = 0x08000000
_SHT_NOBITS, _SHF_ALLOC = 8, 2
_MOST = 1 << 14
_MOST_MENTIONS = 24
"""Strings that are kept for each anchor."""
_GO_MAGIC = b"\xff Go buildinf:"
_ANCHORS = (b"/etc/", b"zoneinfo", b"/certs", b"/tmp", b"SSL_CERT_FILE")
"""What mentions are found by: each is searched for once in the read-only data."""
_PRINTABLE = re.compile(rb"[\x21-\x7e]{0,120}\Z"), re.compile(rb"[\x21-\x7e]{0,120}")


@dataclass(frozen=True)
class _Section:
    name: bytes
    kind: int
    flags: int
    offset: int
    size: int


def wants(path: str, size: int, head: bytes) -> bool:
    return head[:4] == b"\x7fELF"


def examine(path: str, data: Data) -> dict[str, Any] | None:
    """Keys, where they apply: machine (e_machine), bits, kind, interpreter, soname, needed, search, pie,
    static, debug and symbols (bytes of sections that running needs not, which stripping saves), loads
    ([flags, bytes in the file, bytes in memory] of each segment), go, rust, mentions (strings that name
    files such as a CA bundle).
    """
    if len(data) < 52 or data[4] not in (1, 2) or data[5] not in (1, 2):
        return {"damaged": True}
    sign, wide = "<" if data[5] == 1 else ">", data[4] == 2
    found: dict[str, Any] = {"bits": 64 if wide else 32}
    sections: list[_Section] = []
    loads: list[tuple[int, int, int, int, int]] = []
    try:
        kind, machine = struct.unpack_from(sign + "HH", data, 16)
        found |= {"kind": _KINDS.get(kind, "other"), "machine": machine}
        _segments(data, sign, wide, found, loads)
        sections = _sections(data, sign, wide)
    except (struct.error, IndexError, OverflowError):
        found["damaged"] = True
    if found.get("kind") == "library" and ("interpreter" in found or found.pop("pie", False)):
        found["kind"] = "program"
    if found.get("kind") == "program" and "interpreter" not in found and not found.get("needed"):
        found["static"] = True
    found["loads"] = [[flags, filesz, memsz] for flags, _, _, filesz, memsz in loads]
    for key, names in (("debug", (b".debug", b".zdebug")), ("symbols", (b".symtab", b".strtab"))):
        if size := sum(s.size for s in sections if s.name.startswith(names) and not s.flags & _SHF_ALLOC):
            found[key] = size
    try:
        if go := _go(data, sections, loads):
            found["go"] = go
        elif rust := _rust(data, sections):
            found["rust"] = rust
    except (struct.error, IndexError, OverflowError, ValueError, zlib.error, UnicodeDecodeError):
        pass
    if mentions := _mentions(data, sections, loads):
        found["mentions"] = mentions
    return found


def _segments(
    data: Data, sign: str, wide: bool, found: dict[str, Any], loads: list[tuple[int, int, int, int, int]]
) -> None:
    phoff = struct.unpack_from(sign + ("Q" if wide else "I"), data, 32 if wide else 28)[0]
    entry, count = struct.unpack_from(sign + "HH", data, 54 if wide else 42)
    if count and entry != (56 if wide else 32):
        raise IndexError("program headers of an unknown size")
    dynamic: tuple[int, int] | None = None
    for place in range(phoff, phoff + count * entry, entry or 1):
        if wide:
            kind, flags, offset, address, _, filesz, memsz = struct.unpack_from(sign + "IIQQQQQ", data, place)
        else:
            kind, offset, address, _, filesz, memsz, flags = struct.unpack_from(sign + "7I", data, place)
        if kind == _PT_LOAD:
            loads.append((flags, offset, address, filesz, memsz))
        elif kind == _PT_DYNAMIC:
            dynamic = offset, filesz
        elif kind == _PT_INTERP and filesz < 4096:
            found["interpreter"] = _text(bytes(data[offset : offset + filesz]))
    if dynamic is not None:
        _dynamic(data, sign, wide, dynamic, loads, found)


def _dynamic(
    data: Data,
    sign: str,
    wide: bool,
    where: tuple[int, int],
    loads: list[tuple[int, int, int, int, int]],
    found: dict[str, Any],
) -> None:
    size = 16 if wide else 8
    count = min(where[1] // size, _MOST)
    pairs = struct.unpack_from(f"{sign}{2 * count}{'Q' if wide else 'I'}", data, where[0])
    values: dict[int, int] = {}
    needed: list[int] = []
    for tag, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not tag:
            break
        if tag == _DT_NEEDED:
            needed.append(value)
        else:
            values.setdefault(tag, value)
    if values.get(_DT_FLAGS_1, 0) & _DF_1_PIE:
        found["pie"] = True
    start = next(
        (
            values[_DT_STRTAB] - address + offset
            for _, offset, address, filesz, _ in loads
            if address <= values.get(_DT_STRTAB, -1) < address + filesz
        ),
        None,
    )
    if start is None:
        return
    names = bytes(data[start : start + min(values.get(_DT_STRSZ, 0), 16 << 20)])

    def name(place: int) -> str:
        return _text(names[place : place + 4096])

    if needed:
        found["needed"] = list(dict.fromkeys(name(place) for place in needed))
    if _DT_SONAME in values:
        found["soname"] = name(values[_DT_SONAME])
    search = values.get(_DT_RUNPATH, values.get(_DT_RPATH))
    if search is not None:
        found["search"] = [part for part in name(search).split(":") if part]


def _sections(data: Data, sign: str, wide: bool) -> list[_Section]:
    shoff = struct.unpack_from(sign + ("Q" if wide else "I"), data, 40 if wide else 32)[0]
    size, count, names = struct.unpack_from(sign + "HHH", data, 58 if wide else 46)
    if not shoff or not count or size != (64 if wide else 40):
        return []
    rows = []
    for place in range(shoff, shoff + count * size, size):
        if wide:
            name, kind, flags, _, offset, length = struct.unpack_from(sign + "IIQQQQ", data, place)
        else:
            name, kind, flags, _, offset, length = struct.unpack_from(sign + "6I", data, place)
        if kind != _SHT_NOBITS and offset + length > len(data):
            raise IndexError("a section leads out of the file")
        rows.append((name, kind, flags, offset, 0 if kind == _SHT_NOBITS else length))
    table = rows[names] if names < len(rows) else None
    texts = bytes(data[table[3] : table[3] + min(table[4], 1 << 20)]) if table else b""
    return [
        _Section(texts[name : name + 64].split(b"\0", 1)[0], kind, flags, offset, length)
        for name, kind, flags, offset, length in rows
    ]


def _named(sections: list[_Section], name: bytes) -> _Section | None:
    return next((section for section in sections if section.name == name), None)


def _go(
    data: Data, sections: list[_Section], loads: list[tuple[int, int, int, int, int]]
) -> dict[str, Any] | None:
    """The build information that the Go linker leaves (debug/buildinfo, since Go 1.18)."""
    section = _named(sections, b".go.buildinfo")
    if section is None and sections:
        return None
    places = [section.offset] if section else [offset for flags, offset, *_ in loads if flags & 2]
    for place in places:
        at = data.find(_GO_MAGIC, place, place + (1 << 16))
        if at < 0:
            continue
        found: dict[str, Any] = {"version": ""}
        if data[at + 15] & 2:
            version, after = _counted(data, at + 32)
            modules, _ = _counted(data, after)
            found["version"] = version.decode()
            # the linker puts 16 bytes of marks before and after
            for line in modules[16:-16].decode("utf-8", "replace").split("\n"):
                what, *fields = line.split("\t")
                if what == "path" and fields:
                    found["path"] = fields[0]
                elif what == "mod" and len(fields) > 1:
                    found["module"] = fields[:2]
                elif what == "dep" and len(fields) > 1 and len(found.setdefault("dependencies", [])) < 5000:
                    found["dependencies"].append(fields[:2])
        return found
    return None


def _counted(data: Data, place: int) -> tuple[bytes, int]:
    """A string after its length in base 128, and where it ends."""
    length = shift = 0
    while True:
        byte = data[place]
        place += 1
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
        if shift > 35:
            raise ValueError("a length without an end")
    return bytes(data[place : place + min(length, 4 << 20)]), place + length


def _rust(data: Data, sections: list[_Section]) -> dict[str, Any] | None:
    """What cargo-auditable leaves in `.dep-v0`, else only that rustc made the file."""
    if section := _named(sections, b".dep-v0"):
        import msgspec

        text = zlib.decompressobj().decompress(
            bytes(data[section.offset : section.offset + section.size]), 8 << 20
        )
        packages = msgspec.json.decode(text).get("packages", [])
        listed = [[str(p.get("name", "")), str(p.get("version", ""))] for p in packages[:5000]]
        root = next((number for number, p in enumerate(packages[:5000]) if p.get("root")), None)
        return {"root": listed[root] if root is not None else ["", ""], "dependencies": listed}
    comment = _named(sections, b".comment")
    if comment and b"rustc version" in bytes(data[comment.offset : comment.offset + min(comment.size, 4096)]):
        return {"root": ["", ""], "dependencies": []}
    rodata = _named(sections, b".rodata")
    if rodata and data.find(b"/rustc/", rodata.offset, rodata.offset + rodata.size) >= 0:
        return {"root": ["", ""], "dependencies": []}
    return None


def _mentions(data: Data, sections: list[_Section], loads: list[tuple[int, int, int, int, int]]) -> list[str]:
    """Strings around the anchors, of the read-only data."""
    rodata = _named(sections, b".rodata")
    if rodata is not None:
        spans = [(rodata.offset, rodata.offset + rodata.size)]
    else:
        spans = [(offset, offset + filesz) for flags, offset, _, filesz, _ in loads if not flags & 2]
    found: dict[str, None] = {}
    for start, end in spans:
        for anchor in _ANCHORS:
            place, tries, most = start, 0, len(found) + _MOST_MENTIONS
            while (place := data.find(anchor, place, end)) >= 0 and tries < 512 and len(found) < most:
                before = _PRINTABLE[0].search(bytes(data[max(start, place - 120) : place]))
                after = _PRINTABLE[1].match(bytes(data[place : min(end, place + 120)]))
                text = (before[0] if before else b"") + (after[0] if after else b"")
                found[text.decode("ascii")] = None
                place += len(anchor)
                tries += 1
    return list(found)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
