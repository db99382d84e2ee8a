"""Layers made to do harm: each gets an error that names it, in fixed memory, with nothing written outside."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from handmade import image_of, member, raw_tar, read, tar_of
from hypothesis import given, settings
from hypothesis import strategies as st
from support import samples

from ramekin.analyze import layer as layers
from ramekin.analyze import reading
from ramekin.analyze.stack import stack
from ramekin.errors import RamekinError
from ramekin.image import oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, Index, Manifest, RootFS
from ramekin.image.reference import parse
from ramekin.image.tree import file
from ramekin.store import digest as digests
from ramekin.store.store import Store

MEMORY = 1200 << 20
"""Bytes of address space that a reader gets, of which Python and its threads reserve some."""


def pax_bomb() -> bytes:
    """An extended header of a gigabyte, by its own word."""
    info = tarfile.TarInfo("bomb")
    info.type, info.size = b"x", 1 << 30
    return info.tobuf() + b"7 a=b\n" * 200_000


def endless_names() -> bytes:
    """Extended headers that fill memory with attributes, one small entry at a time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(300):
            info = tarfile.TarInfo(f"f{number}")
            info.pax_headers = {"SCHILY.xattr.user.a": "x" * 900_000}
            archive.addfile(info)
    return out.getvalue()


MALICE = {
    "traversal": (raw_tar(member("a/../../etc/passwd", b"x")), "'a/../../etc/passwd'"),
    "hard link out": (raw_tar(member("a", kind=b"1", link="../../etc/passwd")), "'../../etc/passwd'"),
    "hard link to nothing": (raw_tar(member("a", kind=b"1", link="/etc/passwd")), "'etc/passwd'"),
    "hard link to itself": (raw_tar(member("a", kind=b"1", link="a")), "'a' is a hard link to itself"),
    "hard link to a folder": (
        raw_tar(member("d", kind=b"5"), member("a", kind=b"1", link="d")),
        "which is a folder",
    ),
    "whiteout of the parent": (raw_tar(member("a/.wh...", b"")), "'a/.wh...' is a whiteout of nothing"),
    "whiteout of nothing": (raw_tar(member("a/.wh.", b"")), "whiteout of nothing"),
    "whiteout out": (raw_tar(member("../.wh.etc", b"")), "'../.wh.etc'"),
    "below a link": (
        raw_tar(member("evil", kind=b"2", link="/etc"), member("evil/passwd", b"x")),
        "'evil/passwd' lies below 'evil', which is a symlink",
    ),
    "below a file": (raw_tar(member("a", b"x"), member("a/b", b"y")), "'a/b' lies below 'a'"),
    "the root is a file": (raw_tar(member("./", b"x")), "root"),
    "pax bomb": (pax_bomb(), "1073741824 bytes"),
    "names without end": (endless_names(), "bytes of names and attributes"),
    "truncated": (raw_tar(member("half", bytes(5000)))[:2048], "truncated within entry 'half'"),
    "no tar": (b"this is no archive at all" * 100, "not a tar archive"),
    "a name of a megabyte": (raw_tar(member("x" * (1 << 20), b"")), "more than"),
}


@pytest.mark.parametrize("name", MALICE)
def test_hostile_layers_are_refused_by_name(name: str, store: Store) -> None:
    data, said = MALICE[name]
    if name == "the root is a file":
        info = tarfile.TarInfo(".")
        data = info.tobuf() + bytes(1024)
    with pytest.raises(RamekinError) as caught:
        stack(read(store, image_of(store, [data])))
    assert said in caught.value.message
    assert "layer sha256:" in caught.value.message


def test_absolute_names_are_below_the_root(store: Store) -> None:
    found = stack(read(store, image_of(store, [raw_tar(member("/etc/passwd", b"x"))])))
    assert list(found.files) == ["etc", "etc/passwd"]


def test_devices_are_entries_like_others_and_never_made(store: Store) -> None:
    info = tarfile.TarInfo("dev/sda")
    info.type, info.devmajor, info.devminor = tarfile.BLKTYPE, 8, 0
    found = stack(read(store, image_of(store, [raw_tar((info, b""))])))
    assert found.files["dev/sda"].file.device == (8, 0)


LIMIT = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))\n"


