"""System calls held up until they were noted: what is opened, asked about, and looked up in vain."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from boxes import NOBODY, RUNTIMES, box, install, started, without_root

from ramekin.slim.observation import Observation
from ramekin.slim.sandbox import filters, lookups, notified, syscalls
from ramekin.slim.sandbox.calls import PATH_CALLS
from ramekin.slim.sandbox.plan import Miss, Watch, Watching
from ramekin.slim.sandbox.rootfs import Rootfs

TRACED = Watch(by=Watching.SECCOMP)
PREOPENED = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    struct stat found;
    int srv = open("/srv", O_PATH);
    close(openat(srv, "by-folder", O_RDONLY));
    fstatat(srv, "asked-by-folder", &found, 0);
    fstatat(srv, "link", &found, AT_SYMLINK_NOFOLLOW);
    open("/etc/../srv/through", O_RDONLY);
    chroot("/srv");
    open("/jailed", O_RDONLY);
    chdir("/");
    open("jailed-too", O_RDONLY);
    return 0;
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Rootfs:
    made = box(tmp_path)
    for name in ("by-folder", "asked-by-folder", "through", "jailed", "jailed-too", "page"):
        (made.path / "srv" / name).write_text("x")
    (made.path / "srv/link").symlink_to("page")
    return made


def seen(root: Rootfs, script: str, *, runtime: str = "bwrap", user: str = "") -> Observation:
    with started(root, "sleep", "100", watch=TRACED, runtime=runtime, user=user) as running:
        done = running.exec(["sh", "-c", script])
        assert done.code == 0, done.stderr
        running.stop()
        return running.observation()


@pytest.mark.runtime
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("user", ["", "web"])
def test_files_are_seen_by_all_their_names(root: Rootfs, runtime: str, user: str) -> None:
    script = "cat /srv/link; cd /srv; cat ../srv/by-folder; test -f through; test -e none || test ! -e /none"
    found = seen(root, script, runtime=runtime, user=user)
    assert found.exposure == "seccomp"
    assert {"srv/link", "srv/page", "srv/by-folder"} <= set(found.opened)
    assert "srv/through" in found.tested
    assert {"srv/none"} <= set(found.missing)
    assert {"usr/bin/sh", "usr/bin/busybox"} <= set(found.executed)
    assert not [path for path in found.missing if path.startswith("proc")]
    assert not {*found.tested} & {*found.opened, *found.executed}


@pytest.mark.runtime
def test_paths_are_looked_up_from_folders_and_in_jails(root: Rootfs) -> None:
    install(root, "preopened", PREOPENED)
    found = seen(root, "preopened")
    assert {"srv/by-folder", "srv/through", "srv/jailed", "srv/jailed-too"} <= set(found.opened)
    assert "srv/asked-by-folder" in found.tested
    assert "srv/link" in found.tested
    assert "srv/page" not in found.used
    assert "CAP_SYS_CHROOT" in found.capabilities


@pytest.mark.runtime
def test_what_the_kernel_loads_by_itself_is_seen(root: Rootfs) -> None:
    script = root.path / "srv/script"
    script.write_text("#! /bin/sh\ntrue\n")
    script.chmod(0o755)
    found = seen(root, "/srv/script")
    assert "srv/script" in found.executed
    assert {"bin", "usr/bin/sh", "usr/bin/busybox"} <= set(found.used)


def missed(root: Rootfs, script: str, *removed: str, runtime: str = "bwrap") -> tuple[Miss, ...]:
    watch = Watch(by=Watching.LOOKUPS, removed=frozenset(removed))
    with started(root, "sleep", "100", watch=watch, runtime=runtime) as running:
        running.exec(["sh", "-c", script])
        return running.misses()


@pytest.mark.runtime
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_look_ups_of_what_is_gone_are_caught(root: Rootfs, runtime: str) -> None:
    script = "cat /srv/gone; test -e /var/lib/asked; /usr/bin/run; cd /var; cat lib/near; cat /srv/unknown"
    gone = ("srv/gone", "var/lib/asked", "usr/bin/run", "var/lib/near", "srv/never")
    found = missed(root, script, *gone, runtime=runtime)
    assert [miss.path for miss in found] == ["srv/gone", "usr/bin/run", "var/lib/asked", "var/lib/near"]
    assert {miss.program for miss in found} == {"/usr/bin/busybox"}
    assert {"execve", "open", "openat", "stat", "newfstatat", "access", "faccessat2"} >= {
        m.syscall for m in found
    }


@pytest.mark.runtime
def test_what_is_gone_is_known_behind_links_and_links_that_are_gone_too(root: Rootfs) -> None:
    (root.path / "srv/dangling").symlink_to("/var/lib/target")
    script = "cat /srv/dangling /bin/tool /old/file"
    found = missed(root, script, "var/lib/target", "usr/bin/tool", "old", "real/file")
    assert [miss.path for miss in found] == ["old", "usr/bin/tool", "var/lib/target"]


@pytest.mark.runtime
def test_what_the_program_made_again_is_not_gone(root: Rootfs) -> None:
    assert missed(root, "echo x > /srv/made; cat /srv/made", "srv/other") == ()
    found = missed(root, "mkdir /srv/new; echo > /srv/new/file; cat /srv/new/file", "srv/new/other")
    assert found == ()


@pytest.mark.runtime
def test_folders_that_miss_something_are_noted_when_they_are_listed(root: Rootfs) -> None:
    watch = Watch(by=Watching.LOOKUPS, removed=frozenset({"srv/gone", "etc/gone"}))
    with started(root, "sleep", "100", watch=watch) as running:
        running.exec(["ls", "/srv", "/var"])
        assert running.misses() == ()
        assert [listed.path for listed in running.listings()] == ["srv"]


@pytest.mark.runtime
def test_without_root_the_same_is_seen(root: Rootfs) -> None:
    script = """
