"""What is learnt of files for checks, whatever their bytes are."""

from __future__ import annotations

import struct
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelves import upx_elf, upx_pe
from support.elves import elf

from ramekin.analyze.examine import clock, kin, media, packed, script, secret, squeezed

OURS = (clock, kin, media, packed, script, secret, squeezed)
PATHS = ("a", "x.png", "x.pyc", ".env", "a/config.json", "run.sh")
STARTS = (
    b"\x7fELF\x02\x01\x01",
    b"MZ",
    b"#!/bin/sh\n",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"\x1f\x8b\x08",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"password = ",
    upx_elf(9000)[:300],
    upx_pe(9000)[:420],
    elf(program=True),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(STARTS),
    st.binary(max_size=400),
    st.sampled_from(PATHS),
    st.sampled_from((0, 9000, 300_000)),
)
def test_any_bytes_are_examined_without_an_error(start: bytes, rest: bytes, path: str, padding: int) -> None:
    data = start + rest + bytes(padding)
    for examiner in OURS:
        if examiner.wants(path, len(data), data[:512]):
            msgspec.msgpack.encode(examiner.examine(path, data))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 500), st.integers(0, 255))
def test_a_damaged_packed_program_is_no_error(place: int, value: int) -> None:
    for whole in (upx_elf(9000), upx_pe(9000)):
        data = bytearray(whole)
        data[place % len(data)] = value
        packed.examine("a", bytes(data))
        packed.examine("a", bytes(data[:place]))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("tar xf /opt/a.tar", ["/opt/a.tar"]),
        ("cd /srv && tar -xzf 'data.tgz' -C /srv", ["data.tgz"]),
        ("/bin/gunzip -c /opt/db.sql.gz | psql", ["/opt/db.sql.gz"]),
        ('unzip -q "/opt/site.zip"', ["/opt/site.zip"]),
        ("xz -dk a.tar.xz; zstd -d b.zst", ["a.tar.xz", "b.zst"]),
        ("# tar xf /opt/a.tar", []),
        ("tar czf /backup/a.tar.gz /data", []),
        ("echo star xf a.tar", []),
        ("java -jar app.jar", []),
    ],
)
def test_archives_that_a_script_unpacks_are_found(line: str, names: list[str]) -> None:
    assert script.unpacked(f"set -e\n{line}\nexec app") == names


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("DB_PASSWORD", "hunter22", True),
        ("API_TOKEN", "abcdefg", True),
        ("DATABASE_URL", "postgres://me:s3cr3tpw@db/x", True),
        ("DB_PASSWORD_FILE", "/run/secrets/db", False),
        ("DB_PASSWORD", "${DB_PASSWORD}", False),
        ("DB_PASSWORD", "<set me>", False),
        ("DJANGO_SECRET_KEY", "abcdefg", True),
        ("TOKEN_LIFETIME", "3600000", False),
        ("PATH", "/usr/bin:/bin", False),
        ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D", False),
        ("DATABASE_URL", "postgres://me:${PASSWORD}@db/x", False),
    ],
)
def test_variables_with_secrets_are_told(name: str, value: str, is_secret: bool) -> None:
    assert (secret.in_variable(name, value) is not None) is is_secret


def test_placeholders_and_words_are_not_taken_for_random() -> None:
    for value in (
        "changeme-changeme-1",
        "your-secret-key-2024",
        "/etc/ssl/private/key1.pem",
        "example_token_123456",
    ):
        assert not secret.is_random(value)
    assert secret.is_random("q7XbN2v9LrT4kZpW8mYc")


def test_hostile_texts_take_no_longer_than_others() -> None:
    texts = (
        b"#!/bin/sh\n" + b"tar x" * 50_000,
        b"#!/bin/sh\n" + b" tar x " * 30_000,
        b"-----BEGIN PRIVATE KEY-----\n" + b"a " * 400_000,
        b"password" * 120_000,
        b"://a:" * 200_000,
        b"token = q7XbN2v9LrT4kZpW8mYc\n" * 30_000,
        b"eyJ" * 300_000,
    )
    start = time.process_time()
    for text in texts:
        for examiner in (script, secret):
            if examiner.wants("run.sh", len(text), text[:512]):
                examiner.examine("run.sh", text)
    assert time.process_time() - start < 10


def test_what_two_programs_share_is_estimated_by_their_texts() -> None:
    common = [f"a text of the library {n:05}" for n in range(9000)]
    one, other, third = (
        elf(program=True, strings=[*common[:part], *(f"own text {name} {n:05}" for n in range(9000 - part))])
        for name, part in (("a", 6000), ("b", 6000), ("c", 0))
    )
    sketches = [kin.examine("x", data) or [] for data in (one, other, third)]
    assert 0.35 < kin.common(sketches[0], sketches[1]) < 0.65
    assert kin.common(sketches[0], sketches[2]) < 0.05
    assert kin.common(sketches[0], sketches[0]) == 1


def test_a_time_in_compiled_python_and_gzip_is_read() -> None:
    assert clock.examine("a.pyc", b"\xa7\r\r\n" + struct.pack("<II", 0, 1_700_000_000) + bytes(8)) == {
        "form": "pyc",
        "time": 1_700_000_000,
    }
    assert clock.examine("a.pyc", b"\xa7\r\r\n" + struct.pack("<II", 1, 1_700_000_000) + bytes(8)) is None
    assert not clock.wants("a.gz", 100, b"\x1f\x8b\x08\0\0\0\0\0")
