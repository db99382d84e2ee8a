"""Small images to run in sandboxes: a busybox without libraries, and programs in C beside it."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.containers import need

from ramekin.image.oci import Runtime
from ramekin.image.running.container import Wishes
from ramekin.slim.sandbox.plan import Limits, Watch, Watching
from ramekin.slim.sandbox.rootfs import Rootfs
from ramekin.slim.sandbox.running import Running, sandbox

RUNTIMES = ("bwrap", "runc")
QUIET = Watch(by=Watching.NONE, syscalls=False)
LISTENS_ON_A_UNIX_SOCKET = """
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_un place = {AF_UNIX, "/run/x.sock"};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(place.sun_path);
    bind(listener, (struct sockaddr *)&place, sizeof place);
    listen(listener, 9);
    for (;;) {
        int connection = accept(listener, 0, 0);
        write(connection, "hello\\n", 6);
        close(connection);
    }
}
"""

WAITS_FOR_SIGNALS = """
#include <signal.h>
#include <stdio.h>
int main(void) {
    sigset_t all; int number;
    sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0);
    puts("up"); fflush(stdout);
    sigwait(&all, &number);
    return number == SIGTERM ? 9 : 1;
}
"""


def box(folder: Path, *, programs: Sequence[str] = ()) -> Rootfs:
    """An image's files in `folder`: busybox in /usr/bin with links, two users, a page to serve."""
    need("busybox")
    root = folder / "rootfs"
    tools = root / "usr/bin"
    tools.mkdir(parents=True)
    shutil.copy2(Path(shutil.which("busybox") or "").resolve(), tools / "busybox")
    for name in ("sh", "cat", "ls", "id", "httpd", "sleep", "dd", "wget", "nc", "find", "xargs", *programs):
        (tools / name).symlink_to("busybox")
    (root / "bin").symlink_to("usr/bin")
    for name in ("etc", "srv", "run", "tmp", "var/lib"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:998:997::/srv:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nweb:x:997:\nmore:x:500:web\n")
    (root / "etc/resolv.conf").symlink_to("../run/resolv.conf")
    (root / "srv/index.html").write_text("a page\n")
    return Rootfs(root, folder)


@functools.cache
def compiled(source: str) -> Path:
    """A statically linked program, kept for as long as the tests run."""
    need("gcc")
    folder = Path(tempfile.gettempdir()) / "ramekin-test-programs"
    folder.mkdir(exist_ok=True)
    made = folder / hashlib.sha256(source.encode()).hexdigest()[:16]
    if not made.exists():
        unfinished = made.with_suffix(f".{os.getpid()}")
        subprocess.run(
            ["gcc", "-O1", "-w", "-static", "-pthread", "-x", "c", "-", "-o", unfinished],
            input=source.encode(),
            check=True,
        )
        unfinished.rename(made)
    return made


def install(root: Rootfs, name: str, source: str) -> None:
    """Put a program of C into /usr/bin of an image."""
    shutil.copy2(compiled(source), root.path / "usr/bin" / name)


@contextmanager
def started(
    root: Rootfs,
    *command: str,
    watch: Watch = QUIET,
    runtime: str = "bwrap",
    user: str = "",
    wishes: Wishes = Wishes(),  # noqa: B008
    limits: Limits = Limits(),  # noqa: B008
    stop_signal: str = "",
) -> Iterator[Running]:
    """A command running in a box."""
    need(runtime)
    settings = Runtime(cmd=command, user=user, env=("PATH=/usr/bin",), stop_signal=stop_signal)
    with sandbox(root, settings, wishes=wishes, watch=watch, limits=limits, runtime=runtime) as running:
        yield running


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a sandbox that is watched by fanotify needs root")


NOBODY = 65534
ROOTLESS = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    # the interpreter may be where only root can look; in a user namespace of its own this gives nothing more
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


def without_root(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script of Python as a user who has no rights."""
    need("setpriv", "bwrap")
    return subprocess.run(
        [*(ROOTLESS if os.geteuid() == 0 else ()), sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent}"},
    )
