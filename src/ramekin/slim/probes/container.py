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
    @property
    def timed_out(self) -> bool: ...


class Container(Protocol):
    """A container whose program was started."""

    def address(self, port: int | str) -> str:
        """`HOST:PORT` by which this machine reaches a port of the container, or `unix:/run/x.sock`."""

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 60.0,
    ) -> Finished:
        """Run a command inside, to its end or until `timeout` seconds are over.

        `RamekinError` when the container has ended.
        """

    def alive(self) -> bool:
        """Whether the program that was started runs still."""
