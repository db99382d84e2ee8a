"""A command on a terminal of its own, so that what runs in a sandbox cannot type into ours (TIOCSTI)."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ramekin.errors import RamekinError


def call(command: Sequence[str], prepare: Callable[[], None]) -> int:
    """Run `command` to its end on a new terminal joined to ours and give its exit code.

    `prepare` is called in the child before the command starts.
    """
    ours, theirs = pty.openpty()

    def start() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        prepare()

    _fit(ours)
    try:
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=start)
    except (OSError, subprocess.SubprocessError) as error:
        os.close(ours)
        raise RamekinError(f"{command[0]} cannot be started: {error}") from None
    finally:
        os.close(theirs)
    with _raw(ours):
        _join(ours)
        status = process.wait()
    os.close(ours)
    return 128 - status if status < 0 else status


def _join(ours: int) -> None:
    """Carry bytes both ways until the other side is closed."""
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    sources = [ours, keyboard]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if ours in ready:
            try:
                data = os.read(ours, 1 << 16)
            except OSError:
                return
            if not data:
                return
            _write(screen, data)
        if keyboard in ready:
            data = os.read(keyboard, 1 << 16)
            if data:
                _write(ours, data)
            else:
                sources.remove(keyboard)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def _raw(ours: int) -> Iterator[None]:
    """Our terminal hands every key on, and its size, while it lasts."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    resized = signal.signal(signal.SIGWINCH, lambda number, frame: _fit(ours))
    tty.setraw(keyboard)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)
        signal.signal(signal.SIGWINCH, resized)


def _fit(ours: int) -> None:
    size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
    fcntl.ioctl(ours, termios.TIOCSWINSZ, size)
