"""Programs that UPX has packed, told by structure in ELF and PE files.

A packed ELF file has no sections, and after its program headers `l_info` (checksum, `UPX!`, size, version,
format) and `p_info` (program, size of the file before, block size); a packed PE file has a first section
without content that its second one is unpacked into, and the mark in its headers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "packed"
_MARK = b"UPX!"
_LARGEST = 1 << 32


def wants(path: str, size: int, head: bytes) -> bool:
    return (head[:4] == b"\x7fELF" and _MARK in head) or (head[:2] == b"MZ" and size > 512)


def examine(path: str, data: Data) -> dict[str, Any] | None:
    """Keys: form (`ELF` or `PE`), unpacked (bytes that the program has in memory once it runs)."""
    try:
        return _elf(data) if bytes(data[:4]) == b"\x7fELF" else _pe(data)
    except (struct.error, IndexError):
        return None


def _elf(data: Data) -> dict[str, Any] | None:
    sign, wide = "<" if data[5] == 1 else ">", data[4] == 2
    phoff = struct.unpack_from(sign + ("Q" if wide else "I"), data, 32 if wide else 28)[0]
    entry, count = struct.unpack_from(sign + "HH", data, 54 if wide else 42)
    end = phoff + entry * count
    # the mark stands in l_info, which begins where the headers end or after some padding
    at = data.find(_MARK, end + 4, end + 24)
    sections = struct.unpack_from(sign + "H", data, 60 if wide else 48)[0]
    if at < 0 or sections:
        return None
    _, version, kind, _, size, _ = struct.unpack_from(sign + "HBBIII", data, at + 4)
    if not (10 <= version < 30 and kind and len(data) <= size < _LARGEST):
        return None
    return {"form": "ELF", "unpacked": size}


def _pe(data: Data) -> dict[str, Any] | None:
    at = struct.unpack_from("<I", data, 60)[0]
    if bytes(data[at : at + 4]) != b"PE\0\0":
        return None
    count, optional = struct.unpack_from("<H12xH", data, at + 6)
    start = at + 24 + optional
    sections = [struct.unpack_from("<8sIIII", data, start + 40 * number) for number in range(min(count, 96))]
    if len(sections) < 2:
        return None
    first, second = sections[0], sections[1]
    hollow = not first[3] and first[1] and second[3]
    if not hollow or data.find(_MARK, start, start + 40 * len(sections) + 4096) < 0:
        return None
    return {"form": "PE", "unpacked": first[1] + second[1]}