import json, sys
from pathlib import Path
from boxes import started
from ramekin.slim.sandbox.plan import Readiness, Watch, Watching
from ramekin.slim.sandbox.rootfs import Rootfs
root = Rootfs(Path(sys.argv[1]), Path(sys.argv[2]))
for user in ("", "web"):
    command = ("httpd", "-f", "-p", "80", "-h", "/srv")
    with started(root, *command, watch=Watch(by=Watching.SECCOMP), user=user) as running:
        running.wait_ready(Readiness(port=80))
        import http.client
        host, port = running.address(80).split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/")
        body = connection.getresponse().read().decode()
        done = running.exec(["sh", "-c", "cat /srv/link; id -u; test -e /srv/none"])
        running.stop()
        seen = running.observation()
        print(json.dumps([body, done.stdout.decode(), seen.opened, seen.missing, seen.listening]))
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        # where tests have their folders, nobody else may enter
        Path(folder).chmod(0o755)
        shutil.copytree(root.path, f"{folder}/rootfs", symlinks=True)
        if os.geteuid() == 0:
            for path in (Path(folder, "rootfs"), *Path(folder, "rootfs").rglob("*")):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        result = without_root(script, f"{folder}/rootfs", f"{folder}/none")
    assert result.returncode == 0, result.stderr
    for line, uid in zip(result.stdout.splitlines(), ("0", "998"), strict=True):
        body, output, opened, missing, listening = json.loads(line)
        assert (body, output) == ("a page\n", f"x{uid}\n")
        assert {"srv/index.html", "srv/link", "srv/page"} <= set(opened)
        assert "srv/none" in missing
        assert listening == ["tcp:80"]


