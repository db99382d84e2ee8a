"""What a container opens and executes, as the kernel reports it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from boxes import RUNTIMES, box, need_root, started

from ramekin.errors import RamekinError
from ramekin.slim.observation import Observation
from ramekin.slim.sandbox import kernel, network
from ramekin.slim.sandbox.fanotify import FileEvents
from ramekin.slim.sandbox.plan import Watch
from ramekin.slim.sandbox.rootfs import Rootfs

pytestmark = pytest.mark.runtime

WATCH = Watch()


@pytest.fixture
def root(tmp_path: Path) -> Rootfs:
    need_root()
    return box(tmp_path)


def seen(root: Rootfs, script: str, *, runtime: str = "bwrap", user: str = "") -> Observation:
    with started(root, "sleep", "100", watch=WATCH, runtime=runtime, user=user) as running:
        done = running.exec(["sh", "-c", script])
        assert done.code == 0, done.stderr
        running.stop()
        return running.observation()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("user", ["", "web"])
def test_files_are_seen_where_they_are_behind_all_links(root: Rootfs, runtime: str, user: str) -> None:
    (root.path / "srv/real").mkdir()
    (root.path / "srv/real/page").write_text("x")
    (root.path / "srv/link").symlink_to("real")
    found = seen(root, "cat /srv/link/page; cd /srv/real; cat ../index.html", runtime=runtime, user=user)
    assert found.exposure == "fanotify"
    assert {"srv/real/page", "srv/index.html"} <= set(found.opened)
    assert "srv/link/page" not in found.opened
    assert found.executed == ("usr/bin/busybox",)


def test_what_is_only_asked_about_is_not_opened(root: Rootfs) -> None:
    (root.path / "srv/asked").write_text("x")
    found = seen(root, "test -f /srv/asked; test -x /srv/none; true")
    assert "srv/asked" not in found.opened
    assert found.tested == ()


def test_listed_folders_are_seen_and_no_files_that_are_not_the_images(root: Rootfs) -> None:
    found = seen(
        root, "ls /srv /var >/dev/null; echo x > /tmp/own; cat /tmp/own /proc/self/status /etc/hosts"
    )
    assert {"srv", "var"} <= set(found.opened)
    assert not {"tmp/own", "etc/hosts", "proc/self/status"} & set(found.opened)
    assert found.written == ("tmp/own",)


def test_names_of_any_bytes_are_seen(root: Rootfs) -> None:
    name = os.fsdecode(b"a \xff\n\\b (deleted)")
    (root.path / "srv" / name).write_text("x")
    found = seen(root, "cat /srv/a*")
    assert f"srv/{name}" in found.opened


def test_files_that_are_deleted_after_use_are_seen(root: Rootfs) -> None:
    found = seen(root, "cat /srv/index.html; rm /srv/index.html")
    assert "srv/index.html" in found.opened
    assert found.written == ("srv/index.html",)


def test_none_of_very_many_is_lost(root: Rootfs) -> None:
    folder = root.path / "srv/many"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number}").touch()
    found = seen(root, "cd /srv/many; find . -type f | xargs cat; find . -type f | xargs cat")
    assert sum(path.startswith("srv/many/") for path in found.opened) == 3000


def test_what_a_program_listens_on_is_seen(root: Rootfs) -> None:
    with started(root, "httpd", "-f", "-p", "80", watch=WATCH) as running:
        running.wait_ready()
        running.stop()
        found = running.observation()
    assert found.listening == ("tcp:80",)
    assert found.syscalls == ("bind",)
    assert found.capabilities == ("CAP_NET_BIND_SERVICE",)


def test_the_same_run_gives_the_same_observation(root: Rootfs) -> None:
    assert seen(root, "cat /srv/index.html") == seen(root, "cat /srv/index.html")


def test_what_the_kernel_could_not_report_is_an_error(
    root: Rootfs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = FileEvents(str(tmp_path))
    events._note(struct.pack("=IBBHQii", 24, 3, 0, 24, kernel.FAN_Q_OVERFLOW, -1, 0))
    os.close(events.fileno())
    assert events.lost
    with started(root, "sleep", "100", watch=WATCH) as running:
        from ramekin.slim.sandbox import recorded
        from ramekin.slim.sandbox.plan import Record

        monkeypatch.setattr(recorded, "read", lambda data: Record(trouble="the queue overflowed"))
        with pytest.raises(RamekinError, match="not complete: the queue overflowed"):
            running.observation()


def test_listening_sockets_are_read_as_the_kernel_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {
        "/proc/self/net/tcp": [
            "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1",
            "1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000 0 0 1",
        ],
        "/proc/self/net/udp": [
            "0: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1"
        ],
        "/proc/self/net/unix": [
            "0000: 00000002 00000000 00010000 0001 01 123 /run/a b.sock",
            "0000: 00000002 00000000 00010000 0001 01 124 @hidden",
            "0000: 00000003 00000000 00000000 0001 03 125 /run/connected",
            "0000: 00000003 00000000 00000000 0001 03 126",
        ],
    }
    monkeypatch.setattr(
        network, "_rows", lambda path: (row.split(maxsplit=7) for row in tables.get(path, ()))
    )
    assert tuple(network.listening()) == ("tcp:8080", "udp:53", "unix:/run/a b.sock", "unix:@hidden")
