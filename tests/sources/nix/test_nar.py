"""Nix archives and trees are two forms of the same, and there is one archive of a tree."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.binary_cache import nar_of

from ramekin.errors import FormatError, RamekinError
from ramekin.image import layer, tree
from ramekin.image.tar import Limits
from ramekin.image.tree import Entry, Inline, Kind, Tree, to_text
from ramekin.sources.nix import nar
from ramekin.store import digest as digests

needs_nix = pytest.mark.skipif(shutil.which("nix-store") is None, reason="nix-store is not installed")

# bytes that sort differently from paths, among them the slash's neighbours
_LETTERS = st.sampled_from([b"a", b"b", b"-", b".", b"0", b" ", b"\xc3\xa9", b"\xff", b"\n"])
_NAMES = (
    st.lists(_LETTERS, min_size=1, max_size=4).map(b"".join).filter(lambda name: name not in (b".", b".."))
)
_CONTENTS = st.one_of(st.binary(max_size=20), st.integers(0, 70_000).map(lambda size: bytes(size)))


@st.composite
def _nodes(draw: st.DrawFn, depth: int = 3) -> object:
    kinds = ["file", "program", "link"] + (["folder", "folder"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "folder":
        return draw(st.dictionaries(_NAMES, _nodes(depth - 1), max_size=4))
    if kind == "link":
        return draw(_NAMES).decode("utf-8", "surrogateescape")
    return (draw(_CONTENTS), kind == "program")


def _entries(node: object, path: str) -> Iterator[Entry]:
    if isinstance(node, dict):
        yield Entry(path=path, kind=Kind.DIRECTORY, mode=0o555, mtime=1)
        for name, below in node.items():
            yield from _entries(below, f"{path}/{to_text(name)}" if path else to_text(name))
    elif isinstance(node, str):
        yield Entry(path=path, kind=Kind.SYMLINK, mode=0o777, mtime=1, target=node)
    else:
        data, program = cast(tuple[bytes, bool], node)
        mode = 0o555 if program else 0o444
        yield Entry(path=path, kind=Kind.FILE, mode=mode, mtime=1, content=Inline(data))


_TREES = st.dictionaries(_NAMES, _nodes(), max_size=5).map(lambda node: Tree(_entries(node, "")))


def _writable(entry: Entry) -> Entry:
    return tree.directory(entry.path) if entry.kind is Kind.DIRECTORY else entry


def plain(found: Tree) -> list[tuple[str, Kind, int, int, str, bytes]]:
    return [(e.path, e.kind, e.mode, e.mtime, e.target, e.read()) for e in found.entries()]


def read(data: bytes, *, limits: Limits | None = None) -> Tree:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.nar")
        file.write_bytes(data)
        with file.open("rb") as stream:
            found = nar.read(stream, where="x.nar", file=file, limits=limits or Limits())
        return Tree(
            Entry(
                path=e.path, kind=e.kind, mode=e.mode, mtime=e.mtime, target=e.target,
                content=Inline(e.read()) if e.kind is Kind.FILE else None,
            )
            for e in found.entries()
        )  # fmt: skip


class Slowly(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece, self._data = self._data[: self._step], self._data[self._step :]
        piece = piece[: len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)


@settings(max_examples=80, deadline=None)
@given(_TREES)
def test_an_archive_gives_the_tree_that_it_was_made_of(files: Tree) -> None:
    data = nar_of(files)
    assert plain(read(data)) == plain(files)
    assert nar_of(read(data)) == data
    assert nar.digest_of(files) == (digests.of(data), len(data))


@needs_nix
@settings(max_examples=15, deadline=None)
@given(_TREES)
def test_our_archives_are_those_that_nix_makes_of_the_same_files(files: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        laid, restored = Path(folder, "laid"), os.fsencode(folder) + b"/restored"
        laid.mkdir()
        layer.unpack(files.map(_writable), laid, owners=False)
        dumped = subprocess.run(["nix-store", "--dump", str(laid)], capture_output=True, check=True).stdout
        assert nar_of(files) == dumped
        assert plain(read(dumped)) == plain(files)
        subprocess.run(
            ["nix-store", "--restore", restored], input=nar_of(files), capture_output=True, check=True
        )
        again = subprocess.run(["nix-store", "--dump", restored], capture_output=True, check=True).stdout
        assert again == dumped


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_it_does_not_matter_how_a_stream_is_cut(step: int, tmp_path: Path) -> None:
    files = Tree(
        [
            Entry(path="", kind=Kind.DIRECTORY, mode=0o555, mtime=1),
            Entry(path="a", kind=Kind.FILE, mode=0o444, mtime=1, content=Inline(b"x" * 30_001)),
            Entry(path="b", kind=Kind.SYMLINK, mode=0o777, mtime=1, target="a"),
            Entry(path="c", kind=Kind.FILE, mode=0o555, mtime=1, content=Inline(b"")),
        ]
    )
    stream = cast(BinaryIO, io.BufferedReader(Slowly(nar_of(files), step), 64))
    found = nar.spooled(stream, where="x.nar", spool=tmp_path)
    assert plain(found) == plain(files)
    del found
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "root",
    [
        tree.file("", b"alone", mode=0o444, mtime=1),
        tree.file("", b"#!/bin/sh", mode=0o555, mtime=1),
        tree.symlink("", "elsewhere", mtime=1),
    ],
)
def test_the_root_may_be_a_file_or_a_link(root: Entry) -> None:
    assert plain(read(nar_of(Tree([root])))) == plain(Tree([root]))


def test_the_root_stands_where_it_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "x.nar"
    file.write_bytes(nar_of(Tree([tree.file("bin/sh", b"x", mode=0o755)])))
    with file.open("rb") as stream:
        found = nar.read(stream, where="x.nar", file=file, prefix="nix/store/h-n")
    assert list(found) == ["nix/store/h-n", "nix/store/h-n/bin", "nix/store/h-n/bin/sh"]
    assert nar.digest_of(found, root="nix/store/h-n") == (digests.of(file.read_bytes()), file.stat().st_size)


def test_hard_links_are_files_of_their_own_and_modes_are_two() -> None:
    files = Tree(
        [
            tree.file("a", b"both", mode=0o4751, uid=7, mtime=99),
            Entry(path="d/b", kind=Kind.HARDLINK, target="a", mode=0o4751),
            tree.file("c", b"plain", mode=0o666),
        ]
    )
    assert [(e.path, e.mode, e.uid, e.mtime, e.read()) for e in read(nar_of(files)).entries()] == [
        ("", 0o555, 0, 1, b""),
        ("a", 0o555, 0, 1, b"both"),
        ("c", 0o444, 0, 1, b"plain"),
        ("d", 0o555, 0, 1, b""),
        ("d/b", 0o555, 0, 1, b"both"),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([Entry(path="dev/null", kind=Kind.CHARACTER, device=(1, 3))], "'dev/null' is a character device"),
        ([Entry(path="f", kind=Kind.FIFO)], "'f' is a fifo"),
        ([Entry(path="l", kind=Kind.HARDLINK, target="gone")], "hard link to 'gone'"),
        ([tree.file("a", b""), tree.file("a/b", b"")], "lies below 'a'"),
    ],
)
def test_what_no_archive_can_hold_is_refused(files: list[Entry], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        nar_of(Tree(files))


def test_a_content_that_changed_is_noticed() -> None:
    class Other:
        size = 4

        def open(self) -> BinaryIO:
            return io.BytesIO(b"five!")

    with pytest.raises(RamekinError, match="has 5 bytes where 4 were expected"):
        nar_of(Tree([Entry(path="a", kind=Kind.FILE, content=Other())]))


# --- hostile archives ------------------------------------------------------------------------------------


def s(text: bytes, *, padding: bytes | None = None) -> bytes:
    return len(text).to_bytes(8, "little") + text + (bytes(-len(text) & 7) if padding is None else padding)


def node(*words: bytes) -> bytes:
    return b"".join([s(b"("), s(b"type"), *words, s(b")")])


def entry(name: bytes, inner: bytes) -> bytes:
    return b"".join([s(b"entry"), s(b"("), s(b"name"), s(name), s(b"node"), inner, s(b")")])


def folder(*entries: bytes) -> bytes:
    return node(s(b"directory"), *entries)


def archive(inner: bytes) -> bytes:
    return s(b"nix-archive-1") + inner


FILE = node(s(b"regular"), s(b"contents"), s(b"x"))
CONTENTS = s(b"(") + s(b"type") + s(b"regular") + s(b"contents")
NAME = s(b"(") + s(b"type") + s(b"directory") + s(b"entry") + s(b"(") + s(b"name")
LINK = node(s(b"symlink"), s(b"target"), s(b"x"))


def test_the_pieces_below_make_good_archives() -> None:
    found = read(archive(folder(entry(b"a", FILE), entry(b"b", folder(entry(b"c", LINK))))))
    assert list(found) == ["", "a", "b", "b/c"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated at the start"),
        (b"not an archive at all, of any kind that there is", "at the start"),
        (s(b"nix-archive-2") + FILE, "at the start"),
        (archive(folder(entry(b"", FILE))), "a name below 'the root' is empty"),
        (archive(folder(entry(b".", FILE))), "'.' below 'the root' is not the name of a file"),
        (archive(folder(entry(b"..", FILE))), "'..' below 'the root' is not the name of a file"),
        (archive(folder(entry(b"a/b", FILE))), "'a/b' below 'the root' is not the name"),
        (archive(folder(entry(b"/etc", FILE))), "'/etc' below"),
        (archive(folder(entry(b"d", folder(entry(b"../x", FILE))))), "'../x' below 'd/'"),
        (archive(folder(entry(b"a\0b", FILE))), "is not text"),
        (archive(folder(entry(b"a" * 256, FILE))), "has 256 bytes, more than 255"),
        (archive(folder(entry(b"a", FILE), entry(b"a", FILE))), "entry 'a' is there twice"),
        (archive(folder(entry(b"a", FILE), entry(b"a", folder()))), "entry 'a' is there twice"),
        (archive(folder(entry(b"b", FILE), entry(b"a", FILE))), "entry 'a' is not in order"),
        (archive(folder(entry(b"d", folder(entry(b"b", FILE), entry(b"a", FILE))))), "'d/a' is not in order"),
        (archive(node(s(b"symlink"), s(b"target"), s(b""))), "the target of entry '' is empty"),
        (archive(node(s(b"symlink"), s(b"target"), s(b"a\0b"))), "is not text"),
        (archive(node(s(b"symlink"), s(b"target"), s(b"a" * 4097))), "has 4097 bytes, more than 4096"),
        (archive(node(s(b"block"), s(b"contents"), s(b"x"))), "where entry '' should say what it is"),
        (archive(node(s(b"regular"), s(b"contents"), s(b"x"), s(b"contents"), s(b"y"))), "after entry ''"),
        (archive(node(s(b"regular"), s(b"executable"), s(b"x"), s(b"contents"), s(b"y"))), "should say what"),
        (archive(node(s(b"regular"), s(b"contents"), s(b"x"), s(b"executable"), s(b""))), "after entry ''"),
        (archive(node(s(b"regular"))), "should say what it is"),
        (archive(node(s(b"regular"), s(b"contents"), s(b"x", padding=b"\1" + bytes(6)))), "is not zeros"),
        (archive(folder(entry(b"a", FILE).replace(s(b"a"), s(b"a", padding=b"\1" * 7)))), "is not zeros"),
        (archive(FILE) + b"\0", "bytes after the end"),
        (archive(FILE) + archive(FILE), "bytes after the end"),
        (archive(CONTENTS + b"\xff" * 8), "truncated within entry"),
        (archive(CONTENTS + b"\0\0\0\0\0\0\0\x40abc"), "truncated"),
        (archive(NAME + b"\xff" * 8), "bytes, more than 255"),
    ],
)  # fmt: skip
def test_anything_but_the_one_form_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(data)
    assert message in caught.value.message
    assert caught.value.message.startswith("x.nar: ")


def test_an_archive_that_ends_early_is_called_truncated() -> None:
    data = archive(folder(entry(b"a", FILE), entry(b"b", folder(entry(b"c", LINK))), entry(b"d", FILE)))
    for end in range(len(data)):
        with pytest.raises(FormatError, match="truncated"):
            read(data[:end])


@settings(max_examples=150, deadline=None)
@given(_TREES, st.data())
def test_damage_is_refused_or_makes_another_archive(files: Tree, data: st.DataObject) -> None:
    good = nar_of(files)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        found = read(bad)
    except FormatError:
        return
    assert nar_of(found) == bad


def test_what_is_too_much_is_refused() -> None:
    many = archive(folder(*(entry(b"%04d" % number, FILE) for number in range(50))))
    with pytest.raises(FormatError, match="more than 40 entries"):
        read(many, limits=Limits(entries=40))
    with pytest.raises(FormatError, match="more than 1000 bytes"):
        read(many, limits=Limits(total=1000))
    with pytest.raises(FormatError, match="too long a path"):
        read(many, limits=Limits(metadata=100))


def test_folders_are_as_deep_as_a_path_is_long_and_no_deeper() -> None:
    def deep(levels: int) -> bytes:
        opened = (
            s(b"(") + s(b"type") + s(b"directory") + s(b"entry") + s(b"(") + s(b"name") + s(b"a") + s(b"node")
        )
        return archive(opened * levels + FILE + (s(b")") * 2) * levels)

    assert len(read(deep(1500))) == 1501
    with pytest.raises(FormatError, match="too long a path"):
        read(deep(3000))


def test_memory_is_bounded_whatever_the_size_of_a_file(tmp_path: Path) -> None:
    size = 96 << 20
    head = archive(CONTENTS)
    file = tmp_path / "large.nar"
    with file.open("wb") as stream:
        stream.write(head + size.to_bytes(8, "little"))
        stream.seek(size, os.SEEK_CUR)
        stream.write(s(b")"))
    tracemalloc.start()
    try:
        with file.open("rb") as stream:
            found = nar.read(stream, where="large.nar", file=file)
        assert found[""].size == size
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