def limited(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with little memory."""
    text = LIMIT + code
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    return subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, env=environment, timeout=600
    )


LEARN = """
import sys
from pathlib import Path
from ramekin.analyze import layer
from ramekin.errors import RamekinError
try:
    with open(sys.argv[1], "rb") as stream:
        found = layer.learn(stream, "sha256:" + "0" * 64, scratch=Path(sys.argv[2]))
    print("read", len(found.files), sum(file.size for file in found.files))
except RamekinError as error:
    print("refused", error.message)
"""


def gzip_of(pieces: Iterator[bytes], path: Path) -> None:
    packer = zlib.compressobj(9, wbits=31)
    with path.open("wb") as out:
        for piece in pieces:
            out.write(packer.compress(piece))
        out.write(packer.flush())


def zeros(name: str, size: int) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = size
    yield info.tobuf()
    for _ in range(size >> 20):
        yield bytes(1 << 20)
    yield bytes(1024)


def test_a_gigabyte_of_zeros_in_a_megabyte_is_read_in_fixed_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    gzip_of(zeros("zeros", 1 << 30), path)
    assert path.stat().st_size < 2 << 20
    done = limited(LEARN, str(path), str(tmp_path))
    assert done.stdout == f"read 1 {1 << 30}\n", done.stderr[-2000:]


def many(count: int) -> Iterator[bytes]:
    """A tar of so many empty files."""
    header = bytearray(tarfile.TarInfo("0" * 10).tobuf())
    header[148:156] = b" " * 8
    base = sum(header) - 10 * 0x30
    batch = bytearray()
    for number in range(count):
        name = b"%010d" % number
        header[:10] = name
        header[148:156] = b"%06o\0 " % (base + sum(name))
        batch += header
        if len(batch) >= 1 << 20:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch) + bytes(1024)


def test_a_tar_of_ten_million_entries_is_refused_in_fixed_memory(tmp_path: Path) -> None:
    # through a pipe: the reader gives up long before the end, and nobody has to make the rest
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    with subprocess.Popen(
        [sys.executable, "-c", LIMIT + LEARN, "/dev/stdin", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            for piece in many(10_000_000):
                process.stdin.write(piece)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        said = process.stdout.read().decode()
    assert said == f"refused layer sha256:{'0' * 64}: more than {layers.LIMITS.entries} entries\n"


def test_damaged_compression_is_refused(store: Store) -> None:
    whole = gzip.compress(tar_of([file("a", bytes(100_000))]), mtime=0)
    for data in (whole[:-20], whole[:50] + b"\xff" * 20 + whole[70:]):
        with pytest.raises(RamekinError, match="gzip stream is"):
            reading.read(_with_layer(store, data, oci.LAYER_GZIP), store, name="it")


def _with_layer(store: Store, data: bytes, media_type: str, **changes: int) -> Image:
    blob = samples.keep(store, data, media_type)
    config = Config(architecture="amd64", os="linux", rootfs=RootFS("layers", (blob.digest,)))
    described = Descriptor(media_type=media_type, digest=blob.digest, size=changes.get("size", blob.size))
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=samples.keep(store, oci.encode(config), oci.CONFIG),
        layers=(described,),
    )
    return samples.of_manifest(store, manifest)


def test_a_size_that_lies_is_refused(store: Store) -> None:
    image = _with_layer(store, tar_of([file("a", b"x")]), oci.LAYER, size=5)
    with pytest.raises(RamekinError, match="bytes"):
        reading.read(image, store, name="it")


def test_a_diff_id_that_lies_is_refused(store: Store) -> None:
    image = image_of(store, [tar_of([file("a", b"x")])], diff_ids=["sha256:" + "1" * 64])
    with pytest.raises(RamekinError, match="unpacks to sha256:"):
        reading.read(image, store, name="it")


def layout(tmp_path: Path, change: Callable[[Path], None]) -> str:
    """A layout of one small image, changed by hand."""
    from ramekin.image import transports

    store = Store.at(tmp_path / "made")
    transports.write(image_of(store, [tar_of([file("a", b"x")])]), parse(f"oci:{tmp_path}/layout:it"))
    change(tmp_path / "layout")
    return f"oci:{tmp_path}/layout:it"


def test_a_blob_with_another_digest_is_refused(tmp_path: Path, store: Store) -> None:
    def change(root: Path) -> None:
        index = json.loads((root / "index.json").read_text())
        manifest = json.loads((root / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
        blob = root / "blobs/sha256" / manifest["layers"][0]["digest"][7:]
        data = bytearray(blob.read_bytes())
        data[-1] ^= 1
        blob.unlink()
        blob.write_bytes(data)

    with pytest.raises(RamekinError, match=r"digest|damaged"):
        reading.open_image(parse(layout(tmp_path, change)), store)


def test_indexes_that_never_come_to_an_image_are_refused(store: Store) -> None:
    inner = samples.image(store)
    for _ in range(reading.DEPTH + 1):
        document = Index(schema_version=2, media_type=oci.INDEX, manifests=(inner.root,))
        inner = Image(samples.keep(store, oci.encode(document), oci.INDEX), store)
    with pytest.raises(RamekinError, match="not an image"):
        reading.outline(inner, name="it")


def test_a_manifest_of_a_hundred_megabytes_is_not_read(store: Store) -> None:
    root = Descriptor(media_type=oci.MANIFEST, digest=digests.of(b"large"), size=100 << 20)
    with pytest.raises(RamekinError, match="104857600 bytes, too many"):
        reading.outline(Image(root, store), name="it")


@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
def test_documents_of_a_hundred_megabytes_are_not_read(name: str, tmp_path: Path) -> None:
    if name == "index.json":
        place = layout(tmp_path, lambda root: os.truncate(root / name, 100 << 20))
    else:
        info = tarfile.TarInfo(name)
        info.size = 100 << 20
        (tmp_path / "it.tar").write_bytes(info.tobuf())
        os.truncate(tmp_path / "it.tar", (100 << 20) + 1536)
        place = f"docker-archive:{tmp_path}/it.tar"
    with pytest.raises(RamekinError, match=r"index\.json has more than|104857600 bytes, too many"):
        reading.open_image(parse(place), Store.at(tmp_path / "store"))


@pytest.mark.parametrize("media_type", ["application/vnd.cncf.helm.chart.content.v1.tar+gzip", "text/plain"])
def test_what_is_no_image_is_said_to_be_none(media_type: str, store: Store) -> None:
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=samples.keep(store, b"{}", "application/vnd.cncf.helm.config.v1+json"),
        layers=(samples.keep(store, b"x", media_type),),
    )
    with pytest.raises(RamekinError, match="artifact"):
        reading.outline(samples.of_manifest(store, manifest), name="it")
    with pytest.raises(RamekinError, match="is a text/plain, not an image"):
        reading.outline(Image(samples.keep(store, b"x", "text/plain"), store), name="it")


def test_nothing_is_written_outside_the_folder_for_temporary_files(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for data, _ in MALICE.values():
        with contextlib.suppress(RamekinError):
            layers.learn(io.BytesIO(data), digests.of(data), scratch=scratch)
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
    assert list(scratch.iterdir()) == []


# --- any bytes --------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=3000), flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255))))
def test_any_bytes_are_read_or_refused(
    data: bytes, flips: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = bytearray(tar_of([file("lib/a.so", b"\x7fELF" + data), file("x.jar", b"PK\x03\x04" + data)]))
    for place, value in flips:
        if place < len(whole):
            whole[place] = value
    try:
        layers.learn(io.BytesIO(bytes(whole)), digests.of(data), scratch=tmp_path_factory.getbasetemp())
    except RamekinError:
        pass


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=4000), wide=st.booleans(), numbers=st.lists(st.integers(0, 2**64 - 1), max_size=8)
)
def test_examiners_take_any_bytes(data: bytes, wide: bool, numbers: list[int]) -> None:
    from ramekin.analyze.examine import EXAMINERS

    head = b"\x7fELF" + bytes([2 if wide else 1, 1]) + bytes(10) + struct.pack("<HHI", 3, 62, 1)
    for start in (
        head + b"".join(struct.pack("<Q", n) for n in numbers),
        b"PK\x03\x04",
        b"SQLite format 3\0",
        b"{",
    ):
        for examiner in EXAMINERS:
            for path in (
                "usr/bin/x",
                "x.jar",
                "node_modules/a/package.json",
                "var/lib/rpm/rpmdb.sqlite",
                "a.egg-info",
            ):
                whole = bytearray(start + data)
                if examiner.wants(path, len(whole), bytes(whole[:512])):
                    examiner.examine(path, whole)


def test_digests_are_of_the_content(store: Store) -> None:
    found = read(store, image_of(store, [tar_of([file("a", b"content")])]))
    assert found.layers[0].files[0].digest == hashlib.sha256(b"content").digest()
