"""Images that are made by hand for rules: trees, and what their configuration says."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import msgspec
from support.samples import AMD64, SPDX, keep, of_manifest, with_sbom

from ramekin.analyze import reading
from ramekin.analyze.checks.judge import judge
from ramekin.analyze.checks.model import Finding, Subject
from ramekin.image import compress, layer, oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, History, Manifest, RootFS, Runtime
from ramekin.image.tree import Entry, Tree, directory, file
from ramekin.store.store import Store

LOADER = "/lib64/ld-linux-x86-64.so.2"


def subject(
    store: Store,
    *layers: Sequence[Entry],
    name: str = "oci:./image",
    runtime: Runtime = Runtime(user="1000"),  # noqa: B008
    history: Sequence[History] = (),
    annotations: dict[str, str] | None = None,
    created: str = "",
    change: object = None,
) -> Subject:
    """An image of these layers, read."""
    made = [
        layer.write(Tree(entries).with_parents(), store, compress.parse("gzip:1"))
        for entries in (layers or ((directory("etc"),),))
    ]
    config = Config(
        architecture="amd64",
        os="linux",
        created=created,
        config=runtime,
        rootfs=RootFS(type="layers", diff_ids=tuple(one.diff_id for one in made)),
        history=tuple(history),
    )
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=keep(store, oci.encode(config), oci.CONFIG),
        layers=tuple(one.descriptor for one in made),
        annotations=annotations or {},
    )
    image = of_manifest(store, manifest, platform=AMD64)
    if change is not None:
        image = change(store, image)  # type: ignore[operator]
    return Subject.of(reading.read(image, store, name=name))


def findings(code: str, *subjects: Subject) -> list[Finding]:
    """What one rule finds."""
    return [finding for finding in judge(subjects).findings if finding.code == code]


def program(path: str, data: bytes, *, mode: int = 0o755) -> Entry:
    return file(path, data, mode=mode)


def whiteout(path: str) -> Entry:
    folder, _, name = path.rpartition("/")
    return file(f"{folder}/.wh.{name}" if folder else f".wh.{name}", b"")


def with_sections(sections: dict[str, bytes], *, kind: int = 3) -> bytes:
    """A 64-bit ELF file of sections that are not loaded, such as debugging information."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in sections) + b".shstrtab\0"
    bodies = [*sections.values(), names]
    labels = [*sections, ".shstrtab"]
    place, offsets = 64, []
    for body in bodies:
        offsets.append(place)
        place += len(body)
    rows = [bytes(64)]
    for label, body, offset in zip(labels, bodies, offsets, strict=True):
        rows.append(
            struct.pack("<IIQQQQIIQQ", names.index(label.encode()), 1, 0, 0, offset, len(body), 0, 0, 1, 0)
        )
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH", kind, 62, 1, 0, 0, place, 0, 64, 56, 0, 64, len(rows), len(rows) - 1
    )
    return ident + header + b"".join(bodies) + b"".join(rows)


def upx_elf(unpacked: int) -> bytes:
    """What UPX leaves at the start of a packed program: headers, l_info and p_info, no sections."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    loads = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 4096, 4096, 4096) * 2
    l_info = struct.pack("<I4sHBB", 0x12345678, b"UPX!", 800, 13, 22)
    p_info = struct.pack("<III", 0, unpacked, unpacked)
    return ident + header + loads + l_info + p_info + bytes(4096)


def upx_pe(memory: int) -> bytes:
    """A packed Windows program: a first section without content, then the packed one."""
    start = b"MZ" + bytes(58) + struct.pack("<I", 64)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 2, 0, 0, 0, 240, 0x22F)
    sections = struct.pack("<8sIIII16x", b"UPX0", memory, 0x1000, 0, 0x400)
    sections += struct.pack("<8sIIII16x", b"UPX1", 0x3000, 0x2000, 0x3000, 0x400)
    return start + coff + bytes(240) + sections + b"4.20\0UPX!" + bytes(4096)


def renamed(subject: Subject, name: str) -> Subject:
    outline = replace(subject.image.outline, name=name)
    return Subject.of(replace(subject.image, outline=outline))


def with_referrer(store: Store, image: Image) -> Image:
    """The image with a bill of materials attached, as media list it."""
    listed = with_sbom(store, image)
    entries = tuple(msgspec.structs.replace(entry, artifact_type=SPDX) for entry in listed.referrers)
    return replace(listed, referrers=entries)
