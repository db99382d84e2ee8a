"""The entrance: exit codes, errors and what stands on which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ramekin import __version__
from ramekin.cli import main
from ramekin.errors import FormatError, UsageError


def ramekin(*words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ramekin", *words], capture_output=True, text=True, timeout=60, **settings
    )  # type: ignore[call-overload, no-any-return]


def test_the_version_is_printed() -> None:
    result = ramekin("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "command",
    [
        "build",
        "lock",
        "update",
        "copy",
        "search",
        "show",
        "run",
        "slim",
        "store",
        "store gc",
        "validate",
        "schema",
    ],
)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([*command.split(), "--help"]) == 0
    output = capsys.readouterr().out
    assert f"ramekin {command}" in output
    assert "Examples:" in output or " " in command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "validate" in script
    assert "entrypoint" in script


def test_the_bash_completion_is_bash() -> None:
    script = ramekin("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["buidl"], 'unknown command "buidl"', "did you mean build?"),
        (["build", "--taag", "x"], "unknown option: --taag", "did you mean --tag?"),
        (["build", "--taag=x"], "unknown option: --taag", "did you mean --tag?"),
        (["serve", "--listen", "x"], "unknown option: --listen", "`ramekin serve --help` shows its use"),
        (["build", "--layers", "x"], "invalid value", "`ramekin build --help` shows its use"),
        (["copy", "oci:a"], "TARGET is missing", "`ramekin copy --help` shows its use"),
        (["copy", "oci:a", "ocii:b"], "there is no transport 'ocii'", "did you mean oci"),
        (["build", "curl", "--arch", "amd46"], "not an architecture", "did you mean amd64?"),
        (["build", "curl", "--jobs", "0"], "--jobs: 0", "choose 1 to 1024"),
        (["build", "curl", "-o", "curl"], "names no transport", "oci:curl"),
        (["completion", "tcsh"], 'invalid value "tcsh"', "--help"),
        (["search"], "nothing to search for", "name words"),
        (["store", "gc", "--keep-size", "big"], "is not a size", "500MB"),
        (["run", "oci:x", "--net", "moon"], "there is no 'moon'", "host or none"),
        (["run", "oci:x", "--volume", "x"], "is not HOST:DIR", "./data:/data"),
        (["run", "oci:x", "--runtime", "crun"], "there is no 'crun'", "bwrap or runc"),
    ],
)
def test_wrong_use_exits_with_2_and_says_what_to_do(
    words: list[str],
    message: str,
    hint: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAMEKIN_HOME", str(tmp_path / "store"))
    assert main.run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error, way = captured.err.splitlines()
    assert error.startswith("error: ") and message in error
    assert way.startswith(" hint: ") and hint in way


def test_no_spec_here_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["build"]) == 2
    assert "there is no ramekin.yaml here" in capsys.readouterr().err


def test_a_spec_that_was_named_must_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["build", "none.yaml"]) == 1
    assert "there is no spec file none.yaml" in capsys.readouterr().err


def test_errors_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["build", "curl", "--arch", "amd46", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "code": 2,
        "error": "'amd46' is not an architecture that Ramekin knows",
        "hint": "did you mean amd64?",
    }
    assert captured.err.startswith("error: ")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (FormatError("bad \udcff name"), 1, "error: bad \\udcff name\n"),
        (UsageError("no", hint="yes"), 2, "error: no\n hint: yes\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_ends_a_command_decides_the_exit_code(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(arguments: object) -> None:
        raise error

    monkeypatch.setattr(main, "_call", fail)
    assert main.run(["schema"]) == code
    assert capsys.readouterr().err == text


def test_a_bug_says_that_it_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> None:
        raise ZeroDivisionError("so it goes")

    monkeypatch.setattr(main, "_call", fail)
    monkeypatch.delenv("RAMEKIN_DEBUG", raising=False)
    assert main.run(["schema"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: this is a bug in Ramekin: ZeroDivisionError: so it goes"
    assert "RAMEKIN_DEBUG=1" in hint
    monkeypatch.setenv("RAMEKIN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main.run(["schema"])


@pytest.mark.parametrize("words", [["schema"], ["store", "du", "--json"], ["--help"]])
def test_a_full_disk_behind_standard_output_is_an_error_in_one_line(words: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "ramekin", *words],
            env={**os.environ, "RAMEKIN_HOME": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert result.returncode == 1
    assert "no space left" in result.stderr.lower()
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_are_no_failure(closed: tuple[int, ...], tmp_path: Path) -> None:
    ways = " ".join(f"{number}>&-" for number in closed)
    command = f'"$0" -m ramekin store du --store "$1" {ways}'
    assert subprocess.run(["sh", "-c", command, sys.executable, tmp_path], timeout=60).returncode == 0


def test_what_the_system_refuses_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(main, "_call", fail)
    monkeypatch.delenv("RAMEKIN_DEBUG", raising=False)
    assert main.run(["schema"]) == 1
    assert capsys.readouterr().err == "error: /somewhere: permission denied\n"


def test_a_reader_who_leaves_is_not_complained_about() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ramekin", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 141
    assert errors == b""


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, "")],
)
def test_a_signal_ends_a_command_after_it_has_cleared_up(
    number: signal.Signals, status: int, said: str, tmp_path: Path
) -> None:
    code = (
        "from ramekin.cli import main; import time, tempfile\n"
        "def wait(arguments):\n"
        f"    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):\n"
        "        print('here', flush=True); time.sleep(30)\n"
        "main._call = wait; main.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (status, said)
    assert list(tmp_path.iterdir()) == []


def test_the_documentation_speaks_of_every_command() -> None:
    text = (Path(__file__).parents[2] / "docs/cli.md").read_text()
    for name in main.app:
        if not name.startswith("-"):
            assert f"`ramekin {name}" in text
