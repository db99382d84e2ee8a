"""Images in single files and flat folders: oci-archive, docker-archive, dir."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest
from support import samples

from ramekin.errors import DigestMismatchError, FormatError, NotFoundError, RamekinError, UsageError
from ramekin.image import oci, transports
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor, Platform
from ramekin.image.reference import parse
from ramekin.image.transports import platforms
from ramekin.image.tree import Tree, file
from ramekin.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


class Broken:
    """Blobs of a store of which the last layer breaks off."""

    def __init__(self, store: Store, at: str, error: BaseException) -> None:
        self._store, self._at, self._error = store, at, error

    def open(self, blob: Descriptor) -> BinaryIO:
        if blob.digest == self._at:
            raise self._error
        return self._store.open(blob)


def broken(store: Store, image: Image, error: BaseException) -> Image:
    return Image(image.root, Broken(store, image.manifest().layers[-1].digest, error), image.name)


def tar_of(members: dict[str, bytes | str]) -> bytes:
    """A tar of files and, for text values, symbolic links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, value in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(value, str):
                info.type, info.linkname = tarfile.SYMTYPE, value
                archive.addfile(info)
            else:
                info.size = len(value)
                archive.addfile(info, io.BytesIO(value))
    return out.getvalue()


@pytest.mark.parametrize("transport", ["oci-archive", "dir"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_an_image_keeps_its_digest(store: Store, tmp_path: Path, transport: str, compression: str) -> None:
    image = samples.image(store, compression=compression)
    place = parse(f"{transport}:{tmp_path}/web")
    transports.write(image, place)
    with transports.read(place) as back:
        assert back.root.digest == image.root.digest
        assert back.manifest() == image.manifest()
        for blob in image.manifest().layers:
            with back.blobs.open(blob) as ours, store.open(blob) as theirs:
                assert ours.read() == theirs.read()


@pytest.mark.parametrize("transport", ["oci-archive", "dir"])
def test_an_index_keeps_all_its_images(store: Store, tmp_path: Path, transport: str) -> None:
    image = samples.index(
        store, [samples.image(store, platform=one) for one in (samples.AMD64, samples.ARM64)]
    )
    place = parse(f"{transport}:{tmp_path}/web")
    transports.write(image, place)
    with transports.read(place) as back:
        assert back.root.digest == image.root.digest
        assert back.config(back.manifest(back.manifests()[1])).architecture == "arm64"


def test_an_oci_archive_is_a_layout_with_referrers(store: Store, tmp_path: Path) -> None:
    image = samples.with_sbom(store, samples.image(store, name="team/web:3"))
    transports.write(image, parse(f"oci-archive:{tmp_path}/web.tar"))
    (tmp_path / "layout").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "web.tar", "-C", tmp_path / "layout"], check=True)
    with transports.read(parse(f"oci:{tmp_path}/layout:3")) as back:
        assert back.root.digest == image.root.digest
        assert [one.digest for one in back.referrers] == [one.digest for one in image.referrers]


def test_the_same_image_gives_the_same_archive(store: Store, tmp_path: Path) -> None:
    image = samples.with_sbom(store, samples.image(store))
    for transport in ("oci-archive", "docker-archive"):
        digests = set()
        for name in ("a.tar", "b.tar"):
            transports.write(image, parse(f"{transport}:{tmp_path}/{name}"), jobs=1 if name == "a.tar" else 8)
            digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        assert len(digests) == 1


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_a_compressed_archive_is_read(store: Store, tmp_path: Path, suffix: str) -> None:
    import gzip
    import lzma

    image = samples.image(store)
    transports.write(image, parse(f"oci-archive:{tmp_path}/web.tar"))
    pack = gzip.compress if suffix == "gz" else lzma.compress
    (tmp_path / "packed").write_bytes(pack((tmp_path / "web.tar").read_bytes()))
    with transports.read(parse(f"oci-archive:{tmp_path}/packed")) as back:
        assert back.root.digest == image.root.digest


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), DigestMismatchError("wrong")], ids=["ctrl-c", "wrong digest"]
)
def test_a_failure_leaves_the_archive_that_was_there(
    store: Store, tmp_path: Path, transport: str, error: BaseException
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "web.tar").write_bytes(b"precious")
    with pytest.raises(type(error)):
        transports.write(broken(store, samples.image(store), error), parse(f"{transport}:{folder}/web.tar"))
    assert [path.name for path in folder.iterdir()] == ["web.tar"]
    assert (folder / "web.tar").read_bytes() == b"precious"


