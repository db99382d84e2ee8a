"""Names for store paths, and real caches that Nix made."""

from __future__ import annotations

import json
import lzma
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import pytest
from support.archive import Fault, Server
from support.nix_world import OTHER, SYSTEM, World

from ramekin.errors import FormatError, NetworkError, NotFoundError, RamekinError, UsageError
from ramekin.progress import SILENT, Silent
from ramekin.sources.nix import nar
from ramekin.sources.nix.names import Words
from ramekin.sources.nix.source import NixSettings, NixSource
from ramekin.sources.nix.system import SYSTEMS, system_of
from ramekin.store.store import Store

pytestmark = [
    pytest.mark.skipif(shutil.which("nix-store") is None, reason="nix-store is not installed"),
    pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed"),
]

HERE = next(name for name, system in SYSTEMS.items() if system == SYSTEM)
THERE = next(name for name, system in SYSTEMS.items() if system == OTHER)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(tmp_path_factory.mktemp("world"))


def source(world: World, store: Path, **settings: object) -> NixSource:
    chosen: Mapping[str, object] = {
        "caches": (str(world.cache("none")),),
        "trusted_keys": (world.key,),
        "channel": str(world.channel),
        "max_age": 0.0,
        "retries": 0,
        **settings,
    }
    return NixSource("", Store.at(store), NixSettings(**chosen))  # type: ignore[arg-type]


@pytest.fixture
def ours(world: World, tmp_path: Path) -> NixSource:
    return source(world, tmp_path / "store")


def found(ours: NixSource, text: str, architecture: str = HERE) -> list[str]:
    """The store paths that a request stands for."""
    return [f"/nix/store/{one.base}" for one in ours.names.find(text, architecture)]


# --- by a channel ----------------------------------------------------------------------------------------


def test_a_package_is_found_by_all_that_it_is_called(world: World, ours: NixSource) -> None:
    greet = world["greet"].outputs
    for text in (
        "greet",
        "greet-1.2",
        "greet=1.2",
        "nix:greet",
        greet["out"],
        greet["out"][11:],
        greet["out"][11:43],
    ):
        assert found(ours, text) == [greet["out"]]
    assert found(ours, f"{greet['out']}/lib/libgreet.so") == [greet["out"]]
    # by its attribute, and by its name, which is another
    assert found(ours, "shellBox_2") == found(ours, "shellbox") == [world["shellbox"].outputs["out"]]


def test_outputs_are_named(world: World, ours: NixSource) -> None:
    greet = world["greet"].outputs
    for text in ("greet^dev", "greet.dev", "greet=1.2^dev", "greet-1.2-dev"):
        assert found(ours, text) == [greet["dev"]]
    assert found(ours, "greet^dev,out") == [greet["dev"], greet["out"]]
    with pytest.raises(NotFoundError, match="greet has no output lib") as caught:
        found(ours, "greet^lib")
    assert caught.value.hint == "it has dev, doc, out"


def test_what_a_channel_says_of_a_package_goes_with_it(ours: NixSource) -> None:
    packages = {package.origin: package for package in ours.resolve(["hello", "shellBox_2"], HERE).packages}
    hello = packages["hello"]
    assert (getattr(hello, "program", None), hello.description) == ("hello", "A program that greets")
    assert getattr(packages["shellbox"], "priority", None) == 9
    assert getattr(packages["glibc"], "attribute", None) == ""


def test_a_name_means_the_path_for_the_system_that_is_asked_for(world: World, ours: NixSource) -> None:
    assert found(ours, "hello", HERE) == [world["hello"].outputs["out"]]
    store = ours.store
    assert system_of(world["hello"].base, ours.caches, store) == SYSTEM
    assert system_of(world["message"].base, ours.caches, store) == ""
    # the other one is a text, and so is for any system
    other = world[f"hello.{OTHER}"]
    assert found(ours, "hello", THERE) == [other.outputs["out"]]
    with pytest.raises(NotFoundError, match="has no greet-1") as caught:
        found(ours, "greet", THERE)
    assert caught.value.hint == f"it has it for {SYSTEM}"


def test_a_wrong_name_gets_near_ones(ours: NixSource) -> None:
    for text, near in (
        ("helo", "hello"),
        ("coreutil", "coreutils"),
        ("shellbox2", "shellbox"),
        ("hello=3", "2.12"),
    ):
        with pytest.raises(NotFoundError, match=f"has no .*{text.partition('=')[0]}") as caught:
            found(ours, text)
        assert near in (caught.value.hint or "")
    with pytest.raises(NotFoundError) as caught:
        found(ours, "zzzzzzzz")
    assert "search" in (caught.value.hint or "")


