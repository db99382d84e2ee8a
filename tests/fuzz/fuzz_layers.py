"""Fuzz target for the layer reader: any bytes are read, or refused by a `RamekinError`.

How to run it: `fuzzing`. Checksums of headers are made right first, for nothing behind a wrong one is ever
read. Layers are also given to the stack, on themselves, so that whiteouts and links meet what they act on.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from pathlib import Path

from fuzzing import fuzz

from ramekin.analyze import layer
from ramekin.analyze.model import Outline, ReadImage
from ramekin.analyze.owners import owners
from ramekin.analyze.stack import stack
from ramekin.errors import RamekinError
from ramekin.image.oci import MANIFEST, Config, Descriptor, Manifest, RootFS
from ramekin.store import digest as digests

_SCRATCH = Path(tempfile.mkdtemp(prefix="fuzz-"))


def one(data: bytes) -> None:
    """Read a layer of these bytes, and stack it on itself."""
    data = mended(data)
    digest = digests.of(data)
    try:
        found = layer.learn(io.BytesIO(data), digest, scratch=_SCRATCH)
        blob = Descriptor(media_type=MANIFEST, digest=digest, size=len(data))
        config = Config(architecture="", os="", rootfs=RootFS("layers", (digest, digest)))
        told = Outline("fuzz", blob, None, Manifest(schema_version=2, layers=(blob, blob)), config)
        owners(stack(ReadImage(told, (found, found))))
    except RamekinError:
        pass


def mended(data: bytes) -> bytes:
    """`data` with the right checksum in every block that has the magic of a header."""
    blocks = bytearray(data)
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            blocks[start + 148 : start + 156] = b" " * 8
            blocks[start + 148 : start + 156] = b"%06o\0 " % sum(blocks[start : start + 512])
    return bytes(blocks)


def seeds() -> list[bytes]:
    """Archives of every form, small."""
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            for name, kind, link, data in (
                ("d", tarfile.DIRTYPE, "", b""),
                ("d/file", tarfile.REGTYPE, "", b"\x7fELF" + bytes(100)),
                ("d/hard", tarfile.LNKTYPE, "d/file", b""),
                ("d/soft", tarfile.SYMTYPE, "../x", b""),
                ("d/.wh.gone", tarfile.REGTYPE, "", b""),
                ("d/.wh..wh..opq", tarfile.REGTYPE, "", b""),
                ("x" * (90 if form == tarfile.USTAR_FORMAT else 150), tarfile.REGTYPE, "", b"long"),
                ("a/node_modules/b/package.json", tarfile.REGTYPE, "", b'{"name": "b"}'),
                ("var/lib/dpkg/status", tarfile.REGTYPE, "", b"Package: a\nStatus: install ok installed\n"),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size = kind, link, len(data)
                archive.addfile(info, io.BytesIO(data))
        found += [out.getvalue(), gzip.compress(out.getvalue())]
    return found


if __name__ == "__main__":
    fuzz(one, seeds())