@pytest.mark.parametrize("transport", ["rootfs", "dir"])
def test_a_failure_leaves_no_folder(store: Store, tmp_path: Path, transport: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        bad = broken(store, samples.image(store), KeyboardInterrupt())
        transports.write(bad, parse(f"{transport}:{folder}/web"))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("transport", ["rootfs", "dir"])
def test_a_folder_that_is_not_empty_is_left_alone(store: Store, tmp_path: Path, transport: str) -> None:
    (tmp_path / "web").mkdir()
    place = parse(f"{transport}:{tmp_path}/web")
    transports.write(samples.image(store), place)
    with pytest.raises(UsageError, match="not empty"):
        transports.write(samples.image(store), place)


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive", "rootfs", "dir"])
def test_a_missing_folder_is_named(store: Store, tmp_path: Path, transport: str) -> None:
    with pytest.raises(UsageError, match="gone is not a folder"):
        transports.write(samples.image(store), parse(f"{transport}:{tmp_path}/gone/web"))


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive", "rootfs", "dir", "oci"])
def test_a_missing_source_is_named(tmp_path: Path, transport: str) -> None:
    with pytest.raises(NotFoundError, match="gone"), transports.read(parse(f"{transport}:{tmp_path}/gone")):
        pass


def test_an_archive_in_a_folder_that_takes_no_files(store: Store) -> None:
    with pytest.raises(RamekinError, match="/proc"):
        transports.write(samples.image(store), parse("oci-archive:/proc/web.tar"))


def test_a_docker_archive_holds_plain_layers_under_its_name(store: Store, tmp_path: Path) -> None:
    image = samples.image(store, compression="zstd")
    transports.write(image, parse(f"docker-archive:{tmp_path}/web.tar:team/web:2"))
    config = image.config(image.manifest())
    with tarfile.open(tmp_path / "web.tar") as archive:
        read = lambda name: archive.extractfile(name).read()  # type: ignore[union-attr]  # noqa: E731
        (saved,) = json.loads(read("manifest.json"))
        assert saved["RepoTags"] == ["team/web:2"]
        assert hashlib.sha256(read(saved["Config"])).hexdigest() + ".json" == saved["Config"]
        layers = [f"sha256:{hashlib.sha256(read(name)).hexdigest()}" for name in saved["Layers"]]
        assert layers == list(config.rootfs.diff_ids)
        assert list(json.loads(read("repositories"))) == ["team/web"]


def test_a_docker_archive_read_twice_is_one_image(store: Store, tmp_path: Path) -> None:
    image = samples.image(store, name="web:7")
    place = parse(f"docker-archive:{tmp_path}/web.tar")
    transports.write(image, place)
    with (
        transports.read(place) as one,
        transports.read(parse(f"docker-archive:{tmp_path}/web.tar:web:7")) as two,
    ):
        assert one.root == two.root
        assert one.name == "web:7"
        assert one.manifest().config.digest == image.manifest().config.digest  # type: ignore[union-attr]
        diff_ids = image.config(image.manifest()).rootfs.diff_ids
        assert tuple(layer.digest for layer in one.manifest().layers) == diff_ids


def saved_image(layers: list[bytes], diff_ids: list[str]) -> dict[str, bytes]:
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()
    manifest = [{"Config": "c.json", "RepoTags": None, "Layers": [f"{n}.tar" for n in range(len(layers))]}]
    return {
        "c.json": config,
        "manifest.json": json.dumps(manifest).encode(),
        **{f"{n}.tar": data for n, data in enumerate(layers)},
    }


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def test_docker_archives_with_links_and_packed_layers_are_read(tmp_path: Path) -> None:
    import gzip

    plain = tar_of({"hello": b"hello"})
    packed = gzip.compress(plain, mtime=0)
    members: dict[str, bytes | str] = {**saved_image([plain, packed], [sha(plain), sha(plain)])}
    members["deep/real.tar"] = members.pop("0.tar")
    members["0.tar"] = "deep/../deep/real.tar"
    (tmp_path / "web.tar").write_bytes(tar_of(members))
    with transports.read(parse(f"docker-archive:{tmp_path}/web.tar")) as image:
        first, second = image.manifest().layers
        assert (first.media_type, first.digest) == (oci.LAYER, sha(plain))
        assert (second.media_type, second.digest) == (oci.LAYER_GZIP, sha(packed))
        with image.blobs.open(second) as stream:
            assert stream.read() == packed
        transports.write(image, parse(f"rootfs:{tmp_path}/root"))
    assert (tmp_path / "root/hello").read_bytes() == b"hello"


def test_a_docker_archive_whose_layer_is_another_is_refused(tmp_path: Path) -> None:
    plain = tar_of({"hello": b"hello"})
    (tmp_path / "web.tar").write_bytes(tar_of({**saved_image([plain], ["sha256:" + "0" * 64])}))
    with (
        transports.read(parse(f"docker-archive:{tmp_path}/web.tar")) as image,
        pytest.raises(DigestMismatchError),
    ):
        transports.write(image, parse(f"oci:{tmp_path}/copy"))
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest.json": b"{"}, "manifest.json"),
        ({"manifest.json": b"[]"}, "0 images"),
        ({"c.json": b"{}"}, "c.json"),
        ({"manifest.json": b'[{"Config":"c.json","Layers":[]}]'}, "0 layers"),
        ({"manifest.json": b'[{"Config":"../../etc/passwd","Layers":["0.tar"]}]'}, "etc/passwd"),
        ({"manifest.json": b'[{"Config":"c.json","Layers":["gone.tar"]}]'}, "gone.tar"),
        ({"c.json": "c.json"}, "c.json"),
    ],
)
def test_a_broken_docker_archive_says_what_is_wrong(
    tmp_path: Path, change: dict[str, bytes | str], message: str
) -> None:
    plain = tar_of({"hello": b"hello"})
    (tmp_path / "web.tar").write_bytes(tar_of({**saved_image([plain], [sha(plain)]), **change}))
    with (
        pytest.raises(RamekinError, match=message),
        transports.read(parse(f"docker-archive:{tmp_path}/web.tar")),
    ):
        pass


