"""`ramekin warm` fills a registry's store ahead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.archive import SigningKey
from support.larder import SETTINGS, open_larder
from support.ramekin_registry import serving

from ramekin.cli import main


def test_what_was_warmed_is_given_to_those_who_may_not_build(
    tmp_path: Path,
    signing_key: SigningKey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    larder = open_larder(tmp_path / "kitchen", signing_key)
    for name, value in larder.env().items():
        monkeypatch.setenv(name, value)
    settings = {"on-demand": {**SETTINGS}, "anonymous": ["pull"]}
    config = tmp_path / "registry.yaml"
    config.write_text(json.dumps(settings))
    names = tmp_path / "names.txt"
    names.write_text("# for the morning\nleek/gratin   # both\n\narm64/leek:bookworm\n")
    store = str(tmp_path / "store")
    words = ["warm", str(names), "--config", str(config), "--store", store]
    assert main.run([*words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["images"]
    assert [one["name"] for one in made] == ["gratin/leek:latest", "leek:bookworm"]
    assert main.run([*words, "rabit"]) == 1
    assert "1 of 3 images could not be made" in capsys.readouterr().err
    with serving(tmp_path, settings, store=store) as served:
        given = served.get("/v2/gratin/leek/manifests/latest")
        assert given.headers["docker-content-digest"] == made[0]["digest"]
        refused = served.get("/v2/cream/manifests/latest")
        assert (refused.status, refused.code) == (403, "DENIED")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("foo.txt", "there is no file foo.txt"),
        ("./names", "there is no file ./names"),
        ("no-spec.yaml", "no-spec.yaml"),
        ("folder.txt", "folder.txt cannot be read: Is a directory"),
        ("picture.txt", "picture.txt is no text"),
    ],
)
def test_a_file_that_is_not_there_is_said_to_be_missing(
    word: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "picture.txt").write_bytes(b"\xff\xfe")
    assert main.run(["warm", word, "--store", str(tmp_path / "store")]) != 0
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
