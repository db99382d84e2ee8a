"""Store paths: what they are made of, and those that follow from their content.

/nix/store/7k1z…-redis-7.2.4-man
─────────  ────  ─────────────── name
store dir  hash: 20 bytes in base 32
           ───────────────────── base name
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ramekin.errors import FormatError
from ramekin.sources.nix import base32, hashes
from ramekin.sources.nix.hashes import Hash

STORE_DIR = "/nix/store"

HASH_LENGTH = 32
_HASH = re.compile(f"[{base32.ALPHABET}]{{{HASH_LENGTH}}}")
_BASE = re.compile(rf"([{base32.ALPHABET}]{{{HASH_LENGTH}}})-([0-9A-Za-z+\-_?=][0-9A-Za-z+\-._?=]{{0,210}})")
_VERSION = re.compile(r"-(?![A-Za-z])")
_STORE_DIR = re.compile(r"(/[0-9A-Za-z+\-_=][0-9A-Za-z+\-._=]*)+")


def is_hash(text: str) -> bool:
    """Whether `text` is the hash of a store path."""
    return _HASH.fullmatch(text) is not None


def is_base(text: str) -> bool:
    """Whether `text` is the base name of a store path."""
    return _BASE.fullmatch(text) is not None


def check_base(text: str, *, where: str) -> str:
    """`text` when it is a base name; `FormatError` naming `where` when it is not."""
    if not is_base(text):
        raise FormatError(f"{where}: {text!r} is not the base name of a store path")
    return text


def check_store_dir(text: str, *, where: str) -> str:
    """`text` when it is a folder that a store may be in; `FormatError` when it is not."""
    if not _STORE_DIR.fullmatch(text) or len(text) > 255:
        raise FormatError(f"{where}: {text!r} is not the folder of a store", hint=f"such as {STORE_DIR}")
    return text


def base_of(path: str, store_dir: str, *, where: str) -> str:
    """The base name of a store path in `store_dir`; `FormatError` for anything else."""
    folder, _, base = path.rpartition("/")
    if folder != store_dir or not is_base(base):
        raise FormatError(f"{where}: {path!r} is not a path of the store {store_dir}")
    return base


def hash_of(base: str) -> str:
    """The hash in a base name."""
    return base[:HASH_LENGTH]


def name_of(base: str) -> str:
    """The name in a base name."""
    return base[HASH_LENGTH + 1 :]


def split(name: str) -> tuple[str, str]:
    """The name without its version, and the version: all after the first dash that no letter follows."""
    found = _VERSION.search(name)
    return (name, "") if found is None or not found.start() else (name[: found.start()], name[found.end() :])


# --- content addresses -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContentAddress:
    """What a path's files must hash to, for the path to be theirs.

    `method` is `text` and `flat` for the bytes of the one file that the path is, `nar` for the archive.
    """

    method: str
    hash: Hash

    @property
    def modulo(self) -> bool:
        """Whether references to the path itself count as zeros: those could not be known before the hash."""
        return self.method == "nar" and self.hash.algorithm == "sha256"


def content_address(text: str, *, where: str) -> ContentAddress | None:
    """A `CA` field read (`text:…`, `fixed:…`, `fixed:r:…`); None for a kind that is not known here."""
    for prefix, method in (("text:", "text"), ("fixed:r:", "nar"), ("fixed:", "flat")):
        if text.startswith(prefix):
            rest = text[len(prefix) :]
            if rest.partition(":")[0] not in hashes.SIZES and "-" not in rest:
                return None
            return ContentAddress(method, hashes.parse(rest, where=where))
    return None


def made_path(base: str, address: ContentAddress, references: Iterable[str], store_dir: str) -> str | None:
    """The base name that a content with this address and these references (base names) has.

    `base` gives the name, and tells which reference is the one to itself. None when no path is made so:
    only texts and archives by SHA-256 may have references.
    """
    others = sorted(reference for reference in references if reference != base)
    itself = base in references
    written = address.hash.base16
    if address.method == "text":
        if itself or address.hash.algorithm != "sha256":
            return None
        kind = ":".join(["text", *(f"{store_dir}/{other}" for other in others)])
    elif address.modulo:
        kind = ":".join(["source", *(f"{store_dir}/{other}" for other in others), *(["self"] * itself)])
    else:
        if others or itself:
            return None
        recursive = "r:" if address.method == "nar" else ""
        written = "sha256:" + hashlib.sha256(f"fixed:out:{recursive}{written}:".encode()).hexdigest()
        kind = "output:out"
    name = name_of(base)
    identity = hashlib.sha256(f"{kind}:{written}:{store_dir}:{name}".encode()).digest()
    folded = bytearray(20)
    for place, byte in enumerate(identity):
        folded[place % 20] ^= byte
    return f"{base32.encode(bytes(folded))}-{name}"
