"""What the kernel tells of a process (proc(5)): the words of a line of its status, or of a descriptor's.

Of a process that is gone, or of what is not told, there are none.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def words(pid: int, field: str) -> list[str]:
    """The words behind a field of /proc/PID/status."""
    return words_in(f"/proc/{pid}/status", field)


def numbers(pid: int, field: str) -> list[int]:
    """The same as numbers: `Uid` and `Gid` are real, effective, saved, and that of files."""
    return [int(word) for word in words(pid, field)]


def mask(pid: int, field: str) -> int:
    """A set of capabilities or signals, a bit each; an empty one where nothing is told."""
    return int((words(pid, field) or ["0"])[0], 16)


def words_in(path: str, field: str) -> list[str]:
    """The words behind a field of a file that is laid out so, such as /proc/PID/fdinfo/FD."""
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(f"{field}:"):
                return line.split()[1:]
    return []
