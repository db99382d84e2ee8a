"""What was learnt of a layer as bytes for the store, and back.

Fields of all files stand in columns: paths in one run of bytes (names need not be UTF-8), numbers in lists,
digests 32 bytes each. It is quick to read back, which is what makes the second look at an image cheap.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ramekin.analyze.model import File, LayerFiles, Traits
from ramekin.image.tree import Kind, to_bytes, to_text
from ramekin.store.digest import Digest

_KINDS = tuple(Kind)
_CODES = {kind: number for number, kind in enumerate(_KINDS)}
_NO_DIGEST = bytes(32)
_NO_DEVICE = (0, 0)


class _Columns(msgspec.Struct, array_like=True):
    digest: str
    diff_id: str
    size: int
    repeated: int
    absent: str
    paths: bytes
    kinds: bytes
    digests: bytes
    modes: list[int]
    uids: list[int]
    gids: list[int]
    sizes: list[int]
    mtimes: list[int]
    targets: dict[int, bytes]
    xattrs: dict[int, list[tuple[bytes, bytes]]]
    devices: dict[int, tuple[int, int]]
    whiteouts: list[bytes]
    opaques: list[bytes]
    traits: list[tuple[bytes, dict[str, Any]]]
    kept: list[tuple[bytes, bytes]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Columns)


def encode(layer: LayerFiles) -> bytes:
    """`layer` in bytes."""
    files = layer.files
    return _encoder.encode(
        _Columns(
            digest=layer.digest,
            diff_id=layer.diff_id,
            size=layer.size,
            repeated=layer.repeated,
            absent=layer.absent,
            paths=to_bytes("\0".join([file.path for file in files])),
            kinds=bytes([_CODES[file.kind] for file in files]),
            digests=b"".join([file.digest or _NO_DIGEST for file in files]),
            modes=[file.mode for file in files],
            uids=[file.uid for file in files],
            gids=[file.gid for file in files],
            sizes=[file.size for file in files],
            mtimes=[file.mtime for file in files],
            targets={n: to_bytes(file.target) for n, file in enumerate(files) if file.target},
            xattrs={
                n: [(to_bytes(name), value) for name, value in file.xattrs]
                for n, file in enumerate(files)
                if file.xattrs
            },
            devices={n: file.device for n, file in enumerate(files) if file.device != _NO_DEVICE},
            whiteouts=[to_bytes(path) for path in layer.whiteouts],
            opaques=[to_bytes(path) for path in layer.opaques],
            traits=[(to_bytes(path), dict(traits)) for path, traits in layer.traits.items()],
            kept=[(to_bytes(path), data) for path, data in layer.kept.items()],
        )
    )


def decode(data: bytes) -> LayerFiles:
    """The layer that `encode` made `data` of."""
    found = _decoder.decode(data)
    count = len(found.kinds)
    digests = [
        found.digests[n : n + 32] if found.kinds[n >> 5] == 0 else b"" for n in range(0, 32 * count, 32)
    ]
    targets = {n: to_text(target) for n, target in found.targets.items()}
    xattrs = {n: tuple((to_text(k), v) for k, v in pairs) for n, pairs in found.xattrs.items()}
    devices = found.devices
    files = [
        File(path, _KINDS[kind], mode, uid, gid, size, mtime, digest)
        for path, kind, mode, uid, gid, size, mtime, digest in zip(
            to_text(found.paths).split("\0") if count else (),
            found.kinds,
            found.modes,
            found.uids,
            found.gids,
            found.sizes,
            found.mtimes,
            digests,
            strict=True,
        )
    ]
    for n in targets.keys() | xattrs.keys() | devices.keys():
        files[n] = msgspec.structs.replace(
            files[n], target=targets.get(n, ""), xattrs=xattrs.get(n, ()), device=devices.get(n, _NO_DEVICE)
        )
    traits: dict[str, Traits] = {to_text(path): value for path, value in found.traits}
    return LayerFiles(
        digest=Digest(found.digest),
        diff_id=Digest(found.diff_id),
        size=found.size,
        files=tuple(files),
        whiteouts=tuple(to_text(path) for path in found.whiteouts),
        opaques=tuple(to_text(path) for path in found.opaques),
        repeated=found.repeated,
        traits=traits,
        kept={to_text(path): content for path, content in found.kept},
        absent=found.absent,
    )
