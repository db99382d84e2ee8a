"""`ramekin completion`: scripts that complete commands and options in a shell."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell.")], /) -> int:
    """Print a shell's completion script."""
    from ramekin.cli.main import app

    sys.stdout.write(app.generate_completion(prog_name="ramekin", shell=shell).rstrip("\n") + "\n")
    return 0
