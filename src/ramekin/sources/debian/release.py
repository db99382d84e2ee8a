"""Release files: verified by their signature, checked for name and time, and what they list.

The format is that of the Debian repository format description (wiki: DebianRepository/Format): a clear-signed
InRelease, or a Release with a detached Release.gpg. Everything else of an archive is believed for the digests
that stand in here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ramekin.errors import FormatError, RamekinError
from ramekin.sources.debian import control
from ramekin.store.digest import Digest, from_hex

if TYPE_CHECKING:
    import pysequoia


class SignatureError(RamekinError):
    """An index is not signed, is signed by nobody trusted, or its signature is wrong."""


class ExpiredError(RamekinError):
    """An index is past the time until which it says it is valid."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that a Release lists: its digest and size in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A verified Release. `date` and `valid_until` are seconds since 1970, 0 where the field is missing."""

    suite: str
    codename: str
    origin: str = ""
    version: str = ""
    date: int
    valid_until: int
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    by_hash: bool
    all_apart: bool
    """Whether `Architecture: all` packages have lists of their own (No-Support-for-Architecture-all)."""
    files: dict[str, ListedFile]


def verify(data: bytes, signature: bytes | None, keys: Keys, *, where: str) -> bytes:
    """The text that is signed: of a clear-signed InRelease, or of a Release by its detached `signature`.

    Only what the signature covers is given back. `SignatureError` when no key of `keys` signed it.
    """
    import pysequoia

    issuers: list[str] = []

    def certificates(ids: list[str]) -> list[pysequoia.Cert]:
        issuers.extend(ids)
        return keys.certificates()

    if signature is None and not data.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        what = "is an HTML page" if data.lstrip()[:1] == b"<" else "is not a clear-signed message"
        raise SignatureError(
            f"{where} {what}", hint="the mirror is broken, or something on the way answers for it"
        )
    try:
        if signature is None:
            signed = pysequoia.verify(bytes=data, store=certificates)
            text = signed.bytes
        else:
            parsed = pysequoia.Sig.from_bytes(signature)
            signed = pysequoia.verify(bytes=data, store=certificates, signature=parsed)
            text = data
        if not signed.valid_sigs or text is None:
            raise ValueError("no valid signatures found")
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        known = {key.lower()[-16:] for key in keys.fingerprints()}
        if issuers and not any(issuer.lower()[-16:] in known for issuer in issuers):
            raise SignatureError(
                f"{where} is signed by {', '.join(sorted(issuers))}, and {keys} does not hold that key",
                hint="name the archive's keyring in Signed-By (or signed_by in the spec)",
            ) from None
        raise SignatureError(
            f"{where}: the signature does not hold for {keys}: {reason}",
            hint="the file was changed or cut on the way, or the key has expired or been revoked",
        ) from None
    return bytes(text)


class Keys:
    """The keys that may sign one repository: keyring files, armored keys and fingerprints (Signed-By).

    With nothing but fingerprints, or nothing at all, the `trusted` keyrings count.
    """

    def __init__(self, references: Iterable[str], trusted: Iterable[Path] = (), *, where: str = "") -> None:
        self._paths = [Path(text) for text in references if text.startswith("/")]
        self._armored = [text for text in references if text.startswith("-----BEGIN")]
        self._wanted = [
            text.rstrip("!").lower()
            for text in references
            if not text.startswith("/") and not text.startswith("-----BEGIN")
        ]
        if not self._paths and not self._armored:
            self._paths = list(trusted)
        self._where = where
        self._loaded: list[pysequoia.Cert] | None = None

    def certificates(self) -> list[pysequoia.Cert]:
        """All of them, read once; `RamekinError` names a keyring that cannot be read."""
        if self._loaded is None:
            self._loaded = list(self._load())
        return self._loaded

    def fingerprints(self) -> list[str]:
        """Of the certificates and of their signing subkeys."""
        import pysequoia.packet

        found: list[str] = []
        for certificate in self.certificates():
            found.append(certificate.fingerprint)
            for packet in pysequoia.packet.PacketPile.from_bytes(bytes(certificate)):
                if fingerprint := getattr(packet, "fingerprint", None):
                    found.append(str(fingerprint))
        return found

    def _load(self) -> Iterable[pysequoia.Cert]:
        import pysequoia

        sources: list[tuple[str, bytes]] = [(f"the key in {self._where}", t.encode()) for t in self._armored]
        for path in self._paths:
            try:
                sources.append((str(path), path.read_bytes()))
            except OSError as error:
                raise SignatureError(
                    f"the keyring {path} of {self._where} cannot be read: {error.strerror}",
                    hint="install the package that holds it, or name another by signed_by",
                ) from None
        for name, data in sources:
            try:
                certificates = pysequoia.Cert.split_bytes(data)
            except (RuntimeError, ValueError, OSError) as error:
                reason = str(error).partition("\n")[0]
                raise SignatureError(f"{name} is not an OpenPGP keyring: {reason}") from None
            for certificate in certificates:
                if not self._wanted or any(certificate.fingerprint.endswith(w) for w in self._wanted):
                    yield certificate

    def __str__(self) -> str:
        names = [str(path) for path in self._paths] + ["the key given inline"] * bool(self._armored)
        if len(names) > 2:
            return f"the keyrings in {self._paths[0].parent}"
        return " and ".join(names) or "no keyring"