def test_names_mean_nothing_without_a_channel(world: World, tmp_path: Path) -> None:
    ours = source(world, tmp_path / "store", channel="")
    with pytest.raises(UsageError, match="hello means nothing without a channel"):
        found(ours, "hello")
    assert found(ours, world["hello"].outputs["out"])


@pytest.mark.parametrize("text", ["", "=1", "a=", "a^", "^out", "a^x,,y", "a/b"])
def test_words_that_are_no_request_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a name"):
        Words.of(text)


def test_search_and_show(world: World, ours: NixSource) -> None:
    assert [package.name for package in ours.search(["greet"], HERE)] == ["greet", "hello", "hi"]
    assert [package.name for package in ours.search(["program", "greets"], HERE)] == ["hello"]
    assert not ours.search(["nothing of the kind"], HERE)
    shown = ours.show("hello", HERE)
    assert [(package.location, package.version) for package in shown] == [
        (world["hello"].outputs["out"], "2.12")
    ]
    assert shown[0].digest.startswith("sha256:")


def channel(
    folder: Path, packages: Mapping[str, object] | None = None, store_paths: list[str] | None = None
) -> str:
    folder.mkdir(exist_ok=True)
    if packages is not None:
        (folder / "packages.json.br").write_bytes(
            brotli.compress(json.dumps({"packages": packages}).encode(), quality=1)
        )
    if store_paths is not None:
        (folder / "store-paths.xz").write_bytes(
            lzma.compress("".join(f"{p}\n" for p in store_paths).encode())
        )
    return str(folder)


def test_store_paths_alone_will_do(world: World, tmp_path: Path) -> None:
    ours = source(world, tmp_path / "store", channel="", store_paths=str(world.channel / "store-paths.xz"))
    greet = world["greet"].outputs
    assert found(ours, "greet") == found(ours, "greet-1.2") == [greet["out"]]
    assert found(ours, "greet^dev") == found(ours, "greet-1.2-dev") == [greet["dev"]]
    assert found(ours, "hello") == [world["hello"].outputs["out"]]
    with pytest.raises(NotFoundError) as caught:
        found(ours, "gret")
    assert caught.value.hint == "did you mean greet?"
    with pytest.raises(NotFoundError, match="has no output lib"):
        found(ours, "greet^lib")


def test_packages_that_give_their_paths_will_do_alone(world: World, tmp_path: Path) -> None:
    greet = world["greet"].outputs
    listed = {
        "greet": {"name": "greet-1.2", "outputs": greet, "outputName": "out", "system": SYSTEM,
                  "meta": {"outputsToInstall": ["out", "doc"], "priority": "high", "description": None}},
        "greet_1": {"name": "greet-1.1", "outputs": {"out": world["hi"].outputs["out"]}, "system": SYSTEM},
        "greet_1_10": {"pname": "greet", "name": "greet-1.10", "outputs": {"out": str(world["bash"])}},
    }  # fmt: skip
    ours = source(world, tmp_path / "store", channel=channel(tmp_path / "channel", listed))
    # no documentation, unless it is asked for
    assert found(ours, "greet") == [greet["out"]]
    assert found(ours, "greet^doc,dev") == [greet["doc"], greet["dev"]]
    assert found(ours, "greet=1.1") == [world["hi"].outputs["out"]]
    assert found(ours, "greet-1.10") == [world["bash"].outputs["out"]]
    with pytest.raises(NotFoundError, match="of version 2") as caught:
        found(ours, "greet=2")
    assert caught.value.hint == "it has 1.10, 1.2, 1.1"
    assert [package.version for package in ours.show("greet", HERE)] == ["5.2", "1.2", "1.0"]


def test_the_newest_version_is_meant(world: World, tmp_path: Path) -> None:
    listed = {
        f"thing_{place}": {"name": f"thing-{version}", "outputs": {"out": world[name].outputs["out"]}}
        for place, (version, name) in enumerate([("9.9", "hi"), ("10.0", "bash"), ("10.0pre1", "message")])
    }
    ours = source(world, tmp_path / "store", channel=channel(tmp_path / "channel", listed))
    assert found(ours, "thing") == [world["bash"].outputs["out"]]
    assert [package.location for package in ours.show("thing", HERE)] == [
        world[name].outputs["out"] for name in ("bash", "message", "hi")
    ]


