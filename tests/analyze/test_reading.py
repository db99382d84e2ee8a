"""Images are read from any place, each layer once, and as other programs read them."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from handmade import Counting, described, image_of, member, raw_tar, read, tar_of, with_blobs
from support import samples
from support.containers import need
from test_stack import assert_same, facts_of_folder, facts_of_stack

from ramekin.analyze import reading, storing
from ramekin.analyze.stack import stack
from ramekin.errors import NotFoundError
from ramekin.image import oci, tar
from ramekin.image.oci import Config, Manifest, RootFS
from ramekin.image.reference import parse
from ramekin.image.tree import Entry, Inline, Kind, Tree, directory, file, symlink
from ramekin.store.store import Store

ODD = Tree(
    [
        directory("srv", mode=0o1777, uid=1000, gid=100),
        file("srv/ä日本", b"utf-8", mode=0o4755),
        file(b"srv/\xff\xfe".decode("utf-8", "surrogateescape"), b"not utf-8"),
        file("srv/" + "x" * 200 + "/" + "y" * 200, b"long"),
        symlink("srv/link", "/somewhere/" + "z" * 300),
        Entry(path="srv/hard", kind=Kind.HARDLINK, target="srv/ä日本"),
        Entry(path="srv/pipe", kind=Kind.FIFO, mode=0o600),
        Entry(path="srv/null", kind=Kind.CHARACTER, device=(1, 3)),
        Entry(
            path="srv/able",
            kind=Kind.FILE,
            content=Inline(b"x"),
            xattrs=(("security.capability", b"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), ("user.ü", b"1")),
        ),
    ]
).with_parents()


def test_odd_files_are_told_as_they_are_and_come_back_from_the_store(store: Store) -> None:
    image = image_of(store, [tar_of(ODD.entries())])
    found, canonical = read(store, image).layers[0], tar.canonical(ODD)
    assert [one.path for one in found.files] == list(ODD)
    for one in found.files:
        entry = canonical[one.path]
        assert (one.kind, one.mode, one.uid, one.gid, one.target) == (
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.target,
        )
        assert (one.size, one.xattrs, one.device) == (entry.size, entry.xattrs, entry.device)
    assert storing.decode(storing.encode(found)) == found
    assert read(store, image).layers[0] == found


def test_a_layer_that_is_known_is_not_opened_again(store: Store) -> None:
    base, one, other = (tar_of([file(name, name.encode())]) for name in ("base", "one", "other"))
    blobs = Counting(store)
    reading.read(with_blobs(image_of(store, [base, one]), blobs), store, name="one")
    assert blobs.opened.count(oci.LAYER_GZIP) == 2
    blobs.opened.clear()
    reading.read(with_blobs(image_of(store, [base, other]), blobs), store, name="other")
    assert blobs.opened.count(oci.LAYER_GZIP) == 1
    blobs.opened.clear()
    reading.outline(with_blobs(image_of(store, [base, other]), blobs), name="other")
    assert set(blobs.opened) == {oci.MANIFEST, oci.CONFIG}


@pytest.mark.parametrize("media_type", [oci.LAYER, oci.LAYER_GZIP, oci.LAYER_ZSTD, oci.DOCKER_LAYER_GZIP])
def test_every_compression_is_read(media_type: str, store: Store) -> None:
    plain = tar_of(ODD.entries())
    data = plain
    if "gzip" in media_type:
        half = len(plain) // 2
        data = gzip.compress(plain[:half]) + gzip.compress(plain[half:])
    elif "zstd" in media_type:
        data = zstandard.compress(plain)
    blob = samples.keep(store, data, media_type)
    docker = "docker" in media_type
    diff_id = samples.keep(store, plain, oci.LAYER).digest
    config = oci.encode(Config(architecture="amd64", os="linux", rootfs=RootFS("layers", (diff_id,))))
    manifest = Manifest(
        schema_version=2,
        media_type=oci.DOCKER_MANIFEST if docker else oci.MANIFEST,
        config=samples.keep(store, config, oci.DOCKER_CONFIG if docker else oci.CONFIG),
        layers=(blob,),
    )
    found = reading.read(samples.of_manifest(store, manifest), store, name="it")
    assert [one.path for one in found.layers[0].files] == list(ODD)


def test_an_index_gives_the_platform_that_is_asked_for(store: Store) -> None:
    images = [
        samples.image(store, platform=one, cmd=(one.architecture,)) for one in (samples.AMD64, samples.ARM64)
    ]
    index = samples.index(store, images)
    for platform in (samples.AMD64, samples.ARM64):
        told = reading.outline(index, name="it", platform=platform)
        assert told.config.architecture == platform.architecture
        assert told.root.digest == images[platform is samples.ARM64].root.digest


def test_fields_that_are_null_are_as_if_they_were_absent(store: Store) -> None:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": None,
        "author": None,
        "config": {"User": None, "Cmd": None, "Labels": None, "Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": None},
        "history": None,
    }
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=samples.keep(store, json.dumps(config).encode(), oci.CONFIG),
    )
    told = reading.outline(samples.of_manifest(store, manifest), name="it")
    assert (told.diff_ids, told.config.history, told.commands) == ((), (), ())
    assert told.config.config is not None
    assert told.config.config.env == ("A=b",)


def test_a_foreign_layer_that_no_one_serves_is_absent_and_the_rest_is_read(store: Store) -> None:
    image = image_of(store, [tar_of([file("a", b"x")]), tar_of([file("b", b"y")])])
    manifest = image.manifest()
    gone = Store.at(store.location + "-elsewhere")
    foreign = samples.keep(gone, b"not here", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    foreign = described(foreign, urls=("https://vendor.example/layer",))
    layers = (foreign, manifest.layers[1])
    changed = samples.of_manifest(store, described(manifest, layers=layers))  # type: ignore[arg-type]
    found = reading.read(changed, store, name="it")
    assert found.layers[0].absent
    assert list(stack(found).files) == ["b"]
    lost = described(foreign, urls=())
    broken = samples.of_manifest(store, described(manifest, layers=(lost, layers[1])))  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        reading.read(broken, store, name="it")


def test_empty_layers_are_layers(store: Store) -> None:
    found = read(store, image_of(store, [b"", bytes(1024), tar_of([])]))
    assert [layer.files for layer in found.layers] == [(), (), ()]


def test_what_whole_files_tell_is_kept_with_the_layer(store: Store) -> None:
    python = Path("/proc/self/exe").resolve().read_bytes()
    big = python + bytes((20 << 20) - len(python)) if len(python) < 20 << 20 else python
    tars = [
        tar_of([file("bin/python", python, mode=0o755), file("bin/big", big), file("etc/passwd", b"root:x")])
    ]
    layer = read(store, image_of(store, tars, compress=False)).layers[0]
    assert layer.traits["bin/python"]["elf"]["kind"] == "program"
    assert layer.traits["bin/python"]["elf"]["needed"]
    assert layer.traits["bin/big"]["elf"] == layer.traits["bin/python"]["elf"]
    assert layer.kept == {"etc/passwd": b"root:x"}


# --- as other programs read and make them -----------------------------------------------------------------


def sparse_tar(folder: Path) -> bytes:
    with (folder / "sparse").open("wb") as file_:
        file_.seek(1 << 20)
        file_.write(b"end")
    return subprocess.check_output(["tar", "-C", str(folder), "-cSf", "-", "--format=posix", "sparse"])


@pytest.mark.runtime
def test_the_merged_tree_is_what_umoci_unpacks(tmp_path: Path, store: Store) -> None:
    need("umoci")
    if os.geteuid() != 0:
        pytest.skip("owners are set by root")
    from ramekin.image import transports

    # umoci writes no names that are not UTF-8 into its own listing; devices and pipes are compared elsewhere
    plain = [e for e in ODD.entries() if e.kind not in (Kind.FIFO, Kind.CHARACTER) and "\udcff" not in e.path]
    lower = tar_of(
        [*plain, *Tree([file("d/a", b"1"), file("d/b", b"2"), file("gone", b"3")]).with_parents().entries()]
    )
    upper = raw_tar(
        member("d", kind=tarfile.DIRTYPE),
        member("d/.wh..wh..opq"),
        member("d/c", b"new"),
        member("d/e", kind=tarfile.LNKTYPE, link="d/c"),
        member(".wh.gone"),
        member("srv/.wh.link"),
    )
    image = image_of(store, [lower, upper, sparse_tar(tmp_path)])
    transports.write(image, parse(f"oci:{tmp_path}/layout:it"))
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path}/layout:it", str(tmp_path / "bundle")],
        check=True,
        capture_output=True,
    )
    found = stack(reading.open_image(parse(f"oci:{tmp_path}/layout:it"), store))
    assert_same(facts_of_stack(found), facts_of_folder(tmp_path / "bundle" / "rootfs"))


@pytest.mark.runtime
def test_what_umoci_repacks_is_read_as_it_was_laid_out(tmp_path: Path, store: Store) -> None:
    need("umoci")
    if os.geteuid() != 0:
        pytest.skip("owners are set by root")
    layout, bundle = f"{tmp_path}/layout", tmp_path / "bundle"

    def umoci(*arguments: str) -> None:
        subprocess.run(["umoci", *arguments], check=True, capture_output=True)

    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:it")
    umoci("unpack", "--image", f"{layout}:it", str(bundle))
    root = bundle / "rootfs"
    for step in range(3):
        (root / "d").mkdir(exist_ok=True)
        (root / "d" / f"f{step}").write_bytes(b"x" * 1000 * (step + 1))
        (root / "same").write_bytes(b"%d" % step)
        if step == 1:
            (root / "d" / "f0").unlink()
            (root / "d" / "hard").hardlink_to(root / "d" / "f1")
            (root / "d" / "soft").symlink_to("f1")
            os.setxattr(root / "d" / "f1", "user.x", b"1")
            os.chown(root / "d", 1000, 1000)
        umoci("repack", "--image", f"{layout}:it", "--refresh-bundle", str(bundle))
    found = stack(reading.open_image(parse(f"oci:{layout}:it"), store))
    assert_same(facts_of_stack(found), facts_of_folder(root))
    assert found.layers[1].deleted.files == 1
    assert {one.path for one in found.lost} == {"d/f0", "same"}


@pytest.mark.runtime
@pytest.mark.parametrize("target", ["oci", "docker-archive", "oci-archive", "dir"])
def test_what_buildah_makes_is_read_from_every_place(target: str, tmp_path: Path, store: Store) -> None:
    need("buildah")
    if os.geteuid() != 0:
        pytest.skip("containers are mounted by root")
    places = ["--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]

    def buildah(*arguments: str) -> str:
        done = subprocess.run(["buildah", *places, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    container = buildah("from", "scratch")
    mounted = Path(buildah("mount", container))
    (mounted / "etc").mkdir()
    (mounted / "etc" / "first").write_bytes(b"1" * 100)
    (mounted / "etc" / "second").write_bytes(b"2" * 200)
    buildah("commit", container, "one")
    again = buildah("from", "--pull-never", "one")
    mounted = Path(buildah("mount", again))
    (mounted / "etc" / "first").unlink()
    (mounted / "etc" / "second").write_bytes(b"3" * 50)
    place = f"{target}:{tmp_path}/out" + (
        ":it:1" if target == "docker-archive" else "" if target == "dir" else ":it"
    )
    buildah("commit", again, place)
    found = stack(reading.open_image(parse(place), store))
    assert {path: placed.size for path, placed in found.files.items() if placed.inode} == {"etc/second": 50}
    assert {(one.path, one.size, one.how) for one in found.lost} == {
        ("etc/first", 100, "deleted"),
        ("etc/second", 200, "overwritten"),
    }
    assert facts(found) == facts_of_folder(mounted)


def facts(found: Any) -> dict[str, Any]:
    return {
        path: fact if not isinstance(fact[0], bytes) else (*fact[:4], fact[4][0])
        for path, fact in facts_of_stack(found).items()
    }


def generated(rng: random.Random, number: int) -> bytes:
    """A layer of files, folders, links, pipes and devices with attributes, and whiteouts of lower ones."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    for _ in range(25):
        path = "/".join(rng.choice("abc") for _ in range(rng.randint(1, 3)))
        kinds = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
        kind = rng.choice([*kinds, tarfile.BLKTYPE])
        parents = [path[:end] for end, sign in enumerate(path) if sign == "/"]
        if any(above in members and members[above][0].type != tarfile.DIRTYPE for above in parents):
            continue
        if kind != tarfile.DIRTYPE and any(other.startswith(path + "/") for other in members):
            continue
        info = tarfile.TarInfo(path)
        info.type, info.mode = kind, rng.choice([0o644, 0o755, 0o4755, 0o1777, 0o600])
        info.uid, info.gid, info.mtime = rng.randrange(2000), rng.randrange(2000), 1_600_000_000 + number
        data = bytes(rng.randrange(2000)) if kind == tarfile.REGTYPE else b""
        info.size = len(data)
        if kind == tarfile.SYMTYPE:
            info.linkname = rng.choice(["a", "../b", "/c/a", "nowhere"])
        if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            # not 0, 0, which is how overlays say that something is gone
            info.devmajor, info.devminor = rng.randint(1, 250), rng.randrange(256)
        if kind in (tarfile.REGTYPE, tarfile.DIRTYPE) and rng.random() < 0.5:
            info.pax_headers = {"SCHILY.xattr.user.test": f"value {rng.randrange(9)}"}
        members[path] = (info, data)
        for above in parents:
            if above not in members:
                members[above] = (tarfile.TarInfo(above), b"")
                members[above][0].type, members[above][0].mode = tarfile.DIRTYPE, 0o755
    for path in [f"{name}/.wh.{rng.choice('abc')}" for name in "ab"] if number else []:
        if path.partition("/")[0] in members and members[path[0]][0].type == tarfile.DIRTYPE:
            info = tarfile.TarInfo(path)
            victim = path.replace(".wh.", "")
            if victim not in members and not any(other.startswith(victim + "/") for other in members):
                members[path] = (info, b"")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(members):
            info, data = members[path]
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.runtime
@pytest.mark.parametrize("seed", range(6))
def test_pipes_devices_and_attributes_are_those_that_umoci_unpacks(
    seed: int, tmp_path: Path, store: Store
) -> None:
    need("umoci")
    if os.geteuid() != 0:
        pytest.skip("owners are set by root")
    from ramekin.image import transports

    rng = random.Random(seed)
    image = image_of(store, [generated(rng, number) for number in range(3)])
    transports.write(image, parse(f"oci:{tmp_path}/layout:it"))
    subprocess.run(
        ["umoci", "raw", "unpack", "--image", f"{tmp_path}/layout:it", str(tmp_path / "root")],
        check=True,
        capture_output=True,
    )
    found = stack(reading.open_image(parse(f"oci:{tmp_path}/layout:it"), store))
    kinds = {placed.file.kind for placed in found.files.values()}
    assert {Kind.FIFO, Kind.CHARACTER, Kind.BLOCK} & kinds
    assert_same(facts_of_stack(found), facts_of_folder(tmp_path / "root"))
    for path, placed in found.files.items():
        if placed.file.kind is Kind.DIRECTORY and path:
            there = tmp_path / "root" / path
            assert placed.file.xattrs == tuple((n, os.getxattr(there, n)) for n in os.listxattr(there)), path
