"""`ramekin why`: images explain what is in them and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.archive import SigningKey
from support.kitchen import SUITE, Kitchen

from ramekin.cli import main

Command = Callable[..., tuple[int, str, str]]

SOURCE = ("--source", f"debian:{SUITE}")


@pytest.fixture
def run(
    tmp_path: Path,
    signing_key: SigningKey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """`run("why", …)` in a folder of its own gives exit code, standard output and standard error."""
    (tmp_path / "kitchen").mkdir()
    for name, value in Kitchen.open(tmp_path / "kitchen", signing_key).env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAMEKIN_HOME", str(tmp_path / "store"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*words: str) -> tuple[int, str, str]:
        code = main.run(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_package_is_there_for_the_file_that_names_it(run: Command) -> None:
    code, output, errors = run("why", "gratin", "potato", *SOURCE)
    assert code == 0, errors
    assert output.splitlines() == [
        "gratin: asked for",
        "gratin → /usr/bin/gratin names /usr/share/potato/peel → potato",
    ]


def test_an_essential_package_is_there_for_the_script_that_it_runs(run: Command) -> None:
    code, output, _ = run("why", "gratin", "dash", *SOURCE)
    assert code == 0
    assert output.splitlines()[-1].endswith("is run by /bin/sh → dash")


@pytest.mark.parametrize("target", ["oci:./gratin", "oci-archive:gratin.tar"])
def test_an_image_explains_itself_wherever_it_is(run: Command, target: str) -> None:
    assert run("build", "gratin", "-o", target, *SOURCE, "--arch", "amd64")[0] == 0
    code, output, errors = run("why", target, "/usr/share/potato/peel", "--arch", "amd64")
    assert code == 0, errors
    assert output.splitlines()[-1] == "gratin → /usr/bin/gratin names /usr/share/potato/peel → potato"


def test_a_file_that_nothing_names_is_there_for_its_package(run: Command) -> None:
    _, output, _ = run("why", "gratin", "/etc/gratin.conf", *SOURCE)
    assert output.splitlines() == ["gratin: asked for", "gratin → /etc/gratin.conf is a file of gratin"]


def test_a_program_is_explained_by_its_name(run: Command) -> None:
    _, output, errors = run("why", "gratin", "bake", *SOURCE)
    assert output.splitlines() == ["gratin: asked for", "gratin → /usr/sbin/bake is a file of gratin"], errors


def test_files_of_the_image_itself_and_of_slices_have_a_reason(run: Command) -> None:
    assert run("build", "gratin", *SOURCE, "--arch", "amd64")[0] == 0
    of_image = run("why", "oci:./gratin", "/etc/passwd", "--arch", "amd64")[1]
    assert of_image == "/etc/passwd is made for the image by its recipes and essentials\n"
    of_slice = run("why", "oci:./gratin", "/usr/share/man/man1/gratin.1.gz", "--arch", "amd64")[1]
    assert "the slice man" in of_slice
    assert "--keep man" in of_slice


def test_all_dependencies_are_explained_by_who_declares_them(run: Command) -> None:
    _, output, _ = run("why", "gratin", "potato", "--closure", "depends", *SOURCE)
    assert output.splitlines() == [
        "gratin: asked for",
        "gratin declares that it needs potato (>= 1.0) → potato",
    ]


def test_what_never_had_to_do_with_the_image_is_a_finding_with_near_names(run: Command) -> None:
    code, output, errors = run("why", "gratin", "patato", *SOURCE)
    assert (code, output) == (1, "")
    assert "patato has nothing to do with this image" in errors
    assert "did you mean potato" in errors


def test_all_that_was_left_out_is_listed_with_sizes_and_reasons(run: Command) -> None:
    _, output, _ = run("why", "gratin", "--dropped", "--json", *SOURCE)
    found = json.loads(output)["dropped"]
    assert {"gratin"} <= {item["name"] for item in found}
    assert all(item["reason"] and item["size"] >= 0 for item in found)
    assert [item["size"] for item in found] == sorted((item["size"] for item in found), reverse=True)


@pytest.mark.parametrize(("name", "start"), [("g.svg", "<svg"), ("g.dot", "digraph")])
def test_the_evidence_can_be_drawn(run: Command, name: str, start: str) -> None:
    assert run("why", "gratin", "--graph", name, *SOURCE)[0] == 0
    text = Path(name).read_text()
    assert text.startswith(start)
    assert "potato" in text


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("why", "gratin"), "what shall be explained?"),
        (("why", "gratin", "--graph", "g.png"), "does not say a format"),
        (("why", "gratin", "potato", "--closure", "file"), "is not a closure"),
    ],
)
def test_wrong_use_is_said(run: Command, words: tuple[str, ...], what: str) -> None:
    code, _, errors = run(*words)
    assert code == 2
    assert what in errors


def test_an_image_of_others_brings_no_explanation(run: Command, tmp_path: Path) -> None:
    (tmp_path / "work" / "files" / "etc").mkdir(parents=True)
    code, _, errors = run("why", "rootfs:files", "libc6")
    assert code == 1
    assert "brings no explanation" in errors
    assert "copies to other transports leave the explanation behind" in errors
