"""System calls that name files: which of their arguments do, and what they do with them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

AT_FDCWD = 0xFFFFFF9C
"""As an unsigned number of 32 bits, which is how the kernel looks at it."""


class Use(Enum):
    """What a call does with a path that it names."""

    OPEN = "open"
    EXECUTE = "execute"
    TEST = "test"
    ALTER = "alter"


@dataclass(frozen=True, slots=True)
class PathCall:
    """Where the path is among the arguments, and the descriptor that it is relative to (-1: none).

    `flags` is where the flags are (-1: none), `stops` the flags with which a link at the end is not followed;
    `never` says that it never is.
    """

    use: Use
    path: int
    folder: int = -1
    flags: int = -1
    stops: int = 0
    never: bool = False


_NOFOLLOW = 0x100
"""AT_SYMLINK_NOFOLLOW"""

PATH_CALLS = {
    "open": PathCall(Use.OPEN, 0, flags=1, stops=os.O_NOFOLLOW),
    "openat": PathCall(Use.OPEN, 1, 0, flags=2, stops=os.O_NOFOLLOW),
    "openat2": PathCall(Use.OPEN, 1, 0),
    "execve": PathCall(Use.EXECUTE, 0),
    "execveat": PathCall(Use.EXECUTE, 1, 0, flags=4, stops=_NOFOLLOW),
    "stat": PathCall(Use.TEST, 0),
    "lstat": PathCall(Use.TEST, 0, never=True),
    "newfstatat": PathCall(Use.TEST, 1, 0, flags=3, stops=_NOFOLLOW),
    "statx": PathCall(Use.TEST, 1, 0, flags=2, stops=_NOFOLLOW),
    "access": PathCall(Use.TEST, 0),
    "faccessat": PathCall(Use.TEST, 1, 0),
    "faccessat2": PathCall(Use.TEST, 1, 0, flags=3, stops=_NOFOLLOW),
    "readlink": PathCall(Use.TEST, 0, never=True),
    "readlinkat": PathCall(Use.TEST, 1, 0, never=True),
    "chdir": PathCall(Use.TEST, 0),
    "chroot": PathCall(Use.TEST, 0),
    "statfs": PathCall(Use.TEST, 0),
    "getxattr": PathCall(Use.TEST, 0),
    "lgetxattr": PathCall(Use.TEST, 0, never=True),
    "listxattr": PathCall(Use.TEST, 0),
    "llistxattr": PathCall(Use.TEST, 0, never=True),
    "inotify_add_watch": PathCall(Use.TEST, 1),
    "name_to_handle_at": PathCall(Use.TEST, 1, 0),
    "chmod": PathCall(Use.ALTER, 0),
    "fchmodat": PathCall(Use.ALTER, 1, 0),
    "fchmodat2": PathCall(Use.ALTER, 1, 0, flags=3, stops=_NOFOLLOW),
    "chown": PathCall(Use.ALTER, 0),
    "lchown": PathCall(Use.ALTER, 0, never=True),
    "fchownat": PathCall(Use.ALTER, 1, 0, flags=4, stops=_NOFOLLOW),
    "utime": PathCall(Use.ALTER, 0),
    "utimes": PathCall(Use.ALTER, 0),
    "futimesat": PathCall(Use.ALTER, 1, 0),
    "utimensat": PathCall(Use.ALTER, 1, 0, flags=3, stops=_NOFOLLOW),
    "truncate": PathCall(Use.ALTER, 0),
    "setxattr": PathCall(Use.ALTER, 0),
    "lsetxattr": PathCall(Use.ALTER, 0, never=True),
    "unlink": PathCall(Use.ALTER, 0, never=True),
    "unlinkat": PathCall(Use.ALTER, 1, 0, never=True),
    "rmdir": PathCall(Use.ALTER, 0, never=True),
    "rename": PathCall(Use.ALTER, 0, never=True),
    "renameat": PathCall(Use.ALTER, 1, 0, never=True),
    "renameat2": PathCall(Use.ALTER, 1, 0, never=True),
    "link": PathCall(Use.ALTER, 0, never=True),
    "linkat": PathCall(Use.ALTER, 1, 0, never=True),
    # what is made needs the folder that it is made in
    "mkdir": PathCall(Use.ALTER, 0, never=True),
    "mkdirat": PathCall(Use.ALTER, 1, 0, never=True),
    "mknod": PathCall(Use.ALTER, 0, never=True),
    "mknodat": PathCall(Use.ALTER, 1, 0, never=True),
    "symlink": PathCall(Use.ALTER, 1, never=True),
    "symlinkat": PathCall(Use.ALTER, 2, 1, never=True),
    "creat": PathCall(Use.ALTER, 0),
}
