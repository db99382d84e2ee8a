"""`ramekin slim` as people type it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SLIM_TESTS = Path(__file__).parents[1] / "slim"
sys.path.insert(0, str(SLIM_TESTS))

import pantries  # noqa: E402
from boxes import need_root  # noqa: E402

from ramekin.cli import main  # noqa: E402
from ramekin.image import transports  # noqa: E402
from ramekin.image.reference import parse  # noqa: E402
from ramekin.store.store import Store  # noqa: E402

HELLO = "/cgi-bin/show?greetings/hello"
THERE = "/cgi-bin/there?greetings/hello"


class Kitchen:
    """A folder with an image to slim, and the command run in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        store = Store.at(folder / "made")
        transports.write(pantries.image(store), parse(f"oci:{folder}/web"))

    def run(self, *words: str) -> tuple[int, str, str]:
        code = main.run(["slim", *words, "--store", str(self.folder / "store")])
        out, err = self._capsys.readouterr()
        return code, out, err

    def slim(self, *words: str) -> tuple[int, str, str]:
        return self.run(f"oci:{self.folder}/web", *words)

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self.slim(*words, "--json")
        return code, json.loads(out)

    @property
    def target(self) -> str:
        return f"oci:{self.folder}/slim"


@pytest.fixture
def kitchen(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    need_root()
    monkeypatch.chdir(tmp_path)
    return Kitchen(tmp_path, capsys)


@pytest.mark.runtime
def test_an_image_is_slimmed_and_all_that_was_asked_for_is_written(kitchen: Kitchen) -> None:
    code, out, err = kitchen.slim(
        "-o", kitchen.target, "--probe", HELLO, "--report", "report.html", "--seccomp", "seccomp.json"
    )
    assert code == 0, err
    assert out.startswith(f"{kitchen.target}@sha256:")
    assert "1 of 1 answers are those of the original" in err
    assert "(" in err.partition("→")[2]
    assert (kitchen.folder / "report.html").read_text().startswith("<!doctype html>")
    profile = json.loads((kitchen.folder / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert (
        "docker run --security-opt seccomp=seccomp.json --security-opt no-new-privileges --cap-drop ALL"
        in err
    )
    seen = json.loads((kitchen.folder / "slim.observation.json").read_text())
    assert "usr/share/greetings/hello" in seen["opened"]
    assert seen["probes"] == [f"GET {HELLO}"]


@pytest.mark.runtime
def test_the_explanation_goes_with_the_image(kitchen: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    assert kitchen.slim("-o", kitchen.target, "--probe", HELLO)[0] == 0
    assert main.run(["why", kitchen.target, "/usr/share/unused/big"]) == 0
    assert "/usr/share/unused/big goes" in capsys.readouterr().out
    assert main.run(["why", kitchen.target, "dpkg:greetings"]) == 0
    assert "3 of 3 files stay" in capsys.readouterr().out
    assert main.run(["why", kitchen.target, "--dropped"]) == 0
    assert "dpkg:unused" in capsys.readouterr().out
    assert main.run(["why", kitchen.target, "--graph", "x.svg"]) == 2


@pytest.mark.runtime
def test_a_difference_exits_with_1_names_what_was_missing_and_writes_no_image(kitchen: Kitchen) -> None:
    code, out, err = kitchen.slim(
        "-o", kitchen.target, "--probe", THERE, "--no-heal", "--report", "report.html"
    )
    assert (code, out) == (1, "")
    assert f"GET {THERE}: body: 'no', not 'yes'" in err
    assert "missing: /usr/share/greetings/hello of dpkg:greetings, asked about by" in err
    assert "--keep dpkg:greetings keeps it, or leave out --no-heal" in err
    assert not (kitchen.folder / "slim").exists()
    assert (kitchen.folder / "report.html").exists()
    code, data = kitchen.json("-o", kitchen.target, "--probe", THERE, "--no-heal")
    assert code == 1
    assert not data["passed"]
    assert data["differences"][0]["expected"] == "yes"
    assert data["rounds"][0]["lookups"][0]["path"] == "/usr/share/greetings/hello"


@pytest.mark.runtime
def test_a_slim_image_does_not_take_the_place_of_its_original(kitchen: Kitchen) -> None:
    before = (kitchen.folder / "web/index.json").read_bytes()
    for target in (f"oci:{kitchen.folder}/web", "oci:web"):
        code, out, err = kitchen.slim("-o", target, "--probe", HELLO)
        assert (code, out) == (2, "")
        assert f"{target}: the slim image would take the place of its original" in err
    assert (kitchen.folder / "web/index.json").read_bytes() == before
    assert kitchen.slim("-o", "oci:web:slim", "--probe", HELLO)[0] == 0


@pytest.mark.runtime
def test_keep_answers_what_the_hint_says(kitchen: Kitchen) -> None:
    code, data = kitchen.json("-o", kitchen.target, "--probe", THERE, "--no-heal", "--keep", "dpkg:greetings")
    assert (code, data["passed"], data["rounds"][0]["lookups"]) == (0, True, [])


@pytest.mark.runtime
def test_probes_that_fail_on_the_original_write_nothing(kitchen: Kitchen) -> None:
    code, out, err = kitchen.slim("-o", kitchen.target, "--probe", "/nowhere")
    assert (code, out) == (1, "")
    assert "1 of 1 probes fail on" in err
    assert "GET /nowhere: the status is 404" in err
    assert not (kitchen.folder / "slim").exists()


@pytest.mark.runtime
def test_an_observation_is_used_again_without_running_anything(kitchen: Kitchen) -> None:
    code, first = kitchen.json("-o", kitchen.target, "--probe", THERE, "--observation", "seen.json")
    assert code == 0
    assert first["rounds"][0]["put_back"] == ["usr/share/greetings/hello"]
    code, again = kitchen.json("-o", kitchen.target, "--observation", "seen.json")
    assert (code, again["verified"], again["digest"]) == (0, False, first["digest"])


@pytest.mark.runtime
def test_a_spec_says_the_same(kitchen: Kitchen) -> None:
    (kitchen.folder / "ramekin.yaml").write_text(
        f"""
        slim:
          web:
            image: oci:{kitchen.folder}/web
            output: oci:{kitchen.folder}/{{name}}-slim
            probes:
              - get: {HELLO}
                text: hello
            run: cat /usr/share/plugins/one.so
            observation: seen.json
        """
    )
    code, out, err = kitchen.run()
    assert code == 0, err
    assert out.startswith(f"oci:{kitchen.folder}/web-slim@sha256:")
    assert "usr/share/plugins/one.so" in json.loads((kitchen.folder / "seen.json").read_text())["opened"]
    code, _, err = kitchen.run("ramekin.yaml", "wbe")
    assert code == 2
    assert "did you mean web?" in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["oci:x"], "where does the slim image go?"),
        ([], "which image?"),
        (["oci:x", "-o", "oci:y", "--level", "file"], "--level: there is no 'file'"),
        (["oci:x", "-o", "oci:y", "--ready", "99999"], "--ready: '99999' is not a port"),
        (["oci:x", "-o", "oci:y", "--run", "a 'b"], "a quotation that is not closed"),
        (["oci:x", "-o", "oci:y", "--rounds", "0"], "--rounds: 0 rounds cannot be"),
        (["oci:x", "-o", "oci:y", "--locales", "english"], "--locales: 'english' is not a language"),
        (["oci:x", "-o", "oci:y@sha256:" + "0" * 64], "a target has no digest"),
        (["oci:x", "y", "-o", "oci:z"], "'y' is one image too many"),
        (["oci:x", "-o", "docker-daemon:y"], "images cannot be written to docker-daemon:"),
        (["none.yaml"], "there is no file none.yaml"),
        (["oci:x", "-o", "oci:y", "--probe", "none.yaml"], "there is no file none.yaml"),
        (["oci:x", "-o", "oci:y", "--probe", "localhost/x"], "a request is a path (/health), :PORT/PATH"),
        (["oci:x", "-o", "oci:y", "--cmd", "--port 1"], "begins with a dash is written --cmd='-…'"),
    ],
)
def test_wrong_use_is_said(
    words: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["slim", *words]) in (1, 2)
    assert complaint in capsys.readouterr().err


def test_what_is_wrong_with_a_spec_is_said_with_line_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ramekin.yaml"
    path.write_text("slim:\n  web:\n    image: oci:x\n    probes:\n      - get: /\n        stauts: 200\n")
    assert main.run(["slim", str(path)]) == 2
    assert f"{path}:6: slim.web.probes[0].stauts is not a key" in capsys.readouterr().err
    path.write_text("slim:\n  web:\n    image: oci:x\n    levle: files\n")
    assert main.run(["slim", str(path)]) == 2
    assert "did you mean level?" in capsys.readouterr().err
    path.write_text("slim:\n  web:\n    output: oci:x\n")
    assert main.run(["slim", str(path)]) == 2
    assert f"{path}:2: slim.web.image is missing" in capsys.readouterr().err
    path.write_text("check: {}\n")
    assert main.run(["slim", str(path)]) == 2
    assert "has no `slim:`" in capsys.readouterr().err


def _own_mounts(kitchen: Kitchen) -> list[str]:
    """Mounts that slimming may have made; other tests mount too."""
    own = ("ramekin-slim-", str(kitchen.folder))
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if any(part in line for part in own)]


