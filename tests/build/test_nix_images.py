"""Images of store paths: what is in them, that they run, and that Nix itself knows them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.archive import SigningKey
from support.binary_cache import Shelf
from support.binary_cache import SigningKey as SigningKeyOfCache
from support.containers import Layout, free_port, need, ramekin, run, stop, unpacked, wait_for_port
from support.kitchen import SUITE, Kitchen
from support.nix_world import OTHER, SYSTEM, World

HERE, THERE = ("amd64", "arm64") if SYSTEM == "x86_64-linux" else ("arm64", "amd64")

pytestmark = pytest.mark.runtime


class Shop:
    """`ramekin build` of the world's packages."""

    def __init__(self, world: World, folder: Path, store: Path | None = None) -> None:
        self.world, self.folder = world, folder
        self.store = store or folder / "store"
        self.errors = ""

    def options(self, cache: str | Path | None = None) -> list[str]:
        return [
            *("--source", f"nix:{cache or self.world.cache('none')}"),
            *("--nix-key", self.world.key, "--nix-channel", str(self.world.channel)),
        ]

    def build(self, *words: str | Path, name: str = "image", cache: str | Path | None = None) -> Layout:
        target = self.folder / name
        options = self.options(cache)
        if not any(word in ("--arch", "-a") for word in words):
            options += ["--arch", HERE]
        done = ramekin("build", *words, *options, "-o", f"oci:{target}", "--store", self.store)
        self.errors = done.stderr
        return Layout(target)

    def why(self, image: Layout, *words: str) -> list[str]:
        return ramekin("why", image.reference, *words, "--store", self.store).stdout.splitlines()


