"""Seccomp profiles and capabilities from observations: what the program does is allowed, and nothing else."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
from boxes import box, install, need_root, started
from support.containers import need

from ramekin.errors import UsageError
from ramekin.image.oci import Runtime
from ramekin.image.running.container import Wishes, container, furnish
from ramekin.image.running.runtimes import bundle
from ramekin.slim import seccomp
from ramekin.slim.observation import Observation
from ramekin.slim.sandbox import syscalls
from ramekin.slim.sandbox.plan import Watch
from ramekin.slim.sandbox.rootfs import Rootfs

WORKS = """
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
static void *thread(void *nothing) { return "a thread"; }
int main(void) {
    pthread_t other; char *text;
    setvbuf(stdout, 0, _IONBF, 0);
    pthread_create(&other, 0, thread, 0); pthread_join(other, (void **)&text); puts(text);
    struct sockaddr_in place = {AF_INET, htons(80)};
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (struct sockaddr *)&place, sizeof place) || listen(server, 5)) {
        perror("bind");
        return 1;
    }
    int shared = shmget(IPC_PRIVATE, 4096, 0600); char *memory = shmat(shared, 0, 0);
    shmctl(shared, IPC_RMID, 0);
    if (memory == (char *)-1) { perror("shmat"); return 1; }
    close(open("/var/lib/of-web", O_CREAT | O_WRONLY, 0640));
    if (chown("/var/lib/of-web", 998, 997)) { perror("chown"); return 1; }
    if (open("/srv/secret", O_RDONLY) < 0) { perror("secret"); return 1; }
    cpu_set_t all; CPU_ZERO(&all); CPU_SET(0, &all);
    if (sched_setaffinity(0, sizeof all, &all)) { perror("affinity"); return 1; }
    if (!fork()) {
        if (setgroups(0, 0) || setgid(997) || setuid(998)) { perror("become"); return 1; }
        execlp("id", "id", "-u", (char *)0);
    }
    int status; wait(&status); printf("a child %d\\n", status); fflush(stdout);
    return 0;
}
"""
DOES_OTHER_THINGS = """
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TRY(call) errno = 0; call; printf("%d ", errno)
int main(void) {
    TRY(unshare(CLONE_NEWUSER)); TRY(ptrace(PTRACE_TRACEME, 0, 0, 0));
    TRY(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    TRY(syscall(SYS_io_uring_setup, 1, 0)); TRY(socket(40, SOCK_STREAM, 0));
    TRY(socket(AF_INET, SOCK_STREAM, 0));
    TRY(syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0)); TRY(syscall(SYS_clone3, 0, 0));
    TRY(chown("/srv/index.html", 998, 997));
    puts("");
}
"""
SEEN = Observation(exposure="fanotify", platform="linux/amd64", calls_noted=True, syscalls=("bind",))


def rules(profile: dict[str, Any]) -> set[str]:
    return {
        name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]
    }


def test_everyday_calls_and_those_that_were_seen_are_allowed() -> None:
    allowed = rules(seccomp.profile(SEEN))
    assert allowed >= {"bind", "read", "openat", "clone", "setuid", "socket"}
    assert not allowed & {"ptrace", "mount", "shmat", "keyctl", "clone3", "unshare", "bpf"}


def test_calls_come_with_those_that_make_them_of_use() -> None:
    seen = Observation(
        exposure="fanotify", calls_noted=True, syscalls=("io_uring_setup", "shmget", "socket:17")
    )
    profile = seccomp.profile(seen)
    assert rules(profile) >= {"io_uring_enter", "shmat"}
    families = [rule["args"][0]["value"] for rule in profile["syscalls"] if rule["names"] == ["socket"]]
    assert families == [1, 2, 10, 16, 17]


def test_the_file_is_always_the_same() -> None:
    assert seccomp.encode(SEEN) == seccomp.encode(SEEN)
    assert json.loads(seccomp.encode(SEEN))["defaultAction"] == "SCMP_ACT_ERRNO"


def test_capabilities_are_given_as_options() -> None:
    seen = Observation(capabilities=("CAP_CHOWN", "CAP_SETUID"))
    assert seccomp.options(seen, "p.json")[-6:] == (
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN",
        "--cap-add",
        "SETUID",
    )


@pytest.mark.parametrize(
    "seen",
    [Observation(), Observation(calls_noted=True, platform="linux/s390x"), Observation(exposure="fanotify")],
)
def test_no_profile_is_made_of_what_is_not_known(seen: Observation) -> None:
    with pytest.raises(UsageError, match="does not say which system calls"):
        seccomp.profile(seen)


@pytest.fixture
def root(tmp_path: Path) -> Rootfs:
    need_root()
    made = box(tmp_path)
    install(made, "works", WORKS)
    install(made, "other", DOES_OTHER_THINGS)
    (made.path / "srv/secret").write_text("x")
    (made.path / "srv/secret").chmod(0o600)
    import os

    os.chown(made.path / "srv/secret", 998, 997)
    return made


def confined(root: Rootfs, observation: Observation, command: str) -> str:
    """What a command prints under runc with the profile and the capabilities of an observation."""
    need("runc")
    settings = Runtime(cmd=(command,), env=("PATH=/usr/bin",))
    made = container(root.path, settings, Wishes(network="none"), terminal=False)
    furnish(made)
    document = bundle(made)
    document["linux"]["seccomp"] = seccomp.profile(observation)
    rights = list(observation.capabilities)
    document["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), rights)
    (root.scratch / "config.json").write_text(json.dumps(document))
    # that of its control group too, and other tests at work have folders of the same name
    name = f"ramekin-{secrets.token_hex(8)}"
    start = ["runc", "--root", str(root.scratch / "runc")]
    try:
        result = subprocess.run(
            [*start, "run", "--bundle", str(root.scratch), name], capture_output=True, text=True, timeout=60
        )
    finally:
        subprocess.run([*start, "delete", "--force", name], capture_output=True, check=False)
    return result.stdout + result.stderr


@pytest.mark.runtime
def test_a_program_runs_under_its_profile_and_others_do_not(root: Rootfs) -> None:
    with started(root, "sleep", "100", watch=Watch()) as running:
        done = running.exec(["works"])
        assert (done.code, done.stdout) == (0, b"a thread\n998\na child 0\n"), done
        running.stop()
        observation = running.observation()
    assert observation.calls_noted
    assert {"bind", "shmget", "chown", "setgroups", "setgid", "setuid"} <= set(observation.syscalls)
    assert not set(observation.syscalls) & (syscalls.EVERYDAY | {"mount", "pivot_root", "unshare", "capset"})
    assert observation.capabilities == (
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETGID",
        "CAP_SETUID",
    )
    assert confined(root, observation, "works") == done.stdout.decode()
    # unshare, ptrace, keyctl, io_uring, a socket of virtual machines, one of the internet, namespaces, clone3
    assert confined(root, observation, "other") == "1 1 1 1 1 0 1 38 0 \n"
    bare = Observation(calls_noted=True)
    assert "perror" not in confined(root, bare, "works")
    assert "bind: Operation not permitted" in confined(root, bare, "works")


@pytest.mark.runtime
def test_a_program_of_another_user_needs_no_capabilities(root: Rootfs) -> None:
    with started(root, "httpd", "-f", "-p", "8080", watch=Watch(), user="web", runtime="runc") as running:
        running.wait_ready()
        running.stop()
        assert running.observation().capabilities == ()
