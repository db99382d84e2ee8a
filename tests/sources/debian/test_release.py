"""Release files: who signed them, which suite they are of, how long they count."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.archive import MTIME, Archive, Deb, SigningKey, Suite

from ramekin.errors import FormatError
from ramekin.sources.debian import release
from ramekin.sources.debian.release import ExpiredError, Keys, SignatureError

TEXT = (
    "Suite: stable\nCodename: bookworm\nDate: Tue, 14 Nov 2023 22:13:20 UTC\n"
    f"SHA256:\n {'ab' * 32} 12 main/x\n"
)


def keys(*certificates: SigningKey, folder: Path) -> Keys:
    path = folder / "ring.gpg"
    path.write_bytes(b"".join(key.certificate for key in certificates))
    return Keys([str(path)], where="x.list")


def test_a_clear_signed_text_is_given_back_as_it_was_signed(signing_key: SigningKey, tmp_path: Path) -> None:
    ring = keys(SigningKey.generate(), signing_key, folder=tmp_path)
    data = signing_key.clear_sign("Suite: a\n- dashed: yes\n")
    assert release.verify(data, None, ring, where="InRelease") == b"Suite: a\n- dashed: yes\n"


def test_only_what_is_signed_counts(signing_key: SigningKey, tmp_path: Path) -> None:
    ring = keys(signing_key, folder=tmp_path)
    data = signing_key.clear_sign(TEXT) + b"\nSuite: evil\n"
    assert release.verify(data, None, ring, where="InRelease") == TEXT.encode()
    with pytest.raises(SignatureError):
        release.verify(b"Suite: evil\n\n" + data, None, ring, where="InRelease")


def test_a_detached_signature_counts_for_the_very_bytes(signing_key: SigningKey, tmp_path: Path) -> None:
    ring = keys(signing_key, folder=tmp_path)
    signature = signing_key.detached(TEXT)
    assert release.verify(TEXT.encode(), signature, ring, where="Release") == TEXT.encode()
    with pytest.raises(SignatureError, match="Release: the signature does not hold"):
        release.verify(TEXT.encode() + b" ", signature, ring, where="Release")


def test_a_changed_text_is_refused(signing_key: SigningKey, tmp_path: Path) -> None:
    ring = keys(signing_key, folder=tmp_path)
    data = signing_key.clear_sign(TEXT).replace(b"bookworm", b"bookwurm")
    with pytest.raises(SignatureError, match="the signature does not hold") as caught:
        release.verify(data, None, ring, where="InRelease")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_a_truncated_text_is_refused(signing_key: SigningKey, tmp_path: Path, share: float) -> None:
    data = signing_key.clear_sign(TEXT)
    with pytest.raises(SignatureError):
        release.verify(data[: int(len(data) * share)], None, keys(signing_key, folder=tmp_path), where="x")


@pytest.mark.parametrize("data", [b"", b"<html>log in here</html>", b"\0" * 100, b"Suite: bookworm\n"])
def test_what_is_not_signed_is_refused(signing_key: SigningKey, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SignatureError, match=r"is not a clear-signed message|is an HTML page"):
        release.verify(data, None, keys(signing_key, folder=tmp_path), where="x")


def test_a_signature_by_a_stranger_names_the_key_that_is_missing(
    signing_key: SigningKey, tmp_path: Path
) -> None:
    with pytest.raises(SignatureError, match=r"ring\.gpg does not hold that key"):
        release.verify(
            signing_key.clear_sign(TEXT), None, keys(SigningKey.generate(), folder=tmp_path), where="x"
        )


def test_a_keyring_that_is_missing_or_broken_is_named(signing_key: SigningKey, tmp_path: Path) -> None:
    data = signing_key.clear_sign(TEXT)
    with pytest.raises(SignatureError, match=r"the keyring /nowhere/k\.gpg of x\.list cannot be read"):
        release.verify(data, None, Keys(["/nowhere/k.gpg"], where="x.list"), where="x")
    (tmp_path / "bad.gpg").write_bytes(b"not a key")
    with pytest.raises(SignatureError, match=r"bad\.gpg is not an OpenPGP keyring"):
        release.verify(data, None, Keys([str(tmp_path / "bad.gpg")]), where="x")


def test_keys_are_taken_inline_by_fingerprint_and_from_the_trusted_keyrings(
    signing_key: SigningKey, tmp_path: Path
) -> None:
    import pysequoia

    data = signing_key.clear_sign(TEXT)
    trusted = tmp_path / "trusted.asc"
    trusted.write_text(signing_key.armored)
    fingerprint = pysequoia.Cert.from_bytes(signing_key.certificate).fingerprint.upper()
    for ring in (
        Keys([signing_key.armored]),
        Keys([], [trusted]),
        Keys([fingerprint], [trusted]),
        Keys([fingerprint + "!"], [trusted]),
    ):
        assert release.verify(data, None, ring, where="x") == TEXT.encode()
    with pytest.raises(SignatureError):
        release.verify(data, None, Keys(["0" * 40], [trusted]), where="x")


def test_gpgv_agrees_about_what_tests_sign(signing_key: SigningKey, tmp_path: Path) -> None:
    if not shutil.which("gpgv"):
        pytest.skip("no gpgv")
    archive = Archive(tmp_path / "archive", signing_key)
    archive.publish(Suite("bookworm", [Deb("a")]))
    path = archive.root / "dists" / "bookworm" / "InRelease"
    subprocess.run(["gpgv", "--keyring", archive.keyring, path], check=True, capture_output=True)


# --- what it says ----------------------------------------------------------------------------------------


def test_a_release_is_read() -> None:
    found = release.parse(
        (
            "Origin: Debian\nSuite: oldstable\nCodename: bookworm\nDate: Tue, 14 Nov 2023 22:13:20 UTC\n"
            "Valid-Until: Tue, 21 Nov 2023 22:13:20 UTC\nAcquire-By-Hash: yes\n"
            "Architectures: all amd64 arm64\n"
            "No-Support-for-Architecture-all: Packages\nComponents: updates/main contrib\nMD5Sum:\n 0 1 x\n"
            f"SHA256:\n {'AB' * 32} 12 ./Packages.xz\n"
        ).encode(),
        where="x",
    )
    assert found.date == MTIME
    assert found.valid_until == MTIME + 7 * 86400
    assert found.components == ("main", "contrib")
    assert found.by_hash
    assert not found.all_apart
    assert found.files["Packages.xz"].digest == "sha256:" + "ab" * 32
    assert found.files["Packages.xz"].size == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Suite: a\n", "lists no files by SHA-256"),
        ("Suite: a\nSHA256:\n xyz 1 name\n", "is not a digest, size and name"),
        ("Suite: a\nSHA256:\n " + "ab" * 32 + " 12\n", "is not a digest, size and name"),
        (
            "Suite: a\nDate: yesterday\nSHA256:\n " + "ab" * 32 + " 1 x\n",
            "Date is 'yesterday', which is no time",
        ),
        ("no field at all\n", "is not 'Field: value'"),
        ("", "has 0 paragraphs"),
    ],
)
def test_a_release_that_is_broken_is_named(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        release.parse(text.encode(), where="InRelease")


@pytest.mark.parametrize("suite", ["stable", "bookworm", "bookworm/updates", "./"])
def test_a_release_is_of_the_suite_that_it_names(suite: str) -> None:
    release.check(release.parse(TEXT.encode(), where="x"), suite=suite, now=MTIME, where="x")


def test_a_release_of_another_suite_is_refused() -> None:
    with pytest.raises(FormatError, match="is of the suite bookworm or stable and not of trixie"):
        release.check(release.parse(TEXT.encode(), where="x"), suite="trixie", now=MTIME, where="x")


def test_a_release_counts_until_its_time_is_over() -> None:
    text = TEXT.replace("SHA256", "Valid-Until: Tue, 21 Nov 2023 22:13:20 UTC\nSHA256")
    found = release.parse(text.encode(), where="x")
    release.check(found, suite="stable", now=MTIME + 7 * 86400, where="x")
    with pytest.raises(ExpiredError, match=r"was valid until 1\.0 days ago"):
        release.check(found, suite="stable", now=MTIME + 8 * 86400, where="x")
    release.check(found, suite="stable", now=MTIME + 8 * 86400, where="x", valid_until=False)