@contextmanager
def nginx(folder: Path, work: Path) -> Iterator[str]:
    """The URL of a folder that nginx serves on loopback."""
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {work}/{kind};" for kind in kinds)
    settings = work / "nginx.conf"
    settings.write_text(
        f"daemon off; {'user root;' if os.geteuid() == 0 else ''} pid {work}/pid; error_log {work}/log; "
        f"events {{}} http {{ access_log off; {temporary} "
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
    )
    with subprocess.Popen(["nginx", "-c", settings, "-p", work], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port, process, work / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(process)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests share, so that not each makes the same layers."""
    return tmp_path_factory.mktemp("nix-store")


@pytest.fixture
def shop(nix_world: World, tmp_path: Path, store: Path) -> Shop:
    return Shop(nix_world, tmp_path, store)


def packages(image: Layout) -> list[list[str]]:
    """The base names of the store paths of each layer, lowest layer first."""
    notes = [layer.get("annotations", {}) for layer in image.manifest["layers"]]
    listed = [note.get("io.ramekin.layer.packages", "").split() for note in notes]
    return [[word.rpartition("=")[0] for word in words] for words in listed if words]


def files(root: Path) -> set[str]:
    """All that is no folder, by its path in the image."""
    return {f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_symlink() or path.is_file()}


# --- what is in an image ---------------------------------------------------------------------------------


def test_the_closure_is_the_one_that_nix_says(shop: Shop) -> None:
    image = shop.build("hello")
    said = shop.world.nix(
        "nix-store", "--store", shop.world.root, "--query", "--requisites", str(shop.world["hello"])
    )
    assert {f"/nix/store/{name}" for [name] in packages(image)} == set(said.split())


def test_every_store_path_is_a_layer_and_what_it_refers_to_lies_below(shop: Shop) -> None:
    image = shop.build("hello")
    order = [name for [name] in packages(image)]
    for name in order:
        references = shop.world.nix(
            "nix-store", "--store", shop.world.root, "--query", "--references", f"/nix/store/{name}"
        )
        for other in references.split():
            assert order.index(other.removeprefix("/nix/store/")) <= order.index(name)
    assert order[0] == shop.world["glibc"].base


def test_files_are_as_in_a_nix_store(shop: Shop) -> None:
    with unpacked(shop.build("hello", "bash")) as root:
        for path in (root / "nix/store").rglob("*"):
            if not path.is_symlink():
                status = path.stat()
                assert (status.st_mtime, status.st_uid, status.st_gid) == (1, 0, 0)
                assert status.st_mode & 0o7777 in (0o444, 0o555) or path.parent == root / "nix/store"
        for built in (shop.world["hello"], shop.world["bash"]):
            ours, theirs = root / str(built).lstrip("/"), shop.world.path(str(built))
            assert subprocess.run(["diff", "-r", "--no-dereference", ours, theirs]).returncode == 0


@pytest.mark.parametrize("runtime", ["bwrap", "runc"])
def test_a_program_of_the_store_runs(shop: Shop, tmp_path: Path, runtime: str) -> None:
    need(runtime)
    image = shop.build("hello", "bash")
    done = run(image, tmp_path, runtime=runtime)
    assert (done.status, done.output) == (0, "good day\nhello from the store\n")
    script = run(image, tmp_path, entrypoint=["/bin/sh", "-c", "greet-all"], runtime=runtime)
    assert (script.status, script.output) == (0, f"{shop.world['hello']} is where I live\n")


def test_equal_requests_make_equal_images_whatever_cache_and_compression(
    nix_world: World, tmp_path: Path
) -> None:
    need("nginx")
    digests = set()
    for compression in ("xz", "none", "bzip2", "zstd", "br"):
        shop = Shop(nix_world, tmp_path / compression)
        shop.folder.mkdir()
        with nginx(nix_world.cache(compression), shop.folder) as url:
            digests.add(shop.build("hello", "bash", "--nix-database", cache=url).digest)
    digests.add(Shop(nix_world, tmp_path).build("hello", "bash", "--nix-database").digest)
    assert len(digests) == 1


def test_a_second_build_reads_no_cache(nix_world: World, tmp_path: Path) -> None:
    shop, cache = Shop(nix_world, tmp_path), tmp_path / "cache"
    subprocess.run(["cp", "-r", shop.world.cache("none"), cache], check=True)
    first = shop.build("hello", cache=cache, name="first")
    subprocess.run(["rm", "-r", cache / "nar"], check=True)
    assert shop.build("hello", cache=cache, name="second").digest == first.digest
    # all layers are there, in another image too
    shop.build("hello", "--label", "a=b", cache=cache, name="third")


def test_more_store_paths_than_layers_share_some(shop: Shop) -> None:
    image = shop.build("hello", "--layers", "4")
    assert len(image.manifest["layers"]) == 4
    assert len([name for layer in packages(image) for name in layer]) == 8


def test_both_architectures_stand_in_one_index(shop: Shop) -> None:
    target = shop.folder / "both"
    options = [*shop.options(), "--arch", f"{HERE},{THERE}", "-o", f"oci:{target}"]
    ramekin("build", "bash", "coreutils", *options, "--store", shop.store)
    top = json.loads((target / "index.json").read_text())["manifests"][0]
    index = json.loads(Layout(target).blob(top))
    by_architecture: dict[str, Any] = {}
    for entry in index["manifests"]:
        manifest = json.loads(Layout(target).blob(entry))
        notes = [layer.get("annotations", {}) for layer in manifest["layers"]]
        by_architecture[entry["platform"]["architecture"]] = {
            word.rpartition("=")[0]
            for note in notes
            for word in note.get("io.ramekin.layer.packages", "").split()
        }
    assert by_architecture[HERE] == {shop.world["bash"].base, shop.world["coreutils"].base}
    assert by_architecture[THERE] == {shop.world[f"{name}.{OTHER}"].base for name in ("bash", "coreutils")}


GOLDEN = {
    "gzip": "sha256:2d68185507ae9637855f7de6c9aee6c3fa0f20edea18de789f6e43bc0b97e4af",
    "none": "sha256:875dd8f5f7e66487454c00106ffb299bcbc8d2e0269a4552da9c0e5b9b1b1485",
}
"""Digests of `shelf`'s image, by its layers' compression. They change only when bytes of images change."""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A cache by hand, the same bytes on any machine."""
    made = Shelf(tmp_path / "shelf", SigningKeyOfCache("golden-1"))
    libc = made.add(
        "libc-2.0", {"lib/libc.so.6": b"\x7fELF no more", "share/doc/libc": b"read me"}, itself=True
    )
    data = made.add("data-1", {"share/data": b"x" * 5000})
    app = b"#! " + libc.path.encode() + b"/bin/sh\n" + data.path.encode() + b"/share/data\n"
    made.add(
        "app-3.1", {"bin/app": app, "share/man/man1/app.1": b".TH"}, references=[libc, data], itself=True
    )
    return made


@pytest.mark.parametrize("compression", GOLDEN)
@pytest.mark.parametrize("seed", ["0", "4242"])
def test_the_digest_is_the_golden_one(shelf: Shelf, tmp_path: Path, compression: str, seed: str) -> None:
    app = next(info for base, info in shelf.infos.items() if base.endswith("-app-3.1"))
    words = [app.path, "--source", f"nix:{shelf.folder}", "--nix-key", SigningKeyOfCache("golden-1").public]
    words += ["--nix-database", "--arch", "amd64", "--compress", compression, "--tag", "app:1"]
    env = {"PYTHONHASHSEED": seed, "TZ": "Pacific/Kiritimati", "SOURCE_DATE_EPOCH": ""}
    target = tmp_path / "image"
    ramekin("build", *words, "-o", f"oci:{target}", "--store", tmp_path / "store", env=env)
    assert Layout(target).digest == GOLDEN[compression]


# --- links -----------------------------------------------------------------------------------------------


def test_what_was_asked_for_is_linked_and_nothing_else(shop: Shop) -> None:
    hello, bash = shop.world["hello"], shop.world["bash"]
    with unpacked(shop.build("hello", "bash")) as root:
        linked = {
            path: str((root / path.lstrip("/")).readlink())
            for path in files(root)
            if not path.startswith(("/nix/", "/var/")) and (root / path.lstrip("/")).is_symlink()
        }
    assert linked == {
        "/bin/hello": f"{hello}/bin/hello",
        "/bin/greet-all": f"{hello}/bin/greet-all",
        "/bin/bash": f"{bash}/bin/bash",
        "/bin/sh": f"{bash}/bin/sh",
        "/usr/bin/env": f"{shop.world['coreutils']}/bin/env",
        "/share/hello": f"{hello}/share/hello",
        "/share/doc": f"{hello}/share/doc",
        "/share/man": f"{hello}/share/man",
        "/etc/hello.conf": f"{hello}/etc/hello.conf",
    }


def test_the_lower_priority_wins_and_who_loses_is_said(shop: Shop) -> None:
    with unpacked(shop.build("shellBox_2", "bash")) as root:
        assert str((root / "bin/sh").readlink()) == f"{shop.world['bash']}/bin/sh"
    assert "/bin/sh is of bash-5.2 and not of shellbox-1.0 (priority 5 before 9)" in shop.errors


def test_of_equal_priorities_the_first_that_was_asked_for_wins(shop: Shop) -> None:
    with unpacked(shop.build("hello", "hi")) as root:
        assert str((root / "bin/hello").readlink()) == f"{shop.world['hello']}/bin/hello"
        assert str((root / "bin/hi").readlink()) == f"{shop.world['hi']}/bin/hi"
    assert "/bin/hello is of hello-2.12 and not of hi-1.0" in shop.errors
    with unpacked(shop.build("hi", "hello", name="other")) as root:
        assert str((root / "bin/hello").readlink()) == f"{shop.world['hi']}/bin/hello"
    failed = ramekin("build", "hi", "hello", "--strict", *shop.options(), check=False)
    assert failed.returncode == 1
    assert "/bin/hello" in failed.stderr


def test_an_image_may_have_no_links(shop: Shop, tmp_path: Path) -> None:
    image = shop.build("hello", "--no-nix-links")
    assert image.config["config"]["Entrypoint"] == [f"{shop.world['hello']}/bin/hello"]
    assert run(image, tmp_path).output == "good day\nhello from the store\n"
    with unpacked(image) as root:
        assert not (root / "share").exists()
        assert (root / "bin/sh").is_symlink()


def test_certificates_and_time_zones_are_nixpkgs_when_that_is_asked_for(shop: Shop) -> None:
    image = shop.build("hello", "--nix-essentials", "nixpkgs")
    assert "TZDIR=/usr/share/zoneinfo" in image.config["config"]["Env"]
    with unpacked(image) as root:
        for path, built in (
            ("etc/ssl/certs/ca-certificates.crt", "cacert"),
            ("usr/share/zoneinfo", "tzdata"),
        ):
            assert str((root / path).readlink()).startswith(str(shop.world[built]))
    assert [shop.world["cacert"].base] not in packages(shop.build("hello", name="plain"))


# --- how it starts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        (["hello"], ["/bin/hello"]),
        (["bash"], ["/bin/bash"]),
        (["coreutils"], ["/bin/coreutils"]),
        (["toolbox"], ["/bin/hello"]),
        (["tzdata"], None),
        (["hello", "--entrypoint", ""], None),
        (["hello", "--entrypoint", "/bin/sh -c"], ["/bin/sh", "-c"]),
    ],
)
def test_the_image_starts_the_main_program(shop: Shop, words: list[str], starts: list[str] | None) -> None:
    assert shop.build(*words).config["config"].get("Entrypoint") == starts


