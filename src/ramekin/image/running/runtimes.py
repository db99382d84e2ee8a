"""How bubblewrap and runc are told what a container is: a command line, and a bundle's config.json."""

from __future__ import annotations

import os
import shutil
from typing import Any

from ramekin.errors import RamekinError, UsageError
from ramekin.image.running.container import Container

RUNTIMES = ("bwrap", "runc")

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""What root may do inside, where the sandbox is made by root."""

SEALED = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""The machine's own settings, which root could write by its number alone: read-only, as engines have them."""
HIDDEN = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)
"""What tells of the machine, or changes it, and is no program's business: hidden, as engines hide it."""


def choose_runtime(name: str | None) -> str:
    """The runtime called `name`, or the better one of those that are installed: runc for root, else bwrap."""
    if name is not None and name not in RUNTIMES:
        raise UsageError(f"--runtime: there is no {name!r}", hint="choose bwrap or runc")
    wanted = (name,) if name else RUNTIMES[::-1] if os.geteuid() == 0 else RUNTIMES
    for candidate in wanted:
        if shutil.which(candidate):
            return candidate
    raise RamekinError(
        f"{' and '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} not installed",
        hint="install bubblewrap or runc",
    )


def bwrap(run: Container, *, rooted: bool) -> list[str]:
    """The command line of bubblewrap; `rooted` says that it is started by root."""
    command = ["bwrap", "--die-with-parent", "--unshare-ipc", "--unshare-pid", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--hostname", "ramekin"]
    if run.network == "none":
        command.append("--unshare-net")
    privileged = rooted and run.user.uid == 0
    if privileged:
        # what is not dropped, root would keep
        command += ["--cap-drop", "ALL"]
        for capability in CAPABILITIES:
            command += ["--cap-add", capability]
    else:
        command += ["--unshare-user", "--uid", str(run.user.uid), "--gid", str(run.user.gid)]
    command += ["--bind", str(run.root), "/", "--proc", "/proc", "--dev", "/dev"]
    command += ["--ro-bind-try", "/sys", "/sys"]
    if privileged:
        for path in SEALED:
            command += ["--ro-bind-try", path, path]
        for path in HIDDEN:
            if os.path.isdir(path):  # noqa: PTH112
                command += ["--tmpfs", path, "--remount-ro", path]
            elif os.path.exists(path):  # noqa: PTH110
                command += ["--ro-bind", "/dev/null", path]
    for bind in run.binds:
        command += ["--ro-bind", str(bind.resolve()), str(bind)]
    for item in run.volumes:
        command += ["--ro-bind" if item.read_only else "--bind", str(item.host), item.inside]
    command += ["--clearenv"]
    for name, value in run.env.items():
        command += ["--setenv", name, value]
    return [*command, "--chdir", run.workdir, "--", *run.command]


def bundle(run: Container) -> dict[str, Any]:
    """The config.json of a bundle for runc (OCI runtime-spec, config.md)."""
    private = ["nosuid", "noexec", "nodev"]
    rootless = os.geteuid() != 0
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": private},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*private, "mode=1777", "size=65536k"],
        },
        {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", *private, "ro"]},
    ]
    mounts += [
        {
            "destination": str(path),
            "type": "bind",
            "source": str(path.resolve()),
            "options": ["bind", *private, "ro"],
        }
        for path in run.binds
    ]
    mounts += [
        {
            "destination": item.inside,
            "type": "bind",
            "source": str(item.host),
            "options": ["rbind", "ro" if item.read_only else "rw"],
        }
        for item in run.volumes
    ]
    kinds = ["pid", "ipc", "uts", "mount", *(["network"] if run.network == "none" else [])]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in kinds + ["user"] * rootless],
        "readonlyPaths": list(SEALED),
        "maskedPaths": list(HIDDEN),
    }
    if rootless:
        linux["uidMappings"] = [{"containerID": run.user.uid, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": run.user.gid, "hostID": os.getegid(), "size": 1}]
    rights = {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "hostname": "ramekin",
        "root": {"path": str(run.root)},
        "process": {
            "terminal": run.terminal,
            "user": {
                "uid": run.user.uid,
                "gid": run.user.gid,
                "additionalGids": [] if rootless else list(run.user.groups),
            },
            "args": list(run.command),
            "env": [f"{name}={value}" for name, value in run.env.items()],
            "cwd": run.workdir,
            "noNewPrivileges": True,
            "capabilities": rights if run.user.uid == 0 else {"bounding": list(CAPABILITIES)},
        },
        "mounts": mounts,
        "linux": linux,
    }
