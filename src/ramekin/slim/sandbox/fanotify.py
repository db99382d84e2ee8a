"""Files opened and executed in a file system, as the kernel reports them (fanotify(7)), descriptors and all.

The mark is on the file system, for a mark on a mount sees nothing of what happens in another mount namespace.
What is read is the path in the namespace of the process that opened the file, which has no links in it.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress

from ramekin.slim.sandbox import kernel
from ramekin.slim.sandbox.modes import Modes

_EVENT = struct.Struct("=IBBHQii")
_BUFFER = 170 * _EVENT.size
_FLAGS = kernel.FAN_CLOEXEC | kernel.FAN_NONBLOCK | kernel.FAN_UNLIMITED_QUEUE | kernel.FAN_UNLIMITED_MARKS
# O_NONBLOCK, for the kernel opens each file for us, and one may be a pipe
_EVENT_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_MASK = kernel.FAN_OPEN | kernel.FAN_OPEN_EXEC | kernel.FAN_ONDIR
_DELETED = " (deleted)"


class FileEvents:
    """The events of the file system that `path` is on, from now on. `OSError` where the kernel refuses.

    `lost` becomes true when the kernel could not report something. `modes` is told of all that is opened.
    """

    def __init__(self, path: str, modes: Modes | None = None) -> None:
        self._modes = modes
        self.opened: set[str] = set()
        self.executed: set[str] = set()
        self.lost = False
        self._own = os.getpid()
        self.group = kernel.fanotify_init(_FLAGS, _EVENT_FLAGS)
        try:
            kernel.fanotify_mark(self.group, kernel.FAN_MARK_ADD | kernel.FAN_MARK_FILESYSTEM, _MASK, path)
        except OSError:
            os.close(self.group)
            raise

    def fileno(self) -> int:
        return self.group

    def take(self, most: int = 16) -> None:
        """Note what has happened until now, at most so many buffers of it."""
        for _ in range(most):
            try:
                data = os.read(self.group, _BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ENXIO, errno.ENODEV):
                    # a device or socket that cannot be opened a second time: no file of an image's use
                    continue
                if error.errno == errno.EINTR:
                    continue
                self.lost = True
                return
            if not data:
                return
            self._note(data)

    def drain(self) -> None:
        """Note all that has happened."""
        self.take(1 << 30)

    def _note(self, data: bytes) -> None:
        opened, executed, own = self.opened, self.executed, self._own
        execs = kernel.FAN_OPEN_EXEC
        for _, version, _, _, mask, descriptor, pid in _EVENT.iter_unpack(data):
            if mask & kernel.FAN_Q_OVERFLOW or version != 3:
                self.lost = True
            if descriptor < 0:
                continue
            if pid != own:
                path = ""
                with suppress(OSError):
                    path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
                if mask & execs:
                    executed.add(path)
                if mask & kernel.FAN_OPEN:
                    opened.add(path)
                if self._modes is not None:
                    with suppress(OSError):
                        self._modes.opened(path, descriptor, pid, executed=bool(mask & execs))
                if path.endswith(_DELETED):
                    # or it is really called so; a name that the image has not does no harm
                    (executed if mask & execs else opened).add(path[: -len(_DELETED)])
            os.close(descriptor)