def test_several_paths_that_all_fit_are_told(world: World, tmp_path: Path) -> None:
    base = f"{'0' * 32}-message-1"
    ours = source(
        world,
        tmp_path / "store",
        channel=channel(
            tmp_path / "channel", store_paths=[world["message"].outputs["out"], f"/nix/store/{base}"]
        ),
    )
    # one that no cache has is no choice
    assert found(ours, "message") == [world["message"].outputs["out"]]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("store-paths.xz", b"no xz", "truncated|damaged"),
        ("store-paths.xz", lzma.compress(b"/nix/store/short\n"), "line 1: 'short' is not the base name"),
        ("packages.json.br", b"\xff" * 20, "br stream is damaged"),
        ("packages.json.br", brotli.compress(b"[1]"), "is not a list of packages"),
        (
            "packages.json.br",
            brotli.compress(b'{"packages": {"a": {"name": 1}}}'),
            "is not a list of packages",
        ),
    ],
)
def test_a_damaged_channel_is_refused_by_name(
    world: World, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    folder = tmp_path / "channel"
    folder.mkdir()
    (folder / name).write_bytes(data)
    ours = source(world, tmp_path / "store", channel=str(folder))
    with pytest.raises(FormatError, match=message) as caught:
        ours.refresh([HERE], SILENT)
    assert name in caught.value.message


def test_a_channel_is_asked_again_and_read_only_when_it_changed(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "channel"
    shutil.copytree(world.channel, folder)
    with Server(folder) as server:
        ours = source(world, tmp_path / "store", channel=server.url)
        first = ours.refresh([HERE], SILENT)
        assert found(ours, "greet")
        server.forget()
        assert source(world, tmp_path / "store", channel=server.url).refresh([HERE], SILENT) == first
        assert len(server.paths(304)) == 2
        # within its age nobody is asked
        server.forget()
        assert (
            source(world, tmp_path / "store", channel=server.url, max_age=600.0).refresh([HERE], SILENT)
            == first
        )
        assert not server.paths()
        channel(folder, store_paths=[world["hi"].outputs["out"]])
        assert source(world, tmp_path / "store", channel=server.url).refresh([HERE], SILENT) != first
        # one of the two files is enough
        (folder / "packages.json.br").unlink()
        alone = source(world, tmp_path / "store", channel=server.url)
        alone.refresh([HERE], SILENT)
        assert found(alone, "hi") == [world["hi"].outputs["out"]]
        server.faults.append(Fault("", status=500))
        told: list[str] = []

        class Told(Silent):
            def warn(self, text: str) -> None:
                told.append(text)

        alone.refresh([HERE], Told())
        assert len(told) == 1 and "as they were" in told[0]
        with pytest.raises(NetworkError):
            source(world, tmp_path / "other", channel=server.url).refresh([HERE], SILENT)
        server.faults.clear()
        (folder / "store-paths.xz").unlink()
        with pytest.raises(NotFoundError, match="has neither"):
            alone.refresh([HERE], SILENT)


def test_a_channel_comes_by_https_or_from_here(world: World, tmp_path: Path) -> None:
    ours = source(world, tmp_path / "store", channel="http://channel.example")
    with pytest.raises(NetworkError, match="plain http"):
        ours.refresh([HERE], SILENT)


def test_a_lost_or_damaged_index_is_made_again(world: World, tmp_path: Path) -> None:
    ours = source(world, tmp_path / "store")
    assert found(ours, "hello")
    (index,) = [
        file
        for file in (tmp_path / "store" / "indexes" / "nix").glob("*.sqlite")
        if "narinfos" not in file.name
    ]
    index.write_bytes(b"damaged" * 1000)
    again = source(world, tmp_path / "store", max_age=600.0)
    with pytest.raises(RamekinError, match="is damaged"):
        found(again, "hello")
    assert found(source(world, tmp_path / "store", max_age=600.0), "hello")


def test_a_large_channel_is_quick_to_ask(world: World, tmp_path: Path) -> None:
    listed = {
        f"package{number}": {
            "name": f"package{number}-1.{number}", "outputs": {"out": str(world["hi"])}, "system": SYSTEM,
            "meta": {"description": f"The package of number {number}", "license": {"spdxId": "MIT"}},
        }
        for number in range(20_000)
    }  # fmt: skip
    folder = channel(tmp_path / "channel", listed)
    source(world, tmp_path / "store", channel=folder).refresh([HERE], SILENT)
    ours = source(world, tmp_path / "store", channel=folder, max_age=600.0)
    begun = time.process_time()
    assert found(ours, "package777") == [world["hi"].outputs["out"]]
    with pytest.raises(NotFoundError, match="pakage777"):
        found(ours, "pakage777")
    # a bound that only something of another order would pass
    assert time.process_time() - begun < 5


# --- by a local Nix --------------------------------------------------------------------------------------


@pytest.fixture
def flake(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A flake of the world's packages, pinned."""
    folder = tmp_path / "flake"
    folder.mkdir()
    greet = world["greet"].outputs
    outputs = " ".join(f'{name} = {{ outPath = "{path}"; }};' for name, path in greet.items())
    names = " ".join(f'"{name}"' for name in greet)
    (folder / "flake.nix").write_text(
        f'{{ outputs = _: {{ packages.{SYSTEM}.greet = {{ type = "derivation"; name = "greet-1.2"; {outputs}'
        f' outPath = "{greet["out"]}"; outputs = [ {names} ]; outputName = "out";'
        f' meta.description = "Says hello"; meta.priority = 3; }}; }}; }}\n'
    )
    monkeypatch.setenv("NIX_REMOTE", str(world.root))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NIX_CONF_DIR", str(world.folder))
    answer = world.nix(
        *(
            "nix",
            "--extra-experimental-features",
            "nix-command flakes",
            "flake",
            "metadata",
            "--json",
            folder,
        ),
    )
    return str(json.loads(answer)["url"])


def test_a_pinned_flake_is_evaluated_and_its_paths_come_from_the_cache(
    world: World, ours: NixSource, flake: str
) -> None:
    greet = world["greet"].outputs
    assert found(ours, f"{flake}#greet") == found(ours, f"nix:{flake}#greet") == [greet["out"]]
    assert found(ours, f"{flake}#greet^dev,doc") == [greet["dev"], greet["doc"]]
    package = ours.resolve([f"{flake}#greet"], HERE).packages[-1]
    assert (package.description, getattr(package, "priority", None)) == ("Says hello", 3)
    with pytest.raises(NotFoundError, match="has no output lib"):
        found(ours, f"{flake}#greet^lib")
    with pytest.raises(RamekinError, match=r"Nix says .*does not provide attribute") as caught:
        found(ours, f"{flake}#gret")
    assert "greet" in (caught.value.hint or "")


def test_a_flake_that_is_not_pinned_is_refused_with_its_pinned_form(
    ours: NixSource, flake: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is not pinned") as caught:
        found(ours, f"path:{tmp_path}/flake#greet")
    assert flake.partition("narHash=")[2] in (caught.value.hint or "")


def test_a_flake_needs_a_nix_that_may_be_run(world: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no /nowhere/nix"):
        found(source(world, tmp_path / "store", nix="/nowhere/nix"), "path:/x#y")
    with pytest.raises(UsageError, match="nothing is evaluated here"):
        found(source(world, tmp_path / "store", nix=""), "path:/x#y")
    with pytest.raises(UsageError, match="is not a flake"):
        found(source(world, tmp_path / "store"), "--option#y")


# --- caches that Nix made --------------------------------------------------------------------------------


# Nix compresses by Brotli as well as it can, which takes long
@pytest.mark.parametrize(
    ("form", "name"),
    [("none", "hello"), ("xz", "hello"), ("zstd", "hello"), ("bzip2", "greet"), ("br", "hi")],
)
def test_caches_of_every_compression_give_what_is_in_nixs_own_store(
    world: World, tmp_path: Path, form: str, name: str
) -> None:
    cache = tmp_path / "cache"
    wanted = world[name].outputs["out"]
    world.nix(
        *("nix", "--extra-experimental-features", "nix-command", "copy", "--store", world.root),
        *("--to", f"file://{cache}?compression={form}", wanted),
    )
    ours = source(world, tmp_path / "store", caches=(str(cache),))
    resolution = ours.resolve([wanted], HERE)
    ours.fetch(resolution.packages, SILENT)
    told = json.loads(
        world.nix(
            *("nix", "--extra-experimental-features", "nix-command", "path-info", "--json", "--recursive"),
            *("--store", world.root, wanted),
        )
    )
    by_path = {one["path"]: one for one in told}
    assert set(by_path) == {package.location for package in resolution.packages}
    for package in resolution.packages:
        one = by_path[package.location]
        info = ours.infos([package])[package.name]
        assert info.nar_size == package.size == one["narSize"]
        assert sorted(f"/nix/store/{reference}" for reference in info.references) == sorted(one["references"])
        tree = ours.open(package).tree
        assert nar.digest_of(tree, root=package.location[1:]) == (package.digest, package.size)


def test_a_path_that_nix_made_content_addressed_needs_no_signature(world: World, tmp_path: Path) -> None:
    answer = world.nix(
        *("nix", "--extra-experimental-features", "nix-command", "store", "make-content-addressed", "--json"),
        *("--store", world.root, world["hello"].outputs["out"]),
    )
    rewritten = json.loads(answer)["rewrites"][world["hello"].outputs["out"]]
    cache = tmp_path / "cache"
    world.nix(
        *("nix", "--extra-experimental-features", "nix-command", "copy", "--store", world.root),
        *("--to", f"file://{cache}?compression=zstd", rewritten),
    )
    ours = source(world, tmp_path / "store", caches=(str(cache),), trusted_keys=())
    resolution = ours.resolve([rewritten], HERE)
    assert any(package.name in getattr(package, "references", ()) for package in resolution.packages)
    assert all(getattr(package, "ca", "").startswith("fixed:r:sha256:") for package in resolution.packages)
    ours.fetch(resolution.packages, SILENT)
    assert len(ours.open(resolution.packages[-1]).tree) > 5
