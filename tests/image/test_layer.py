"""Layers are written from trees, read back, stacked by their whiteouts, and laid out safely."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import names, trees

from ramekin.errors import DigestMismatchError, FormatError, RamekinError
from ramekin.image import layer, oci, tar
from ramekin.image.compress import parse
from ramekin.image.oci import Descriptor
from ramekin.image.tree import Entry, Kind, Tree, directory, file, symlink
from ramekin.store import digest as digests
from ramekin.store.store import Store

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.HARDLINK, target=target)


def texts(tree: Tree) -> dict[str, bytes]:
    """Files by path, links with their file's bytes; folders and the rest left out."""
    return {
        path: (tree[entry.target] if entry.kind is Kind.HARDLINK else entry).read()
        for path, entry in tree.items()
        if entry.kind in (Kind.FILE, Kind.HARDLINK)
    }


# --- written and read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["gzip", "zstd", "none"])
def test_a_layer_is_read_again(store: Store, way: str) -> None:
    tree = Tree([file("a", b"hello" * 1000), directory("d"), link("d/b", "a"), symlink("s", "a")])
    made = layer.write(tree, store, parse(way), annotations={"k": "v"})
    assert made.descriptor.media_type == parse(way).media_type
    assert made.descriptor.annotations == {"k": "v"}
    assert made.descriptor.size == store.size(made.descriptor.digest)
    plain: list[bytes] = []
    tar.write(tree, plain.append)
    assert made.diff_id == digests.of(b"".join(plain))
    found = layer.read(made.descriptor, store, spool=store.scratch())
    assert list(found) == list(tree)
    assert texts(found) == texts(tree)
    assert layer.write(found, store, parse(way), annotations={"k": "v"}) == made


def test_the_diff_id_does_not_depend_on_the_compression(store: Store) -> None:
    tree = Tree([file("a", os.urandom(9_000_000))])
    made = [layer.write(tree, store, parse(way)) for way in ("gzip", "zstd", "none")]
    assert len({one.diff_id for one in made}) == 1
    assert made[2].descriptor.digest == made[2].diff_id


def test_a_layer_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(FormatError):
        layer.write(Tree([file("a", b"x" * 1_000_000), link("b", "c")]), store, parse("gzip"))
    assert list(store.backend.list("blobs")) == []
    assert [path for path in Path(store.location).rglob("blob-*") if path.is_file()] == []


def test_a_damaged_layer_is_refused_even_behind_its_tar(store: Store) -> None:
    plain: list[bytes] = []
    tar.write(Tree([file("a", b"x")]), plain.append)
    digest = store.put(b"".join(plain) + bytes(10_000))
    path = store.path(digest)
    assert path is not None
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] = 1
    path.write_bytes(data)
    with pytest.raises(DigestMismatchError):
        layer.read(Descriptor(oci.LAYER, digest, len(data)), store, spool=store.scratch())


def test_a_broken_layer_is_refused_by_name(store: Store) -> None:
    digest = store.put(b"no tar" * 200)
    with pytest.raises(FormatError, match=rf"layer {digest}: not a tar archive"):
        layer.read(Descriptor(oci.LAYER, digest, 1200), store, spool=store.scratch())
    gc.collect()
    assert list(store.scratch().iterdir()) == []


