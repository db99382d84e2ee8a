"""Fuzz target for the layer reader: any bytes are read, or refused by a `RamekinError`.

    python tests/fuzz/fuzz_layers.py [CORPUS…]      with atheris, coverage-guided, until it is stopped
    python tests/fuzz/fuzz_layers.py --seconds 60   without it too: seeds changed at random

Layers are also given to the stack, on themselves, so that whiteouts and links meet what they act on.
"""

from __future__ import annotations

import gzip
import io
import random
import sys
import tarfile
import tempfile
import time
from pathlib import Path

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
    digest = digests.of(data)
    try:
        found = layer.learn(io.BytesIO(data), digest, scratch=_SCRATCH)
        blob = Descriptor(media_type=MANIFEST, digest=digest, size=len(data))
        config = Config(architecture="", os="", rootfs=RootFS("layers", (digest, digest)))
        told = Outline("fuzz", blob, None, Manifest(schema_version=2, layers=(blob, blob)), config)
        owners(stack(ReadImage(told, (found, found))))
    except RamekinError:
        pass


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


def at_random(seconds: float) -> None:
    rng, start, count = random.Random(1), time.monotonic(), 0
    corpus = seeds()
    while time.monotonic() - start < seconds:
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randint(1, 8)):
            place = rng.randrange(len(data))
            data[place : place + rng.choice((0, 1, 1, 1, 4))] = rng.randbytes(rng.choice((0, 1, 1, 1, 8)))
        one(bytes(data))
        count += 1
    print(f"{count:,} layers were read or refused")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--seconds"]:
        at_random(float(sys.argv[2]))
    else:
        import atheris  # type: ignore[import-not-found]

        atheris.instrument_all()
        atheris.Setup(sys.argv, one)
        atheris.Fuzz()
