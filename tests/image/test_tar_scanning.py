"""A scan gives what `read` gives without keeping anything, and fills up sparse files as GNU tar made them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from support import samples
from trees import trees

from ramekin.errors import FormatError
from ramekin.image import oci, tar, transports
from ramekin.image.oci import Config, Manifest, RootFS
from ramekin.image.reference import parse
from ramekin.image.tar import SparseError, read_tree
from ramekin.image.tar.filling import read_filled_tree
from ramekin.image.tar.headers import Limits
from ramekin.image.tar.scanning import Member, scan
from ramekin.image.tree import Kind, Tree
from ramekin.store.store import Store


def scanned(data: bytes, **limits: int) -> list[tuple[Member, bytes]]:
    found = []
    for member, content in scan(io.BytesIO(data), where="it", limits=Limits(**limits)):
        body = bytearray()
        content.take(body.extend)
        found.append((member, bytes(body)))
    return found


@settings(max_examples=60, deadline=None)
@given(tree=trees())
def test_a_scan_and_a_reading_are_the_same(tree: Tree) -> None:
    out = io.BytesIO()
    tar.write(tree, out.write)
    entries = tar.canonical(tree)
    for member, body in scanned(out.getvalue()):
        entry = entries[member.path]
        assert (member.kind, member.mode, member.uid, member.gid) == (
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
        )
        assert (member.mtime, member.xattrs, member.device) == (entry.mtime, entry.xattrs, entry.device)
        assert (member.target, member.size, body) == (entry.target, entry.size, entry.read())


def test_contents_that_no_one_takes_are_passed_over() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, size in (("a", 3_000_000), ("b", 5), ("c", 0), ("d", 512)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    members = [member for member, _ in scan(io.BytesIO(out.getvalue()), where="it")]
    assert [(member.path, member.size) for member in members] == [
        ("a", 3_000_000),
        ("b", 5),
        ("c", 0),
        ("d", 512),
    ]


@pytest.mark.parametrize(
    "form", ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]
)
@pytest.mark.parametrize("pieces", [0, 1, 3, 60])
def test_sparse_files_have_their_holes_again(form: str, pieces: int, tmp_path: Path) -> None:
    path = tmp_path / "a-sparse-file"
    with path.open("wb") as file:
        for piece in range(pieces):
            file.seek(piece * 200_000 + 65_536)
            file.write(os.urandom(4096))
        file.truncate(20_000_000)
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "b").write_bytes(b"what follows")
    option = [form] if form == "--format=gnu" else ["--format=posix", form]
    data = subprocess.check_output(["tar", "-C", str(tmp_path), "-cSf", "-", *option, path.name, "b"])
    assert len(data) < 2_000_000
    (sparse, body), (after, rest) = scanned(data)
    assert (sparse.path, sparse.kind, sparse.size) == (path.name, Kind.FILE, 20_000_000)
    assert hashlib.sha256(body).hexdigest() == whole
    assert (after.path, rest) == ("b", b"what follows")
    tree = read_filled_tree(io.BytesIO(data), where="it", spool=tmp_path)
    assert list(tree) == [path.name, "b"]
    assert hashlib.sha256(tree[path.name].read()).hexdigest() == whole
    assert tree["b"].read() == b"what follows"
    with pytest.raises(SparseError, match="is sparse"):
        read_tree(io.BytesIO(data), where="it", spool=tmp_path)


def test_a_layer_with_sparse_files_is_laid_out(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    with (folder / "database").open("wb") as file:
        file.write(b"start")
        file.truncate(3_000_000)
    os.link(folder / "database", folder / "other-name")
    data = subprocess.check_output(["tar", "-C", str(folder), "--format=posix", "-cSf", "-", "."])
    store = Store.at(tmp_path / "store")
    blob = samples.keep(store, data, oci.LAYER)
    config = Config(architecture="amd64", os="linux", rootfs=RootFS("layers", (blob.digest,)))
    described = samples.keep(store, oci.encode(config), oci.CONFIG)
    manifest = Manifest(schema_version=2, media_type=oci.MANIFEST, config=described, layers=(blob,))
    image = samples.of_manifest(store, manifest)
    transports.write(image, parse(f"rootfs:{tmp_path}/root"))
    assert (tmp_path / "root/database").read_bytes() == b"start".ljust(3_000_000, b"\0")
    assert (tmp_path / "root/other-name").samefile(tmp_path / "root/database")


def sparse_header(size: int, pieces: list[tuple[int, int]], stored: int) -> bytes:
    info = tarfile.TarInfo("hole")
    info.size = stored
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    for number, (offset, length) in enumerate(pieces):
        header[386 + 24 * number : 410 + 24 * number] = b"%011o\0%011o\0" % (offset, length)
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("size", "pieces", "stored"),
    [
        (100, [(0, 200)], 200),
        (1000, [(500, 10), (0, 10)], 20),
        (1000, [(0, 10)], 20),
        (8 << 30, [(0, 10)], 10),
    ],
    ids=["beyond the end", "out of order", "more data than pieces", "too many holes"],
)
def test_sparse_files_that_cannot_be_are_refused_by_name(
    size: int, pieces: list[tuple[int, int]], stored: int
) -> None:
    data = sparse_header(size, pieces, stored) + bytes(1024 * 10)
    with pytest.raises(FormatError, match="'hole'"):
        scanned(data, holes=1 << 30)


def test_a_stream_that_ends_within_a_file_names_it() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("half")
        info.size = 5000
        archive.addfile(info, io.BytesIO(bytes(5000)))
    with pytest.raises(FormatError, match="truncated within entry 'half'"):
        scanned(out.getvalue()[:2048])


def test_an_empty_stream_has_no_entries() -> None:
    assert scanned(b"") == []
    assert scanned(bytes(10240)) == []
