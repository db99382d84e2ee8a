"""The commands on a small archive: build, lock, update, copy, validate, search, show, store."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.archive import SigningKey, Suite
from support.kitchen import SUITE, Kitchen, packages

from ramekin.build import lock
from ramekin.cli import main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kitchen(tmp_path: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    """An archive that the machine's apt configuration names, an empty store, and a folder to work in."""
    (tmp_path / "kitchen").mkdir()
    made = Kitchen.open(tmp_path / "kitchen", signing_key)
    for name, value in made.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAMEKIN_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("RAMEKIN_DEBUG", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return made


@pytest.fixture
def run(kitchen: Kitchen, capsys: pytest.CaptureFixture[str]) -> Command:
    """`run("build", "gratin")` gives exit code, standard output and standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main.run(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


SOURCE = ("--source", f"debian:{SUITE}", "--arch", "amd64")


def season(kitchen: Kitchen, version: str = "2.0-1") -> None:
    """Publish a newer potato."""
    renewed = [
        dataclasses.replace(deb, version=version) if deb.name == "potato" else deb for deb in packages()
    ]
    kitchen.archive.publish(Suite(SUITE, renewed, date=1_800_000_000))


def spec(**changes: str) -> None:
    lines = {"packages": "gratin", "arch": "amd64", **changes}
    body = "".join(f"    {key}: {value}\n" for key, value in lines.items())
    Path("ramekin.yaml").write_text(
        f"defaults: {{source: 'debian:{SUITE}'}}\n"
        f"images:\n  dish:\n{body}  side: {{packages: cream, arch: amd64}}\n"
    )


def test_an_image_of_a_package_goes_to_a_layout_of_its_name(run: Command) -> None:
    code, output, errors = run("build", "gratin", *SOURCE)
    assert code == 0, errors
    index = json.loads(Path("gratin/index.json").read_text())
    assert output == f"oci:./gratin@{index['manifests'][0]['digest']}\n"
    assert "gratin amd64: 4 packages" in errors
    assert "left out" in errors
    assert run("validate", "oci:./gratin")[0] == 0


def test_the_result_is_json_when_asked(run: Command) -> None:
    code, output, _ = run("build", "gratin", *SOURCE, "--tag", "dish:7", "--json")
    (image,) = json.loads(output)["images"]
    assert (code, image["name"], image["target"]) == (0, "gratin", "oci:./dish:7")
    layers = image["architectures"]["amd64"]["layers"]
    assert any(package.startswith("gratin=") for layer in layers for package in layer["packages"])


def test_a_spec_makes_all_its_images_or_those_named(run: Command) -> None:
    spec()
    code, output, _ = run("build")
    assert (code, [line.partition("@")[0] for line in output.splitlines()]) == (
        0,
        ["oci:./dish", "oci:./side"],
    )
    code, output, _ = run("build", "side", "-o", "oci:all/{name}")
    assert (code, output.partition("@")[0]) == (0, "oci:all/side")


def test_a_mixture_of_images_and_packages_is_noted(run: Command) -> None:
    Path("ramekin.yaml").write_text("images: {cream: {packages: cream}}")
    code, _, errors = run("build", "gratin", "cream", *SOURCE)
    assert code == 0
    assert "note: cream in ramekin.yaml is an image, but gratin is not" in errors


def test_a_lock_binds_until_it_is_updated(run: Command, kitchen: Kitchen) -> None:
    spec()
    assert run("lock")[0] == 0
    locked = Path(lock.NAME).read_bytes()
    first = run("build", "dish")[1]
    season(kitchen)
    assert run("build", "dish", "--refresh")[1] == first
    code, _, errors = run("lock")
    assert (code, Path(lock.NAME).read_bytes()) == (0, locked)
    assert "nothing to change" in errors

    code, output, _ = run("update", "--check")
    assert (code, Path(lock.NAME).read_bytes()) == (1, locked)
    assert "~ potato 1.0-1 -> 2.0-1" in output
    code, output, _ = run("update")
    assert code == 0
    assert "dish amd64: 1 package to change, a node with the old image pulls " in output
    assert run("update", "--check")[0] == 0
    assert run("build", "dish")[1] != first


def test_an_update_can_be_read_by_machines(run: Command, kitchen: Kitchen) -> None:
    spec()
    run("lock", "--json")
    season(kitchen)
    code, output, _ = run("update", "--json")
    found = json.loads(output)
    assert code == 0
    assert found["changes"]["dish"]["amd64"] == [{"name": "potato", "before": "1.0-1", "after": "2.0-1"}]
    assert 0 < found["bytes"]["dish"]["amd64"] < 200_000


def test_a_spec_that_disagrees_with_its_lock_says_so(run: Command) -> None:
    spec()
    run("lock")
    spec(packages="[gratin, leek]")
    code, output, errors = run("build", "dish")
    assert (code, output) == (1, "")
    assert errors == (
        "error: ramekin.lock.json was made for another dish: package leek is not locked\n"
        " hint: run `ramekin lock`\n"
    )
    assert run("lock")[0] == 0
    assert run("build", "dish")[0] == 0


def test_packages_can_have_a_lock_too(run: Command, kitchen: Kitchen) -> None:
    code, first, errors = run("build", "gratin", *SOURCE, "--lock", "pins.json")
    assert code == 0
    assert "wrote pins.json" in errors
    season(kitchen)
    assert run("build", "gratin", *SOURCE, "--lock", "pins.json", "--refresh")[1] == first
    code, _, errors = run("build", "gratin", "leek", *SOURCE, "--lock", "pins.json")
    assert code == 1
    assert "package leek is not locked" in errors


def test_an_image_can_be_copied_everywhere(run: Command) -> None:
    _, built, _ = run("build", "gratin", *SOURCE)
    digest = built.strip().partition("@")[2]
    assert run("copy", "oci:./gratin", "oci-archive:a.tar")[1] == f"oci-archive:a.tar@{digest}\n"
    assert run("copy", "oci-archive:a.tar", "dir:flat")[0] == 0
    code, output, _ = run("copy", "dir:flat", "oci:back:1", "--json")
    assert (code, json.loads(output)["digest"]) == (0, digest)
    code, _, errors = run("copy", "oci:none", "oci:back")
    assert (code, errors.startswith("error: ")) == (1, True)


def test_problems_of_an_image_are_findings(run: Command) -> None:
    run("build", "gratin", *SOURCE)
    largest = max(Path("gratin/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    largest.unlink()
    largest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, output, errors = run("validate", "oci:./gratin")
    assert code == 1
    assert output
    assert "problem" in errors
    code, output, _ = run("validate", "oci:./gratin", "--json")
    assert (code, bool(json.loads(output)["problems"])) == (1, True)


def test_packages_can_be_found_and_shown(run: Command) -> None:
    code, output, _ = run("search", "gratin", *SOURCE)
    assert (code, output.split("\t")[:2]) == (0, ["gratin", "1.0-1"])
    assert run("search", "nothing", "like", "it", *SOURCE)[0] == 1
    code, output, _ = run("show", "gratin", *SOURCE)
    assert code == 0
    assert "potato (>= 1.0), cream" in output
    code, output, _ = run("show", "gratin", *SOURCE, "--json")
    assert json.loads(output)[0]["depends"] == "potato (>= 1.0), cream"
    code, _, errors = run("show", "gartin", *SOURCE)
    assert (code, "gratin" in errors) == (1, True)


def test_the_store_is_looked_after(run: Command, tmp_path: Path) -> None:
    run("build", "gratin", *SOURCE)
    assert run("store", "verify")[0] == 0
    code, output, errors = run("store", "du")
    assert (code, output.startswith("blobs\t")) == (0, True)
    assert str(tmp_path / "store") in errors
    assert json.loads(run("store", "du", "--json")[1])["blobs"]["number"] > 3
    assert run("store", "gc", "--older-than", "0", "--dry-run")[0] == 0
    blob = next(path for path in (tmp_path / "store/blobs").rglob("*") if path.is_file())
    blob.chmod(0o644)
    blob.write_bytes(b"other")
    code, output, _ = run("store", "verify")
    assert (code, blob.name in output) == (1, True)


def test_an_impossible_request_explains_itself(run: Command) -> None:
    code, output, errors = run("build", "stew", *SOURCE)
    assert (code, output) == (1, "")
    assert "rabbit" in errors
    assert not Path("stew").exists()


def test_a_strict_build_fails_where_a_lax_one_warns(run: Command) -> None:
    code, _, errors = run("build", "souffle", *SOURCE)
    assert code == 0
    assert "warning: " in errors
    code, _, errors = run("build", "souffle", *SOURCE, "--strict")
    assert code == 1
    assert "mount" in errors


def test_a_warm_build_imports_nothing_heavy(run: Command) -> None:
    run("build", "gratin", *SOURCE)
    words = ["build", "gratin", *SOURCE]
    code = f"import sys; from ramekin.cli import main; assert main.run({words!r}) == 0; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(result.stdout.splitlines()[-1].split())
    heavy = {
        "niquests",
        "obstore",
        "pydantic",
        "pysequoia",
        "rich",
        "yaml",
        "zstandard",
        "resolvelib",
        "cyclonedx",
    }
    assert modules & heavy == set()


def test_images_made_before_one_failed_are_told(run: Command) -> None:
    Path("ramekin.yaml").write_text(
        f"defaults: {{source: 'debian:{SUITE}', arch: amd64}}\n"
        "images: {cream: {packages: cream}, stew: {packages: stew}}\n"
    )
    code, output, errors = run("build")
    assert (code, output.partition("@")[0]) == (1, "oci:./cream")
    assert "rabbit" in errors
