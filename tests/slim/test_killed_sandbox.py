"""Killed sandboxes leave nothing: no process, mount, namespace, folder or control group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from boxes import RUNTIMES, box, need_root, started
from support.containers import need

from ramekin.errors import RamekinError
from ramekin.slim.sandbox.plan import Watch
from ramekin.slim.sandbox.rootfs import Rootfs

pytestmark = pytest.mark.runtime

USER = """
import sys, threading, time
from pathlib import Path
from boxes import started
from ramekin.slim.sandbox.plan import Watch
from ramekin.slim.sandbox.rootfs import Rootfs
root = Rootfs(Path(sys.argv[1]), Path(sys.argv[2]))
with started(root, "httpd", "-f", "-p", "80", watch=Watch(), runtime=sys.argv[3]) as running:
    running.wait_ready()
    running.address(80)
    threading.Thread(target=lambda: running.exec(["sleep", "98765"], timeout=100), daemon=True).start()
    while b"98765" not in running.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout:
        pass
    print("up", flush=True)
    time.sleep(100)
"""
PATIENCE = 10.0


def descendants(pid: int) -> set[int]:
    """A process's children and theirs, in all PID namespaces below ours."""
    children: dict[int, set[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, set()).add(int(path.parent.name))
    found, waiting = set(), [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.add(child)
            waiting.append(child)
    return found


def namespaces(processes: set[int]) -> set[str]:
    found = set()
    for pid in processes:
        for kind in ("mnt", "pid", "net", "ipc", "uts", "user"):
            with suppress(OSError):
                found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
    return found


def all_processes() -> set[int]:
    return {int(path.name) for path in Path("/proc").glob("[0-9]*")}


def control_groups() -> set[str]:
    """Groups of sandboxes. Those of others come and go while they are looked through."""
    return {folder for folder, _, _ in os.walk("/sys/fs/cgroup") if folder.endswith("ramekin")}


def gone(processes: set[int]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while processes & all_processes():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_its_user_is_killed(tmp_path: Path, runtime: str) -> None:
    need_root()
    need(runtime)
    root = box(tmp_path / "image")
    scratch = tmp_path / "scratch"
    (scratch / "rootfs-x").mkdir(parents=True)
    groups = control_groups()
    user = subprocess.Popen(
        [sys.executable, "-c", USER, root.path, scratch / "rootfs-x", runtime],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent}"},
    )
    try:
        assert user.stdout is not None
        assert user.stdout.readline() == b"up\n"
        processes = descendants(user.pid)
        own = namespaces(processes) - namespaces({os.getpid()})
        assert len(processes) >= 6
        assert len(own) >= 5
        # nobody else holds them, and numbers are given again as soon as they are free
        assert not own & namespaces(all_processes() - processes - descendants(user.pid))
    finally:
        user.kill()
        user.wait()
        if user.stdout is not None:
            user.stdout.close()
    assert gone(processes)
    mounts = Path("/proc/self/mountinfo").read_text()
    # a namespace lives on in processes, which are gone, or in a mount
    assert not [name for name in own if name in mounts]
    assert str(tmp_path) not in mounts
    assert "/tmp/merged" not in mounts
    assert control_groups() == groups
    deadline = time.monotonic() + PATIENCE
    while list(scratch.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(scratch.iterdir()) == []
    assert (root.path / "srv/index.html").read_text() == "a page\n"


def test_its_folder_goes_when_its_user_goes_without_a_word(tmp_path: Path) -> None:
    image = box(tmp_path / "image")
    root = Rootfs(image.path, tmp_path / "own")
    root.scratch.mkdir()
    with started(root, "sleep", "98764"):
        pass
    assert root.scratch.is_dir()
    with started(root, "sleep", "98764") as running:
        # as when a process dies, a moment before anybody can see that it is dead
        running._control.close()
    assert not root.scratch.exists()


@pytest.mark.parametrize("level", ["warden", "keeper", "runtime"])
def test_a_part_of_it_is_killed(tmp_path: Path, level: str) -> None:
    need_root()
    root = box(tmp_path)
    others = descendants(os.getpid())
    with started(root, "sleep", "98766", watch=Watch()) as running:
        processes = descendants(os.getpid()) - others
        chain = wardens(processes)
        chain += [pid for pid in processes if command(pid).startswith(b"bwrap")]
        os.kill(dict(zip(("warden", "keeper", "runtime"), chain, strict=True))[level], signal.SIGKILL)
        if level == "runtime":
            deadline = time.monotonic() + PATIENCE
            while running.alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            with pytest.raises(RamekinError, match="ended by signal 9"):
                running.check()
        else:
            with pytest.raises(RamekinError, match="the sandbox has ended by itself"):
                for _ in range(200):
                    running.state()
                    time.sleep(0.02)
    assert gone(processes)


def wardens(processes: set[int]) -> list[int]:
    """The warden of one sandbox and then the keeper, its child, whose number may be the lower one."""
    found = [pid for pid in processes if b"sandbox.warden" in command(pid)]
    return sorted(found, key=lambda pid: len(descendants(pid)), reverse=True)


def command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