def test_a_store_path_and_an_output_can_be_asked_for(shop: Shop) -> None:
    hello, greet = shop.world["hello"], shop.world["greet"]
    assert packages(shop.build(str(hello)))[-1] == [hello.base]
    image = shop.build("greet^dev", name="dev")
    assert [greet.outputs["dev"].removeprefix("/nix/store/")] in packages(image)
    assert image.config["config"].get("Entrypoint") is None


def test_a_name_that_there_is_not_gets_near_ones(shop: Shop) -> None:
    failed = ramekin("build", "helo", *shop.options(), "--store", shop.store, check=False)
    assert (failed.returncode, "hello" in failed.stderr) == (1, True)


# --- Nix within the image --------------------------------------------------------------------------------


def test_nix_knows_what_is_in_the_image(shop: Shop) -> None:
    image = shop.build("hello", "greet^out,dev,doc", "--nix-database")
    with unpacked(image) as root:
        nix = ["nix", "--extra-experimental-features", "nix-command", "--offline"]
        known = json.loads(shop.world.nix(*nix, "path-info", "--store", root, "--all", "--json"))
        assert {info["path"] for info in known} == {f"/nix/store/{name}" for [name] in packages(image)}
        truth = json.loads(
            shop.world.nix(
                *nix, "path-info", "--store", shop.world.root, "--json", *[i["path"] for i in known]
            )
        )
        for ours, theirs in zip(known, truth, strict=True):
            same = ("path", "narHash", "narSize", "deriver", "signatures")
            assert {key: ours.get(key) for key in same} == {key: theirs.get(key) for key in same}
            assert set(ours["references"]) == set(theirs["references"])
        shop.world.nix("nix-store", "--store", root, "--verify", "--check-contents")
        shop.world.nix(
            *nix,
            *("store", "verify", "--store", root, "--all"),
            *("--trusted-public-keys", shop.world.key, "--sigs-needed", "1"),
        )
        shop.world.nix("nix-store", "--store", root, "--gc")
        assert (root / str(shop.world["glibc"]).lstrip("/")).exists()