def parse(text: bytes, *, where: str) -> Release:
    """Read the verified text of a Release; `FormatError` names `where` and the field at fault."""
    fields = control.folded(control.paragraph(text.decode("utf-8", "replace").strip("\n"), where=where))
    files: dict[str, ListedFile] = {}
    for line in fields.get("sha256", "").split("\n"):
        if not line.strip():
            continue
        words = line.split()
        if len(words) != 3 or not words[1].isdecimal() or not re.fullmatch(r"[0-9A-Fa-f]{64}", words[0]):
            raise FormatError(f"{where}: {line.strip()[:80]!r} under SHA256 is not a digest, size and name")
        files[words[2].removeprefix("./")] = ListedFile(from_hex(words[0]), int(words[1]))
    if not files:
        raise FormatError(f"{where} lists no files by SHA-256", hint="weaker digests are not accepted")
    architectures = tuple(fields.get("architectures", "").split())
    return Release(
        suite=fields.get("suite", ""),
        codename=fields.get("codename", ""),
        origin=fields.get("origin", ""),
        version=fields.get("version", ""),
        date=_time(fields, "date", where),
        valid_until=_time(fields, "valid-until", where),
        architectures=architectures,
        # security archives once wrote their components as updates/main
        components=tuple(name.rpartition("/")[2] for name in fields.get("components", "").split()),
        by_hash=fields.get("acquire-by-hash", "").lower() == "yes",
        all_apart="all" in architectures
        and "packages" not in fields.get("no-support-for-architecture-all", "").lower().split(),
        files=files,
    )


def _time(fields: dict[str, str], name: str, where: str) -> int:
    """Seconds since 1970 of a field in the form of RFC 5322 (always UTC in these files); 0 without it."""
    import calendar
    from email.utils import parsedate

    text = fields.get(name, "")
    parsed = parsedate(text) if text else None
    if text and parsed is None:
        raise FormatError(f"{where}: {name.title()} is {text[:60]!r}, which is no time")
    return calendar.timegm(parsed) if parsed else 0


def check(release: Release, *, suite: str, now: float, where: str, valid_until: bool = True) -> None:
    """See that a verified Release is the one that was asked for and still counts.

    `FormatError` when it is of another suite (a mirror, or someone on the way, answers with something else),
    `ExpiredError` after its Valid-Until, unless `valid_until` is false.
    """
    names = {release.suite, release.codename} - {""}
    # buster/updates and its like name themselves without the path
    if names and not suite.endswith("/") and not names & {suite, suite.partition("/")[0]}:
        raise FormatError(
            f"{where} is of the suite {' or '.join(sorted(names))} and not of {suite}",
            hint="the mirror is set up wrongly, or something on the way answers for it",
        )
    if valid_until and release.valid_until and now > release.valid_until:
        days = (now - release.valid_until) / 86400
        raise ExpiredError(
            f"{where} was valid until {days:.1f} days ago",
            hint="the mirror is behind or this machine's clock is wrong (snapshots: Check-Valid-Until: no)",
        )
