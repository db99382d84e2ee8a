"""CA certificates where TLS libraries look for them.

| library | looks at |
|---|---|
| OpenSSL | `/usr/lib/ssl/cert.pem`, then `/usr/lib/ssl/certs/` by hash |
| GnuTLS, Go, curl | `/etc/ssl/certs/ca-certificates.crt` |
| Java | `/etc/ssl/certs/java/cacerts` (where Debian's `lib/security/cacerts` leads) |

The bundle is made of the certificates of the package `ca-certificates`, all of them, in the order of their
names. OpenSSL finds everything in `cert.pem`, so no links by hash are made.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct

from ramekin.closure.files import Files
from ramekin.image.tree import Kind

BUNDLE = "etc/ssl/certs/ca-certificates.crt"
KEYSTORE = "etc/ssl/certs/java/cacerts"
_SOURCES = "usr/share/ca-certificates/"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
_PASSWORD = "changeit"


def make_bundle(files: Files) -> bytes:
    """Write the bundle and the links to it; gives the bundle's bytes."""
    parts: list[bytes] = []
    for path in sorted(files.entries):
        entry = files.entries[path]
        if path.startswith(_SOURCES) and path.endswith(".crt") and entry.kind is Kind.FILE:
            parts.append(entry.read().strip() + b"\n")
    bundle = b"".join(parts)
    files.write("/" + BUNDLE, bundle)
    files.make_folder("/etc/ssl/private", 0o700)
    files.link("/usr/lib/ssl/cert.pem", "/" + BUNDLE)
    files.link("/usr/lib/ssl/certs", "/etc/ssl/certs")
    return bundle


def key_store(bundle: bytes, mtime: int) -> bytes:
    """A Java key store (JKS, version 2) that trusts every certificate of a PEM bundle.

    Entries are named by the start of the certificate's SHA-256 and dated `mtime`; the digest at the end is
    keyed with Java's customary password, which protects nothing (sun.security.provider.JavaKeyStore).
    """
    certificates = sorted({base64.b64decode(match.group(1)) for match in _PEM.finditer(bundle)})
    out = bytearray(struct.pack(">III", 0xFEEDFEED, 2, len(certificates)))
    for der in certificates:
        out += struct.pack(">I", 2)
        out += _utf(f"debian:{hashlib.sha256(der).hexdigest()[:32]}")
        out += struct.pack(">Q", mtime * 1000)
        out += _utf("X.509")
        out += struct.pack(">I", len(der)) + der
    keyed = _PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + bytes(out)
    # SHA-1 is what the format has; nothing is believed because of it
    return bytes(out) + hashlib.sha1(keyed, usedforsecurity=False).digest()


def _utf(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