def test_nix_takes_what_is_in_the_image_into_another_store(shop: Shop, tmp_path: Path) -> None:
    image = shop.build("hello", "--nix-database")
    paths = [f"/nix/store/{name}" for [name] in packages(image)]
    with unpacked(image) as root:
        command = ["nix-store", "--store", str(root), "--export", *paths]
        exported = subprocess.run(command, check=True, capture_output=True).stdout
    other = tmp_path / "other"
    # an import reads hashes and references out of the bytes again
    command = ["nix-store", "--store", str(other), "--option", "require-sigs", "false", "--import"]
    subprocess.run(command, input=exported, check=True, capture_output=True)
    nix = ["nix", "--extra-experimental-features", "nix-command", "--offline", "path-info", "--json"]
    theirs = json.loads(shop.world.nix(*nix, "--store", other, "--all"))
    known = json.loads(shop.world.nix(*nix, "--store", shop.world.root, *paths))
    same = ("path", "narHash", "narSize")
    assert sorted([info[key] for key in same] for info in theirs) == sorted(
        [info[key] for key in same] for info in known
    )
    said = shop.world.nix("nix-store", "--store", other, "--query", "--requisites", str(shop.world["hello"]))
    assert set(said.split()) == set(paths)


def test_a_database_and_files_left_out_do_not_go_together(shop: Shop) -> None:
    words = ["build", "hello", "--nix-database", "--closure", "files", *shop.options()]
    failed = ramekin(*words, "--store", shop.store, check=False)
    assert (failed.returncode, "whole" in failed.stderr) == (2, True)


