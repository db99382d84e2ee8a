"""What root in a sandbox cannot do to the machine that it runs on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from boxes import RUNTIMES, box, install, need_root, started

from ramekin.image.running.runtimes import CAPABILITIES
from ramekin.slim.sandbox import kernel
from ramekin.slim.sandbox.rootfs import Rootfs

pytestmark = pytest.mark.runtime

SETTINGS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/swappiness",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger",
    "/sys/kernel/mm/ksm/run",
    "/sys/fs/cgroup/cgroup.procs",
)
OPENS_AND_MOUNTS = """
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static void around(void) {
    printf("rings %s\\n", syscall(425, 4, (char[256]){0}) < 0 ? "refused" : "DONE");
#ifdef __x86_64__
#define OTHERS "r8", "r9", "r10", "r11"
    unsigned *given = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    given[0] = 40; given[1] = SOCK_STREAM; given[2] = 0;
    int socket = syscall(SYS_socket | 0x40000000, 40, SOCK_STREAM, 0), old = 359, call = 102;
    __asm__ volatile("int $0x80" : "+a"(old) : "b"(40), "c"(SOCK_STREAM), "d"(0) : "memory", OTHERS);
    __asm__ volatile("int $0x80" : "+a"(call) : "b"(1), "c"(given) : "memory", OTHERS);
    printf("vsock of 32 bits %s\\n", socket < 0 && old < 0 && call < 0 ? "refused" : "DONE");
#else
    puts("vsock of 32 bits refused");
#endif
}
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        printf("%s %s\\n", argv[i], open(argv[i], O_WRONLY | O_APPEND) < 0 ? "closed" : "OPEN");
    printf("mount %s\\n", mount("none", "/tmp", "tmpfs", 0, 0) ? "refused" : "DONE");
    printf("raw %s\\n", socket(AF_INET, SOCK_RAW, 1) < 0 ? "refused" : "DONE");
    printf("packet %s\\n", socket(AF_PACKET, SOCK_RAW, 0) < 0 ? "refused" : "DONE");
    printf("vsock %s\\n", socket(40, SOCK_STREAM, 0) < 0 ? "refused" : "DONE");
    around();
    printf("chroot %s\\n", chroot("/tmp") ? "REFUSED" : "done");
    return 0;
}
"""


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    need_root()
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Rootfs:
    made = box(tmp_path)
    install(made, "tries", OPENS_AND_MOUNTS)
    return made


def test_settings_of_the_machine_cannot_be_written_nor_anything_mounted(root: Rootfs, runtime: str) -> None:
    there = [path for path in SETTINGS if Path(path).exists()]
    with started(root, "sleep", "1000", runtime=runtime) as running:
        said = running.exec(["tries", *there]).stdout.decode().splitlines()
    assert said == [
        *(f"{path} closed" for path in there),
        *("mount refused", "raw refused", "packet refused", "vsock refused", "rings refused"),
        *("vsock of 32 bits refused", "chroot done"),
    ]
    with started(root, "sh", "-c", f"tries {' '.join(there)}; exec sleep 1000", runtime=runtime) as running:
        while (text := running.log().decode()).count("\n") < len(said) and running.alive():
            pass
    assert text.splitlines() == said


def test_root_has_the_rights_that_engines_give_and_no_others(root: Rootfs, runtime: str) -> None:
    wanted = sum(1 << kernel.CAPABILITIES[name] for name in CAPABILITIES)
    script = "cat /proc/self/status; exec sleep 1000"
    with started(root, "sh", "-c", script, runtime=runtime) as running:
        inside = running.exec(["cat", "/proc/self/status"]).stdout.decode()
        while "CapBnd" not in (log := running.log().decode()) and running.alive():
            pass
    for text in (inside, log):
        rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        assert int(rows["CapEff"], 16) == int(rows["CapPrm"], 16) == wanted
        assert rows["NoNewPrivs"].strip() == "1"


def test_devices_that_an_image_brings_lead_nowhere(root: Rootfs, runtime: str) -> None:
    os.mknod(root.path / "null", 0o20666, os.makedev(1, 3))
    with started(root, "sleep", "1000", runtime=runtime) as running:
        brought = running.exec(["dd", "if=/null", "count=1"])
        own = running.exec(["dd", "if=/dev/null", "count=1"])
    assert (brought.code, own.code) == (1, 0)
    assert b"ermission denied" in brought.stderr
