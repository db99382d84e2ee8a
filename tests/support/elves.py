"""ELF files of a few hundred bytes, with just what the dynamic loader reads (System V ABI)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_BASE = 0x10000


def elf(
    *,
    needed: Sequence[str] = (),
    soname: str = "",
    interpreter: str = "",
    strings: Sequence[str] = (),
    imports: Sequence[str] = (),
    asks: Mapping[str, Sequence[str]] | None = None,
    defines: Sequence[str] = (),
    runpath: str = "",
    rpath: str = "",
    wide: bool = True,
    little: bool = True,
    machine: int = 62,
    program: bool = False,
) -> bytes:
    """An ELF file that loads at one address; `strings` stand in its read-only data, `imports` among its
    symbols' names.
    """
    sign = "<" if little else ">"
    word = "Q" if wide else "I"
    names = bytearray(b"\0")
    places: dict[str, int] = {}

    def name(text: str) -> int:
        if text not in places:
            places[text] = len(names)
            names.extend(text.encode() + b"\0")
        return places[text]

    dynamic: list[tuple[int, int]] = [(1, name(library)) for library in needed]
    if soname:
        dynamic.append((14, name(soname)))
    if runpath:
        dynamic.append((29, name(runpath)))
    if rpath:
        dynamic.append((15, name(rpath)))
    for symbol in imports:
        name(symbol)
    verneed, verdef = bytearray(), bytearray()
    asked = list((asks or {}).items())
    for place, (library, versions) in enumerate(asked):
        size = 16 + 16 * len(versions)
        last = place == len(asked) - 1
        verneed += struct.pack(sign + "HHIII", 1, len(versions), name(library), 16, 0 if last else size)
        for number, version in enumerate(versions):
            step = 0 if number == len(versions) - 1 else 16
            verneed += struct.pack(sign + "IHHII", 0, 0, 2, name(version), step)
    for place, version in enumerate(defines):
        verdef += struct.pack(
            sign + "HHHHIII", 1, 0, place + 1, 1, 0, 20, 0 if place == len(defines) - 1 else 28
        )
        verdef += struct.pack(sign + "II", name(version), 0)
    read_only = b"\0".join(text.encode() for text in strings) + b"\0"
    if strings:
        read_only = b"\0" + read_only

    head = 64 if wide else 52
    entry = 56 if wide else 32
    segments = 2 + bool(interpreter)
    start = head + entry * segments
    loader = interpreter.encode() + b"\0" if interpreter else b""
    parts = [
        ("interp", loader),
        ("names", bytes(names)),
        ("need", bytes(verneed)),
        ("def", bytes(verdef)),
        ("text", read_only),
    ]
    offsets: dict[str, int] = {}
    body = bytearray()
    for label, data in parts:
        while (start + len(body)) % 8:
            body.append(0)
        offsets[label] = start + len(body)
        body += data
    while (start + len(body)) % 8:
        body.append(0)
    dynamic += [(5, _BASE + offsets["names"]), (10, len(names))]
    if asked:
        dynamic += [(0x6FFFFFFE, _BASE + offsets["need"]), (0x6FFFFFFF, len(asked))]
    if defines:
        dynamic += [(0x6FFFFFFC, _BASE + offsets["def"]), (0x6FFFFFFD, len(defines))]
    dynamic.append((0, 0))
    table = b"".join(struct.pack(f"{sign}{word}{word}", *pair) for pair in dynamic)
    at = start + len(body)
    body += table
    end = start + len(body)

    def segment(kind: int, offset: int, size: int) -> bytes:
        if wide:
            return struct.pack(
                sign + "IIQQQQQQ", kind, 4, offset, _BASE + offset, _BASE + offset, size, size, 8
            )
        return struct.pack(sign + "IIIIIIII", kind, offset, _BASE + offset, _BASE + offset, size, size, 4, 8)

    program_headers = segment(1, 0, end) + segment(2, at, len(table))
    if interpreter:
        program_headers += segment(3, offsets["interp"], len(loader))
    kind = 2 if program else 3
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1 if little else 2, 1)) + b"\0" * 9
    section_size = 64 if wide else 40
    while (start + len(body)) % 8:
        body.append(0)
    sections = start + len(body)
    shape = sign + ("IIQQQQIIQQ" if wide else "10I")
    body += bytes(section_size)
    body += struct.pack(shape, 0, 1, 2, _BASE + offsets["text"], offsets["text"], len(read_only), 0, 0, 1, 0)
    fields = (kind, machine, 1, 0, head, sections, 0, head, entry, segments, section_size, 2, 0)
    header = ident + struct.pack(sign + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"), *fields)
    return header + program_headers + bytes(body)