# --- from file to file -----------------------------------------------------------------------------------


def test_references_are_followed_from_file_to_file(shop: Shop, tmp_path: Path) -> None:
    image = shop.build("hello", "--closure", "files")
    hello, glibc, greet = (str(shop.world[name]) for name in ("hello", "glibc", "greet"))
    with unpacked(image) as root:
        held = files(root)
    names = {name for layer in packages(image) for name in layer}
    # named in documentation only
    assert shop.world["unused"].base not in names
    assert shop.world["hello"].outputs["man"].removeprefix("/nix/store/") not in names
    assert f"{hello}/share/doc/hello/README" not in held
    # no program calls them, no linker will look for it
    assert not {f"{glibc}/bin/getconf", f"{glibc}/share/doc/glibc/README", f"{greet}/lib/libgreet.so"} & held
    # a loader finds them, a link leads there, a script calls it, a file names it, and data of what is used
    assert {
        f"{glibc}/lib/libc.so.6",
        f"{greet}/lib/libgreet.so.1",
        f"{greet}/lib/libgreet.so.1.2",
        f"{shop.world['coreutils']}/bin/cat",
        f"{shop.world['coreutils']}/bin/coreutils",
        f"{shop.world['bash']}/bin/sh",
        str(shop.world["message"]),
        f"{glibc}/share/i18n/prefix",
        f"{hello}/share/hello/every",
    } <= held
    assert f"{shop.world['coreutils']}/bin/ls" not in held
    assert run(image, tmp_path).output == "good day\nhello from the store\n"
    assert run(image, tmp_path, entrypoint=["/bin/greet-all"]).status == 0


def test_what_is_kept_and_dropped_by_path_is(shop: Shop) -> None:
    image = shop.build(
        "hello", "--closure", "files", "--keep", "/nix/store/*/bin/getconf", "--drop", "/*.conf"
    )
    with unpacked(image) as root:
        held = files(root)
    assert f"{shop.world['glibc']}/bin/getconf" in held
    assert not any(path.endswith("hello.conf") for path in held)


def test_why_says_in_which_file_a_reference_stands(shop: Shop) -> None:
    image = shop.build("hello")
    hello = shop.world["hello"]
    assert shop.why(image, "message") == [
        f"{hello.base}: asked for",
        f"{hello.base} → {hello}/bin/hello names {shop.world['message']} → {shop.world['message'].base}",
    ]
    assert f"{hello}/share/doc/hello/README" in shop.why(image, "unused")[1]
    assert shop.why(image, "/bin/hello")[-1] == f"{hello.base} → /bin/hello is a link to {hello}/bin/hello"
    assert shop.why(image, "hello") == [f"{hello.base}: asked for"]


def test_the_graph_calls_store_paths_by_their_names(shop: Shop) -> None:
    graph = shop.folder / "graph.dot"
    shop.why(shop.build("hello"), "--graph", str(graph))
    assert '"hello-2.12" -> "glibc-2.36"' in graph.read_text()


