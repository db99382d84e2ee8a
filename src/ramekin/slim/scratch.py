"""A folder for an image's files while it is looked at, which goes whatever becomes of this process.

Files are laid out in memory where there is room: a disk's file system takes five to ten times as long to make
twenty thousand of them. A process of its own removes the folder when this one ends without having done so.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ramekin.image.removal import remove

MEMORY = Path("/dev/shm")
"""The file system in memory that Linux machines have."""
_SHARE = 0.5
"""Of the memory that is free, what may be used."""
_GUARD = """
read _
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    chmod -R u+rwX "$0" 2>/dev/null
    rm -rf "$0"
    test -e "$0" || exit 0
    sleep 0.2
done
"""
"""Waits for the other end of its input to close: this process closes it by ending, however it ends. Others
that work in the folder may take a moment longer, and wardens of sandboxes remove their own part of it.
"""


@contextmanager
def scratch(needed: int, otherwise: Path) -> Iterator[Path]:
    """A new folder, in memory if `needed` bytes have room there, else in `otherwise`; removed at the end."""
    place = MEMORY if _has_room(needed) else otherwise
    folder = place / f"ramekin-slim-{secrets.token_hex(8)}"
    # which is there before the folder, so that there is no moment in which nobody would remove it
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    try:
        folder.mkdir(mode=0o700)
        # every user that a container may have may pass through
        folder.chmod(0o711)
        yield folder
    finally:
        remove(folder)
        guard.kill()
        guard.wait()


def _has_room(needed: int) -> bool:
    try:
        there = os.statvfs(MEMORY)
        memory = Path("/proc/meminfo").read_text()
    except OSError:
        return False
    if not os.access(MEMORY, os.W_OK):
        return False
    available = next(
        (int(line.split()[1]) << 10 for line in memory.splitlines() if line.startswith("MemAvailable:")), 0
    )
    return needed <= min(there.f_bavail * there.f_frsize, int(available * _SHARE))
