"""rootfs: the files of an image in a folder, and a folder as an image."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from support import samples

from ramekin.image import compress, layer, transports
from ramekin.image.reference import parse
from ramekin.image.transports import rootfs
from ramekin.image.tree import Entry, Kind, Tree, directory, file, symlink
from ramekin.progress import Silent
from ramekin.store.store import Store


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def test_layers_are_laid_over_each_other(store: Store, tmp_path: Path) -> None:
    upper = Tree(
        [
            file("etc/.wh.passwd", b""),
            file("srv/greeting", b"bye\n", mode=0o600),
            symlink("link", "/etc/passwd"),
        ]
    )
    image = samples.image(store, [samples.BASE, samples.GREETING, upper])
    transports.write(image, parse(f"rootfs:{tmp_path}/root"))
    root = tmp_path / "root"
    assert not (root / "etc/passwd").exists()
    assert (root / "srv/greeting").read_bytes() == b"bye\n"
    assert stat.S_IMODE((root / "srv/greeting").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert str((root / "link").readlink()) == "/etc/passwd"
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


def without_content(entry: Entry) -> Entry:
    return replace(entry, content=None)


def test_a_folder_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"a")
    (root / "a").chmod(0o640)
    os.link(root / "a", root / "also")
    (root / "l").symlink_to("nowhere")
    (root / "sub/empty").mkdir(parents=True)
    (root / os.fsdecode(b"\xff")).write_bytes(b"odd")
    os.mkfifo(root / "pipe")
    for path in root.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    transports.copy(parse(f"rootfs:{root}"), parse(f"rootfs:{tmp_path}/copy"))
    before, after = rootfs.scan(root), rootfs.scan(tmp_path / "copy")
    assert after.map(without_content) == before.map(without_content)
    assert (tmp_path / "copy/a").read_bytes() == b"a"
    assert (tmp_path / "copy/a").samefile(tmp_path / "copy/also")
    assert (tmp_path / "copy" / os.fsdecode(b"\xff")).read_bytes() == b"odd"


def test_a_folder_gives_the_same_image_always(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"a")
    for path in (root / "a", root):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    digests = set()
    for timezone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", timezone)
        with transports.read(parse(f"rootfs:{root}")) as image:
            digests.add(image.root.digest)
            assert image.config(image.manifest()).created == "2020-09-13T12:26:40Z"
    assert len(digests) == 1


def test_source_date_epoch_bounds_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").write_bytes(b"a")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    with transports.read(parse(f"rootfs:{tmp_path}/root")) as image:
        assert image.config(image.manifest()).created == "2001-09-09T01:46:40Z"
        tree = layer.read(image.manifest().layers[0], image.blobs, spool=tmp_path)
    assert tree.newest == 1_000_000_000


def test_sockets_are_left_out_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "root/s"))
    notes = Notes()
    assert "s" not in rootfs.scan(tmp_path / "root", progress=notes)
    assert "socket" in notes.notes[0]


def test_without_root_files_belong_to_the_writer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Entry(path="dev/null", kind=Kind.CHARACTER, mode=0o666, device=(1, 3))
    owned = file("data", b"x", uid=1234, gid=1234)
    image = samples.image(store, [Tree([device, owned, directory("dev")])])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    notes = Notes()
    transports.write(image, parse(f"rootfs:{tmp_path}/root"), progress=notes)
    assert (tmp_path / "root/data").stat().st_uid == os.getuid()
    assert not (tmp_path / "root/dev/null").exists()
    assert len(notes.notes) == 2


@pytest.mark.skipif(os.getuid() != 0, reason="owners need root")
def test_root_gives_files_their_owners(store: Store, tmp_path: Path) -> None:
    image = samples.image(store, [Tree([file("data", b"x", uid=1234, gid=4321, mode=0o4755)])])
    transports.write(image, parse(f"rootfs:{tmp_path}/root"))
    info = (tmp_path / "root/data").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (1234, 4321, 0o4755)


def test_nothing_is_left_beside_the_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    closed = Tree([directory("closed", mode=0o000), file("closed/a", b"a")])
    made = layer.write(closed, store, compress.parse("none"))
    assert made.descriptor.size
    transports.write(samples.image(store, [closed]), parse(f"rootfs:{tmp_path}/out/root"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["root"]
