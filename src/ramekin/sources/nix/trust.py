"""Which narinfos are believed: those signed by a trusted key, and those whose path follows from its content.

Keys are Ed25519 (RFC 8032), written `NAME:BASE64` as `nix key generate-secret` and `nix-store
--generate-binary-cache-key` write them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ramekin.errors import RamekinError, UsageError
from ramekin.sources.nix import paths
from ramekin.sources.nix.narinfo import NarInfo

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class SignatureError(RamekinError):
    """A narinfo is signed by no trusted key, or its content address is not that of its path."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Trusted public keys by their names, 32 bytes each; several keys may have one name."""

    by_name: Mapping[str, tuple[bytes, ...]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Keys:
        """The keys in `texts`; `UsageError` names one that is none."""
        found: dict[str, list[bytes]] = {}
        for text in texts:
            name, value = _named(text)
            if not name or len(value) != 32:
                hint = "a public key is NAME:BASE64, of 32 bytes"
                if len(value) == 64:
                    hint = "this is a secret key; give the public one"
                    text = f"{name}:…"
                raise UsageError(f"{text!r} is not a trusted key", hint=hint)
            known = found.setdefault(name, [])
            if value not in known:
                known.append(value)
        return cls({name: tuple(sorted(found[name])) for name in sorted(found)})

    @property
    def identity(self) -> str:
        """All that decides what is believed."""
        return " ".join(f"{name}:{value.hex()}" for name, all_ in self.by_name.items() for value in all_)

    def signer(self, info: NarInfo) -> str | None:
        """The name of a trusted key that signed `info`, or None."""
        fingerprint = b""
        for text in info.signatures:
            name, signature = _named(text)
            for value in self.by_name.get(name, ()):
                fingerprint = fingerprint or info.fingerprint()
                if len(signature) == 64 and _verifies(value, signature, fingerprint):
                    return name
        return None


def check(info: NarInfo, keys: Keys) -> None:
    """Believe `info`, or raise `SignatureError`.

    What a content address proves is the path and its references; that the NAR has that address is checked
    when its bytes are there, and here as far as its hash tells.
    """
    if info.ca:
        address = paths.content_address(info.ca, where=f"{info.cache}: {info.base}: CA")
        if address is not None:
            made = paths.made_path(info.base, address, info.references, info.store_dir)
            if made != info.base:
                raise SignatureError(
                    f"{info.cache}: {info.base} is not the path of its content address {info.ca}",
                    hint="the cache is broken or hostile; take another",
                )
            if (
                address.modulo
                and info.base not in info.references
                and info.nar_hash != "sha256:" + address.hash.value.hex()
            ):
                raise SignatureError(
                    f"{info.cache}: the NAR of {info.base} does not have its content address {info.ca}",
                    hint="the cache is broken or hostile; take another",
                )
            return
    if keys.signer(info) is not None:
        return
    names = [_named(text)[0] for text in info.signatures]
    trusted = [name for name in names if name in keys.by_name]
    if trusted:
        raise SignatureError(
            f"{info.cache}: the signature of {info.base} by {trusted[0]} is wrong",
            hint="the narinfo was changed, or the trusted key of that name is another one",
        )
    if names:
        raise SignatureError(
            f"{info.cache}: {info.base} is signed by {', '.join(dict.fromkeys(names))}, which is not trusted",
            hint="give its public key (NAME:BASE64) among the trusted keys if you trust it",
        )
    raise SignatureError(
        f"{info.cache}: {info.base} is not signed",
        hint="have its cache sign it: `nix store sign`, or a secret-key in the cache's URL",
    )


def _named(text: str) -> tuple[str, bytes]:
    name, _, value = text.strip().partition(":")
    try:
        return name, base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return name, b""


def _verifies(key: bytes, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _opened(key).verify(signature, data)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=64)
def _opened(key: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(key)
