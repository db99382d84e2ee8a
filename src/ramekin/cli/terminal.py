"""How commands speak: results on standard output, everything else on standard error.

On a terminal, progress is a live display (rich, imported only then and only when a step takes its time) and
tables are drawn; elsewhere they are plain lines.
"""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from ramekin.errors import RamekinError
from ramekin.progress import Progress, Task

if TYPE_CHECKING:
    import rich.progress

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

PATIENCE = 0.3
"""Seconds of work before a live display is shown."""
WORTH_SAYING = 1.0
"""Seconds that a step takes before a plain line is spent on it."""


def prepare() -> None:
    """Have all three streams: a file that is opened where one is closed would get what is written to it.

    Results are UTF-8 in every locale, and the bytes of a file name in them are the file's.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115, PTH123
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def is_live(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def say(text: str, *, mark: str = "", style: str = "") -> None:
    """One line on standard error, after a mark such as `error`."""
    coloured = style and is_live(sys.stderr) and not os.environ.get("NO_COLOR")
    start = f"{mark}: " if mark else ""
    if coloured and start:
        start = f"\033[{style}m{start}\033[0m"
    with suppress(OSError):
        # a message that nobody can get is no reason to fail
        print(start + printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` as a terminal can show it: names in it can neither break the encoding nor steer the terminal."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", shown)


def fail(error: RamekinError, *, json: bool) -> int:
    """Show an error and give its exit code."""
    say(error.message, mark="error", style="1;31")
    if error.hint:
        say(error.hint, mark=" hint", style="36")
    if json:
        with suppress(RamekinError):
            write_json({"error": printable(error.message), "hint": error.hint, "code": error.exit_code})
    return error.exit_code


@contextmanager
def _output() -> Iterator[None]:
    """Say what is wrong with standard output; the process could not end well with it either."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        reason = error.strerror or str(error)
        raise RamekinError(f"standard output cannot be written: {reason[:1].lower()}{reason[1:]}") from None


def flush() -> None:
    """Have all that was written to standard output where it goes."""
    with _output():
        sys.stdout.flush()


def write(text: str) -> None:
    """One line of a command's result on standard output."""
    with _output():
        print(printable(text) if sys.stdout.isatty() else _exact(text), flush=True)


def _exact(text: str) -> str:
    """`text` with the bytes of file names as they are, if it has no other surrogates."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return printable(text)
    return text


def write_json(value: Any) -> None:
    """A command's result for machines: indented JSON, on standard output."""
    import msgspec

    data = msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2)
    with _output():
        sys.stdout.write(data.decode() + "\n")
        sys.stdout.flush()


def write_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> None:
    """A table on standard output: drawn on a terminal, tab-separated without titles elsewhere.

    `numbers` are the columns that are set to the right.
    """
    if not is_live(sys.stdout):
        for row in rows:
            write("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def size(count: int) -> str:
    """Bytes for people: `9.3 MB`."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}" if value < 99.5 else f"{value:.0f} {unit}"


def plural(count: int, word: str) -> str:
    """`1 layer`, `3 layers`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress on standard error for as long as a command works."""
    if not is_live(sys.stderr):
        yield Lines()
        return
    live = Live()
    try:
        yield live
    finally:
        live.stop()


class Lines:
    """Progress as plain lines: notes and warnings at once, a step when it ends if it took its time."""

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> Task:
        return _LineTask(label, unit)

    def note(self, text: str) -> None:
        say(text, mark="note", style="36")

    def warn(self, text: str) -> None:
        say(text, mark="warning", style="1;33")


class _LineTask:
    def __init__(self, label: str, unit: str) -> None:
        self._label, self._unit, self._done, self._start = label, unit, 0, time.monotonic()
        self._guard = threading.Lock()

    def advance(self, amount: int) -> None:
        with self._guard:
            self._done += amount

    def __enter__(self) -> Task:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.monotonic() - self._start
        if kind is None and seconds >= WORTH_SAYING:
            amount = size(self._done) if self._unit == "B" else f"{self._done:,} {self._unit}"
            say(f"{self._label}: {f'{amount} in ' if self._done else ''}{seconds:.1f} s")


class Live:
    """Progress as bars below whatever is said, shown once work has gone on for `PATIENCE` seconds."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._tasks: list[_LiveTask] = []
        self._display: rich.progress.Progress | None = None
        self._timer: threading.Timer | None = None
        self._ended = False

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> Task:
        return _LiveTask(self, label, total, unit)

    def note(self, text: str) -> None:
        self._say(text, "note", "36")

    def warn(self, text: str) -> None:
        self._say(text, "warning", "1;33")

    def stop(self) -> None:
        """Take the display away."""
        with self._guard:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
            if self._display is not None:
                self._display.stop()
                self._display = None

    def _say(self, text: str, mark: str, style: str) -> None:
        with self._guard:
            if self._display is None:
                say(text, mark=mark, style=style)
                return
            from rich.text import Text

            line = Text(printable(text))
            start = Text(f"{mark}: ", style="bold yellow" if mark == "warning" else "cyan")
            self._display.console.print(start + line, soft_wrap=True)

    def add(self, task: _LiveTask) -> None:
        with self._guard:
            self._tasks.append(task)
            if self._display is not None:
                task.show(self._display)
            elif self._timer is None and not self._ended:
                self._timer = threading.Timer(PATIENCE, self._open)
                self._timer.daemon = True
                self._timer.start()

    def remove(self, task: _LiveTask) -> None:
        with self._guard:
            self._tasks.remove(task)
            if self._display is not None:
                task.hide(self._display)

    def advance(self, task: _LiveTask, amount: int) -> None:
        with self._guard:
            task.done += amount
            if self._display is not None:
                task.move(self._display)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._guard:
            if self._ended:
                return
            self._display = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[amount]}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._display.start()
            for task in self._tasks:
                task.show(self._display)


class _LiveTask:
    def __init__(self, live: Live, label: str, total: int | None, unit: str) -> None:
        self._live, self._label, self._total, self._unit = live, label, total, unit
        self._shown: rich.progress.TaskID | None = None
        self.done = 0

    def advance(self, amount: int) -> None:
        self._live.advance(self, amount)

    def __enter__(self) -> Task:
        self._live.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.remove(self)

    def _amount(self) -> str:
        def spell(count: int) -> str:
            return size(count) if self._unit == "B" else f"{count:,}"

        total = f" of {spell(self._total)}" if self._total else ""
        return f"{spell(self.done)}{total}" if self.done or self._total else ""

    def show(self, display: rich.progress.Progress) -> None:
        self._shown = display.add_task(
            self._label, total=self._total, completed=self.done, amount=self._amount()
        )

    def move(self, display: rich.progress.Progress) -> None:
        if self._shown is not None:
            display.update(self._shown, completed=self.done, amount=self._amount())

    def hide(self, display: rich.progress.Progress) -> None:
        if self._shown is not None:
            display.remove_task(self._shown)