def test_layers_are_written_side_by_side(store: Store) -> None:
    layers = [Tree([file("a", bytes([number]) * 5_000_000 + os.urandom(100_000))]) for number in range(6)]
    alone = [layer.write(tree, store, parse("gzip")) for tree in layers]
    found: dict[int, layer.Layer] = {}

    def work(number: int) -> None:
        found[number] = layer.write(layers[number], store, parse("gzip"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(6)] == alone


@pytest.mark.parametrize("way", ["gzip", "zstd"])
def test_a_big_layer_is_written_in_bounded_memory(tmp_path: Path, way: str) -> None:
    (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 160)
    code = (
        "import sys; from pathlib import Path; from ramekin.store.store import Store\n"
        "from ramekin.image import layer; from ramekin.image.compress import parse\n"
        "from ramekin.image.tree import *\n"
        "place = Path(sys.argv[1]); size = (place / 'big').stat().st_size\n"
        "tree = Tree([Entry(path='big', kind=Kind.FILE, content=Span(place / 'big', 0, size))])\n"
        "store = Store.at(place / 'store'); made = layer.write(tree, store, parse(sys.argv[2]))\n"
        "layer.read(made.descriptor, store, spool=store.scratch())\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", code, str(tmp_path), way]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(found.stdout) < 100_000


# --- stacked ---------------------------------------------------------------------------------------------


def test_a_file_takes_the_place_of_what_is_below() -> None:
    lower = Tree([file("a", b"1"), directory("d", mode=0o700), file("d/x", b"1"), file("d/y", b"1")])
    upper = Tree([file("a", b"2"), directory("d", mode=0o750), file("d/x", b"2")])
    found = layer.apply([lower, upper])
    assert texts(found) == {"a": b"2", "d/x": b"2", "d/y": b"1"}
    assert found["d"].mode == 0o750


def test_a_file_in_place_of_a_folder_removes_all_in_it() -> None:
    lower = Tree(
        [directory("d"), file("d/x", b"1"), directory("d/e"), file("d/e/y", b"1"), file("d-z", b"1")]
    )
    assert texts(layer.apply([lower, Tree([file("d", b"2")])])) == {"d": b"2", "d-z": b"1"}


def test_a_folder_in_place_of_a_link_is_a_folder() -> None:
    lower = Tree([symlink("lib", "usr/lib"), directory("usr"), directory("usr/lib"), file("usr/lib/a", b"1")])
    for upper in (Tree([file("lib/b", b"2")]), Tree([directory("lib"), file("lib/b", b"2")])):
        found = layer.apply([lower, upper])
        assert found["lib"].kind is Kind.DIRECTORY
        assert texts(found) == {"lib/b": b"2", "usr/lib/a": b"1"}


def test_a_whiteout_removes_what_is_below_with_all_in_it() -> None:
    lower = Tree([directory("d"), file("d/x", b"1"), file("d/y", b"1"), directory("e"), file("e/z", b"1")])
    upper = Tree([file("d/.wh.x", b""), file(".wh.e", b""), file("d/.wh.missing", b"")])
    assert texts(layer.apply([lower, upper])) == {"d/y": b"1"}


def test_a_whiteout_leaves_its_own_layer_alone() -> None:
    lower = Tree([directory("d"), file("d/x", b"1"), file("d/y", b"1")])
    upper = Tree(
        [directory("d"), file("d/.wh.x", b""), file("d/x", b"2"), file("d/.wh.y", b""), file("d/.wh.z", b"")]
    )
    assert texts(layer.apply([lower, upper])) == {"d/x": b"2"}


def test_an_opaque_folder_hides_all_that_is_below() -> None:
    lower = Tree(
        [
            directory("d", mode=0o700),
            file("d/x", b"1"),
            directory("d/e"),
            file("d/e/y", b"1"),
            file("z", b"1"),
        ]
    )
    upper = Tree([directory("d"), file("d/.wh..wh..opq", b""), file("d/new", b"2")])
    assert texts(layer.apply([lower, upper])) == {"d/new": b"2", "z": b"1"}
    everything = layer.apply([lower, Tree([file(".wh..wh..opq", b""), file("only", b"2")])])
    assert texts(everything) == {"only": b"2"}


def test_whiteouts_are_no_files_of_the_image() -> None:
    tree = Tree([file(".wh.x", b""), file(".wh..wh.plnk", b""), file("a", b"1")])
    assert list(layer.apply([tree])) == ["a"]
    for name in (".wh.", ".wh..", ".wh..."):
        with pytest.raises(FormatError, match="whiteout of nothing"):
            layer.apply([Tree([file(name, b"")])])


def test_hard_links_keep_their_bytes_when_the_file_goes() -> None:
    lower = Tree([file("a", b"1"), link("b", "a"), link("c", "a")])
    assert texts(layer.apply([lower, Tree([file(".wh.a", b"")])])) == {"b": b"1", "c": b"1"}
    assert texts(layer.apply([lower, Tree([file("a", b"2")])])) == {"a": b"2", "b": b"1", "c": b"1"}
    assert texts(layer.apply([lower, Tree([file("b", b"2")])])) == {"a": b"1", "b": b"2", "c": b"1"}


def test_a_hard_link_may_lead_to_a_lower_layer() -> None:
    assert texts(layer.apply([Tree([file("a", b"1")]), Tree([link("b", "a")])])) == {"a": b"1", "b": b"1"}
    with pytest.raises(FormatError, match="layer 2: entry 'b' is a hard link to 'c'"):
        layer.apply([Tree([file("a", b"1")]), Tree([link("b", "c")])])


def test_missing_parents_are_made() -> None:
    assert list(layer.apply([Tree([file("a/b", b"")])])) == ["a", "a/b"]


# --- laid out --------------------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@root_only
def test_a_tree_is_laid_out_with_owners_modes_and_times(target: Path) -> None:
    tree = Tree(
        [
            directory("d", mode=0o555, uid=5, mtime=1000),
            file("d/x", b"hello", mode=0o6755, uid=3, gid=4, mtime=2000),
            link("d/a", "d/x"),
            symlink("d/s", "/etc/passwd", mtime=3000),
            replace(file("cap", b"x"), xattrs=(("user.a", b"1"),)),
            Entry(path="null", kind=Kind.CHARACTER, device=(1, 3), mode=0o666, gid=9),
            Entry(path="fifo", kind=Kind.FIFO, mode=0o620, mtime=-5),
            directory("t", mode=0o1777),
        ]
    )
    old = os.umask(0o077)
    try:
        assert layer.unpack(tree, target, owners=True) == ()
    finally:
        os.umask(old)
    found = (target / "d/x").stat()
    assert (found.st_mode, found.st_uid, found.st_gid, found.st_mtime) == (0o106755, 3, 4, 2000)
    assert found.st_nlink == 2
    folder = (target / "d").stat()
    assert (folder.st_mode, folder.st_uid, folder.st_mtime) == (0o040555, 5, 1000)
    assert (target / "d/s").readlink() == Path("/etc/passwd")
    assert (target / "d/s").lstat().st_mtime == 3000
    assert os.getxattr(target / "cap", "user.a") == b"1"
    null = (target / "null").stat()
    assert (null.st_rdev, null.st_mode, null.st_gid) == (os.makedev(1, 3), 0o020666, 9)
    assert ((target / "fifo").stat().st_mode, (target / "fifo").stat().st_mtime) == (0o010620, -5)
    assert (target / "t").stat().st_mode == 0o041777


def test_without_owners_devices_are_left_out_and_told(target: Path) -> None:
    null = Entry(path="null", kind=Kind.CHARACTER, device=(1, 3))
    assert layer.unpack(Tree([null, file("a", b"x", uid=12345)]), target, owners=False) == (null,)
    assert [path.name for path in target.iterdir()] == ["a"]
    assert (target / "a").stat().st_uid == os.geteuid()


def test_what_stands_in_the_way_is_replaced(target: Path) -> None:
    (target / "file").mkdir()
    (target / "file" / "below").touch()
    (target / "folder").write_text("x")
    (target / "kept").mkdir()
    (target / "kept" / "other").touch()
    (target / "link").symlink_to("kept")
    tree = Tree([file("file", b"1"), file("folder/x", b"2"), file("kept/x", b"3"), file("link", b"4")])
    layer.unpack(tree, target, owners=False)
    assert (target / "file").read_bytes() == b"1"
    assert (target / "folder/x").read_bytes() == b"2"
    assert sorted(path.name for path in (target / "kept").iterdir()) == ["other", "x"]
    assert not (target / "link").is_symlink()


def test_links_that_are_there_are_never_followed(target: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    (target / "d").symlink_to(outside)
    (target / "f").symlink_to(outside / "precious")
    tree = Tree([file("d/precious", b"1"), file("f", b"2"), directory("d", mode=0o700)])
    layer.unpack(tree, target, owners=False)
    assert (outside / "precious").read_text() == "precious"
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (target / "d/precious").read_bytes() == b"1"


@pytest.mark.parametrize(
    "entries",
    [
        [symlink("d", "/tmp"), file("d/x", b"1")],
        [symlink("d", ".."), symlink("d/e", ".."), file("d/e/x", b"1")],
        [file("../x", b"1")],
        [file("a/../../x", b"1")],
        [file("/etc/x", b"1")],
        [directory("..")],
        [file("", b"1")],
        [file("a\0b", b"1")],
        [file("a", b""), link("b", "../a")],
        [symlink("l", "../outside"), link("b", "l")],
        [Entry(path=".", kind=Kind.FILE)],
    ],
    ids=repr,
)
def test_no_tree_leads_out(target: Path, tmp_path: Path, entries: list[Entry]) -> None:
    (tmp_path / "outside").write_text("precious")
    try:
        layer.unpack(Tree(entries), target, owners=False)
    except RamekinError:
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "target"]
    assert (tmp_path / "outside").read_text() == "precious"


hostile = st.lists(st.sampled_from(["a", "b", "..", ".", "", "c\0"]) | names, min_size=1, max_size=4).map(
    "/".join
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            lambda path, kind, target: Entry(path=path, kind=kind, target=target, mode=0o755),
            hostile,
            st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK]),
            hostile,
        ),
        max_size=8,
    )
)
def test_no_tree_whatever_writes_outside(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]
) -> None:
    place = tmp_path_factory.mktemp("place")
    (place / "target").mkdir()
    (place / "outside").write_text("precious")
    try:
        layer.unpack(Tree(entries), place / "target", owners=False)
    except RamekinError:
        pass
    assert sorted(path.name for path in place.iterdir()) == ["outside", "target"]
    assert (place / "outside").read_text() == "precious"
    assert (place / "outside").stat().st_nlink == 1


