"""What probes need of a running container, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Finished(Protocol):
    """A command that came to its end."""

    @property
    def code(self) -> int: ...
    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...


class Container(Protocol):
    """A container whose program was started."""

    def address(self, port: int) -> str:
        """`HOST:PORT` by which this machine reaches a port of the container."""

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
    ) -> Finished:
        """Run a command inside, to its end; `TimeoutError` when that takes too long."""

    def alive(self) -> bool:
        """Whether the program that was started runs still."""

    def log(self) -> bytes:
        """What the program wrote, or the last part of it."""
