"""Layers on one another: by the rules of image-spec, and as the kernel's overlay file system stacks them."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from handmade import image_of, member, raw_tar, read, stacked, tar_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.analyze.stack import DELETED, OVERWRITTEN, REPEATED, TOUCHED, Count, Stack, stack
from ramekin.errors import FormatError
from ramekin.image.tree import Entry, Inline, Kind, Tree, directory, file, symlink
from ramekin.store.store import Store

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


def hardlink(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.HARDLINK, target=target)


def test_what_layers_add_change_and_delete_is_told(store: Store) -> None:
    lower = tar_of([file("a", b"1" * 10), file("b", b"2" * 20), file("d/x", b"3" * 30), file("keep", b"4")])
    upper = tar_of(
        [file("a", b"5" * 15), file(f"{WHITEOUT}b", b""), file(f"d/{OPAQUE}", b""), file("d/z", b"6" * 5)]
    )
    found = stacked(store, lower, upper)
    assert list(found.files) == ["a", "d", "d/z", "keep"]
    assert found.size == 15 + 5 + 1
    first, second = found.layers
    assert (first.added, first.size, first.lost) == (Count(4, 61), 61, 60)
    assert second.added == Count(1, 5)
    assert second.changed == Count(1, 15)
    assert second.deleted == Count(2, 50)
    assert {(one.path, one.size, one.layer, one.by, one.how) for one in found.lost} == {
        ("a", 10, 0, 1, OVERWRITTEN),
        ("b", 20, 0, 1, DELETED),
        ("d/x", 30, 0, 1, DELETED),
    }


def test_a_change_of_mode_alone_loses_the_lower_copy(store: Store) -> None:
    found = stacked(store, tar_of([file("a", b"same")]), tar_of([file("a", b"same", mode=0o755)]))
    assert [(one.how, one.size) for one in found.lost] == [(TOUCHED, 4)]


def test_bytes_under_two_names_are_lost_with_the_last_of_them(store: Store) -> None:
    lower = tar_of([file("a", b"1" * 100), hardlink("b", "a")])
    one_gone = tar_of([file(f"{WHITEOUT}a", b"")])
    both_gone = tar_of([file(f"{WHITEOUT}b", b"")])
    assert stacked(store, lower).size == 100
    after = stacked(store, lower, one_gone)
    assert (after.size, after.lost, after.files["b"].content.path) == (100, (), "a")
    assert stacked(store, lower, one_gone, both_gone).size == 0


def test_a_layer_that_has_a_path_twice_keeps_the_last(store: Store) -> None:
    found = stacked(store, raw_tar(member("a", b"first"), member("b", b"x"), member("a", b"second!")))
    assert found.files["a"].size == 7
    assert [(one.size, one.how) for one in found.lost] == [(5, REPEATED)]


def test_a_name_that_is_replaced_leaves_the_content_to_its_other_names(store: Store) -> None:
    found = stacked(
        store, raw_tar(member("a", b"old"), member("b", kind=b"1", link="a"), member("a", b"newer"))
    )
    assert (found.files["a"].size, found.files["b"].size, found.size) == (5, 3, 8)


def test_a_whiteout_acts_on_lower_layers_only(store: Store) -> None:
    lower = tar_of([file("d/old", b"old")])
    upper = raw_tar(member("d/new", b"new"), member(f"{WHITEOUT}d"), member("d/newer", b"newer"))
    assert list(stacked(store, lower, upper).files) == ["d", "d/new", "d/newer"]


def test_a_hard_link_may_lead_to_a_lower_layer(store: Store) -> None:
    link = raw_tar(member("b", kind=b"1", link="a"))
    assert stacked(store, tar_of([file("a", b"x")]), link).files["b"].content.path == "a"
    with pytest.raises(FormatError, match="hard link to 'a', which is no file"):
        stacked(store, link)


def test_paths_are_followed_through_links_within_the_image(store: Store) -> None:
    found = stacked(
        store,
        tar_of(
            [
                file("usr/lib/x/real", b""),
                symlink("lib", "usr/lib"),
                symlink("usr/lib/alias", "../../../../usr/./lib/x"),
                symlink("loop", "loop"),
                symlink("far", "/lib/alias/real"),
            ]
        ),
    )
    assert found.resolve("far") == "usr/lib/x/real"
    assert found.resolve("lib/alias") == "usr/lib/x"
    assert found.resolve("loop/a") is None
    assert found.resolve("lib/nothing") is None


def test_efficiency_is_the_score_of_dive(store: Store) -> None:
    # by path: a 10 + 30 of which 10 had to be, b 40, gone 20 of which nothing had to be
    lower = tar_of([file("a", b"1" * 10), file("b", b"2" * 40), file("gone", b"3" * 20)])
    upper = tar_of([file("a", b"4" * 30), file(f"{WHITEOUT}gone", b"")])
    assert stacked(store, lower, upper).efficiency == pytest.approx((10 + 40) / (40 + 40 + 20))


def test_folders_a_thousand_deep_are_no_matter(store: Store) -> None:
    deep = "/".join(["d"] * 1500)
    found = stacked(store, tar_of([file(deep, b"x")]), tar_of([file(f"{WHITEOUT}d", b"")]))
    assert (len(found.files), found.size) == (0, 0)


# --- against the kernel -----------------------------------------------------------------------------------

NAMES = ["a", "b", "c", b"\xff\xfe".decode("utf-8", "surrogateescape")]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)


@st.composite
def layer_entries(draw: st.DrawFn, below: Stack | None) -> Tree:
    """A layer whose folders all have entries, with whiteouts of what is below it."""
    found: dict[str, Entry] = {}
    for path in draw(st.lists(paths, max_size=6)):
        parts = path.split("/")
        parents = ["/".join(parts[:n]) for n in range(1, len(parts))]
        if path in found or any(found.get(p, directory(p)).kind is not Kind.DIRECTORY for p in parents):
            continue
        for parent in parents:
            found.setdefault(parent, directory(parent, mode=draw(st.sampled_from([0o755, 0o700]))))
        kind = draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK]))
        mode, owner = draw(st.sampled_from([0o644, 0o755, 0o4755])), draw(st.sampled_from([0, 1000]))
        files = [one.path for one in found.values() if one.kind is Kind.FILE]
        if kind is Kind.HARDLINK and files:
            found[path] = hardlink(path, draw(st.sampled_from(files)))
        elif kind is Kind.DIRECTORY:
            found[path] = directory(path, mode=draw(st.sampled_from([0o755, 0o1777])), uid=owner)
        elif kind is Kind.SYMLINK:
            found[path] = symlink(path, draw(st.sampled_from(["a", "../b", "/c"])))
        else:
            content = Inline(draw(st.binary(max_size=8)))
            xattrs = draw(st.sampled_from([(), (("user.x", b"1"),)]))
            found[path] = Entry(
                path=path, kind=Kind.FILE, mode=mode, uid=owner, content=content, xattrs=xattrs
            )
    marks = {}
    for path in (
        draw(st.lists(st.sampled_from(sorted(below.files)), max_size=3)) if below and below.files else ()
    ):
        folder, _, name = path.rpartition("/")
        parts = folder.split("/") if folder else []
        parents = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        if any(found.get(p, directory(p)).kind is not Kind.DIRECTORY for p in parents):
            continue
        for parent in parents:
            # engines make the folders on the way as they are below
            found.setdefault(
                parent,
                replace(
                    directory(parent), mode=below.files[parent].file.mode, uid=below.files[parent].file.uid
                )
                if below
                else directory(parent),
            )
        mark = f"{folder}/{WHITEOUT}{name}" if folder else WHITEOUT + name
        marks[mark] = file(mark, b"")
    for path, entry in found.items():
        if entry.kind is Kind.DIRECTORY and draw(st.integers(0, 5)) == 0:
            marks[f"{path}/{OPAQUE}"] = file(f"{path}/{OPAQUE}", b"")
    return Tree([*found.values(), *marks.values()])


def lay_for_overlay(layer: Tree, root: Path) -> None:
    """A layer as the overlay file system keeps it: whiteouts are devices 0:0, opaque folders an attribute."""
    from ramekin.image.layer import unpack

    marks = sorted(path for path in layer if path.rpartition("/")[2].startswith(WHITEOUT))
    unpack(layer.without(lambda entry: entry.path in marks), root, owners=True)
    opaque = {path.rpartition("/")[0] for path in marks if path.endswith(f"/{OPAQUE}")}
    for mark in marks:
        folder, _, name = mark.rpartition("/")
        victim = root / folder / name[len(WHITEOUT) :]
        if name != OPAQUE and victim.is_dir() and not victim.is_symlink():
            opaque.add(f"{folder}/{victim.name}" if folder else victim.name)
    for folder in opaque:
        os.setxattr(root / folder, "trusted.overlay.opaque", b"y")
    for mark in marks:
        folder, _, name = mark.rpartition("/")
        victim = root / folder / name[len(WHITEOUT) :]
        # a folder that hides what is below needs no marks in it, and the kernel would list them
        hidden = any(folder == one or folder.startswith(f"{one}/") for one in opaque)
        if name != OPAQUE and not hidden and not victim.is_symlink() and not victim.exists():
            os.mknod(victim, stat.S_IFCHR, os.makedev(0, 0))


_SPECIAL = {
    stat.S_IFIFO: str(Kind.FIFO),
    stat.S_IFCHR: str(Kind.CHARACTER),
    stat.S_IFBLK: str(Kind.BLOCK),
}


def facts_of_folder(root: Path) -> dict[str, Any]:
    """Every path below `root`: a link's text; or mode and owner of a folder; or kind, mode, owner and number
    of a pipe or device; or digest, mode, owner, attributes and the first name of a file.
    """
    found: dict[str, Any] = {}
    inodes: dict[int, str] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        place = str(path.relative_to(root))
        mode = stat.S_IMODE(status.st_mode)
        if path.is_symlink():
            found[place] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[place] = ("folder", mode, status.st_uid)
        elif not path.is_file():
            number = (os.major(status.st_rdev), os.minor(status.st_rdev))
            found[place] = (_SPECIAL[stat.S_IFMT(status.st_mode)], mode, status.st_uid, number)
        else:
            names = [name for name in sorted(os.listxattr(path)) if not name.startswith("trusted.")]
            xattrs = tuple((name, os.getxattr(path, name)) for name in names)
            first = inodes.setdefault(status.st_ino, place) if status.st_nlink > 1 else place
            digest = hashlib.sha256(path.read_bytes()).digest()
            found[place] = (digest, mode, status.st_uid, xattrs, first)
    return found


def facts_of_stack(found: Stack) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    names: dict[int, list[str]] = {}
    for path, placed in found.files.items():
        if placed.inode is not None:
            names.setdefault(id(placed.inode), []).append(path)
    for path, placed in found.files.items():
        content = placed.content
        if not path:
            # the root is there always, whether layers have it or not
            continue
        if content.kind is Kind.SYMLINK:
            facts[path] = ("link", content.target)
        elif content.kind is Kind.DIRECTORY:
            facts[path] = ("folder", content.mode, content.uid)
        elif content.kind is not Kind.FILE:
            facts[path] = (str(content.kind), content.mode, content.uid, content.device)
        else:
            facts[path] = (content.digest, content.mode, content.uid, content.xattrs, names[id(placed.inode)])
    return facts


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    groups: dict[str, set[str]] = {}
    for path, fact in theirs.items():
        if isinstance(fact[0], bytes):
            groups.setdefault(fact[4], set()).add(path)
    for path, fact in ours.items():
        if isinstance(fact[0], bytes):
            assert fact[:4] == theirs[path][:4], path
            assert set(fact[4]) == groups[theirs[path][4]], path
        else:
            assert fact == theirs[path], path


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder on a file system that overlays can stand on."""
    if os.geteuid() != 0:
        pytest.skip("overlays are mounted by root")
    folder = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), count=st.integers(2, 4))
def test_stacks_are_as_the_kernel_overlays_them(
    disk: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int
) -> None:
    folder = disk / os.urandom(6).hex()
    store = Store.at(folder / "store")
    tars: list[bytes] = []
    below: Stack | None = None
    for number in range(count):
        layer = data.draw(layer_entries(below))
        root = folder / f"l{number}"
        root.mkdir(parents=True)
        lay_for_overlay(layer, root)
        tars.append(tar_of(layer.entries()))
        below = stack(read(store, image_of(store, tars, compress=False)))
    merged = folder / "merged"
    merged.mkdir()
    lower = ":".join(str(folder / f"l{number}") for number in reversed(range(count)))
    done = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower}", str(merged)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"no overlay can be mounted here: {done.stderr}")
    try:
        assert below is not None
        assert_same(facts_of_stack(below), facts_of_folder(merged))
    finally:
        subprocess.run(["umount", str(merged)], check=True)
        subprocess.run(["rm", "-rf", str(folder)], check=True)
