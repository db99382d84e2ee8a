"""The one progress protocol: rooms report steps and counts, the entrance decides how they look.

Calls may come from any thread.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol


class Task(Protocol):
    """A step under way, made by `Progress.task`; a context manager that ends the step."""

    def advance(self, amount: int) -> None:
        """Say that `amount` more units (bytes unless the task said otherwise) are done."""

    def __enter__(self) -> Task: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress(Protocol):
    """Where steps, notes and warnings go."""

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> AbstractContextManager[Task]:
        """Open a step called `label`, of `total` units when that is known."""

    def note(self, text: str) -> None:
        """Say one line that is worth knowing and no reason to act."""

    def warn(self, text: str) -> None:
        """Say one line that the user may want to act on."""


class _SilentTask:
    def advance(self, amount: int) -> None: ...

    def __enter__(self) -> Task:
        return self

    def __exit__(self, *_: object) -> None: ...


class Silent:
    """Progress that says nothing, for tests and libraries."""

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> AbstractContextManager[Task]:
        return _SilentTask()

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


SILENT: Progress = Silent()
