"""Layouts: what is written is complete, what was there stays, and two writers both land."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from support import samples

from ramekin.errors import DigestMismatchError, FormatError, NotFoundError, RamekinError, UsageError
from ramekin.image import oci, transports
from ramekin.image.artifact import attach
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor
from ramekin.image.reference import parse
from ramekin.image.transports import contents, layout
from ramekin.image.tree import Tree, file
from ramekin.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def index(root: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((root / "index.json").read_text())["manifests"]
    return found


def names(root: Path) -> list[str]:
    return [e["annotations"]["org.opencontainers.image.ref.name"] for e in index(root) if "annotations" in e]  # type: ignore[index]


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def another(store: Store, text: str) -> Image:
    return samples.image(store, [samples.BASE, Tree([file("other", text.encode())])])


class Broken:
    """Blobs of a store of which one breaks off."""

    def __init__(self, store: Store, at: str, error: BaseException) -> None:
        self._store, self._at, self._error = store, at, error

    def open(self, blob: Descriptor) -> BinaryIO:
        if blob.digest == self._at:
            raise self._error
        return self._store.open(blob)


def test_an_image_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    image = samples.with_sbom(store, samples.image(store))
    assert transports.write(image, parse(f"oci:{tmp_path}/web:1")) == image.root
    with transports.read(parse(f"oci:{tmp_path}/web:1")) as back:
        assert back.root == image.root
        assert back.name == "web:1"
        assert back.manifest() == image.manifest()
        assert [entry.digest for entry in back.referrers] == [entry.digest for entry in image.referrers]
        assert back.referrers[0].artifact_type == samples.SPDX
        for blob in image.manifest().layers:
            with back.blobs.open(blob) as ours, store.open(blob) as theirs:
                assert ours.read() == theirs.read()


def test_the_same_image_gives_the_same_files(store: Store, tmp_path: Path) -> None:
    image = samples.with_sbom(store, samples.image(store))
    for name in ("a", "b"):
        transports.write(image, parse(f"oci:{tmp_path}/{name}:1"), jobs=1 if name == "a" else 8)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


def test_an_index_brings_all_its_images(store: Store, tmp_path: Path) -> None:
    both = [samples.image(store, platform=one) for one in (samples.AMD64, samples.ARM64)]
    image = samples.index(store, both)
    transports.write(image, parse(f"oci:{tmp_path}/web"))
    with transports.read(parse(f"oci:{tmp_path}/web")) as back:
        assert back.choose(samples.ARM64).root.digest == both[1].root.digest
        assert back.config(back.manifest(back.manifests()[1])).architecture == "arm64"


def test_blobs_of_a_local_store_are_not_copied(store: Store, tmp_path: Path) -> None:
    image = samples.image(store)
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    for blob in image.manifest().layers:
        ours, theirs = layout.Layout(tmp_path / "web").file(blob.digest), store.path(blob.digest)
        assert theirs is not None
        if not layout._no_reflinks:
            continue
        assert ours.samefile(theirs)
        assert stat.S_IMODE(ours.stat().st_mode) == 0o444


def test_another_tag_stands_beside(store: Store, tmp_path: Path) -> None:
    first, second = samples.image(store), another(store, "2")
    transports.write(first, parse(f"oci:{tmp_path}/web:1"))
    transports.write(second, parse(f"oci:{tmp_path}/web:2"))
    assert names(tmp_path / "web") == ["1", "2"]
    with transports.read(parse(f"oci:{tmp_path}/web:1")) as back:
        assert back.root.digest == first.root.digest
    with transports.read(parse(f"oci:{tmp_path}/web@{second.root.digest}")) as back:
        assert back.root.digest == second.root.digest


def test_the_same_tag_is_replaced_and_its_referrers_go(store: Store, tmp_path: Path) -> None:
    first, second = samples.with_sbom(store, samples.image(store)), another(store, "2")
    transports.write(first, parse(f"oci:{tmp_path}/web:1"))
    assert len(index(tmp_path / "web")) == 2
    transports.write(second, parse(f"oci:{tmp_path}/web:1"))
    assert [entry["digest"] for entry in index(tmp_path / "web")] == [second.root.digest]
    assert layout.Layout(tmp_path / "web").file(first.root.digest).exists()


@pytest.mark.parametrize("target", ["oci:{}/out", "oci-archive:{}/out.tar"])
def test_an_artifact_that_is_not_listed_is_found_by_its_subject(
    store: Store, tmp_path: Path, target: str
) -> None:
    image = samples.image(store, name="web:1")
    unlisted = {contents.UNLISTED: "always"}
    artifact = attach(b"{}", "application/x", image.root, store, created="", annotations=unlisted)
    place = parse(target.format(tmp_path))
    transports.write(Image(image.root, store, image.name, (artifact,)), place)
    if place.transport == "oci":
        assert [entry["digest"] for entry in index(tmp_path / "out")] == [image.root.digest]
    with transports.read(place) as back:
        assert [entry.digest for entry in back.referrers] == [artifact.digest]
        assert back.referrers[0].artifact_type == "application/x"


def test_referrers_of_an_image_that_has_another_tag_stay(store: Store, tmp_path: Path) -> None:
    first = samples.with_sbom(store, samples.image(store))
    for tag in ("1", "keep"):
        transports.write(first, parse(f"oci:{tmp_path}/web:{tag}"))
    transports.write(another(store, "2"), parse(f"oci:{tmp_path}/web:1"))
    with transports.read(parse(f"oci:{tmp_path}/web:keep")) as back:
        assert len(back.referrers) == 1


def test_writing_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    image = samples.with_sbom(store, samples.image(store))
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    before = snapshot(tmp_path / "web")
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    assert snapshot(tmp_path / "web") == before


def test_what_others_wrote_into_the_index_stays(store: Store, tmp_path: Path) -> None:
    transports.write(samples.image(store), parse(f"oci:{tmp_path}/web:1"))
    path = tmp_path / "web/index.json"
    document = json.loads(path.read_text())
    document["annotations"] = {"com.example.note": "kept"}
    document["manifests"][0]["com.example.field"] = {"kept": True}
    path.write_text(json.dumps(document))
    transports.write(another(store, "2"), parse(f"oci:{tmp_path}/web:2"))
    after = json.loads(path.read_text())
    assert after["annotations"] == {"com.example.note": "kept"}
    assert after["manifests"][0]["com.example.field"] == {"kept": True}


def test_a_blob_of_the_wrong_size_is_replaced(store: Store, tmp_path: Path) -> None:
    image = samples.image(store)
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    path = layout.Layout(tmp_path / "web").file(image.manifest().layers[0].digest)
    path.unlink()
    path.write_bytes(b"half")
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    with (
        transports.read(parse(f"oci:{tmp_path}/web:1")) as back,
        back.blobs.open(image.manifest().layers[0]) as blob,
    ):
        assert blob.read()


@pytest.mark.parametrize("linked", [True, False])
def test_a_damaged_blob_of_the_right_size_is_replaced(linked: bool, store: Store, tmp_path: Path) -> None:
    root = tmp_path / "layout"
    image = samples.image(store)
    transports.write(image, parse(f"oci:{root}"))
    blob = root / "blobs/sha256" / image.manifest().layers[0].digest[7:]
    data = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    source = image if linked else Image(image.root, Broken(store, "", ValueError()), image.name)
    transports.write(source, parse(f"oci:{root}"))
    assert blob.read_bytes() == data


def test_without_a_tag_the_only_or_the_latest_image_is_meant(store: Store, tmp_path: Path) -> None:
    first, second = samples.image(store), another(store, "2")
    transports.write(first, parse(f"oci:{tmp_path}/web:1"))
    with transports.read(parse(f"oci:{tmp_path}/web")) as back:
        assert back.root.digest == first.root.digest
    transports.write(second, parse(f"oci:{tmp_path}/web:2"))
    with (
        pytest.raises(NotFoundError, match="more than one") as caught,
        transports.read(parse(f"oci:{tmp_path}/web")),
    ):
        pass
    assert caught.value.hint == "it has 1, 2"
    transports.write(second, parse(f"oci:{tmp_path}/web:latest"))
    with transports.read(parse(f"oci:{tmp_path}/web")) as back:
        assert back.root.digest == second.root.digest


def test_a_tag_that_is_not_there_names_those_that_are(store: Store, tmp_path: Path) -> None:
    transports.write(samples.image(store), parse(f"oci:{tmp_path}/web:1"))
    with pytest.raises(NotFoundError) as caught, transports.read(parse(f"oci:{tmp_path}/web:2")):
        pass
    assert caught.value.hint == "it has 1"


def test_a_folder_of_other_things_is_left_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/letter").write_text("dear")
    with pytest.raises(UsageError, match="no image layout"):
        transports.write(samples.image(store), parse(f"oci:{tmp_path}/letters"))
    assert snapshot(tmp_path / "letters") == {"letter": b"dear"}


def test_a_file_is_no_layout(store: Store, tmp_path: Path) -> None:
    (tmp_path / "web").write_text("")
    with pytest.raises(RamekinError, match="web"):
        transports.write(samples.image(store), parse(f"oci:{tmp_path}/web"))
    with pytest.raises(NotFoundError, match="not a folder"), transports.read(parse(f"oci:{tmp_path}/web")):
        pass


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), DigestMismatchError("wrong"), OSError(28, "No space left on device")],
    ids=["ctrl-c", "wrong digest", "full disk"],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["new", "standing"])
def test_a_failure_leaves_what_was_there(
    store: Store, tmp_path: Path, error: BaseException, fresh: bool
) -> None:
    root = tmp_path / "deep/web"
    if not fresh:
        transports.write(samples.image(store), parse(f"oci:{root}:1"))
    before = snapshot(tmp_path / "deep") if not fresh else None
    image = another(store, "2")
    bad = Image(image.root, Broken(store, image.manifest().layers[-1].digest, error))
    expected = RamekinError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        transports.write(bad, parse(f"oci:{root}:1"))
    if fresh:
        assert not (tmp_path / "deep").exists()
    else:
        assert snapshot(tmp_path / "deep") == before


def test_a_full_disk_says_so(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ramekin.image.transports.target.settle", full)
    with pytest.raises(RamekinError, match="no space left") as caught:
        transports.write(samples.image(store), parse(f"oci:{tmp_path}/web:1"))
    assert "free some space" in (caught.value.hint or "")
    assert not (tmp_path / "web").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")  # noqa: PTH110
@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_says_so(store: Store, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(RamekinError, match="permission denied"):
        transports.write(samples.image(store), parse(f"oci:{tmp_path}/closed/web"))


def test_what_a_kill_left_is_swept(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "web"
    (root / "blobs/sha256").mkdir(parents=True)
    (root / "oci-layout").write_bytes(layout.LAYOUT_FILE)
    (root / "blobs/sha256/.ramekin-0123").write_bytes(b"half")
    with pytest.raises(NotFoundError, match="missing"), transports.read(parse(f"oci:{root}")):
        pass
    transports.write(samples.image(store), parse(f"oci:{root}:1"))
    assert not list(root.rglob(".ramekin-*"))
    assert names(root) == ["1"]


def test_two_threads_at_once_both_land(store: Store, tmp_path: Path) -> None:
    images = [another(store, str(number)) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: transports.write(images[n], parse(f"oci:{tmp_path}/web:{n}")), range(8)))
    assert sorted(names(tmp_path / "web")) == [str(number) for number in range(8)]
    for number in range(8):
        with transports.read(parse(f"oci:{tmp_path}/web:{number}")) as back:
            assert back.root.digest == images[number].root.digest


def _write(location: str, target: str, text: str) -> None:
    transports.write(another(Store.at(location), text), parse(target))


def test_two_processes_at_once_both_land(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_write, args=(str(tmp_path / "store"), f"oci:{tmp_path}/web:{n}", str(n)))
        for n in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(names(tmp_path / "web")) == ["0", "1", "2"]


def test_a_writer_that_waits_survives_the_failure_of_the_one_before(store: Store, tmp_path: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()
    image = another(store, "2")

    class Slow:
        def open(self, blob: Descriptor) -> BinaryIO:
            if blob.digest == image.manifest().layers[-1].digest:
                entered.set()
                go_on.wait(20)
                raise DigestMismatchError("wrong")
            return store.open(blob)

    def fail() -> None:
        with pytest.raises(DigestMismatchError):
            transports.write(Image(image.root, Slow()), parse(f"oci:{tmp_path}/web:bad"))

    first = threading.Thread(target=fail)
    first.start()
    assert entered.wait(20)
    second = threading.Thread(
        target=transports.write, args=(samples.image(store), parse(f"oci:{tmp_path}/web:good"))
    )
    second.start()
    go_on.set()
    first.join(20)
    second.join(20)
    assert names(tmp_path / "web") == ["good"]
    with transports.read(parse(f"oci:{tmp_path}/web:good")) as back:
        assert back.manifest()


def test_a_damaged_blob_is_never_handed_out(store: Store, tmp_path: Path) -> None:
    image = samples.image(store)
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    layer = image.manifest().layers[0]
    path = layout.Layout(tmp_path / "web").file(layer.digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    with (
        transports.read(parse(f"oci:{tmp_path}/web:1")) as back,
        back.blobs.open(layer) as blob,
        pytest.raises(DigestMismatchError, match=layer.digest),
    ):
        blob.read()
    with pytest.raises(DigestMismatchError):
        transports.copy(parse(f"oci:{tmp_path}/web:1"), parse(f"oci:{tmp_path}/copy:1"))
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("oci-layout", b"{"),
        ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'),
        ("index.json", b"[]"),
        (
            "index.json",
            b'{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:../../x","size":1}]}',
        ),
        ("index.json", b'{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"md5:1","size":1}]}'),
    ],
)
def test_a_broken_layout_says_which_file(store: Store, tmp_path: Path, name: str, data: bytes) -> None:
    transports.write(samples.image(store), parse(f"oci:{tmp_path}/web:1"))
    (tmp_path / "web" / name).write_bytes(data)
    with pytest.raises(FormatError), transports.read(parse(f"oci:{tmp_path}/web:1")):
        pass
    with pytest.raises(FormatError):
        transports.write(another(store, "2"), parse(f"oci:{tmp_path}/web:2"))
    assert (tmp_path / "web" / name).read_bytes() == data


def test_a_missing_blob_is_named(store: Store, tmp_path: Path) -> None:
    image = samples.image(store)
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    layer = image.manifest().layers[0]
    layout.Layout(tmp_path / "web").file(layer.digest).unlink()
    with (
        transports.read(parse(f"oci:{tmp_path}/web:1")) as back,
        pytest.raises(NotFoundError, match=layer.digest[7:]),
    ):
        back.blobs.open(layer)


def test_manifests_without_a_media_type_are_read(store: Store, tmp_path: Path) -> None:
    plain = samples.image(store)
    manifest = plain.manifest()
    bare = oci.encode(oci.Manifest(schema_version=2, config=manifest.config, layers=manifest.layers))
    image = Image(samples.keep(store, bare, oci.MANIFEST), store)
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    with transports.read(parse(f"oci:{tmp_path}/web:1")) as back:
        assert back.manifest().layers == manifest.layers
