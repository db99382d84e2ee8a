"""The command, as somebody uses it who has no patience, no room, or files that somebody edited."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pantries
import pytest
from boxes import need_root
from support.containers import ramekin
from test_killed_sandbox import command, descendants, gone
from test_slimming import slimmed

from ramekin.errors import RamekinError
from ramekin.image import transports
from ramekin.image.reference import parse
from ramekin.image.tree import file
from ramekin.slim import contents, scratch
from ramekin.store.store import Store

pytestmark = pytest.mark.runtime
SCRATCH = b"/ramekin-slim-"


@pytest.fixture
def web(store: Store, tmp_path: Path) -> str:
    """An image as a layout, which is named as the command line does it."""
    need_root()
    odd = [file("srv/new\nline.html", b"1"), file("srv/bad\udcff.html", b"2"), file("srv/ünï.html", b"3")]
    transports.write(pantries.image(store, files=odd), parse(f"oci:{tmp_path}/web"))
    return f"oci:{tmp_path}/web"


def slim(web: str, tmp_path: Path, *words: object) -> subprocess.CompletedProcess[str]:
    place = ("-o", f"oci:{tmp_path}/slim", "--store", f"{tmp_path}/store")
    return ramekin("slim", web, *place, *map(str, words), check=False)


@pytest.mark.parametrize(
    ("number", "time_of_it"),
    [
        (signal.SIGKILL, 1),
        (signal.SIGKILL, 2),
        (signal.SIGKILL, 3),
        (signal.SIGTERM, 2),
        (signal.SIGINT, 1),
        (signal.SIGINT, 3),
    ],
)
def test_killed_midway_it_leaves_nothing(
    web: str, tmp_path: Path, number: signal.Signals, time_of_it: int
) -> None:
    """While the original is observed (1), asked again and the slim image made (2), and verified (3)."""
    asked = tmp_path / "asked"
    asked.touch()
    # the last one waits for the signal
    probe = f"echo >> {asked}; test $(wc -l < {asked}) -lt {time_of_it} || sleep 100"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ramekin", "slim", web, "-o", f"oci:{tmp_path}/slim"),
            *("--store", f"{tmp_path}/store", "--probe-cmd", probe),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # as in a terminal: whoever started the tests may have been told to ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while len(asked.read_bytes()) < time_of_it and process.poll() is None:
            time.sleep(0.01)
        processes = descendants(process.pid)
        # each is named to the process that will remove it
        words = {word for pid in processes for word in command(pid).split(b"\0")}
        own = [Path(os.fsdecode(word)) for word in words if word.startswith(b"/") and SCRATCH in word]
        process.send_signal(number)
        code = process.wait(20)
    finally:
        process.kill()
        process.wait()
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert len(processes) > 2
    assert own
    assert gone(processes)
    deadline = time.monotonic() + 10
    while any(folder.exists() for folder in own) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [folder for folder in own if folder.exists()]
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked", "store", "web"]


@pytest.mark.parametrize("option", ["--observation", "--report", "--seccomp"])
def test_a_file_that_cannot_be_written_is_said_before_anything_runs(
    web: str, tmp_path: Path, option: str
) -> None:
    asked = tmp_path / "asked"
    for place in (tmp_path / "nowhere/x.json", tmp_path):
        result = slim(web, tmp_path, option, place, "--probe-cmd", f"touch {asked}")
        assert result.returncode == 1
        assert f"{place} cannot be" in result.stderr
    assert not asked.exists()
    assert not (tmp_path / "slim").exists()


def test_files_of_any_name_stay_and_are_explained(web: str, tmp_path: Path) -> None:
    assert slim(web, tmp_path, "--report", tmp_path / "page.html", "--json").returncode == 0
    for path in ("/srv/new\nline.html", r"/srv/new\nline.html", "/srv/ünï.html", "/srv/bad\udcff.html"):
        answer = ramekin("why", f"oci:{tmp_path}/slim", path)
        assert "stays: whoever made the image put it there" in answer.stdout
    laid = tmp_path / "laid"
    ramekin("copy", f"oci:{tmp_path}/slim", f"rootfs:{laid}")
    assert {"new\nline.html", "bad\udcff.html", "ünï.html"} <= {
        path.name for path in (laid / "srv").iterdir()
    }


def test_an_observation_that_was_edited_is_refused_with_exit_code_1(web: str, tmp_path: Path) -> None:
    edited = tmp_path / "web.json"
    edited.write_text(json.dumps({"version": 1, "opend": ["srv/index.html"]}))
    result = slim(web, tmp_path, "--observation", edited)
    assert result.returncode == 1
    assert str(edited) in result.stderr
    assert "opend" in result.stderr
    assert json.loads(edited.read_text())["opend"]


def test_a_profile_that_cannot_be_made_is_said_before_the_image_is_written(web: str, tmp_path: Path) -> None:
    kept = tmp_path / "web.json"
    kept.write_text(json.dumps({"version": 1, "opened": ["srv/index.html"]}))
    result = slim(web, tmp_path, "--observation", kept, "--seccomp", tmp_path / "profile.json")
    assert result.returncode == 2
    assert "does not say which system calls" in result.stderr
    assert not (tmp_path / "slim").exists()


def test_layers_too_large_for_memory_are_read_on_the_disk(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(scratch, "MEMORY", memory)
    places: list[Path] = []
    read = contents.read

    def short_of_room(*args: Any, spool: Path, **more: Any) -> contents.Contents:
        places.append(spool.parent)
        if spool.parent == memory:
            try:
                raise OSError(errno.ENOSPC, "no space left")
            except OSError:
                raise RamekinError("cannot write temporary files") from None
        return read(*args, spool=spool, **more)

    monkeypatch.setattr(contents, "read", short_of_room)
    with slimmed(store, pantries.image(store)) as found:
        assert found.passed
    assert places == [memory, store.scratch()]
    assert list(memory.iterdir()) == []


def test_layers_packed_tighter_than_most_are_laid_out_where_there_is_room(store: Store) -> None:
    need_root()
    with slimmed(store, pantries.image(store, files=[file("srv/zeros", bytes(30 << 20))])) as found:
        assert found.passed
        assert found.folder.is_dir()
    assert not found.folder.exists()