def test_the_wrong_kind_of_archive_is_told(store: Store, tmp_path: Path) -> None:
    image = samples.image(store)
    transports.write(image, parse(f"docker-archive:{tmp_path}/d.tar"))
    with pytest.raises(FormatError) as caught, transports.read(parse(f"oci-archive:{tmp_path}/d.tar")):
        pass
    assert "docker-archive:" in (caught.value.hint or "")
    (tmp_path / "text").write_text("hello")
    with (
        pytest.raises(FormatError, match=r"tar|trunc"),
        transports.read(parse(f"oci-archive:{tmp_path}/text")),
    ):
        pass


def test_a_truncated_archive_is_refused(store: Store, tmp_path: Path) -> None:
    transports.write(samples.image(store), parse(f"oci-archive:{tmp_path}/web.tar"))
    data = (tmp_path / "web.tar").read_bytes()
    (tmp_path / "web.tar").write_bytes(data[: len(data) // 2 + 100])
    with pytest.raises(RamekinError), transports.read(parse(f"oci-archive:{tmp_path}/web.tar")):
        pass


def test_media_for_one_image_take_this_machines(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = samples.index(
        store, [samples.image(store, platform=one) for one in (samples.AMD64, samples.ARM64)]
    )
    monkeypatch.setattr(platforms, "this_machine", lambda: Platform(architecture="arm64", os="linux"))
    transports.write(both, parse(f"docker-archive:{tmp_path}/web.tar"))
    with transports.read(parse(f"docker-archive:{tmp_path}/web.tar")) as back:
        assert back.config(back.manifest()).architecture == "arm64"
    monkeypatch.setattr(platforms, "this_machine", lambda: Platform(architecture="s390x", os="linux"))
    with pytest.raises(NotFoundError, match="linux/amd64, linux/arm64"):
        transports.write(both, parse(f"docker-archive:{tmp_path}/none.tar"))
    transports.write(both, parse(f"docker-archive:{tmp_path}/some.tar"), platform=samples.AMD64)


def test_an_artifact_is_no_image_of_files(store: Store, tmp_path: Path) -> None:
    image = samples.with_sbom(store, samples.image(store))
    sbom = Image(image.referrers[0], store)
    for transport in ("docker-archive", "rootfs"):
        with pytest.raises(RamekinError):
            transports.write(sbom, parse(f"{transport}:{tmp_path}/sbom"))
    assert not (tmp_path / "sbom").exists()


def test_copies_of_large_layers_need_little_memory(store: Store, tmp_path: Path) -> None:
    import tracemalloc

    image = samples.image(store, [Tree([file("noise", samples.noise(24 << 20))])])
    tracemalloc.start()
    try:
        for transport in ("oci-archive", "docker-archive", "dir", "rootfs"):
            transports.write(image, parse(f"{transport}:{tmp_path}/{transport}"), jobs=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20
