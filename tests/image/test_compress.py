"""Compressed bytes depend on the input alone, and damaged ones are never taken for whole."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.errors import FormatError, RamekinError, UsageError
from ramekin.image import compress, oci
from ramekin.image.compress import Compression, compressor, decompress, parse

WAYS = ["gzip", "gzip:1", "gzip:9", "zstd", "zstd:6", "none"]

UNSIZED = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False)


def text(size: int) -> bytes:
    """Bytes that compress about as well as programs do."""
    words = random.Random(1)
    return b"".join(b"%x " % words.getrandbits(12) for _ in range(size // 4))[:size]


def squeezed(data: bytes, way: str, cuts: int = 1 << 16) -> bytes:
    squeeze = compressor(parse(way))
    parts = [squeeze.write(data[start : start + cuts]) for start in range(0, len(data), cuts)]
    return b"".join(parts) + squeeze.finish()


def expanded(data: bytes) -> bytes:
    with decompress(io.BytesIO(data), where="x") as stream:
        return stream.read()


# --- names -----------------------------------------------------------------------------------------------


def test_a_compression_is_named_with_or_without_a_level() -> None:
    assert parse("gzip") == Compression("gzip", 6)
    assert parse("gzip:9") == Compression("gzip", 9)
    assert parse("zstd:19").media_type == oci.LAYER_ZSTD
    assert str(parse("none")) == "none"
    assert parse(str(parse("zstd"))) == parse("zstd")


WRONG = ["", "bzip2", "gzip:0", "gzip:13", "zstd:23", "gzip:", "none:1", "gzip:+1", "gzip:²"]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_compression_is_wrong_use(wrong: str) -> None:
    with pytest.raises(UsageError):
        parse(wrong)


def test_the_identity_names_the_library_that_is_installed() -> None:
    import deflate

    assert parse("gzip").identity == f"gzip:6:deflate-{deflate.__version__}"
    assert parse("zstd").identity == f"zstd:3:zstandard-{zstandard.__version__}"
    assert len({parse(way).identity for way in WAYS}) == len(WAYS)


def test_another_version_of_a_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zstandard, "__version__", "9")
    with pytest.raises(RamekinError, match=r"zstandard-9 is installed"):
        compressor(parse("zstd"))


def test_knowing_a_compression_loads_no_library() -> None:
    code = "import sys; from ramekin.image.compress import parse; parse('zstd').identity; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"zstandard", "deflate", "concurrent.futures"} & set(found.stdout.split())


# --- there and back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, 100_000, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 13_000_000])
def test_what_is_compressed_is_expanded_again(way: str, size: int) -> None:
    data = text(size)
    assert expanded(squeezed(data, way)) == data


@pytest.mark.parametrize("way", WAYS)
def test_the_bytes_do_not_depend_on_how_they_came(way: str) -> None:
    data = text(9_500_000)
    assert len({squeezed(data, way, cuts) for cuts in (len(data), 1 << 18, 77_777)}) == 1


def test_the_bytes_do_not_depend_on_threads() -> None:
    data = text(20_000_000)
    alone = squeezed(data, "gzip")
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(squeezed(data, "gzip"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4


def test_the_bytes_do_not_change_between_versions() -> None:
    data = text(5_000_000)
    ways = ("gzip", "gzip:9", "zstd", "zstd:12")
    assert {way: hashlib.sha256(squeezed(data, way)).hexdigest()[:16] for way in ways} == {
        "gzip": "d343127d273639c5",
        "gzip:9": "d0aa75dec585358d",
        "zstd": "4d050155cccef3c5",
        "zstd:12": "9d369f584cda8d43",
    }


@pytest.mark.parametrize(("way", "program"), [("gzip", "gzip"), ("gzip:12", "gzip"), ("zstd", "zstd")])
def test_the_usual_programs_expand_it(way: str, program: str) -> None:
    if subprocess.run(["which", program], capture_output=True).returncode:
        pytest.skip(f"{program} is not installed")
    data = text(9_000_000)
    found = subprocess.run([program, "-dc"], input=squeezed(data, way), capture_output=True, check=True)
    assert found.stdout == data


def test_a_gzip_header_holds_no_time() -> None:
    assert squeezed(b"hello", "gzip")[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_high_levels_ask_for_no_large_window() -> None:
    data = text(1000)
    assert zstandard.get_frame_parameters(squeezed(data, "zstd:22")).window_size <= 8 << 20


# --- what others compress --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"a" * 100_000) + gzip.compress(b"") + gzip.compress(b"b"),
        gzip.compress(b"a" * 100_000 + b"b") + bytes(1000),
        zstandard.compress(b"a" * 100_000) + zstandard.compress(b"b"),
        b"\x50\x2a\x4d\x18\x03\0\0\0xyz" + zstandard.compress(b"a" * 100_000 + b"b"),
        zstandard.compress(b"a" * 100_000 + b"b") + b"\x5f\x2a\x4d\x18\0\0\0\0",
        zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(
            b"a" * 100_000 + b"b"
        ),
        lzma.compress(b"a" * 100_000) + lzma.compress(b"b") + bytes(4),
        b"a" * 100_000 + b"b",
    ],
    ids=["members", "gzip padding", "frames", "skippable", "skippable at the end", "checksum", "xz", "plain"],
)
def test_all_that_comes_in_pieces_is_one_stream(data: bytes) -> None:
    assert expanded(data) == b"a" * 100_000 + b"b"


@pytest.mark.parametrize(
    ("name", "compressed"),
    [
        ("gzip", gzip.compress),
        ("zstd", zstandard.compress),
        ("xz", lzma.compress),
        ("lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
        ("bz2", bz2.compress),
    ],
)
def test_a_stream_that_is_said_to_be_compressed_is_that_from_its_start(
    name: str, compressed: Callable[[bytes], bytes]
) -> None:
    data = b"a" * 1_000_000 + os.urandom(1000)
    for whole in (compressed(data), compressed(data[:500_000]) + compressed(data[500_000:])):
        with decompress(io.BytesIO(whole), where="x", name=name) as stream:
            assert stream.read() == data
    for broken in (b"", bytes(100), b"plain" * 100, compressed(data)[:-10]):
        with (
            pytest.raises(FormatError, match=f"^x: the {name} stream is"),
            decompress(io.BytesIO(broken), where="x", name=name) as stream,
        ):
            stream.read()


def test_a_stream_that_is_said_to_be_plain_is_not_looked_at() -> None:
    with decompress(io.BytesIO(gzip.compress(b"a")), where="x", name="none") as stream:
        assert stream.read() == gzip.compress(b"a")


def test_a_stream_of_few_bytes_at_a_time_is_read() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3))

    for way in WAYS:
        with decompress(Trickle(squeezed(b"hello" * 1000, way)), where="x") as stream:
            assert stream.read() == b"hello" * 1000


def test_closing_closes_what_was_read_from() -> None:
    for way in WAYS:
        inner = io.BytesIO(squeezed(b"x", way))
        decompress(inner, where="x").close()
        assert inner.closed


@pytest.mark.parametrize("form", ["gzip", "zstd", "xz"])
def test_a_stream_that_was_cut_anywhere_is_refused(form: str) -> None:
    data = os.urandom(300) + b"x" * 5000
    whole = lzma.compress(data) if form == "xz" else squeezed(data, form)
    for end in range(6, len(whole)):
        with pytest.raises(FormatError, match=rf"^x: the {form} stream is"):
            expanded(whole[:end])


@pytest.mark.parametrize("form", ["gzip", "zstd", "xz"])
def test_garbage_after_the_end_is_refused(form: str) -> None:
    whole = lzma.compress(b"a") if form == "xz" else squeezed(b"a", form)
    with pytest.raises(FormatError, match=r"damaged|truncated"):
        expanded(whole + b"garbage, and more of it")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["gzip", "zstd", "xz"]), st.integers(0), st.integers(1, 255))
def test_a_changed_byte_never_gives_other_bytes(form: str, position: int, change: int) -> None:
    data = text(3000)
    whole = bytearray(lzma.compress(data) if form == "xz" else squeezed(data, form))
    whole[position % len(whole)] ^= change
    try:
        found = expanded(bytes(whole))
    except FormatError:
        return
    # a header has bytes that mean nothing, and a changed magic number makes it a plain stream
    assert found in (data, bytes(whole))


def test_unknown_forms_are_plain() -> None:
    assert compress.sniff(bz2.compress(b"x")) == "none"
    assert expanded(b"") == b""
    assert expanded(b"x") == b"x"


@pytest.mark.parametrize("form", ["gzip", "zstd", "xz"])
def test_a_bomb_is_expanded_in_bounded_memory(form: str) -> None:
    bomb = {
        "gzip": lambda: gzip.compress(bytes(200_000_000), 9),
        "zstd": lambda: zstandard.ZstdCompressor(level=3).compress(bytes(200_000_000)),
        "xz": lambda: lzma.compress(bytes(100_000_000), preset=0),
    }[form]()
    code = (
        "import sys, io; from ramekin.image.compress import decompress\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "data = sys.stdin.buffer.read()\n"
        "size = 0\n"
        "with decompress(io.BytesIO(data), where='x') as stream:\n"
        "    before = peak()\n"
        "    while chunk := stream.read(1 << 20): size += len(chunk)\n"
        "print(size, peak() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], input=bomb, capture_output=True, check=True)
    size, grown = map(int, found.stdout.split())
    assert size >= 100_000_000
    assert grown < 40_000


def test_a_window_that_would_fill_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True, write_content_size=False)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = frame.compress(b"x" * 100_000) + frame.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match="zstd stream is damaged"):
        expanded(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
