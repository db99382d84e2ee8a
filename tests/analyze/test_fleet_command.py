"""`ramekin fleet`: the words that name a fleet, and what is written."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.registry_program import registry
from support.samples import BASE, image, noise

from ramekin.analyze.fleet import members
from ramekin.cli.main import run
from ramekin.errors import NotFoundError, UsageError
from ramekin.image import reference, transports
from ramekin.image.tree import Tree, file
from ramekin.store.store import Store

BENCH = Path(__file__).parents[2] / "bench" / "fleet.py"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run the command: its exit code, and what it wrote to both streams."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAMEKIN_HOME", str(tmp_path / "home"))

    def call(*words: str) -> tuple[int, str, str]:
        code = run(["fleet", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def fill(store: Store, *targets: str) -> None:
    """Images on one base, written to each of the targets."""
    base = Tree([*BASE.entries(), file("usr/lib/base", noise(50_000))]).with_parents()
    for number, target in enumerate(targets):
        own = Tree([file("srv/app", noise(2000, seed=number))]).with_parents()
        transports.write(image(store, [base, own]), reference.parse(target))


def names(*words: str) -> list[str]:
    return [str(place) for place in members.expand(words)]


def test_a_file_lists_images_a_line_each(tmp_path: Path) -> None:
    listed = tmp_path / "images.txt"
    listed.write_text("# ours\noci:./a:1\n\n  dir:./b # a tool\noci:./a:1\n")
    assert names(str(listed), "rootfs:/srv") == ["oci:./a:1", "dir:./b", "rootfs:/srv"]


def test_standard_input_is_such_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("dir:./a\ndir:./b\n"))
    assert names("-") == ["dir:./a", "dir:./b"]


def test_a_layout_is_all_of_its_names(store: Store, tmp_path: Path) -> None:
    fill(store, f"oci:{tmp_path}/all:one", f"oci:{tmp_path}/all:two")
    assert names(f"oci:{tmp_path}/all") == [f"oci:{tmp_path}/all:one", f"oci:{tmp_path}/all:two"]
    assert names(f"oci:{tmp_path}/all:two") == [f"oci:{tmp_path}/all:two"]


def test_words_that_are_neither_image_nor_file_are_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image and no file"):
        names(str(tmp_path / "nothing"))
    (tmp_path / "empty").write_text("# none\n")
    with pytest.raises(UsageError, match="lists no images"):
        names(str(tmp_path / "empty"))
    (tmp_path / "archive.tar").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no list of images"):
        names(str(tmp_path / "archive.tar"))
    (tmp_path / "nested").write_text(str(tmp_path / "empty"))
    with pytest.raises(UsageError):
        names(str(tmp_path / "nested"))


@pytest.mark.runtime
def test_a_registry_is_all_tags_of_the_repositories_that_begin_so(store: Store, tmp_path: Path) -> None:
    with registry(tmp_path) as host:
        fill(
            store,
            *(f"docker://{host}/{name}" for name in ("team/web:1", "team/web:2", "team/api:1", "other:1")),
        )
        web = [f"docker://{host}/team/web:1", f"docker://{host}/team/web:2"]
        assert sorted(names(f"docker://{host}")) == [
            f"docker://{host}/other:1",
            f"docker://{host}/team/api:1",
            *web,
        ]
        assert sorted(names(f"docker://{host}/team")) == [f"docker://{host}/team/api:1", *web]
        assert sorted(names(f"docker://{host}/team/")) == [f"docker://{host}/team/api:1", *web]
        assert sorted(names(f"docker://{host}/team/web")) == web
        assert names(f"docker://{host}/team/web:2") == web[1:]
        chosen = members.expand([f"docker://{host}/team"], chosen=members.Filter("2"))
        assert [str(place) for place in chosen] == web[1:]
        with pytest.raises(NotFoundError, match="no repository"):
            names(f"docker://{host}/nothing")


@pytest.mark.runtime
def test_manifests_alone_are_read_of_a_registry(store: Store, tmp_path: Path, fleet) -> None:  # type: ignore[no-untyped-def]
    with registry(tmp_path) as host:
        fill(store, *(f"docker://{host}/team/{name}:1" for name in "abc"))
        code, out, _ = fleet(f"docker://{host}/team", "--shallow", "--json")
    found = json.loads(out)
    assert code == 0
    assert len(found["names"]) == 3
    assert found["figures"]["registry"] < found["figures"]["alone"] / 2
    assert found["packages"] is None
    assert not (tmp_path / "home").exists()


def test_figures_are_shown_as_tables(store: Store, tmp_path: Path, fleet) -> None:  # type: ignore[no-untyped-def]
    fill(store, *(f"oci:{tmp_path}/all:{name}" for name in "abc"))
    code, out, err = fleet(f"oci:{tmp_path}/all")
    assert code == 0
    assert "a registry stores" in out
    for title in ("Bytes", "Who pays", "Layers that save most", "What if"):
        assert f"\n{title}\n" in out
    assert "chain ID" in err


def test_json_has_all_figures(store: Store, tmp_path: Path, fleet) -> None:  # type: ignore[no-untyped-def]
    fill(store, *(f"oci:{tmp_path}/all:{name}" for name in "abc"))
    found = json.loads(fleet(f"oci:{tmp_path}/all", "--json", "--base-builds", "4")[1])
    assert found["deep"] is True
    assert found["rates"]["base_builds"] == 4
    assert sum(one["pays"] for one in found["payers"]) == pytest.approx(found["figures"]["registry"], abs=3)
    assert len(found["matrix"]) == 3
    assert {one["name"] for one in found["scenarios"]} == {"as-is", "by-package"}
    assert found["files"]["contents"] == 50_000 + 3 * 2000 + 30
    assert found["notes"]


def test_an_image_that_cannot_be_read_is_left_out_and_said(store: Store, tmp_path: Path, fleet) -> None:  # type: ignore[no-untyped-def]
    fill(store, f"oci:{tmp_path}/one")
    code, out, err = fleet(f"oci:{tmp_path}/one", f"oci:{tmp_path}/gone", "--shallow", "--json")
    assert code == 1
    assert json.loads(out)["skipped"] == [f"oci:{tmp_path}/gone"]
    assert "is left out" in err
    code, _, err = fleet(f"oci:{tmp_path}/gone", "--shallow")
    assert code == 1
    assert "error:" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which images?"),
        (("oci:./x", "--base-builds", "-1"), "times a year"),
        (("docker://",), "names no registry"),
    ],
)
def test_wrong_use_is_said(words: tuple[str, ...], said: str, fleet) -> None:  # type: ignore[no-untyped-def]
    code, _, err = fleet(*words)
    assert code == 2
    assert said in err


def test_the_bench_runs() -> None:
    done = subprocess.run([sys.executable, str(BENCH), "20"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "20 manifests" in done.stdout
