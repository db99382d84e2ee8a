"""Images that Ramekin itself built, judged and counted by it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.archive import SigningKey
from support.containers import need, ramekin
from support.kitchen import SUITE, Kitchen

from ramekin.analyze.examine import elf


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """Two images of a tiny archive that share all but the second's own package, and the store's place."""
    folder = tmp_path_factory.mktemp("ramekins")
    kitchen = Kitchen.open(folder, SigningKey.generate())
    places = []
    for name, words in (
        ("gratin", ["gratin"]),
        ("both", ["gratin", "leek", "--sbom", "spdx", "--user", "1000"]),
    ):
        place = f"oci:{folder / name}"
        source = ["--source", f"debian:{SUITE}", "--arch", "amd64", "--leave-out", "ca-certificates,tzdata"]
        ramekin("build", *words, *source, "-o", place, "--store", folder / "store", env=kitchen.env())
        places.append(place)
    return places[0], places[1], folder / "store"


def told(*words: str | Path, status: int = 0) -> dict[str, object]:
    result = ramekin(*words, "--arch", "amd64", "--json", check=False)
    assert result.returncode == status, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_layers_of_packages_are_shared_and_change_with_them(images: tuple[str, str, Path]) -> None:
    found = told("fleet", *images[:2], "--store", images[2])
    figures = found["figures"]
    assert figures["registry"] < 0.6 * figures["alone"]  # type: ignore[index]
    assert found["scenarios"][0]["yearly"] <= figures["registry"]  # type: ignore[index]
    assert [base["identity"]["distribution"] for base in found["bases"]["bases"]] == ["debian"]  # type: ignore[index]
    assert found["packages"]["count"] >= 4  # type: ignore[index]
    assert found["packages"]["repeated"] == []  # type: ignore[index]


def test_manifests_alone_give_the_same_figures_of_layers(images: tuple[str, str, Path]) -> None:
    deep = told("fleet", *images[:2], "--store", images[2])["figures"]
    shallow = told("fleet", *images[:2], "--shallow")["figures"]
    for name in ("images", "layers", "alone", "registry", "documents", "transfer", "cold", "coldest"):
        assert shallow[name] == deep[name]  # type: ignore[index]


def test_what_is_found_in_them_is_what_is_there(images: tuple[str, str, Path]) -> None:
    found = told("check", *images[:2], "--store", images[2], "--fail-on", "never")
    codes = {(f["image"], f["code"], f["path"]) for f in found["findings"]}  # type: ignore[union-attr,index]
    for image in images[:2]:
        assert (image, "R301", "usr/sbin/bake") in codes
    assert (images[0], "R309", "") in codes
    assert (images[1], "R309", "") not in codes
    # their times are fixed, their layers are packages
    assert {code for _, code, _ in codes}.isdisjoint({"R101", "R102", "R402", "R403"})


@pytest.mark.runtime
@pytest.mark.parametrize("flags", [["-g"], ["-O2"], ["-g", "-static"]], ids=" ".join)
def test_bytes_of_stripping_are_those_that_strip_saves(flags: list[str], tmp_path: Path) -> None:
    need("gcc")
    need("strip")
    (tmp_path / "a.c").write_text('#include <stdio.h>\nint main(void) { return puts("a"); }\n')
    whole, bare = tmp_path / "whole", tmp_path / "bare"
    subprocess.run(["gcc", *flags, "-o", whole, tmp_path / "a.c"], check=True)
    shutil.copy(whole, bare)
    subprocess.run(["strip", bare], check=True)
    facts = elf.examine("whole", whole.read_bytes()) or {}
    saved = whole.stat().st_size - bare.stat().st_size
    # the headers of sections that go are not counted
    assert 0 <= saved - facts.get("debug", 0) - facts.get("symbols", 0) <= 2048
