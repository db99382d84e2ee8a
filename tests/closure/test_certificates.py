"""CA certificates where each library looks."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from closure.shelf import package, ready

from ramekin.closure import certificates

SOURCES = Path("/usr/share/ca-certificates/mozilla")
needs_certificates = pytest.mark.skipif(not SOURCES.is_dir(), reason="no ca-certificates on this machine")


def some() -> dict[str, str]:
    found = sorted(SOURCES.glob("*.crt"))[:12]
    return {f"usr/share/ca-certificates/mozilla/{path.name}": path.read_text() for path in found}


@needs_certificates
def test_the_bundle_holds_every_certificate_and_is_linked_for_openssl() -> None:
    prepared = ready(package("ca-certificates", some()))
    bundle = prepared.tree[certificates.BUNDLE].read()
    assert bundle.count(b"BEGIN CERTIFICATE") == len(some())
    assert prepared.facts.certificates == bundle
    assert prepared.tree["usr/lib/ssl/cert.pem"].target == "/etc/ssl/certs/ca-certificates.crt"
    assert not any(path.endswith("mozilla") for path in prepared.tree)
    context = ssl.create_default_context(cadata=bundle.decode())
    assert len(context.get_ca_certs()) == len(some())


@needs_certificates
@pytest.mark.skipif(shutil.which("keytool") is None, reason="no keytool")
def test_java_reads_the_key_store(tmp_path: Path) -> None:
    bundle = "".join(some().values()).encode()
    store = tmp_path / "cacerts"
    store.write_bytes(certificates.key_store(bundle, 1_700_000_000))
    command = ["keytool", "-list", "-keystore", str(store), "-storepass", "changeit"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Keystore type: JKS" in out
    assert out.count("trustedCertEntry") == len(some())


@needs_certificates
def test_the_key_store_depends_on_the_certificates_alone() -> None:
    texts = list(some().values())
    first = certificates.key_store("".join(texts).encode(), 5)
    assert first == certificates.key_store("".join(reversed(texts)).encode(), 5)
