"""`ramekin completion`: scripts that complete commands and options in a shell."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from ramekin.cli import terminal


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell.")], /) -> int:
    """Print a shell's completion script."""
    from ramekin.cli.main import app

    terminal.write(app.generate_completion(prog_name="ramekin", shell=shell).rstrip("\n"))
    return 0