@root_only
@settings(max_examples=40, deadline=None)
@given(trees(special=False))
def test_what_is_laid_out_is_what_the_tree_says(tmp_path_factory: pytest.TempPathFactory, tree: Tree) -> None:
    tree = Tree(replace(entry, xattrs=()) for entry in tree.with_parents().entries())
    place = tmp_path_factory.mktemp("place")
    layer.unpack(tree, place, owners=True)
    found = {}
    for folder, folders, files in os.walk(os.fsencode(place)):
        for name in folders + files:
            path = os.path.join(folder, name)  # noqa: PTH118
            status = os.lstat(path)
            found[os.path.relpath(path, os.fsencode(place)).decode("utf-8", "surrogateescape")] = status
    expected = tar.canonical(tree)
    assert sorted(found) == sorted(expected)
    for path, entry in expected.items():
        status = found[path]
        assert status.st_uid == entry.uid
        assert status.st_gid == entry.gid
        assert status.st_mtime == entry.mtime
        if entry.kind is not Kind.SYMLINK:
            assert stat.S_IMODE(status.st_mode) == entry.mode
        if entry.kind is Kind.HARDLINK:
            assert status.st_ino == found[entry.target].st_ino


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]).returncode
    ):
        pytest.skip("only root can mount a small disk")
    try:
        with pytest.raises(RamekinError, match=r"cannot write .*/big.*: No space left"):
            layer.unpack(Tree([file("big", bytes(2 << 20))]), disk, owners=False)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RamekinError, match="cannot open the folder"):
        layer.unpack(Tree(), tmp_path / "missing", owners=False)