@pytest.mark.runtime
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_ended_midway_leaves_nothing(kitchen: Kitchen, number: int) -> None:
    mark = f"RAMEKIN_TEST_MARK={os.getpid()}-{time.time_ns()}"
    begun = kitchen.folder / "begun"
    command = [sys.executable, "-m", "ramekin", "slim", f"oci:{kitchen.folder}/web", "-o", kitchen.target]
    command += ["--probe-cmd", f"touch {begun}; sleep 100", "--store", str(kitchen.folder / "store")]
    name, _, value = mark.partition("=")
    mounts = _own_mounts(kitchen)
    process = subprocess.Popen(
        command, env={**os.environ, name: value}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert begun.exists()
        scratch = [line for line in _open_files(process.pid) if "ramekin-slim-" in line]
        process.send_signal(number)
        process.wait(30)
        deadline = time.monotonic() + 20
        while (left := _marked(mark)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
        assert _own_mounts(kitchen) == mounts
        assert not (kitchen.folder / "slim").exists()
        assert not (kitchen.folder / "slim.observation.json").exists()
        for line in scratch:
            assert not Path(line.split(" ")[0]).parent.exists()
    finally:
        process.kill()
        process.wait()


@pytest.mark.runtime
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_real_workload_goes_on_until_a_signal_and_is_recorded(kitchen: Kitchen, number: int) -> None:
    command = [sys.executable, "-m", "ramekin", "slim", f"oci:{kitchen.folder}/web", "--probe", "/"]
    command += ["--shadow", "record", "--store", str(kitchen.folder / "store")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("port 8000 of the slim image is 127.0.0.1:"):
                process.send_signal(number)
                break
        rest = process.stderr.read()
        assert "the workload is over" in rest
        assert "0 look-ups of what was taken away: record/misses.json" in rest
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert json.loads((kitchen.folder / "record/misses.json").read_text()) == []


def _open_files(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except OSError:
            continue
    return found


def _marked(mark: str) -> list[str]:
    """The command lines of processes that were started with a mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text())
            except OSError:
                continue
    return found
