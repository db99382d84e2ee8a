"""Which system the files of a store path are for: neither its name nor its narinfo need say it.

    a closure with a C library   what its C library is for
    one without                  what the first program in the archives of the closure is for
    one without programs         any system

Only as much of an archive is fetched as comes before its first program, which for a C library is a few KiB.
What was found is kept in the store, for a store path never changes.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from ramekin.sources.nix import compression, nar, paths
from ramekin.sources.nix.cache import Caches
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.store.action import key
from ramekin.store.store import Store

REVISION = 1

SYSTEMS = MappingProxyType(
    {
        "amd64": "x86_64-linux",
        "arm64": "aarch64-linux",
        "i386": "i686-linux",
        "armhf": "armv7l-linux",
        "armel": "armv6l-linux",
        "riscv64": "riscv64-linux",
        "ppc64el": "powerpc64le-linux",
        "s390x": "s390x-linux",
        "loong64": "loongarch64-linux",
    }
)
"""Nix's names of systems by Debian's of architectures."""

_MACHINES = {
    3: "i686-linux",
    21: "powerpc64le-linux",
    22: "s390x-linux",
    40: "armv7l-linux",
    62: "x86_64-linux",
    183: "aarch64-linux",
    243: "riscv64-linux",
    258: "loongarch64-linux",
}
_LIBC = re.compile(r"(glibc|musl)-[0-9][^-]*(-[0-9]+)?")
_LOOKED = 256 << 20
"""Bytes of one archive that are searched for a program."""

_CHUNK = 1 << 17


def system_of(base: str, caches: Caches, store: Store) -> str:
    """The system that a store path is for, `""` for any and `"?"` for one that is not known here."""
    known = key("nix system", REVISION, base)
    recorded = store.result(known)
    if recorded is not None:
        return recorded.decode()
    infos = caches.closure([base])
    own = infos[base]
    found = own.system
    if not found:
        libraries = [info for info in infos.values() if _LIBC.fullmatch(paths.name_of(info.base))]
        others = sorted(infos.values(), key=lambda info: (info is not own, info.nar_size))
        for info in (*libraries, *others):
            found = _first_program(info, caches)
            if found:
                break
    store.record(known, found.encode())
    return found


def runs_on(system: str, wanted: str) -> bool:
    """Whether what is for `system` runs where `wanted` does."""
    arm = ("armv6l-linux", "armv7l-linux")
    return not system or system == wanted or (system in arm and wanted in arm)


def _first_program(info: NarInfo, caches: Caches) -> str:
    pattern, keep = nar.programs(), nar.PROGRAM_HEAD
    rest, looked = b"", 0
    where = f"{info.cache}/{info.url}"
    with caches.open(info) as raw, compression.decompress(raw, info.compression, where=where) as plain:
        while looked < _LOOKED and (data := plain.read(_CHUNK)):
            looked += len(data)
            data = rest + data
            if found := pattern.search(data):
                return _system(found[1])
            rest = data[-keep:]
    return ""


def _system(head: bytes) -> str:
    if head[:4] != b"\x7fELF":
        return "?"
    big = head[5] == 2
    machine = int.from_bytes(head[18:20], "big" if big else "little")
    return "?" if machine == 21 and big else _MACHINES.get(machine, "?")
