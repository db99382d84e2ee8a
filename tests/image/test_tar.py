"""Trees and tar are two forms of the same, and no archive does harm."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import re
import struct
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import trees

from ramekin.errors import FormatError, RamekinError
from ramekin.image import tar
from ramekin.image.tar.writing import _Pieces
from ramekin.image.tree import Entry, Inline, Kind, Span, Tree, directory, file, symlink


def written(tree: Tree) -> bytes:
    parts: list[bytes] = []
    tar.write(tree, parts.append)
    return b"".join(parts)


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


def read(data: bytes, spool: Path, **options: object) -> list[Entry]:
    return list(tar.read(io.BytesIO(data), where="x.tar", spool=spool, **options))  # type: ignore[arg-type]


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.HARDLINK, target=target)


def same(one: Entry, other: Entry) -> bool:
    """Equal, with their bytes in place of where these are."""
    return replace(one, content=None) == replace(other, content=None) and one.read() == other.read()


def header(
    name: bytes = b"a",
    kind: bytes = b"0",
    size: bytes | int = 0,
    *,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    mtime: bytes = b"0" * 11,
    uid: bytes = b"0" * 7,
    mode: bytes = b"0000644",
) -> bytes:
    """A hand-made header."""
    number = size if isinstance(size, bytes) else b"%011o" % size
    fields = struct.pack(
        "100s8s8s8s12s12s8s1s100s8s64s16s155s12x",
        name, mode, uid, b"0" * 7, number, mtime, b" " * 8, kind, link, magic, b"", b"", prefix,
    )  # fmt: skip
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def extended(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", kind, len(records)) + padded(records)


def record(key: bytes, value: bytes) -> bytes:
    for length in range(1, 100_000_000):
        line = b"%d %b=%b\n" % (length, key, value)
        if len(line) == length:
            return line
        if len(line) > length + 10:
            continue
    raise AssertionError


END = bytes(1024)
UTF8 = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}


# --- trees to tar and back -------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(trees())
def test_what_is_written_is_read_again(spool: Path, tree: Tree) -> None:
    found = Tree(read(written(tree), spool))
    expected = tar.canonical(tree)
    assert list(found) == list(expected)
    for path in expected:
        assert same(found[path], expected[path])
    assert written(found) == written(tree)


@settings(max_examples=60, deadline=None)
@given(trees(special=False))
def test_other_programs_read_the_same(spool: Path, tree: Tree) -> None:
    data = written(tree)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        members = archive.getmembers()
        expected = list(tar.canonical(tree).entries())
        assert [member.name for member in members] == [entry.path for entry in expected]
        for member, entry in zip(members, expected, strict=True):
            assert member.mode == entry.mode
            assert (member.uid, member.gid, int(member.mtime)) == (entry.uid, entry.gid, entry.mtime)
            if entry.kind is Kind.FILE:
                stream = archive.extractfile(member)
                assert stream is not None
                assert stream.read() == entry.read()
            elif entry.kind is Kind.SYMLINK:
                assert member.issym()
                assert member.linkname == entry.target
            elif entry.kind is Kind.HARDLINK:
                assert member.islnk()
                assert member.linkname == entry.target
    listed = subprocess.run(
        ["tar", "--quoting-style=escape", "-tf", "-"],
        input=data,
        capture_output=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert len(listed.stdout.splitlines()) == len(expected)
    assert listed.returncode == 0, listed.stderr


@settings(max_examples=100, deadline=None)
@given(trees(), st.randoms(use_true_random=False))
def test_a_tree_has_one_tar_whatever_order_it_came_in(tree: Tree, random: object) -> None:
    entries = list(tree.entries())
    random.shuffle(entries)  # type: ignore[attr-defined]
    assert written(Tree(entries)) == written(tree)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_gnu_tar_extracts_what_the_tree_says(tmp_path: Path) -> None:
    name = "ü/" + "l" * 120 + "/" + "n" * 90
    tree = Tree(
        [
            directory("d", mode=0o1777, mtime=5),
            file("d/set-user-id", b"hello", mode=0o4755, uid=3, gid=4, mtime=77),
            link("d/0-link", "d/set-user-id"),
            symlink("d/s", "../x"),
            file(name, b"1" * 3000),
            replace(file("x", b"q"), xattrs=(("user.foo", b"bar\0\n=x"),)),
            Entry(path="null", kind=Kind.CHARACTER, device=(1, 3), mode=0o666),
            Entry(path="fifo", kind=Kind.FIFO),
        ]
    ).with_parents()
    subprocess.run(
        ["tar", "--xattrs", "-C", tmp_path, "-xpf", "-"],
        input=written(tree),
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    found = (tmp_path / "d/set-user-id").stat()
    assert (found.st_mode, found.st_uid, found.st_gid, found.st_mtime) == (0o104755, 3, 4, 77)
    assert (tmp_path / "d/0-link").stat().st_ino == found.st_ino
    assert (tmp_path / name).read_bytes() == b"1" * 3000
    assert os.getxattr(tmp_path / "x", "user.foo") == b"bar\0\n=x"
    assert (tmp_path / "null").stat().st_rdev == os.makedev(1, 3)
    assert (tmp_path / "d/s").readlink() == Path("../x")
    assert (tmp_path / "d").stat().st_mode == 0o041777


def test_the_bytes_of_a_tar_do_not_change_between_versions() -> None:
    tree = Tree(
        [
            directory("etc", mtime=1_700_000_000),
            file("etc/ü", b"x" * 600, mode=0o640, uid=2**31, gid=65534, mtime=1_700_000_000),
            link("etc/link", "etc/ü"),
            symlink("s", "t" * 120),
            replace(file("cap", b""), xattrs=(("security.capability", b"\1\0\0\2"),)),
            Entry(path="null", kind=Kind.CHARACTER, device=(1, 3), mode=0o666),
            file("p" * 90 + "/" + "q" * 90, b"y", mtime=-1),
        ]
    )
    assert hashlib.sha256(written(tree)).hexdigest() == (
        "339364bc5161cf345f1e424be8bda6b6383ddb19326ee4fe9abcd4cd50ff4d66"
    )


def test_the_first_name_of_a_file_holds_its_bytes() -> None:
    tree = Tree(
        [
            replace(file("m", b"x", mode=0o600, uid=7), xattrs=(("user.a", b"1"),)),
            link("a", "z"),
            link("z", "m"),
        ]
    )
    found = tar.canonical(tree)
    assert found["a"].read() == b"x"
    assert [found[path].target for path in ("m", "z")] == ["a", "a"]
    assert {(entry.mode, entry.uid) for entry in found.entries()} == {(0o600, 7)}
    assert found["m"].xattrs == ()


@pytest.mark.parametrize(
    "entries",
    [[link("a", "b")], [link("a", "a")], [link("a", "b"), link("b", "a")], [directory("b"), link("a", "b")]],
)
def test_a_link_that_leads_to_no_file_cannot_be_written(entries: list[Entry]) -> None:
    with pytest.raises(FormatError, match=r"'[ab]' is a hard link"):
        written(Tree(entries))


@pytest.mark.parametrize("size", [3, 400_000, 3_000_000])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_content_that_is_not_as_long_as_it_said_is_an_error(tmp_path: Path, size: int, change: int) -> None:
    class Wrong(Inline):
        @property
        def size(self) -> int:
            return size

        def open(self) -> io.BytesIO:
            return io.BytesIO(bytes(size + change))

    class Other:
        def __init__(self) -> None:
            self.size = size

        def open(self) -> io.BytesIO:
            return io.BytesIO(bytes(size + change))

    with pytest.raises(RamekinError, match="'f' has"):
        written(Tree([Entry(path="f", kind=Kind.FILE, content=Other())]))  # type: ignore[arg-type]
    if change < 0:
        (tmp_path / "f").write_bytes(bytes(size + change))
        with pytest.raises(RamekinError, match="'f' has"):
            written(Tree([Entry(path="f", kind=Kind.FILE, content=Span(tmp_path / "f", 0, size))]))


def test_an_attribute_that_tar_cannot_hold_is_refused() -> None:
    with pytest.raises(FormatError, match=r"'a' has the attribute 'user\.b=c'"):
        written(Tree([replace(file("a", b""), xattrs=(("user.b=c", b""),))]))


def test_sizes_beyond_eight_gib_are_extended() -> None:
    class Huge:
        size = 9 << 30

        def open(self) -> io.BytesIO:
            raise AssertionError

    head = _Pieces().head(Entry(path="huge", kind=Kind.FILE, content=Huge()))  # type: ignore[arg-type]
    assert b" size=9663676416\n" in head
    member = tarfile.TarFile(fileobj=io.BytesIO(head)).next()
    assert member is not None
    assert member.size == 9 << 30


# --- what other programs write ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_every_form_of_gnu_tar_is_read(tmp_path: Path, spool: Path, form: str) -> None:
    long = "d" * 60 + "/" + "e" * 60 if form not in ("v7",) else "short"
    root = tmp_path / "root"
    (root / long).parent.mkdir(parents=True)
    (root / long).write_bytes(b"hello")
    os.utime(root / long, (1_700_000_000.5, 1_700_000_000.5))
    (root / "link").symlink_to("x" * (90 if form in ("v7", "ustar") else 150))
    (root / "0").hardlink_to(root / long)
    command = ["tar", f"--format={form}", "--sort=name", "-C", root, "-cf", "-", "."]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    found = tar.extract(read(data, spool), where="x.tar")
    assert {path: entry.kind for path, entry in found.items() if entry.kind is not Kind.DIRECTORY} == {
        "0": Kind.FILE,
        long: Kind.HARDLINK,
        "link": Kind.SYMLINK,
    }
    assert found[""].kind is Kind.DIRECTORY
    assert found["0"].read() == b"hello"
    assert found["0"].mtime == 1_700_000_000
    assert len(found["link"].target) >= 90


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_python_is_read(spool: Path, form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        info = tarfile.TarInfo("ä/" + "n" * 300)
        info.size, info.uid, info.mtime = 5, 2**31, 2**34
        archive.addfile(info, io.BytesIO(b"hello"))
        info = tarfile.TarInfo("dev")
        info.type, info.devmajor, info.devminor = tarfile.BLKTYPE, 8, 1
        archive.addfile(info)
    first, device = read(out.getvalue(), spool)
    assert (first.path, first.uid, first.mtime) == ("ä/" + "n" * 300, 2**31, 2**34)
    assert first.read() == b"hello"
    assert (device.kind, device.device) == (Kind.BLOCK, (8, 1))


def test_global_records_hold_until_the_end_and_local_ones_for_one_entry(spool: Path) -> None:
    data = (
        extended(record(b"mtime", b"7.9") + record(b"comment", b"x"), b"g")
        + extended(record(b"mtime", b"-1.5") + record(b"path", b"other"))
        + header(b"a")
        + header(b"b")
        + END
    )
    assert [(entry.path, entry.mtime) for entry in read(data, spool)] == [("other", -2), ("b", 7)]


def test_numbers_in_base_256_are_read(spool: Path) -> None:
    data = header(mtime=b"\xff" * 11 + b"\xfe", uid=b"\x80\0\0\0\x80\0\0\0") + END
    assert [(entry.mtime, entry.uid) for entry in read(data, spool)] == [(-2, 2**31)]


def test_a_folder_may_be_told_by_its_slash_alone(spool: Path) -> None:
    assert read(header(b"a/", b"\0", magic=b"") + END, spool)[0].kind is Kind.DIRECTORY


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, (1 << 20) - 512, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_contents_may_cross_chunks(spool: Path, size: int) -> None:
    body = os.urandom(size)
    tree = Tree([file("a", body), file("b", body[::-1]), file("c", b"end"), file("long" * 50, b"x")])
    for data in (written(tree), written(tree)[:-1024]):
        found = Tree(read(data, spool))
        assert all(same(found[path], tree[path]) for path in tree)


def test_extended_headers_may_cross_chunks(spool: Path) -> None:
    for before in range((1 << 20) - 4096, (1 << 20) + 512, 512):
        tree = Tree([file("a", bytes(before - 512)), file("b" * 3000, b"x", mtime=-5), file("c", b"y")])
        found = Tree(read(written(tree), spool))
        assert all(same(found[path], tree[path]) for path in tree)


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as pipes and sockets do."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(min(size, 777))


def test_short_reads_are_no_end(spool: Path) -> None:
    tree = Tree([file("a", b"x" * 10_000), file("b", b"y")])
    found = Tree(tar.read(Trickle(written(tree)), where="x", spool=spool))  # type: ignore[arg-type]
    assert all(same(found[path], tree[path]) for path in tree)


# --- odd archives, decided -------------------------------------------------------------------------------


def test_absolute_names_are_below_the_root(spool: Path) -> None:
    assert [entry.path for entry in read(header(b"/etc/passwd") + header(b"//x") + END, spool)] == [
        "etc/passwd",
        "x",
    ]


def test_what_follows_the_end_is_ignored(spool: Path) -> None:
    for rest in (b"garbage", header(b"b"), bytes(10_000)):
        assert [entry.path for entry in read(header() + END + rest, spool)] == ["a"]


def test_an_archive_may_end_without_a_mark(spool: Path) -> None:
    assert [entry.path for entry in read(header(), spool)] == ["a"]
    assert read(b"", spool) == []


def test_the_last_entry_for_a_path_stands(spool: Path) -> None:
    entries = read(header(b"a", size=1) + padded(b"1") + header(b"a", size=1) + padded(b"2") + END, spool)
    assert [entry.read() for entry in entries] == [b"1", b"2"]
    assert tar.extract(entries, where="x")["a"].read() == b"2"


def test_a_file_that_was_archived_twice_is_one(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    command = ["tar", "-C", tmp_path, "-cf", "-", "a", "b", "a", "b"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    found = tar.extract(read(data, spool), where="x")
    assert found["a"].read() == b"hello"
    assert found["b"].target == "a"


def test_a_link_to_a_link_leads_to_the_file(spool: Path) -> None:
    data = header() + header(b"b", b"1", link=b"./a") + header(b"c", b"1", link=b"b") + END
    assert [entry.target for entry in read(data, spool)] == ["", "a", "a"]


def test_a_link_to_a_symbolic_link_is_another(spool: Path) -> None:
    data = header(b"a", b"2", link=b"t") + header(b"b", b"1", link=b"a") + END
    found = read(data, spool)[1]
    assert (found.path, found.kind, found.target) == ("b", Kind.SYMLINK, "t")


def test_a_layer_may_link_to_what_is_below_it(spool: Path) -> None:
    assert read(header(b"a", b"1", link=b"lower/file") + END, spool, closed=False)[0].target == "lower/file"


REFUSED = {
    "leads out": header(b"../a") + END,
    "'a/../../b' leads out": header(b"a/../../b") + END,
    "'../x' leads out": header(b"a", b"1", link=b"../x") + END,
    "'a' is a hard link to 'b', which is no file before it": header(b"a", b"1", link=b"b")
    + header(b"b")
    + END,
    "'b' is a hard link to 'a', which is no file": header(b"a", b"5") + header(b"b", b"1", link=b"a") + END,
    "'a' is a hard link to 'a'": header(b"a", b"1", link=b"a") + END,
    "'a' replaces a file that a hard link": header() + header(b"b", b"1", link=b"a") + header() + END,
    "'a/b' lies below 'a', which is a file": header(b"a/b") + header(b"a") + END,
    "'a/b' lies below 'a', which is a symlink": header(b"a", b"2", link=b"/etc") + header(b"a/b") + END,
    "the root is a symlink": header(b"./", b"2", link=b"/etc") + END,
    "the root is a file": header(b".") + END,
    "without a target": header(b"a", b"2") + END,
    "'a' is sparse": header(b"a", b"S") + END,
    "is sparse, in the form of GNU": extended(record(b"GNU.sparse.major", b"1")) + header() + END,
    "'a' is a volume label": header(b"a", b"V") + END,
    "'a' is of unknown type 'Z'": header(b"a", b"Z") + END,
    "not a tar archive": b"hello" * 200 + bytes(24),
    "wrong checksum": header() + b"hello" * 102 + b"xx" + END,
    "truncated within entry 'a'": header(size=10_000) + bytes(5_120),
    "truncated within entry 'big'": header(b"big", size=10 << 30) + bytes(512),
    "truncated within a header": header() + header(b"b")[:100],
    "truncated within an extended header": header(kind=b"x", size=600) + bytes(512),
    "truncated within a head": extended(record(b"path", b"x")),
    "more than is taken": header(kind=b"x", size=2 << 20) + bytes(2 << 20) + header(),
    "'a' has 137438953472 bytes, more than is taken": header(size=b"\x80" + (128 << 30).to_bytes(11, "big")),
    "name or link text of more than 4096": extended(record(b"path", b"x" * 5000)) + header() + END,
    "an extended header has the malformed record": extended(b"99 path=x\n") + header() + END,
    "the malformed record b'path": extended(b"path=x\n") + header() + END,
    "the malformed record b'5 a=b": extended(b"5 a=b") + header() + END,
    "has the size b'-1'": extended(record(b"size", b"-1")) + header() + END,
    "has the size b'1_0'": extended(record(b"size", b"1_0")) + header() + END,
    "has the mtime b'now'": extended(record(b"mtime", b"now")) + header() + END,
    "leads out of the tree": extended(record(b"path", b"a\0b")) + header() + END,
    "the size b'+10', which is no": header(size=b"+10") + END,
    "the size b'1_0'": header(size=b"1_0") + END,
    "the size -": header(size=b"\xff" * 12) + END,
    "owner 4294967295:0, which no system has": extended(record(b"uid", b"4294967295")) + header() + END,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_broken_and_hostile_archives_are_refused_by_name(tmp_path: Path, reason: str) -> None:
    with pytest.raises(FormatError, match=re.escape(reason)) as caught:
        tar.read_tree(io.BytesIO(REFUSED[reason]), where="x.tar", spool=tmp_path)
    assert caught.value.message.startswith("x.tar: ")
    assert "\n" not in caught.value.message
    del caught
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_limits_bound_what_one_stream_can_cost(spool: Path) -> None:
    many = b"".join(header(b"%d" % number) for number in range(20)) + END
    for limits, reason in [
        (tar.Limits(entries=10), "more than 10 entries"),
        (tar.Limits(total=5000), "more than 5000 bytes"),
        (tar.Limits(metadata=10), "more than 10 bytes of names"),
    ]:
        with pytest.raises(FormatError, match=reason):
            read(many, spool, limits=limits)
    with pytest.raises(FormatError, match="more than 100000 bytes"):
        read(header() + END + bytes(200_000), spool, limits=tar.Limits(total=100_000))


changed = st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=8)), max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    trees(),
    st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=8)), max_size=4),
    st.integers(0),
)
def test_no_change_of_bytes_does_more_than_be_refused(
    spool: Path, tree: Tree, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(written(tree))
    for position, change in changes:
        start = position % len(data)
        data[start : start + len(change)] = change
        # most changes die of the checksum, so put it right
        block = start - start % 512
        head = data[block : block + 512]
        if len(head) == 512 and head[257:262] == b"ustar":
            head[148:156] = b" " * 8
            data[block + 148 : block + 156] = b"%06o\0 " % sum(head)
    del data[len(data) - cut % 700 :]
    try:
        for entry in read(bytes(data), spool):
            assert not entry.path.startswith("/")
            assert ".." not in entry.path.split("/")
    except FormatError as error:
        assert error.message.startswith("x.tar: ")


# --- the spool -------------------------------------------------------------------------------------------


def test_the_spool_lives_as_long_as_the_last_content(tmp_path: Path) -> None:
    tree: Tree | None = Tree(read(written(Tree([file("a", b"1"), file("b", b"2")])), tmp_path))
    assert tree is not None
    assert len(list(tmp_path.iterdir())) == 1
    last: Entry | None = tree["b"]
    tree = None
    gc.collect()
    assert last is not None
    assert last.read() == b"2"
    last = None
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_trees_without_bytes_need_no_spool(tmp_path: Path) -> None:
    entries = read(written(Tree([file("a", b""), directory("b")])), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert entries[0].read() == b""


def test_skipped_contents_cost_no_disk(tmp_path: Path) -> None:
    tree = Tree([file("doc/a", b"x" * 3_000_000), file("doc/b", b"y" * 100), file("lib", b"z" * 2_000_000)])
    entries = read(written(tree), tmp_path, keep=lambda path: not path.startswith("doc/"))
    assert [entry.size for entry in entries] == [3_000_000, 100, 2_000_000]
    assert entries[2].read() == b"z" * 2_000_000
    with pytest.raises(tar.SkippedError):
        entries[0].read()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_100_000


def test_a_link_to_a_skipped_file_asks_for_it(tmp_path: Path) -> None:
    data = written(Tree([file("a", b"x"), link("b", "a"), link("c", "b")]))
    with pytest.raises(tar.SkippedError, match="'b'"):
        read(data, tmp_path, keep=lambda path: path == "b")
    assert len(read(data, tmp_path, keep=lambda _: False)) == 3


def test_a_spool_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RamekinError, match="cannot write temporary files in"):
        read(written(Tree([file("a", b"x")])), tmp_path / "missing")
