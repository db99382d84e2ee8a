"""A slim image: what its layers hold, what it shares, and the records of package managers in it."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

import msgspec
import pytest
from shelf_of_units import Files, distribution, dpkg, image, package_json, seen
from support.elves import elf

from ramekin.errors import NotFoundError
from ramekin.image import layer, oci, tar, validate
from ramekin.image.image import Image
from ramekin.image.oci import RootFS, Runtime
from ramekin.image.tree import Entry, Kind, Tree, file
from ramekin.slim import contents as contents_of
from ramekin.slim import explanation
from ramekin.slim.rebuild import SLIMMED, Layers, Rebuilt, rebuild
from ramekin.slim.units import Choice, Level, complete
from ramekin.store.store import Store

X86 = "usr/lib/x86_64-linux-gnu"
SITE = "usr/local/lib/python3.12/site-packages"
BASE: Files = {
    "lib": "-> usr/lib",
    "usr/bin/server": elf(program=True, needed=["libused.so.1"]),
    f"{X86}/libused.so.1": elf(soname="libused.so.1"),
    f"{X86}/libidle.so.1": elf(soname="libidle.so.1"),
    "usr/share/doc/libused1/copyright": "l" * 5000,
    "usr/share/doc/server/copyright": "l" * 5000,
    "var/lib/server/": "",
    "var/log/server.log": "x",
    **dpkg(
        {
            "server": ("Depends: libused1", ["usr/bin/server", "usr/share/doc/server/copyright"]),
            "libused1": ("", [f"{X86}/libused.so.1", "usr/share/doc/libused1/copyright"]),
            "libidle1": ("", [f"{X86}/libidle.so.1"]),
        }
    ),
}
APP: Files = {"app/page": "page\n", "app/data/": ""}
RUN = Runtime(
    cmd=("server",),
    env=("PATH=/usr/bin",),
    working_dir="/app",
    user="33",
    exposed_ports={"80/tcp": {}},
    labels={"a": "b"},
    stop_signal="SIGQUIT",
)
OBSERVED = seen("usr/bin/server", executed=("usr/bin/server",))


def slim(
    store: Store,
    tmp_path: Path,
    original: Image,
    *,
    layers: Layers = Layers.KEEP,
    choice: Choice | None = None,
) -> Rebuilt:
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    contents = contents_of.read(original, name="the image", spool=spool)
    selection = complete(contents, OBSERVED, choice or Choice())
    return rebuild(contents, selection, layers=layers, store=store)


def files(rebuilt: Rebuilt, store: Store, tmp_path: Path) -> Tree:
    trees = [layer.read(blob, store, spool=tmp_path) for blob in rebuilt.image.manifest().layers]
    return layer.apply(trees)


@pytest.fixture
def original(store: Store) -> Image:
    return image(store, BASE, APP, run=RUN)


@pytest.mark.parametrize("layers", list(Layers))
def test_exactly_what_stays_is_there_and_the_image_is_valid(
    store: Store, tmp_path: Path, original: Image, layers: Layers
) -> None:
    made = slim(store, tmp_path, original, layers=layers)
    tree = files(made, store, tmp_path)
    assert {"usr/bin/server", f"{X86}/libused.so.1", "app/page", "lib"} <= tree.keys()
    assert not {f"{X86}/libidle.so.1", "var/log/server.log"} & tree.keys()
    assert tree["var/lib/server"].kind is Kind.DIRECTORY
    assert tree["app/data"].kind is Kind.DIRECTORY
    assert not validate.validate(made.image)
    assert made.size == sum(entry.size for entry in tree.entries())


def test_a_layer_that_stays_whole_keeps_its_digest(store: Store, tmp_path: Path, original: Image) -> None:
    made = slim(store, tmp_path, original)
    whole = original.manifest().layers[1]
    assert made.image.manifest().layers[1].digest == whole.digest
    assert made.shared == (whole.digest,)


def test_layers_are_as_many_as_asked_for(store: Store, tmp_path: Path, original: Image) -> None:
    assert len(slim(store, tmp_path, original, layers=Layers.ONE).image.manifest().layers) == 1
    names = [
        step.created_by
        for step in _config(slim(store, tmp_path, original, layers=Layers.UNITS).image).history
        if not step.empty_layer
    ]
    assert names[0] == "ramekin slim: base"
    assert {"ramekin slim: dpkg:server", "ramekin slim: dpkg:libused1", "ramekin slim: files:/app"} <= {
        *names
    }


def _config(made: Image):  # type: ignore[no-untyped-def]
    return made.config(made.manifest())


def test_images_that_use_the_same_unit_share_its_layer(store: Store, tmp_path: Path) -> None:
    one = slim(store, tmp_path, image(store, BASE, APP, run=RUN), layers=Layers.UNITS)
    other = slim(store, tmp_path, image(store, BASE, {"app/page": "another"}, run=RUN), layers=Layers.UNITS)
    shared = {b.digest for b in one.image.manifest().layers} & {
        b.digest for b in other.image.manifest().layers
    }
    assert len(shared) >= 2


def test_how_it_starts_is_as_it_was(store: Store, tmp_path: Path, original: Image) -> None:
    made = slim(store, tmp_path, original).image
    assert _config(made).config == RUN
    assert _config(made).created == "2026-01-01T00:00:00Z"
    assert made.manifest().annotations[SLIMMED] == str(original.root.digest)
    said = [step.created_by for step in _config(made).history]
    assert said == ["ramekin slim: step 0", "step 1"]


def test_unknown_fields_of_the_configuration_stay(store: Store, tmp_path: Path, original: Image) -> None:
    manifest = original.manifest()
    assert manifest.config is not None
    document = json.loads(original.document(manifest.config))
    document["config"]["Healthcheck"] = {"Test": ["CMD", "server"]}
    data = json.dumps(document).encode()
    store.put(data)
    config = msgspec.structs.replace(manifest.config, digest=_digest(data), size=len(data))
    changed = msgspec.json.encode(msgspec.structs.replace(manifest, config=config))
    store.put(changed)
    root = msgspec.structs.replace(original.root, digest=_digest(changed), size=len(changed))
    made = slim(store, tmp_path, Image(root, store)).image
    new = made.manifest().config
    assert new is not None
    assert json.loads(made.document(new))["config"]["Healthcheck"] == {"Test": ["CMD", "server"]}


def _digest(data: bytes):  # type: ignore[no-untyped-def]
    from ramekin.store.digest import of

    return of(data)


@pytest.mark.parametrize("layers", list(Layers))
def test_the_same_image_and_observation_give_the_same_digest(tmp_path: Path, layers: Layers) -> None:
    digests = set()
    for number in range(3):
        store = Store.at(tmp_path / f"store{number}")
        made = slim(store, tmp_path, image(store, BASE, APP, run=RUN), layers=layers)
        digests.add((made.image.root.digest, made.image.referrers[0].digest))
    assert len(digests) == 1


def test_dpkg_lists_what_is_there(store: Store, tmp_path: Path, original: Image) -> None:
    tree = files(slim(store, tmp_path, original), store, tmp_path)
    status = tree["var/lib/dpkg/status"].read().decode()
    assert re.findall(r"^Package: (.*)$", status, re.MULTILINE) == ["server", "libused1"]
    listed = tree["var/lib/dpkg/info/libused1.list"].read().decode().split("\n")
    assert f"/{X86}/libused.so.1" in listed
    assert "var/lib/dpkg/info/libidle1.list" not in tree
    assert "var/lib/dpkg/info/server.postinst" not in tree


def test_equal_copyright_notices_become_one(store: Store, tmp_path: Path, original: Image) -> None:
    tree = files(slim(store, tmp_path, original), store, tmp_path)
    assert tree["usr/share/doc/server/copyright"].kind is Kind.HARDLINK


def test_records_of_python_and_node_name_what_is_there(store: Store, tmp_path: Path) -> None:
    lock: dict[str, dict[str, object]] = {"packages": {"node_modules/used": {}, "node_modules/idle": {}}}
    more: Files = {
        **distribution("used", {"used.py": "", "used_tests/__init__.py": "", "tests/test_used.py": ""}),
        **distribution("idle", {"idle.py": ""}),
        "app/main.py": "import used\n",
        "app/package.json": package_json("app", dependencies={"used": "1"}),
        "app/node_modules/.package-lock.json": json.dumps(lock),
        "app/node_modules/used/package.json": package_json("used"),
        "app/node_modules/idle/package.json": package_json("idle"),
    }
    tree = files(slim(store, tmp_path, image(store, BASE, more, run=RUN)), store, tmp_path)
    record = tree[f"{SITE}/used-1.0.dist-info/RECORD"].read().decode()
    assert "used.py,," in record
    assert "tests/test_used.py" not in record
    assert not any(path.startswith(f"{SITE}/idle") for path in tree)
    assert [*json.loads(tree["app/node_modules/.package-lock.json"].read())["packages"]] == [
        "node_modules/used"
    ]


def test_a_record_that_dpkg_has_a_checksum_of_gets_a_new_one(store: Store, tmp_path: Path) -> None:
    site = "usr/lib/python3/dist-packages"
    made = distribution("used", {"used.py": "", "more.py": ""}, site=site)
    record, sums = f"{site}/used-1.0.dist-info/RECORD", "var/lib/dpkg/info/python3-used.md5sums"
    debian: Files = {
        **BASE,
        **made,
        **dpkg({"server": ("", ["usr/bin/server"]), "python3-used": ("", [*made])}),
        sums: "".join(f"{hashlib.md5(text.encode()).hexdigest()}  {path}\n" for path, text in made.items()),
        "app/main.py": "import used\n",
    }
    found = contents_of.read(image(store, debian, run=RUN), name="the image", spool=tmp_path)
    observed = seen("app/main.py", f"{site}/used.py", executed=("usr/bin/server",))
    rebuilt = rebuild(found, complete(found, observed, Choice(level=Level.FILES)), store=store)
    tree = files(rebuilt, store, tmp_path)
    assert b"used.py" in tree[record].read()
    assert b"more.py" not in tree[record].read()
    listed = dict(reversed(line.split("  ")) for line in tree[sums].read().decode().splitlines())
    assert listed.keys() == {path for path in tree if path.startswith(site) and tree[path].kind is Kind.FILE}
    assert listed == {path: hashlib.md5(tree[path].read()).hexdigest() for path in listed}


@pytest.mark.parametrize("folder", ["app/node_modules", "usr/share/nodejs"])
def test_npm_finds_a_package_of_which_a_file_stays(store: Store, tmp_path: Path, folder: str) -> None:
    more: Files = {
        **BASE,
        f"{folder}/@some/used/package.json": package_json("@some/used"),
        f"{folder}/@some/used/dist/used.js": "",
        f"{folder}/@some/used/dist/more.js": "",
        f"{folder}/idle/package.json": package_json("idle"),
        f"{folder}/idle/idle.js": "",
    }
    found = contents_of.read(image(store, more, run=RUN), name="the image", spool=tmp_path)
    observed = seen(f"{folder}/@some/used/dist/used.js", executed=("usr/bin/server",))
    rebuilt = rebuild(found, complete(found, observed, Choice(level=Level.FILES)), store=store)
    staying = {path for path in files(rebuilt, store, tmp_path) if path.endswith((".js", ".json"))}
    assert staying == {f"{folder}/@some/used/package.json", f"{folder}/@some/used/dist/used.js"}


def test_apk_lists_what_is_there(store: Store, tmp_path: Path) -> None:
    database = (
        "P:server\nV:1\nA:x86_64\nF:usr/bin\nR:server\na:0:0:755\nZ:Q1x=\nF:usr/share/man\nR:server.1\nZ:Q1y=\n\n"
        "P:idle\nV:1\nF:usr/share/idle\nR:data\nZ:Q1z=\n\n"
    )
    apk: Files = {
        "usr/bin/server": b"x",
        "usr/share/man/server.1": "m",
        "usr/share/idle/data": "d",
        "lib/apk/db/installed": database,
    }
    tree = files(slim(store, tmp_path, image(store, apk, run=RUN)), store, tmp_path)
    assert tree["lib/apk/db/installed"].read().decode() == (
        "P:server\nV:1\nA:x86_64\nF:usr/bin\nR:server\na:0:0:755\nZ:Q1x=\n\n"
    )


def test_files_that_later_layers_changed_or_deleted_are_as_in_the_image(store: Store, tmp_path: Path) -> None:
    later: Files = {
        "app/page": "new page\n",
        "app/.wh.gone": "",
        "app/sub/.wh..wh..opq": "",
        "app/sub/new": "n",
    }
    first: Files = {**BASE, "app/page": "old page\n", "app/gone": "g", "app/sub/old": "o"}
    tree = files(slim(store, tmp_path, image(store, first, later, run=RUN)), store, tmp_path)
    assert tree["app/page"].read() == b"new page\n"
    assert [path for path in tree if path.startswith("app/")] == ["app/page", "app/sub", "app/sub/new"]


def linked(store: Store, *more: Tree) -> Image:
    """An image whose third layer has a hard link to a file of the first, and layers after it."""
    below, link = file("app/one", b"x" * 100), Entry(path="app/two", kind=Kind.HARDLINK, target="app/one")
    out = io.BytesIO()
    tar.write(Tree([below, link, file("app/three", b"3")]), out.write)
    data = out.getvalue()
    start = data.index(b"app/one\0")
    # without the file itself: its header and its padded content
    made = plus(
        image(store, {**BASE, "app/one": "x" * 100}, APP, run=RUN), data[:start] + data[start + 1024 :]
    )
    for tree in more:
        out = io.BytesIO()
        tar.write(tree, out.write)
        made = plus(made, out.getvalue())
    return made


def plus(below: Image, data: bytes) -> Image:
    """An image with one more layer."""
    store = below.blobs
    assert isinstance(store, Store)
    store.put(data)
    manifest = below.manifest()
    config = below.config(manifest)
    rootfs = RootFS("layers", (*config.rootfs.diff_ids, _digest(data)))
    document = oci.encode(msgspec.structs.replace(config, rootfs=rootfs, history=()))
    store.put(document)
    root = oci.encode(
        msgspec.structs.replace(
            manifest,
            config=oci.describe(document, oci.CONFIG),
            layers=(*manifest.layers, oci.describe(data, oci.LAYER)),
        )
    )
    store.put(root)
    return Image(oci.describe(root, oci.MANIFEST), store)


def test_a_hard_link_into_a_lower_layer_keeps_its_bytes_once(store: Store, tmp_path: Path) -> None:
    made = slim(store, tmp_path, linked(store))
    tree = files(made, store, tmp_path)
    assert (tree["app/two"].kind, tree["app/two"].target) == (Kind.HARDLINK, "app/one")
    assert not validate.validate(made.image)


def test_a_hard_link_stays_whose_file_a_later_layer_takes_away(store: Store, tmp_path: Path) -> None:
    made = slim(store, tmp_path, linked(store, Tree([file("app/.wh.one", b"")])))
    tree = files(made, store, tmp_path)
    assert (tree["app/two"].read(), "app/one" in tree) == (b"x" * 100, False)
    assert not validate.validate(made.image)


def test_the_explanation_tells_of_each_path_and_unit(store: Store, tmp_path: Path, original: Image) -> None:
    made = slim(store, tmp_path, original, choice=Choice(drop=("/app/page",)))
    told = explanation.of(made.image)
    assert explanation.answer(told, "/usr/bin/server")[0].startswith("/usr/bin/server stays: ")
    assert (
        "libused.so.1 stays: the loader maps it (needed)"
        in explanation.answer(told, f"/{X86}/libused.so.1")[0]
    )
    assert "left out by --drop" in explanation.answer(told, "/app/page")[0]
    assert "dpkg:libidle1" in explanation.answer(told, "libidle1")[0]
    assert "files" in explanation.answer(told, "/usr/share")[0]
    assert explanation.left_out(told)[0][1] > 0
    with pytest.raises(Exception, match="nothing to do"):
        explanation.answer(told, "/no/such/file")
    with pytest.raises(NotFoundError) as caught:
        explanation.answer(told, "/lib/libused.so.1")
    assert f"/{X86}/libused.so.1" in str(caught.value.hint)
    with pytest.raises(NotFoundError) as caught:
        explanation.answer(told, "idle")
    assert "dpkg:libidle1" in str(caught.value.hint)
