"""`ramekin schema`: what editors complete and check files by."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from ramekin.cli import terminal


def schema(
    kind: Annotated[
        Literal["spec", "probes"], Parameter(help="Which files: spec (the default) or probes.")
    ] = "spec",
    /,
) -> int:
    """Print a JSON Schema."""
    from ramekin.build import schema as schemas

    terminal.write(schemas.text(kind).removesuffix("\n"))
    return 0