def test_walks_follow_links_below_their_root_only(tmp_path: Path) -> None:
    for folder in ("a/b", "c"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "c/file").write_text("x")
    for link, target in {
        "a/up": "../../../../c",
        "a/absolute": "/c/file",
        "a/round": "round",
        "a/broken": "/a/none/x",
        "outside": "/etc/passwd",
    }.items():
        (tmp_path / link).symlink_to(target)

    def walk(path: str, *, follow: bool = True) -> tuple[tuple[str, ...], str, bool]:
        found = lookups.walk(str(tmp_path), path, follow=follow)
        return found.links, found.end, found.exists

    assert walk("/c/file") == ((), "/c/file", True)
    assert walk("/a/./b/../../c//file") == ((), "/c/file", True)
    assert walk("/a/up/file") == (("/a/up",), "/c/file", True)
    assert walk("/a/absolute") == (("/a/absolute",), "/c/file", True)
    assert walk("/a/absolute", follow=False) == ((), "/a/absolute", True)
    assert walk("/a/broken") == (("/a/broken",), "/a/none", False)
    assert walk("/outside") == (("/outside",), "/etc", False)
    assert walk("/none/deeper") == ((), "/none", False)
    assert walk("/a/round")[2] is False
    assert walk("/") == ((), "/", True)


def test_the_file_in_a_folder_that_is_gone_is_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/there").write_text("x")
    removed = {"/a/b", "/a/b/c", "/a/b/c/file", "/a/b/link", "/d"}

    def gone(path: str) -> str | None:
        return lookups.walk(str(tmp_path), path, follow=True).among(removed)

    assert gone("/a/b/c/file") == "/a/b/c/file"
    assert gone("/a/b/./c") == "/a/b/c"
    assert gone("/a/b/c/never/was") == "/a/b/c"
    assert gone("/a/b/link/file") == "/a/b/link"
    assert gone("/a/b/../there") == "/a/b"
    assert gone("/a/there") is None
    assert gone("/none/deeper") is None


def test_numbers_are_those_of_the_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        header = Path("/usr/include/aarch64-linux-gnu/asm/unistd.h")
    machine = "x86_64" if "x86_64" in str(header) else "aarch64"
    numbers = syscalls.numbers(machine)
    if machine == "x86_64":
        listed = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text()))
        assert {name: int(number) for name, number in listed.items()}.items() <= numbers.items()
    assert len(set(numbers.values())) == len(numbers)
    for machine in syscalls.AUDIT_ARCHITECTURES:
        assert {"openat", "execve", "seccomp", "statx", "clone", "prctl", "socket"} <= syscalls.numbers(
            machine
        ).keys()
    assert syscalls.numbers("vax") == {}


def test_what_is_always_allowed_are_system_calls() -> None:
    known = syscalls.numbers("x86_64").keys() | syscalls.numbers("aarch64").keys()
    assert known >= syscalls.EVERYDAY
    assert known >= PATH_CALLS.keys()
    assert known >= {name for names in syscalls.FAMILIES.values() for name in names}


def test_filters_are_within_the_kernels_bounds() -> None:
    for machine in syscalls.AUDIT_ARCHITECTURES:
        program = filters.noted(paths=PATH_CALLS, unusual=True, table=syscalls.numbers(machine))
        assert len(program) % 8 == 0
        assert len(program) // 8 < 4096


def test_threads_read_memory_each_into_a_place_of_its_own() -> None:
    def reads(text: bytes) -> bool:
        kept = ctypes.create_string_buffer(text)
        memory = notified.Memory()
        return all(memory.text(os.getpid(), ctypes.addressof(kept)) == text for _ in range(3000))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(reads, (b"/a", b"/bb" * 300, b"/ccc", b"/d" * 1500)))


def test_texts_end_where_memory_does_and_long_ones_are_no_paths() -> None:
    memory = notified.Memory()
    page = os.sysconf("SC_PAGE_SIZE")
    with mmap.mmap(-1, 2 * page) as place:
        place.write(b"x" * (2 * page - 5) + b"/end\0")
        begin = ctypes.addressof(ctypes.c_char.from_buffer(place))
        assert memory.text(os.getpid(), begin + 2 * page - 5) == b"/end"
        assert memory.block(os.getpid(), begin + 2 * page - 5, 4) == b"/end"
        assert memory.text(os.getpid(), begin) == b""
    assert memory.text(os.getpid(), 16) == b""