def test_why_says_what_led_to_a_file_and_why_another_is_not_there(shop: Shop) -> None:
    image = shop.build("hello", "--closure", "files")
    hello, greet = shop.world["hello"], shop.world["greet"]
    needs = f"{hello.base} → {hello}/bin/hello needs libgreet.so.1 → {greet.base}"
    assert shop.why(image, f"{greet}/lib/libgreet.so.1.2")[-1] == needs
    gone = shop.why(image, "unused-1.0")
    assert "hello-2.12 names it in" in gone[0]
    assert "which is left out" in gone[0]
    dropped = "\n".join(shop.why(image, "--dropped"))
    assert f"{shop.world['glibc']}/bin/getconf" in dropped


# --- with others -----------------------------------------------------------------------------------------


@pytest.fixture
def kitchen(tmp_path: Path, signing_key: SigningKey) -> Kitchen:
    folder = tmp_path / "kitchen"
    folder.mkdir()
    return Kitchen.open(folder, signing_key)


SPEC = """
sources:
  nix:
    caches: {cache}
    trusted-keys: {key}
    channel: {channel}
defaults:
  source: debian:{suite}
  arch: {arch}
images:
  dinner:
    packages: [nix:hello, gratin, nix:bash]
    output: oci:./dinner
"""


@pytest.fixture
def spec(shop: Shop, tmp_path: Path) -> Path:
    """A spec whose image holds packages of Debian and of Nix."""
    path = tmp_path / "ramekin.yaml"
    world = shop.world
    cache = world.cache("none")
    text = SPEC.format(cache=cache, key=world.key, channel=world.channel, suite=SUITE, arch=HERE)
    path.write_text(text)
    return path


def test_packages_of_debian_and_of_nix_stand_in_one_image(
    shop: Shop, kitchen: Kitchen, spec: Path, tmp_path: Path
) -> None:
    env = kitchen.env()
    ramekin("build", "--store", shop.store, env=env, cwd=tmp_path)
    image = Layout(tmp_path / "dinner")
    assert image.config["config"]["Entrypoint"] == ["/usr/local/bin/hello"]
    assert run(image, tmp_path).output == "good day\nhello from the store\n"
    with unpacked(image) as root:
        held = files(root)
        assert {"/usr/bin/gratin", "/usr/bin/sh", "/usr/local/bin/bash"} <= held
        assert (root / "bin").readlink() == Path("usr/bin")
    # the store path's layer is the one that an image of store paths alone has
    alone = shop.build("hello")
    shared = {layer["digest"] for layer in image.manifest["layers"]}
    assert len(shared & {layer["digest"] for layer in alone.manifest["layers"]}) == len(packages(alone))
    lines = shop.why(image, "potato")
    assert lines[0] == "gratin: asked for"
    assert shop.why(image, "message")[0] == f"{shop.world['hello'].base}: asked for"


def test_a_lock_pins_store_paths(shop: Shop, kitchen: Kitchen, spec: Path, tmp_path: Path) -> None:
    env = kitchen.env()
    ramekin("lock", "--store", shop.store, env=env, cwd=tmp_path)
    lock = json.loads((tmp_path / "ramekin.lock.json").read_text())
    pinned = lock["images"]["dinner"]["architectures"][HERE]["packages"]
    hello = next(one for one in pinned if one["name"] == shop.world["hello"].base)
    assert hello["location"] == str(shop.world["hello"])
    assert hello["path"]["program"] == "hello"
    assert shop.world["glibc"].base in hello["needs"]
    # another store, and a cache that says the same; the channel is gone
    ramekin("build", "--store", shop.store, env=env, cwd=tmp_path)
    first = Layout(tmp_path / "dinner").digest
    text = spec.read_text().replace(str(shop.world.channel), str(tmp_path / "gone"))
    spec.write_text(text.replace(str(shop.world.cache("none")), str(shop.world.cache("xz"))))
    ramekin("build", "--store", tmp_path / "other", "-o", "oci:./again", env=env, cwd=tmp_path)
    assert Layout(tmp_path / "again").digest == first


