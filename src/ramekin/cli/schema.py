"""`ramekin schema`: what editors complete and check spec files by."""

from __future__ import annotations

import sys


def schema() -> int:
    """Print the JSON Schema of spec files."""
    from ramekin.build import schema as schemas

    sys.stdout.write(schemas.text())
    return 0
