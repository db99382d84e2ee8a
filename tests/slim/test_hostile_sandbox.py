"""Sandboxes are asked at bad moments, and run programs that are up to no good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from boxes import box, install, need_root, started
from test_killed_sandbox import descendants, wardens

from ramekin.slim.sandbox.plan import Watch, Watching
from ramekin.slim.sandbox.rootfs import Rootfs

pytestmark = pytest.mark.runtime


@pytest.fixture
def root(tmp_path: Path) -> Rootfs:
    need_root()
    return box(tmp_path)


class InterruptionError(Exception):
    """What a signal throws."""


def open_descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


@contextmanager
def interrupted(seconds: float) -> Iterator[None]:
    def throw(number: int, frame: FrameType | None) -> None:
        raise InterruptionError

    before = signal.signal(signal.SIGALRM, throw)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_answer_to_an_interrupted_question_is_not_taken_for_that_to_another(root: Rootfs) -> None:
    others = descendants(os.getpid())
    with started(root, "sleep", "1000", watch=Watch()) as running:
        _, keeper = wardens(descendants(os.getpid()) - others)
        descriptors = open_descriptors()
        for ask in (running.record, running.state, lambda: running.exec(["id"]), lambda: running.address(1)):
            os.kill(keeper, signal.SIGSTOP)
            try:
                with pytest.raises(InterruptionError), interrupted(0.05):
                    ask()
            finally:
                os.kill(keeper, signal.SIGCONT)
        assert running.alive()
        assert running.exec(["id", "-u"]).stdout == b"0\n"
        assert "usr/bin/busybox" in running.observation().opened
        assert open_descriptors() == descriptors


def test_commands_as_long_as_the_kernel_takes_them_can_be_run(root: Rootfs) -> None:
    words = ["x" * 100_000] * 6
    with started(root, "sleep", "1000", watch=Watch(by=Watching.SECCOMP)) as running:
        done = running.exec(["sh", "-c", 'echo "$# $BIG"', "sh", *words], env={"BIG": "y" * 90_000})
        assert done.stdout == b"6 " + b"y" * 90_000 + b"\n"
        assert running.exec(["id", "z" * 200_000]).code == 127
        assert running.alive()


LISTENS_ON_MANY = r"""
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct rlimit most = {4000, 4000};
    setrlimit(RLIMIT_NOFILE, &most);
    for (int i = 0; i < 900; i++) {
        struct sockaddr_un place = {AF_UNIX};
        memset(place.sun_path, 'a', 100);
        snprintf(place.sun_path, 20, "/run/%d-\xff", i);
        place.sun_path[strlen(place.sun_path)] = i % 2 ? '-' : 0;
        int listener = socket(AF_UNIX, SOCK_STREAM, 0);
        bind(listener, (struct sockaddr *)&place, sizeof place);
        listen(listener, 1);
    }
    write(1, "up\n", 3);
    for (;;) pause();
}
"""


def test_a_program_may_listen_on_more_sockets_than_anybody_names(root: Rootfs) -> None:
    install(root, "many", LISTENS_ON_MANY)
    with started(root, "many", watch=Watch()) as running:
        while running.log() != b"up\n" and running.alive():
            pass
        names = running.wait_ready()
        assert len(names) == 900
        assert "unix:/run/0-\\xff" in names
        assert len(running.observation().listening) == 900


GOES_DEEP = r"""
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    chdir("/tmp");
    for (int i = 0; i < 600; i++) { mkdir("a-folder-in-a-folder", 0700); chdir("a-folder-in-a-folder"); }
    return 0;
}
"""


@pytest.mark.parametrize("by", [Watching.FANOTIFY, Watching.SECCOMP])
def test_a_program_may_make_folders_deeper_than_any_path_is_long(root: Rootfs, by: Watching) -> None:
    install(root, "deep", GOES_DEEP)
    with started(root, "deep", watch=Watch(by=by)) as running:
        while running.alive():
            pass
        assert "tmp/a-folder-in-a-folder" in running.observation().written


def test_what_is_written_and_removed_all_the_time_can_be_asked_for(root: Rootfs) -> None:
    script = "while :; do mkdir -p /tmp/a/b/c /tmp/d/e; rm -rf /tmp/a /tmp/d; done"
    (root.path / "usr/bin/mkdir").symlink_to("busybox")
    (root.path / "usr/bin/rm").symlink_to("busybox")
    with started(root, "sh", "-c", script, watch=Watch()) as running:
        for _ in range(30):
            running.record()
        assert running.alive()


SCRATCH = """
import subprocess, sys, time
from pathlib import Path
from ramekin.slim import scratch
scratch.MEMORY = Path(sys.argv[1])
with scratch.scratch(0, Path(sys.argv[1])) as folder:
    (folder / "closed").mkdir(mode=0)
    writer = "for n in 1 2 3 4 5 6 7 8 9 10; do mkdir $0/late-$n 2>/dev/null; sleep 0.03; done"
    subprocess.Popen(["sh", "-c", writer, str(folder)], start_new_session=True)
    print(folder, flush=True)
    time.sleep(100)
"""


def test_a_folder_goes_with_its_process_though_others_still_write_to_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRATCH, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        process.kill()
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []
