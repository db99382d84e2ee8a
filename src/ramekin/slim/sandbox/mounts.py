"""What a keeper mounts in its own namespace: the image's files with a layer to write to above, in memory."""
# ruff: noqa: PTH101, PTH102, PTH112, PTH116

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ramekin.image.running.container import Identity, make_place
from ramekin.slim.sandbox import kernel
from ramekin.slim.sandbox.plan import Place, Plan

FOLDER = "/tmp"
"""Where the keeper's own tmpfs is, in its mount namespace: a folder that is everywhere and open to all."""

MERGED = f"{FOLDER}/merged"
"""The container's root: the image below, what the container writes above."""

HOSTS = "127.0.0.1\tlocalhost ramekin\n::1\tlocalhost ip6-localhost ip6-loopback\n"
RESOLV = "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n"
"""Nothing answers there, and says so at once."""

_PLACE = os.O_PATH | os.O_CLOEXEC
_FILES = 1 << 20
"""Files and folders that a container may make: each takes memory of the kernel."""


def lay_out(plan: Plan) -> None:
    """Mount all of it: its folder, the image's files with a layer to write to above, its own /proc."""
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    # opened here, for what they are may lie below what is hidden now
    lower = os.open(plan.lower, _PLACE | os.O_DIRECTORY)
    hosts = [os.open(bind.host, _PLACE) for bind in plan.binds]
    kernel.mount("tmpfs", FOLDER, "tmpfs", kernel.MS_NODEV, f"size={plan.room},nr_inodes={_FILES},mode=0755")
    for name in ("lower", "upper", "work", "merged", "own", "binds"):
        os.mkdir(f"{FOLDER}/{name}", 0o755)
    kernel.mount(f"/proc/self/fd/{lower}", f"{FOLDER}/lower", "", kernel.MS_BIND)
    os.close(lower)
    top = os.stat(f"{FOLDER}/lower")
    with suppress(OSError):
        # in a user namespace, the folder may be of somebody who is not in it
        os.chown(f"{FOLDER}/upper", top.st_uid, top.st_gid)
    os.chmod(f"{FOLDER}/upper", top.st_mode & 0o7777)
    options = f"lowerdir={FOLDER}/lower,upperdir={FOLDER}/upper,workdir={FOLDER}/work"
    # an image may bring device nodes, which are not to lead to the machine's devices
    kernel.mount("overlay", MERGED, "overlay", kernel.MS_NODEV, options + ",userxattr" * plan.rootless)
    for bind, host in zip(plan.binds, hosts, strict=True):
        _bind(host, f"{FOLDER}/binds/{bind.name}")
    for name, text in (("hosts", HOSTS), ("resolv.conf", RESOLV), ("hostname", "ramekin\n")):
        Path(f"{FOLDER}/own/{name}").write_text(text)
    for place in plan.places:
        _stand(place)
    if plan.bundle:
        _close_control_groups()
        os.mkdir(f"{FOLDER}/bundle")
        Path(f"{FOLDER}/bundle/config.json").write_text(plan.bundle)


def _close_control_groups() -> None:
    """Make control groups read-only here: those that runc would make outlive a sandbox that is killed."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4]
        if target == "/sys/fs/cgroup" or target.startswith("/sys/fs/cgroup/"):
            kernel.mount("none", target, "", kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)


def _stand(place: Place) -> None:
    path = Path(f"{MERGED}/{place.path.lstrip('/')}")
    if not place.folder and path.is_symlink() and not path.parent.is_symlink():
        # as engines do with the files that they bring, /etc/resolv.conf above all
        path.unlink()
    make_place(Path(MERGED), place.path, folder=place.folder, owner=Identity(place.uid, place.gid))


def _bind(host: int, target: str) -> None:
    source = f"/proc/self/fd/{host}"
    if os.path.isdir(source):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    kernel.mount(source, target, "", kernel.MS_BIND | kernel.MS_REC)
    os.close(host)
