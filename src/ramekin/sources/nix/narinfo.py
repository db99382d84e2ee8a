"""What a binary cache says of one store path: `HASH.narinfo` (Nix manual, Nix archives and binary caches)."""

from __future__ import annotations

import msgspec

from ramekin.errors import FormatError
from ramekin.sources.nix import compression, hashes, paths
from ramekin.store.digest import Digest

LIMIT = 1 << 20
"""Bytes that a narinfo may have; the largest have references by the hundred, of 60 bytes each."""

_BROKEN = "the cache is broken or hostile"
_ONCE = frozenset(
    {
        "StorePath",
        "URL",
        "Compression",
        "FileHash",
        "FileSize",
        "NarHash",
        "NarSize",
        "References",
        "Deriver",
        "System",
        "CA",
    }
)
_LARGEST = 1 << 50


class NarInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A narinfo. `base`, `references` and `deriver` are base names of the store in `store_dir`.

    `url` is relative to the cache, `compression` as `compression.NAMES` has it. `nar_hash` and `nar_size` are
    of the uncompressed NAR; `file_hash` and `file_size` of the file, None where the cache does not say.
    `signatures` are `KEY:BASE64`. `cache` is the URL of the cache that gave it.
    """

    base: str
    store_dir: str
    url: str
    compression: str
    nar_hash: Digest
    nar_size: int
    file_hash: Digest | None = None
    file_size: int | None = None
    references: tuple[str, ...] = ()
    deriver: str = ""
    system: str = ""
    signatures: tuple[str, ...] = ()
    ca: str = ""
    cache: str = ""

    @property
    def path(self) -> str:
        """The store path in full."""
        return f"{self.store_dir}/{self.base}"

    @property
    def needs(self) -> tuple[str, ...]:
        """The references to other paths."""
        return tuple(reference for reference in self.references if reference != self.base)

    def fingerprint(self) -> bytes:
        """What is signed: the path, the NAR's hash and size, and the references; nothing else is."""
        references = ",".join(f"{self.store_dir}/{reference}" for reference in sorted(self.references))
        return f"1;{self.path};{hashes.nix_form(self.nar_hash)};{self.nar_size};{references}".encode()


def parse(data: bytes, *, asked: str, store_dir: str, cache: str) -> NarInfo:
    """The narinfo in `data` that `cache` gave for the store path whose hash is `asked`.

    `FormatError` naming cache and field: for what is malformed, for fields that are there twice, and for a
    narinfo of another path. Unknown fields are passed over.
    """
    where = f"{cache}/{asked}.narinfo"
    fields, signatures = _fields(data, where)
    found = paths.base_of(_need(fields, "StorePath", where), store_dir, where=f"{where}: StorePath")
    if paths.hash_of(found) != asked:
        raise FormatError(f"{where}: StorePath is {found!r}, which was not asked for", hint=_BROKEN)
    file_hash, file_size = fields.get("FileHash", ""), fields.get("FileSize", "")
    deriver = fields.get("Deriver", "")
    method = fields.get("Compression", "") or "bzip2"
    if method not in compression.NAMES:
        raise FormatError(
            f"{where}: Compression {method!r} is not one that can be read",
            hint=f"those are {', '.join(compression.NAMES)}; another cache may have the path in one of them",
        )
    references = tuple(
        sorted({paths.check_base(word, where=f"{where}: References") for word in _words(fields)})
    )
    return NarInfo(
        base=found,
        store_dir=store_dir,
        url=_url(_need(fields, "URL", where), cache, where),
        compression=method,
        nar_hash=hashes.digest(_need(fields, "NarHash", where), where=f"{where}: NarHash"),
        nar_size=_number(_need(fields, "NarSize", where), f"{where}: NarSize"),
        file_hash=hashes.digest(file_hash, where=f"{where}: FileHash") if file_hash else None,
        file_size=_number(file_size, f"{where}: FileSize") if file_size else None,
        references=references,
        deriver=deriver if paths.is_base(deriver) else "",
        system=fields.get("System", ""),
        signatures=signatures,
        ca=fields.get("CA", ""),
        cache=cache,
    )


def write(info: NarInfo) -> bytes:
    """The narinfo as a cache keeps it, fields in Nix's order."""
    lines = [
        f"StorePath: {info.path}",
        f"URL: {info.url}",
        f"Compression: {info.compression}",
    ]
    if info.file_hash is not None:
        lines.append(f"FileHash: {hashes.nix_form(info.file_hash)}")
    if info.file_size is not None:
        lines.append(f"FileSize: {info.file_size}")
    lines.append(f"NarHash: {hashes.nix_form(info.nar_hash)}")
    lines.append(f"NarSize: {info.nar_size}")
    lines.append(f"References: {' '.join(info.references)}")
    if info.deriver:
        lines.append(f"Deriver: {info.deriver}")
    if info.system:
        lines.append(f"System: {info.system}")
    lines += [f"Sig: {signature}" for signature in info.signatures]
    if info.ca:
        lines.append(f"CA: {info.ca}")
    return "".join(f"{line}\n" for line in lines).encode()


def _fields(data: bytes, where: str) -> tuple[dict[str, str], tuple[str, ...]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{where} is not text", hint=_BROKEN) from None
    fields: dict[str, str] = {}
    signatures: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise FormatError(f"{where}: line {number} {line[:80]!r} is not a field", hint=_BROKEN)
        value = value.strip()
        if name == "Sig":
            signatures.append(value)
        elif name in _ONCE:
            if name in fields:
                raise FormatError(f"{where}: the field {name} is there twice", hint=_BROKEN)
            fields[name] = value
    return fields, tuple(signatures)


def _need(fields: dict[str, str], name: str, where: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise FormatError(f"{where} has no field {name}", hint=_BROKEN)
    return value


def _words(fields: dict[str, str]) -> list[str]:
    return fields.get("References", "").split()


def _number(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > _LARGEST:
        raise FormatError(f"{where}: {text[:40]!r} is not a number of bytes", hint=_BROKEN)
    return int(text)


def _url(text: str, cache: str, where: str) -> str:
    """The URL, when it stays in the cache: a file's name is no way to other files of this machine."""
    absolute = text.startswith(("http://", "https://"))
    parts = text.partition("?")[0].split("/")
    if (absolute and not cache.startswith("http")) or (
        not absolute and (":" in parts[0] or text.startswith("/") or ".." in parts or "\0" in text)
    ):
        raise FormatError(f"{where}: URL {text[:120]!r} leads out of the cache", hint=_BROKEN)
    return text
