"""Sandboxes are asked at bad moments, and run programs that are up to no good."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from boxes import box, install, need_root, started
from test_killed_sandbox import descendants

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
        keepers = [
            pid
            for pid in sorted(descendants(os.getpid()) - others)
            if b"sandbox.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        descriptors = open_descriptors()
        for ask in (running.record, running.state, lambda: running.exec(["id"]), lambda: running.address(1)):
            os.kill(keepers[1], signal.SIGSTOP)
            try:
                with pytest.raises(InterruptionError), interrupted(0.05):
                    ask()
            finally:
                os.kill(keepers[1], signal.SIGCONT)
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
