"""What `ramekin inspect` and `ramekin diff` tell, as values and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from handmade import image_of, read, tar_of

from ramekin.analyze import diff as comparing
from ramekin.analyze import inspect as inspecting
from ramekin.analyze.treemap import REST, treemap
from ramekin.cli import main
from ramekin.image import transports
from ramekin.image.oci import Runtime
from ramekin.image.reference import parse
from ramekin.image.tree import Entry, Kind, file, symlink
from ramekin.store.store import Store

ODD_NAME = b"srv/\xff".decode("utf-8", "surrogateescape")
LOWER = [
    file("srv/one", b"1" * 1000),
    file("srv/copy", b"1" * 1000),
    file("srv/old", b"2" * 500),
    file(ODD_NAME, b"3" * 10),
    Entry(path="srv/hard", kind=Kind.HARDLINK, target="srv/one"),
    file("usr/share/doc/x/README", b"4" * 300),
    symlink("srv/link", "one"),
]
UPPER = [file("srv/.wh.old", b""), file("srv/one", b"1" * 1000, mode=0o755)]


@pytest.fixture
def place(tmp_path: Path, store: Store) -> str:
    image = image_of(store, [tar_of(LOWER), tar_of(UPPER)], run=Runtime(env=("A=1",), user="root"))
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    other = image_of(
        store, [tar_of(LOWER), tar_of([file("new", b"5" * 50)])], run=Runtime(env=("A=2", "B=1"), user="app")
    )
    transports.write(other, parse(f"oci:{tmp_path}/web:2"))
    return f"oci:{tmp_path}/web"


def test_every_byte_is_accounted_for(store: Store) -> None:
    found = inspecting.inspect(read(store, image_of(store, [tar_of(LOWER), tar_of(UPPER)])))
    # one and hard were one file; since the upper layer writes one again they are two of the same content
    assert found.size == 1000 + 1000 + 1000 + 10 + 300
    assert found.size == sum(layer.size - layer.lost for layer in found.layers)
    assert found.savings.lost == 500
    assert found.savings.duplicates == 2000
    assert found.savings.unneeded == 300
    assert found.savings.total == 2800
    assert {share.name: share.size for share in found.systems} == {"nobody": found.size}
    assert found.by_folder[0].size == found.by_package[0].size == found.size
    assert (found.copies[0].copies, found.copies[0].size) == (3, 1000)
    assert [share.name for share in found.biggest_folders][:2] == ["srv", "usr/share/doc/x"]


def test_a_second_look_comes_from_the_store(store: Store) -> None:
    image = image_of(store, [tar_of(LOWER)])
    found = read(store, image)
    assert inspecting.known(found.outline, store) is None
    first = inspecting.inspect(found, store)
    assert inspecting.known(found.outline, store) == first


def test_treemaps_are_small_whatever_they_show() -> None:
    rows = [([f"d{n % 50}", f"f{n}"], n + 1, "nobody", "") for n in range(20_000)]
    nodes = treemap(rows, most=500)
    assert len(nodes) < 700
    assert nodes[0].size == sum(range(1, 20_001))
    for number, node in enumerate(nodes):
        below = [one.size for one in nodes if one.parent == number]
        assert not below or sum(below) == node.size
    assert any(node.name == REST for node in nodes)


def test_inspect_speaks_in_tables_and_json(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "store")]
    assert main.run(["inspect", f"{place}:1", *store]) == 0
    said = capsys.readouterr().out
    assert "deleted by a later layer" in said
    assert r"srv/\udcff" in said
    assert "Efficiency, as dive counts it" in said
    assert main.run(["inspect", f"{place}:1", "--json", *store]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["savings"]["lost"] == 500
    assert found["layers"][1]["deleted"] == {"files": 1, "size": 500}
    assert "by_folder" not in found


def test_a_difference_is_told_by_files_packages_and_settings(store: Store) -> None:
    before = image_of(store, [tar_of(LOWER)], run=Runtime(env=("A=1",), user="root"))
    after = image_of(
        store, [tar_of(LOWER), tar_of([*UPPER, file("new", b"5" * 50)])], run=Runtime(env=("A=2",))
    )
    found = comparing.diff(read(store, before), read(store, after))
    assert {(one.path, one.change, one.what) for one in found.files} == {
        ("new", "added", ()),
        ("srv/old", "removed", ()),
        ("srv/one", "changed", ("mode",)),
    }
    assert [(one.name, one.before, one.after) for one in found.settings] == [
        ("Env A", "1", "2"),
        ("User", "root", ""),
    ]
    assert (found.fetch.layers, found.fetch.layers_all, found.fetch.unpacked) == (1, 2, 1)
    assert found.fetch.size == after.manifest().layers[1].size
    assert comparing.diff(read(store, before), read(store, before)).same


def test_diff_speaks_in_lines_and_json(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "store")]
    assert main.run(["diff", f"{place}:1", f"{place}:2", *store]) == 0
    said = capsys.readouterr()
    assert "+ new" in said.out
    assert "fetches" in said.err
    assert main.run(["diff", f"{place}:1", f"{place}:2", "--json", *store]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["settings"]] == ["Env A", "Env B", "User"]


def test_what_is_not_there_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["inspect", f"oci:{tmp_path}/nothing", "--store", str(tmp_path / "store")]) == 1
    assert "Traceback" not in capsys.readouterr().err