def test_an_update_says_which_store_paths_change(shop: Shop, spec: Path, tmp_path: Path) -> None:
    spec.write_text(spec.read_text().replace("[nix:hello, gratin, nix:bash]", "[nix:hello]"))
    ramekin("lock", "--store", shop.store, cwd=tmp_path)
    lock = tmp_path / "ramekin.lock.json"
    text = lock.read_text()
    assert ramekin("update", "--store", shop.store, cwd=tmp_path).stdout == "dinner: up to date\n"
    lock.write_text(text.replace(shop.world["message"].base, "0" * 32 + "-message-0"))
    changed = ramekin("update", "--no-bytes", "--store", shop.store, cwd=tmp_path).stdout
    assert f"+ {shop.world['message'].base}" in changed
    assert lock.read_text() == text


def test_debian_brings_the_essentials_when_that_is_asked_for(shop: Shop, kitchen: Kitchen) -> None:
    target = shop.folder / "essentials"
    words = ["hello", "--nix-essentials", "debian", "--arch", HERE, *shop.options()]
    ramekin("build", *words, "-o", f"oci:{target}", "--store", shop.store, env=kitchen.env())
    with unpacked(Layout(target)) as root:
        # on the merged layout of the distribution
        assert (root / "bin").readlink() == Path("usr/bin")


# --- what is said of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["spdx", "cyclonedx"])
def test_the_bill_lists_store_paths_and_who_refers_to_whom(shop: Shop, form: str) -> None:
    image = shop.build("hello", f"--sbom={form}")
    bill = _bill(image, form)
    text = json.dumps(bill)
    for [name] in packages(image):
        assert name in text
    assert "pkg:nix/" in text
    if form == "cyclonedx":
        by_ref = {row["ref"]: set(row.get("dependsOn", ())) for row in bill["dependencies"]}
        hello = next(ref for ref in by_ref if shop.world["hello"].base in ref)
        assert any(shop.world["glibc"].base in ref for ref in by_ref[hello])


def _bill(image: Layout, form: str) -> Any:
    for path in (image.path / "blobs/sha256").iterdir():
        data = path.read_bytes()
        if data.startswith(b"{") and (b'"SPDXRef-DOCUMENT"' if form == "spdx" else b'"CycloneDX"') in data:
            return json.loads(data)
    raise AssertionError("no bill")


def test_search_and_show_speak_of_store_paths(shop: Shop) -> None:
    words = [*shop.options(), "--store", str(shop.store)]
    assert "hello" in ramekin("search", "greets", *words).stdout
    shown = ramekin("show", "hello", *words).stdout
    assert str(shop.world["hello"]) in shown
    assert shop.world["glibc"].base in shown
    data = json.loads(ramekin("show", "hello", "--json", *words).stdout)
    assert (data[0]["kind"], data[0]["program"]) == ("nix", "hello")


def test_a_package_of_nix_needs_no_source(shop: Shop, tmp_path: Path) -> None:
    cache = ["--nix-cache", str(shop.world.cache("none")), *shop.options()[2:]]
    options = [*cache, "--arch", HERE, "--store", str(shop.store)]
    ramekin("build", "nix:hello", *options, "-o", f"oci:{tmp_path / 'a'}")
    ramekin("build", str(shop.world["hello"]), *options, "-o", f"oci:{tmp_path / 'b'}")
    assert packages(Layout(tmp_path / "a")) == packages(Layout(tmp_path / "b"))


def test_a_cache_without_a_trusted_key_is_not_believed(shop: Shop) -> None:
    words = ["build", "hello", *shop.options()]
    words[words.index(shop.world.key)] = "other-1:" + "A" * 43 + "="
    failed = ramekin(*words, "--store", shop.store, check=False)
    assert failed.returncode == 1
    assert "signature" in failed.stderr or "signed" in failed.stderr
