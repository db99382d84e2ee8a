"""Sandboxes: what runs in them, how it is reached, and what is said when it does not do what it should."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from boxes import (
    LISTENS_ON_A_UNIX_SOCKET,
    RUNTIMES,
    WAITS_FOR_SIGNALS,
    box,
    compiled,
    install,
    started,
)

from ramekin.errors import NotFoundError, RamekinError, UsageError
from ramekin.image.running.container import Volume, Wishes
from ramekin.slim.sandbox.plan import Limits, Readiness, Watch
from ramekin.slim.sandbox.rootfs import Rootfs
from ramekin.slim.sandbox.running import STOP_PATIENCE

pytestmark = pytest.mark.runtime

HTTPD = ("httpd", "-f", "-p", "80", "-h", "/srv")


@pytest.fixture
def root(tmp_path: Path) -> Rootfs:
    return box(tmp_path)


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
        body: bytes = answer.read()
        return body


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("user", "identity"), [("", "uid=0(root) gid=0(root)"), ("web", "uid=998(web) gid=997(web)")]
)
def test_a_server_is_reached_and_commands_run_beside_it(
    root: Rootfs, runtime: str, user: str, identity: str
) -> None:
    with started(root, *HTTPD, runtime=runtime, user=user) as running:
        assert running.wait_ready(Readiness(port=80)) == ("tcp:80",)
        assert fetch(running.address(80)) == b"a page\n"
        assert running.address(80) == running.address(80)
        done = running.exec(["sh", "-c", "id; cat; echo $A >&2; exit 7"], env={"A": "b"}, stdin=b"in\n")
        assert (done.code, done.stderr) == (7, b"b\n")
        assert done.stdout.decode().startswith(identity)
        assert done.stdout.endswith(b"\nin\n")
        assert running.alive()
        assert running.stop() == 143 or running.stop() == 137
        assert not running.alive()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_container_has_itself_and_nothing_of_the_machine(root: Rootfs, runtime: str) -> None:
    with started(root, "sleep", "100", runtime=runtime) as running:
        seen = running.exec(["sh", "-c", "cat /proc/net/dev /proc/1/cmdline; ls /proc /tmp; cat /etc/hosts"])
        text = seen.stdout.decode()
        assert "sleep" in text
        assert "127.0.0.1\tlocalhost" in text
        assert [line.split(":")[0].strip() for line in text.splitlines() if ":" in line][:1] == ["lo"]
        assert sum(word.isdecimal() for word in text.split("sleep")[1].split()) <= 4
        refused = running.exec(["sh", "-c", "mount -t tmpfs none /srv || chroot / mknod /srv/x b 8 0"])
        assert refused.code != 0
        assert not running.exec(["ls", "/sys/fs/cgroup/none"]).stdout


def test_the_image_stays_as_it_is_and_every_start_finds_it_so(root: Rootfs) -> None:
    script = "ls /srv; rm /srv/index.html /usr/bin/id; echo new > /etc/passwd; mkdir /new; echo x > /new/x"
    for _ in range(2):
        with started(root, "sleep", "100") as running:
            assert running.exec(["sh", "-c", script]).stdout == b"index.html\n"
            written = running.observation().written
            assert written == ("etc/passwd", "new", "new/x", "srv/index.html", "usr/bin/id")
    assert (root.path / "srv/index.html").read_text() == "a page\n"
    assert not (root.path / "proc").exists()


def test_volumes_are_seen_inside(root: Rootfs, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/file").write_text("given\n")
    volumes = (
        Volume(tmp_path / "given", "/data"),
        Volume(tmp_path / "given/file", "/etc/one", read_only=True),
    )
    for runtime in RUNTIMES:
        with started(root, "sleep", "100", wishes=Wishes(volumes=volumes), runtime=runtime) as running:
            done = running.exec(
                ["sh", "-c", "cat /etc/one /data/file; echo x > /etc/one; echo y > /data/back"]
            )
            assert done.stdout == b"given\n" * 2
    assert (tmp_path / "given/file").read_text() == "given\n"
    assert (tmp_path / "given/back").read_text() == "y\n"


def test_what_an_image_says_can_be_said_otherwise(root: Rootfs) -> None:
    wishes = Wishes(
        entrypoint=("sh", "-c"), arguments=("echo $B $PWD; sleep 9",), env=(("B", "c"),), workdir="/w/x"
    )
    with started(root, "nothing", wishes=wishes) as running:
        while not running.log():
            time.sleep(0.01)
        assert running.log() == b"c /w/x\n"


def test_what_cannot_be_run_is_said_before(root: Rootfs) -> None:
    with pytest.raises(NotFoundError, match="no program nginx"), started(root, "nginx"):
        pass
    with pytest.raises(UsageError, match="what to run"), started(root):
        pass
    with pytest.raises(UsageError, match="no user 'nobody'"), started(root, "id", user="nobody"):
        pass
    with pytest.raises(UsageError, match="stop signal"), started(root, "id", stop_signal="SIGNOT"):
        pass


def test_many_bytes_go_through_both_ways_and_ends_are_heard(root: Rootfs) -> None:
    with started(root, "sh", "-c", "while :; do nc -l -p 7 -e cat; done") as running:
        running.wait_ready(Readiness(port=7))
        host, port = running.address(7).split(":")
        data = os.urandom(3 << 20)
        with socket.create_connection((host, int(port)), timeout=20) as connection:

            def pour() -> None:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)

            writer = threading.Thread(target=pour)
            writer.start()
            back = b""
            while block := connection.recv(1 << 16):
                back += block
            writer.join()
        assert back == data


def test_a_port_that_nothing_listens_on_is_closed(root: Rootfs) -> None:
    with (
        started(root, "sleep", "100") as running,
        pytest.raises(OSError, match=r"reset|refused|closed|without"),
    ):
        fetch(running.address(8080))


def test_a_command_tells_when_a_program_is_ready(root: Rootfs) -> None:
    script = "sleep 0.3; echo > /tmp/ready; httpd -f -p 80 -h /srv"
    begun = time.monotonic()
    with started(root, "sh", "-c", script) as running:
        running.wait_ready(Readiness(command=("cat", "/tmp/ready"), port=80))
        assert time.monotonic() - begun > 0.25
    with started(root, *HTTPD) as running:
        assert running.wait_ready() == ("tcp:80",)


def test_a_program_on_a_unix_socket_only_is_ready_and_reached(root: Rootfs) -> None:
    install(root, "listen", LISTENS_ON_A_UNIX_SOCKET)
    with started(root, "listen") as running:
        assert running.wait_ready() == ("unix:/run/x.sock",)
        host, port = running.address("unix:/run/x.sock").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            assert connection.recv(100) == b"hello\n"
        with pytest.raises(RamekinError, match="not ready after") as caught:
            running.wait_ready(Readiness(port=80, patience=0.2))
        assert "it listens on unix:/run/x.sock" in str(caught.value.hint)


def test_a_program_that_never_gets_ready_shows_its_log(root: Rootfs) -> None:
    with started(root, "sh", "-c", "echo waiting for the database; sleep 100") as running:
        while not running.log():
            time.sleep(0.01)
        with pytest.raises(RamekinError, match="waiting for the database") as caught:
            running.wait_ready(Readiness(port=80, patience=0.5))
    assert "it listens on nothing" in str(caught.value.hint)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_program_that_ends_says_how(root: Rootfs, runtime: str) -> None:
    with (
        started(root, "sh", "-c", "echo no such table >&2; exit 3", runtime=runtime) as running,
        pytest.raises(RamekinError, match=r"sh ended with 3 before.*no such table".replace(".*", r"(.|\n)*")),
    ):
        running.wait_ready(Readiness(port=80))


def test_a_program_that_goes_to_the_background_is_told_to_stay(root: Rootfs) -> None:
    with started(root, "httpd", "-p", "80", "-h", "/srv") as running, pytest.raises(RamekinError) as caught:
        running.wait_ready(Readiness(port=80, patience=5))
    assert "ended with 0" in caught.value.message
    assert "background" in str(caught.value.hint)


def test_a_program_that_needs_a_terminal_has_none(root: Rootfs) -> None:
    with (
        started(root, "sh", "-c", "test -t 0 || { echo not a terminal; exit 1; }") as running,
        pytest.raises(RamekinError, match="not a terminal") as caught,
    ):
        running.wait_ready()
    assert "no terminal here" in str(caught.value.hint)


@pytest.mark.parametrize("place", ["/tmp/big", "/dev/shm/big"])
def test_ten_gigabytes_do_not_fit(root: Rootfs, place: str) -> None:
    script = f"dd if=/dev/zero of={place} bs=1M count=10000; sleep 100"
    with started(root, "sh", "-c", script, limits=Limits(room=16 << 20)) as running:
        if place.startswith("/dev"):
            # memory has a bound of its own, which is the program's to bear
            while b"No space left" not in running.log():
                time.sleep(0.02)
            running.check()
            return
        with pytest.raises(RamekinError, match="wrote more than 16 MiB"):
            running.wait_ready(Readiness(port=80, patience=20))
        with pytest.raises(RamekinError, match="wrote more than 16 MiB"):
            running.check()


def test_a_log_without_end_keeps_its_beginning_and_end(root: Rootfs) -> None:
    script = "echo begun; dd if=/dev/zero bs=1M count=40 2>/dev/null; echo ended; sleep 100"
    with started(root, "sh", "-c", script, limits=Limits(log=100_000)) as running:
        deadline = time.monotonic() + 30
        while not running.log().endswith(b"ended\n") and time.monotonic() < deadline:
            time.sleep(0.02)
        log = running.log()
    assert log.startswith(b"begun\n")
    assert log.endswith(b"ended\n")
    assert b"bytes are left out" in log
    assert len(log) < 300_000


def test_a_program_may_delete_its_files_and_go_on(root: Rootfs) -> None:
    # a shell of busybox needs no file to become its web server
    script = "rm -r /usr /srv; echo gone > /tmp/index.html; httpd -f -p 80 -h /tmp"
    with started(root, "sh", "-c", script, watch=Watch()) as running:
        running.wait_ready(Readiness(port=80))
        assert fetch(running.address(80)) == b"gone\n"
        seen = running.observation()
    assert {"usr", "srv", "tmp/index.html"} <= set(seen.written)
    assert "usr/bin/busybox" in seen.executed
    assert (root.path / "usr/bin/busybox").exists()


def test_a_command_that_takes_too_long_is_ended_with_its_children(root: Rootfs) -> None:
    with started(root, "sleep", "100") as running:
        done = running.exec(["sh", "-c", "echo first; sleep 77 & sleep 77"], timeout=2)
        assert (done.code, done.stdout, done.timed_out) == (124, b"first\n", True)
        left = b"77"
        deadline = time.monotonic() + 20
        while b"77" in left and time.monotonic() < deadline:
            left = running.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout.replace(b"cat", b"")
        assert b"sleep\x0077" not in left


def test_a_command_that_leaves_children_behind_has_ended(root: Rootfs) -> None:
    with started(root, "sleep", "100") as running:
        begun = time.monotonic()
        assert running.exec(["sh", "-c", "sleep 50 & echo done"]).stdout == b"done\n"
        assert time.monotonic() - begun < 10


def test_commands_run_side_by_side(root: Rootfs) -> None:
    with started(root, "sleep", "100") as running, ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        wait = "until test -e /tmp/over; do sleep 0.1; done"
        long = pool.submit(running.exec, ["sh", "-c", wait])
        short = [pool.submit(running.exec, ["sh", "-c", f"echo {number}"]) for number in range(12)]
        assert [done.result().stdout for done in short] == [b"%d\n" % number for number in range(12)]
        assert not long.done()
        assert running.exec(["sh", "-c", "echo > /tmp/over"]).code == 0
        assert long.result().code == 0
        assert time.monotonic() - begun < 20


def test_commands_fail_as_in_a_shell(root: Rootfs) -> None:
    with started(root, "sleep", "100") as running:
        assert running.exec(["nothing"]).code == 127
        assert b"No such file" in running.exec(["nothing"]).stderr
        assert running.exec(["sh", "-c", "kill -9 $$"]).code == 137
        assert running.exec(["id", "-u"], user="web").stdout == b"998\n"
        assert running.exec(["cat", "/proc/self/status"], workdir="/srv").stdout.count(b"NoNewPrivs:\t1") == 1
        running.stop()
        with pytest.raises(RamekinError, match="not running"):
            running.exec(["id"])


def test_a_program_is_ended_by_its_own_signal(root: Rootfs) -> None:
    script = "trap 'echo heard; exit 5' USR1; echo up; while :; do sleep 0.1; done"
    with started(root, "sh", "-c", script, stop_signal="SIGUSR1") as running:
        while b"up" not in running.log():
            time.sleep(0.01)
        assert running.stop() == 5
        assert running.stop() == 5
        assert running.log() == b"up\nheard\n"


def test_a_program_that_waits_for_signals_hears_them(root: Rootfs) -> None:
    install(root, "waits", WAITS_FOR_SIGNALS)
    with started(root, "waits") as running:
        while not running.log():
            time.sleep(0.01)
        assert running.stop() == 9


def test_an_image_of_one_file_is_enough(tmp_path: Path) -> None:
    for name in RUNTIMES:
        bare = Rootfs(tmp_path / name / "rootfs", tmp_path / name)
        bare.path.mkdir(parents=True)
        shutil.copy2(compiled(LISTENS_ON_A_UNIX_SOCKET), bare.path / "app")
        with started(bare, "/app", runtime=name, watch=Watch(), user="7:8") as running:
            while not running.state().started:
                time.sleep(0.01)
            running.stop()
            assert running.observation().executed == ("app",)


def test_a_program_that_hears_no_signal_is_ended_at_once(root: Rootfs) -> None:
    with started(root, "sleep", "100") as running:
        begun = time.monotonic()
        assert running.stop() == 137
        assert time.monotonic() - begun < STOP_PATIENCE


def test_several_sandboxes_live_side_by_side(root: Rootfs) -> None:
    with started(root, *HTTPD) as one, started(root, *HTTPD) as other:
        for running in (one, other):
            running.wait_ready(Readiness(port=80))
        assert one.address(80) != other.address(80)
        one.exec(["sh", "-c", "echo changed > /srv/index.html"])
        assert fetch(one.address(80)) == b"changed\n"
        assert fetch(other.address(80)) == b"a page\n"


def test_a_failure_inside_leaves_nothing(root: Rootfs) -> None:
    started_ones = []
    with suppress(ZeroDivisionError), started(root, *HTTPD, watch=Watch()) as running:
        started_ones.append(running)
        running.wait_ready()
        raise ZeroDivisionError
    with pytest.raises(RamekinError, match="ended by itself"):
        started_ones[0].state()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_programs_have_no_descriptors_of_ours(root: Rootfs, runtime: str) -> None:
    with started(root, "sh", "-c", "ls /proc/self/fd; sleep 100", runtime=runtime, watch=Watch()) as running:
        while running.log().count(b"\n") < 4:
            time.sleep(0.01)
        assert running.log() == b"0\n1\n2\n3\n"
        # the last one is the folder that is listed
        assert running.exec(["ls", "/proc/self/fd"]).stdout == b"0\n1\n2\n3\n"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("script", "own"),
    [("exec httpd -f -p 8000", True), ("httpd -f -p 8000; true", False), ("httpd -p 8000; sleep 100", False)],
)
def test_whether_the_program_itself_listens_is_known(
    root: Rootfs, runtime: str, script: str, own: bool
) -> None:
    with started(root, "sh", "-c", script, runtime=runtime) as running:
        while not (state := running.state()).listening:
            time.sleep(0.01)
        assert state.own is own
