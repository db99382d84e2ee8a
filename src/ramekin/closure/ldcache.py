"""`etc/ld.so.cache` for any architecture, from facts about libraries (glibc, sysdeps/generic/dl-cache.h).

What ldconfig does on the running machine is done here on values: each folder of the configuration is looked
through once, names that are links count when they are the soname or the linker's name, and the entries
stand in the order that the loader's binary search asks for. Only the new format
(`glibc-ld.so.cache1.1`) is written, which every glibc since 2.2 reads.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key

from ramekin.closure.merged import place
from ramekin.closure.model import Library
from ramekin.closure.multiarch import MULTIARCH
from ramekin.image.tree import Content, Inline, Span, Tree
from ramekin.image.tree import Kind as EntryKind

CONFIGURATION = "etc/ld.so.conf"
_IS_LIBRARY = re.compile(r"(?:lib|ld-|ld\.so\.|ld64\.so\.).*\.so|ld(?:64)?\.so\.")
_ELF_LIBC6 = 3
# (e_machine, is 64 bit) to the ABI part of the flags; None decides by e_flags
_ABI: Mapping[tuple[int, bool], int | None] = {
    (62, True): 0x0300,  # x86-64
    (62, False): 0x0800,  # x32
    (3, False): 0,  # i386
    (183, True): 0x0A00,  # aarch64
    (40, False): None,  # arm
    (21, True): 0x0500,  # ppc64
    (22, True): 0x0400,  # s390x
    (243, True): None,  # riscv64
    (8, True): None,  # mips64
    (8, False): None,  # mips
    (258, True): None,  # loongarch64
}
_HWCAP_EXTENSION = 1 << 62
_EXTENSION_MAGIC = 0xEAA42174
_GENERATOR = b"ramekin"
_HEADER = 48
_ENTRY = 24


def scan(tree: Tree) -> tuple[Library, ...]:
    """Shared objects, and links that look like ones, in folders that a loader could be told of."""
    found: list[Library] = []
    for path, entry in zip(tree, tree.entries(), strict=True):
        folder, _, name = path.rpartition("/")
        if not _IS_LIBRARY.match(name) or not _could_be_searched(folder):
            continue
        if entry.kind is EntryKind.SYMLINK:
            found.append(
                Library(path, target=posixpath.normpath(posixpath.join("/", folder, entry.target))[1:])
            )
        elif entry.kind is EntryKind.HARDLINK:
            found.append(Library(path, target=entry.target))
        elif entry.kind is EntryKind.FILE and entry.content is not None and (elf := _read_elf(entry.content)):
            soname, flags = elf
            found.append(Library(path, soname or name, flags))
    return tuple(found)


def _could_be_searched(folder: str) -> bool:
    return folder.startswith(("usr/lib", "lib", "usr/local/lib", "opt/"))


def configuration(tree: Tree) -> tuple[tuple[str, str], ...]:
    """The package's part of the loader's configuration: paths and texts."""
    return tuple(
        (path, tree[path].read().decode("utf-8", "replace"))
        for path in tree
        if (path == CONFIGURATION or (path.startswith("etc/ld.so.conf.d/") and path.endswith(".conf")))
        and tree[path].kind is EntryKind.FILE
        and tree[path].size < 1 << 16
    )


# --- ELF


def _reader(content: Content) -> Callable[[int, int], bytes]:
    """A function that reads `size` bytes at an offset of a content, and no more where possible."""
    if isinstance(content, Inline):
        return lambda offset, size: content.data[offset : offset + size]
    if isinstance(content, Span):

        def from_span(offset: int, size: int) -> bytes:
            if offset >= content.size:
                return b""
            with content.path.open("rb", buffering=0) as stream:
                stream.seek(content.offset + offset)
                return stream.read(min(size, content.size - offset))

        return from_span
    with content.open() as stream:
        data = stream.read()
    return lambda offset, size: data[offset : offset + size]


def _read_elf(content: Content) -> tuple[str, int] | None:
    """The soname ("" for none) and the flags of a shared object; None when it is none that glibc loads."""
    read = _reader(content)
    head = read(0, 4096)
    if head[:4] != b"\x7fELF" or len(head) < 64 or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    try:
        kind, machine = struct.unpack_from(order + "HH", head, 16)
        if kind != 3:
            return None
        if wide:
            programs, _, flags, _, size, count = struct.unpack_from(order + "QQIHHH", head, 32)
        else:
            programs, _, flags, _, size, count = struct.unpack_from(order + "IIIHHH", head, 28)
        if size < (56 if wide else 32):
            return None
        table = (
            head if programs + size * count <= len(head) else b"\0" * programs + read(programs, size * count)
        )
        segments: list[tuple[int, int, int]] = []
        dynamic: tuple[int, int] | None = None
        for index in range(count):
            where = programs + index * size
            if wide:
                tag, _, offset, address, _, length = struct.unpack_from(order + "IIQQQQ", table, where)
            else:
                tag, offset, address, _, length = struct.unpack_from(order + "IIIII", table, where)
            if tag == 1:
                segments.append((address, offset, length))
            elif tag == 2:
                dynamic = (offset, min(length, 1 << 16))
        abi = _abi(machine, wide, flags)
        if dynamic is None or abi is None:
            return None
        names = strings = None
        for tag, value in struct.iter_unpack(
            order + ("QQ" if wide else "II"), _whole(read(*dynamic), 16 if wide else 8)
        ):
            if tag == 14:
                names = value
            elif tag == 5:
                strings = value
            elif tag == 0:
                break
    except struct.error:
        return None
    if names is None or strings is None:
        return "", _ELF_LIBC6 | abi
    for address, offset, length in segments:
        if address <= strings < address + length:
            text = read(strings - address + offset + names, 256).partition(b"\0")[0]
            return text.decode("utf-8", "surrogateescape"), _ELF_LIBC6 | abi
    return None


def _whole(data: bytes, unit: int) -> bytes:
    return data[: len(data) - len(data) % unit]


def _abi(machine: int, wide: bool, flags: int) -> int | None:
    if (machine, wide) not in _ABI:
        return None
    known = _ABI[machine, wide]
    if known is not None:
        return known
    match machine:
        case 40:
            return 0x0900 if flags & 0x400 else 0x0B00 if flags & 0x200 else 0
        case 243:
            return {0: 0x0F00, 4: 0x1000}.get(flags & 6)
        case 258:
            return {1: 0x1100, 3: 0x1200}.get(flags & 7)
        case 8:
            nan2008 = flags & 0x400
            return ((0x0E00 if nan2008 else 0x0600) if wide else 0x0C00) if wide or nan2008 else 0
    return None


# --- the cache


@dataclass(frozen=True, slots=True)
class _Line:
    soname: str
    flags: int
    path: str
    hwcap: str = ""


def write(
    libraries: Iterable[Library],
    configurations: Iterable[tuple[str, str]],
    *,
    merged: Mapping[str, str],
    architecture: str,
) -> bytes:
    """The bytes of ld.so.cache for an image with these libraries and this configuration."""
    by_folder: dict[str, dict[str, Library]] = {}
    every = {library.path: library for library in libraries}
    for path, library in every.items():
        folder, _, name = path.rpartition("/")
        by_folder.setdefault(folder, {})[name] = library
    lines: list[_Line] = []
    seen: set[str] = set()
    for shown in folders(dict(configurations), architecture):
        real = place(shown.strip("/"), merged)
        if real in seen:
            continue
        seen.add(real)
        lines.extend(_folder(by_folder.get(real, {}), every, shown))
        for folder in sorted(by_folder):
            if posixpath.dirname(folder) == f"{real}/glibc-hwcaps":
                hwcap = posixpath.basename(folder)
                lines.extend(_folder(by_folder[folder], every, f"{shown}/glibc-hwcaps/{hwcap}", hwcap))
    return _encode(sorted(lines, key=cmp_to_key(_compare)), architecture)


def folders(configurations: Mapping[str, str], architecture: str) -> list[str]:
    """The folders that ldconfig looks through, in its order (ldconfig(8)), as they are written."""
    found: list[str] = []

    def read(path: str, depth: int) -> None:
        for raw in configurations.get(path, "").splitlines():
            line = raw.partition("#")[0].strip()
            if line.startswith("include") and line[7:8].isspace() and depth < 8:
                pattern = line[7:].strip()
                pattern = pattern.lstrip("/") if pattern.startswith("/") else f"etc/{pattern}"
                expression = re.compile(re.escape(pattern).replace(r"\*", "[^/]*") + r"\Z")
                for other in sorted(configurations):
                    if expression.match(other):
                        read(other, depth + 1)
            elif line.startswith("/"):
                found.append("/" + line.partition("=")[0].strip().strip("/"))

    read(CONFIGURATION, 0)
    multiarch = MULTIARCH.get(architecture)
    if multiarch:
        found += [f"/lib/{multiarch}", f"/usr/lib/{multiarch}"]
    return [*found, "/lib", "/usr/lib"]


def _folder(
    names: Mapping[str, Library], every: Mapping[str, Library], shown: str, hwcap: str = ""
) -> list[_Line]:
    """The lines for one folder: of several files with one soname, the one with the greatest name."""
    chosen: dict[tuple[str, int], tuple[bool, str]] = {}
    for name in sorted(names):
        library = _behind(names[name], every)
        if library is None:
            continue
        soname = library.soname
        is_link = bool(names[name].target)
        if is_link and name != soname and not (name.endswith(".so") and soname.startswith(name)):
            is_link = False
        elif is_link:
            soname = name
        key = (soname, library.flags)
        before = chosen.get(key)
        if (
            before is None
            or (before[0] and not is_link)
            or (before[0] == is_link and _names(before[1], name) < 0)
        ):
            chosen[key] = (is_link, name)
    return [
        _Line(soname, flags, f"{shown}/{soname if soname in names else name}", hwcap)
        for (soname, flags), (_, name) in chosen.items()
    ]


def _behind(library: Library, every: Mapping[str, Library]) -> Library | None:
    """The file behind a chain of links."""
    current: Library | None = library
    for _ in range(16):
        if current is None or not current.target:
            return current
        current = every.get(current.target)
    return None


def _names(a: str, b: str) -> int:
    """`_dl_cache_libcmp`: runs of digits compare as numbers."""
    i = j = 0
    while i < len(a):
        one, two = a[i], b[j : j + 1]
        if one.isdigit():
            if not two.isdigit():
                return 1
            x, y = re.compile(r"\d+").match(a, i), re.compile(r"\d+").match(b, j)
            assert x is not None and y is not None
            difference = int(x.group()) - int(y.group())
            if difference:
                return difference
            i, j = x.end(), y.end()
        elif two.isdigit():
            return -1
        elif one != two:
            return ord(one) - (ord(two) if two else 0)
        else:
            i, j = i + 1, j + 1
    return 0 if j >= len(b) else -1


def _compare(a: _Line, b: _Line) -> int:
    """The order of entries: sonames falling, then flags falling, then special builds first."""
    by_name = _names(b.soname, a.soname)
    if by_name:
        return by_name
    if a.flags != b.flags:
        return 1 if a.flags < b.flags else -1
    if a.hwcap != b.hwcap:
        return 1 if a.hwcap < b.hwcap else -1
    return 0


def _encode(lines: Sequence[_Line], architecture: str) -> bytes:
    order = ">" if architecture in ("s390x", "ppc64", "sparc64", "hppa", "m68k") else "<"
    offsets: dict[str, int] = {}
    strings = bytearray()
    start = _HEADER + _ENTRY * len(lines)

    def string(text: str) -> int:
        if text not in offsets:
            offsets[text] = start + len(strings)
            strings.extend(text.encode("utf-8", "surrogateescape") + b"\0")
        return offsets[text]

    hwcaps = sorted({line.hwcap for line in lines if line.hwcap})
    entries = bytearray()
    for line in lines:
        path = string(line.path)
        # a soname is mostly the end of its path, whose bytes then serve for both
        soname = (
            path + len(line.path) - len(line.soname)
            if line.path.endswith("/" + line.soname)
            else string(line.soname)
        )
        hwcap = _HWCAP_EXTENSION | hwcaps.index(line.hwcap) if line.hwcap else 0
        entries += struct.pack(order + "iIIIQ", line.flags, soname, path, 0, hwcap)
    names = [string(name) for name in hwcaps]
    strings.extend(b"\0" * (-len(strings) % 4))
    extension = start + len(strings)
    sections = [(0, _GENERATOR)]
    if hwcaps:
        sections.append((1, struct.pack(f"{order}{len(names)}I", *names)))
    tail = struct.pack(order + "II", _EXTENSION_MAGIC, len(sections))
    place_ = extension + 8 + 16 * len(sections)
    bodies = b""
    for tag, body in reversed(sections):
        # the array of numbers comes first, for its alignment
        tail_entry = struct.pack(order + "IIII", tag, 0, place_ + len(bodies), len(body))
        bodies += body
        tail += tail_entry
    header = b"glibc-ld.so.cache1.1" + struct.pack(
        order + "IIB3xI12x", len(lines), len(strings), 3 if order == ">" else 2, extension
    )
    return header + bytes(entries) + bytes(strings) + tail + bodies
