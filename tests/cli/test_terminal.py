"""How commands speak."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from ramekin.cli import terminal


class Screen(io.StringIO):
    """A terminal that remembers what was drawn."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_345_678, "9.3 MB"),
        (99_600_000, "100 MB"),
        (999_600, "1.0 MB"),
        (5 * 10**12, "5.0 TB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert terminal.size(count) == text


def test_elsewhere_only_long_steps_are_worth_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal.progress() as progress:
        with progress.task("quick") as task:
            task.advance(5)
        monkeypatch.setattr(terminal, "WORTH_SAYING", 0.0)
        with progress.task("fetching", total=10) as task:
            task.advance(2000)
        progress.note("worth knowing")
        progress.warn("worth doing")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("fetching: 2.0 kB in ")
    assert lines[1:] == ["note: worth knowing", "warning: worth doing"]


def test_a_step_that_failed_is_not_told_as_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "WORTH_SAYING", 0.0)
    with terminal.progress() as progress, pytest.raises(ValueError), progress.task("fetching"):
        raise ValueError
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(terminal, "PATIENCE", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress() as progress, progress.task("fetching [x]", total=1000) as task:
        workers = [threading.Thread(target=task.advance, args=(100,)) for _ in range(10)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        deadline = time.monotonic() + 10
        while "fetching [x]" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        progress.warn("worth [doing]")
        with progress.task("another"):
            pass
    assert "fetching [x]" in screen.getvalue()
    assert "1.0 kB" in screen.getvalue()
    assert "worth [doing]" in screen.getvalue()


def test_quick_work_draws_nothing_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(terminal, "PATIENCE", 60.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with terminal.progress() as progress:
        with progress.task("fetching") as task:
            task.advance(1)
        progress.note("done")
    assert screen.getvalue() == "note: done\n"


def test_a_dumb_terminal_is_not_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.is_live(Screen())


def test_tables_are_tab_separated_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.write_table(("name", "size"), [("web", "1 B"), ("db", "2 B")], numbers=(1,))
    assert capsys.readouterr().out == "web\t1 B\ndb\t2 B\n"


def test_tables_are_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    terminal.write_table(("name", "size"), [("[web]", "1 B")], numbers=(1,))
    assert "name" in screen.getvalue() and "[web]" in screen.getvalue()


def test_json_is_sorted_and_indented(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.write_json({"b": (1,), "a": None})
    output = capsys.readouterr().out
    assert json.loads(output) == {"a": None, "b": [1]}
    assert output.startswith('{\n  "a": null,')


def test_names_that_are_no_text_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(os.fsdecode(b"a\xff"))
    assert capsys.readouterr().err == "a\\udcff\n"


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("usr/\x1b]0;owned\x07\r\x9b1m", mark="error")
    assert capsys.readouterr().err == "error: usr/\\x1b]0;owned\\x07\\x0d\\x9b1m\n"


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}])
def test_results_hold_the_bytes_of_file_names(locale: dict[str, str]) -> None:
    script = "import sys; from ramekin.cli import terminal; terminal.prepare(); terminal.write(sys.argv[1])"
    found = subprocess.run(
        [sys.executable, "-c", script, b"caf\xc3\xa9-\xff"],
        env={**os.environ, **locale},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert found.stdout == b"caf\xc3\xa9-\xff\n"
