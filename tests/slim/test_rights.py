"""Capabilities that are told are those that the kernel asks for: no call counts that anybody may make."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from boxes import box, install, need_root, started
from test_seccomp import confined

from ramekin.slim.sandbox.plan import Watch
from ramekin.slim.sandbox.rootfs import Rootfs

pytestmark = pytest.mark.runtime

DOES = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#define OWN "/var/lib/own"
#define WEBS "/srv/webs"
static int to_child(int user) {
    int ready[2], result;
    pipe(ready);
    int child = fork();
    if (!child) {
        if (user && (setgroups(0, 0) || setresuid(user, user, user))) _exit(1);
        write(ready[1], "x", 1);
        pause();
    }
    char byte;
    read(ready[0], &byte, 1);
    result = kill(child, SIGTERM);
    if (result) kill(child, 0);
    return result;
}
static int as_web(int (*act)(void)) {
    int child = fork(), status;
    if (!child) {
        if (setgroups(0, 0) || setresgid(997, 997, 997) || setresuid(998, 998, 998)) _exit(9);
        int failed = act();
        // of who has ended by the time that somebody looks, it is not known who it was
        usleep(300000);
        _exit(failed ? 8 : 0);
    }
    waitpid(child, &status, 0);
    return status ? -1 : 0;
}
static int reads_secret(void) { return open("/srv/secret", O_RDONLY) < 0; }
static int writes_own(void) { return open("/srv/webs", O_WRONLY | O_APPEND) < 0; }
static int makes_one(void) { return open("/srv/folder/new", O_WRONLY | O_CREAT, 0644) < 0; }
int main(int argc, char **argv) {
    const char *what = argv[1];
    int result = -1;
    struct timespec times[2] = {{1, 0}, {1, 0}};
    close(open(OWN, O_CREAT | O_WRONLY, 0640));
#define IF(name, call) if (!strcmp(what, name)) result = (call)
    IF("chmod-own", chmod(OWN, 0600) || fchmodat(AT_FDCWD, "var/lib/own", 0640, 0) || chmod(OWN, 02755));
    IF("chmod", chmod(WEBS, 0644));
    IF("fchmod", fchmod(open(WEBS, O_RDONLY), 0644));
    IF("chown-own", chown(OWN, 0, 0) || lchown(OWN, -1, 0) || fchown(open(OWN, O_RDONLY), -1, -1));
    IF("chown", chown(OWN, 998, -1));
    IF("chgrp", chown(OWN, -1, 997));
    IF("chown-link", fchownat(AT_FDCWD, "/srv/link", 998, 997, AT_SYMLINK_NOFOLLOW));
    IF("setgid-bit", (chown(OWN, 0, 997), chmod(OWN, 02755)));
    IF("times-own", utimensat(AT_FDCWD, OWN, times, 0) || utimensat(AT_FDCWD, OWN, 0, 0));
    IF("times", utimensat(AT_FDCWD, WEBS, times, 0));
    IF("kill-own", to_child(0));
    IF("kill", to_child(998));
    IF("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    IF("bounding", prctl(PR_CAPBSET_DROP, CAP_SYS_CHROOT, 0, 0, 0));
    if (!strcmp(what, "capset")) {
        struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct data[2] = {{0}};
        result = syscall(SYS_capset, &head, data);
    }
    IF("read-others", open(WEBS, O_RDONLY) < 0 || open("/srv/folder", O_RDONLY) < 0);
    IF("read-secret", reads_secret());
    IF("write-others", writes_own());
    IF("make-in-others", makes_one());
    IF("remove-of-others", unlink("/srv/folder/old"));
    IF("read-only", open("/srv/readonly", O_WRONLY) < 0);
    IF("read-secret-as-web", as_web(reads_secret));
    IF("write-as-web", as_web(writes_own));
    IF("make-as-web", as_web(makes_one));
    puts(result ? "failed" : "done");
    return result != 0;
}
"""

WEB = (998, 997)
BECOMES = ("CAP_SETGID", "CAP_SETUID")


@pytest.fixture
def root(tmp_path: Path) -> Rootfs:
    need_root()
    made = box(tmp_path)
    install(made, "does", DOES)
    srv = made.path / "srv"
    for name, mode in (("webs", 0o644), ("secret", 0o600), ("folder/old", 0o644), ("readonly", 0o444)):
        (srv / name).parent.mkdir(exist_ok=True)
        (srv / name).write_text(name)
        (srv / name).chmod(mode)
        if name != "readonly":
            os.chown(srv / name, *WEB)
    os.chown(srv / "folder", *WEB)
    (srv / "link").symlink_to("webs")
    return made


@pytest.mark.parametrize(
    ("what", "capabilities"),
    [
        ("chmod-own", ()),
        ("chmod", ("CAP_FOWNER",)),
        # one too many: whether what was opened was written to cannot be seen
        ("fchmod", ("CAP_DAC_OVERRIDE", "CAP_FOWNER")),
        ("chown-own", ()),
        ("chown", ("CAP_CHOWN",)),
        ("chgrp", ("CAP_CHOWN",)),
        ("chown-link", ("CAP_CHOWN",)),
        ("setgid-bit", ("CAP_CHOWN", "CAP_FSETID")),
        ("times-own", ()),
        ("times", ("CAP_FOWNER",)),
        ("kill-own", ()),
        ("kill", ("CAP_KILL", *BECOMES)),
        ("ambient", ()),
        ("bounding", ("CAP_SETPCAP",)),
        ("capset", ()),
        ("read-others", ()),
        ("read-secret", ("CAP_DAC_OVERRIDE",)),
        ("write-others", ("CAP_DAC_OVERRIDE",)),
        ("make-in-others", ("CAP_DAC_OVERRIDE",)),
        ("remove-of-others", ("CAP_DAC_OVERRIDE",)),
        ("read-only", ("CAP_DAC_OVERRIDE",)),
        ("read-secret-as-web", BECOMES),
        ("write-as-web", BECOMES),
        ("make-as-web", BECOMES),
    ],
)
def test_what_is_told_is_needed_and_is_enough(root: Rootfs, what: str, capabilities: tuple[str, ...]) -> None:
    with started(root, "sleep", "100", watch=Watch()) as running:
        done = running.exec(["does", what])
        assert done.stdout == b"done\n", done
        running.stop()
        observation = running.observation()
    assert observation.capabilities == capabilities
    program = root.path / "usr/bin/tries"
    program.write_text(f"#!/usr/bin/sh\nexec does {what}\n")
    program.chmod(0o755)
    assert confined(root, observation, "tries") == "done\n"
