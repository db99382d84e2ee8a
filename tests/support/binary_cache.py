"""Binary caches made by hand, so that they can lie.

    shelf = Shelf(folder, key)
    lib = shelf.add("lib-1.0", {"lib/lib.so": b"…"})
    app = shelf.add("app-2.0", {"bin/app": lib.path.encode()}, references=[lib])
    shelf.change(app, NarSize="7")        # the narinfo as it is, but for this

Real ones, which Nix made, are in `nix_world`.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import msgspec
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ramekin.image import tree
from ramekin.image.tree import Tree
from ramekin.sources.nix import base32, nar, narinfo
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.store import digest as digests

_ENDINGS = {"none": "", "xz": ".xz", "zstd": ".zst", "bzip2": ".bz2", "br": ".br", "gzip": ".gz"}


def compressed(data: bytes, form: str) -> bytes:
    """`data` compressed as a narinfo would name it."""
    if form == "xz":
        return lzma.compress(data, preset=0)
    if form == "zstd":
        return zstandard.ZstdCompressor().compress(data)
    if form == "bzip2":
        return bz2.compress(data)
    if form == "br":
        return bytes(brotli.compress(data, quality=1))
    return gzip.compress(data) if form == "gzip" else data


def nar_of(files: Tree) -> bytes:
    """A tree as an archive."""
    parts: list[bytes] = []
    nar.write(files, parts.append)
    return b"".join(parts)


def tree_of(files: Mapping[str, bytes]) -> Tree:
    """Files by their paths; those below `bin` are executable."""
    entries = [
        tree.file(path, data, mode=0o555 if path.startswith("bin/") else 0o444)
        for path, data in files.items()
    ]
    return Tree(entries).with_parents()


@dataclass(frozen=True)
class SigningKey:
    """A key that signs narinfos."""

    name: str

    @property
    def _secret(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.name.encode()).digest())

    @property
    def public(self) -> str:
        return f"{self.name}:{base64.b64encode(self._secret.public_key().public_bytes_raw()).decode()}"

    def sign(self, info: NarInfo) -> str:
        return f"{self.name}:{base64.b64encode(self._secret.sign(info.fingerprint())).decode()}"


@dataclass
class Shelf:
    """A cache in a folder, each of whose narinfos `key` signs (None: nobody)."""

    folder: Path
    key: SigningKey | None
    priority: int = 40
    store_dir: str = "/nix/store"
    infos: dict[str, NarInfo] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "nar").mkdir(parents=True, exist_ok=True)
        (self.folder / "nix-cache-info").write_text(
            f"StoreDir: {self.store_dir}\nWantMassQuery: 1\nPriority: {self.priority}\n"
        )

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def add(
        self,
        name: str,
        files: Mapping[str, bytes] | Tree,
        *,
        references: Sequence[NarInfo | str] = (),
        itself: bool = False,
        compression: str = "xz",
        base: str = "",
        ca: str = "",
        archive: bytes | None = None,
    ) -> NarInfo:
        """Put a path on the shelf; its hash follows from its name alone, unless `base` says what it is."""
        base = base or f"{base32.encode(hashlib.sha256(name.encode()).digest()[:20])}-{name}"
        data = archive
        if data is None:
            data = nar_of(files if isinstance(files, Tree) else tree_of(files))
        packed = compressed(data, compression)
        url = f"nar/{hashlib.sha256(packed).hexdigest()}.nar{_ENDINGS[compression]}"
        (self.folder / url).write_bytes(packed)
        names = [one if isinstance(one, str) else one.base for one in references]
        info = NarInfo(
            base=base,
            store_dir=self.store_dir,
            url=url,
            compression=compression,
            nar_hash=digests.of(data),
            nar_size=len(data),
            file_hash=digests.of(packed),
            file_size=len(packed),
            references=tuple(sorted({*names, *([base] if itself else [])})),
            ca=ca,
            cache=self.url,
        )
        return self.put(info)

    def put(self, info: NarInfo, *, key: SigningKey | None = None) -> NarInfo:
        """Write a narinfo, signed by `key` or by that of the shelf."""
        key = key or self.key
        if key is not None:
            info = msgspec.structs.replace(info, signatures=(key.sign(info),))
        self.file(info).write_bytes(narinfo.write(info))
        self.infos[info.base] = info
        return info

    def file(self, info: NarInfo) -> Path:
        """Where the narinfo of a path is."""
        return self.folder / f"{info.base[:32]}.narinfo"

    def nar(self, info: NarInfo) -> Path:
        """Where the archive of a path is."""
        return self.folder / info.url

    def change(self, info: NarInfo, **fields: str | None) -> None:
        """Change fields of a narinfo behind its signature's back; None takes one out."""
        lines = []
        for line in self.file(info).read_text().splitlines():
            name = line.partition(":")[0]
            if name not in fields:
                lines.append(line)
        lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
        self.file(info).write_text("\n".join(lines) + "\n")
