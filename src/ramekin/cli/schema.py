"""`ramekin schema`: what editors complete and check spec files by."""

from __future__ import annotations

from ramekin.cli import terminal


def schema() -> int:
    """Print the JSON Schema of spec files."""
    from ramekin.build import schema as schemas

    terminal.write(schemas.text().removesuffix("\n"))
    return 0
