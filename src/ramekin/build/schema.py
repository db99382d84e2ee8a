"""The JSON Schemas of spec files and of probes, made from the models that check them, for editors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"


KINDS: Mapping[str, str] = {"spec": "ramekin.yaml", "probes": "probes.yaml"}
"""The files that there are schemas for, and the names that they usually have."""


def schema(kind: str = "spec") -> dict[str, Any]:
    """A schema as plain data."""
    if kind == "probes":
        from ramekin.slim.probes import form

        made = form.schema()
    else:
        from ramekin.build.spec import SpecFile

        made = SpecFile.model_json_schema(by_alias=True)
    return {"$schema": DIALECT, **_tidy(made), "title": KINDS[kind]}


def text(kind: str = "spec") -> str:
    """A schema as the published file has it."""
    return json.dumps(schema(kind), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _tidy(value: Any, *, names: bool = False) -> Any:
    """Drop what pydantic adds for itself: titles, and null defaults, which mean that nothing was said.

    `names` says that the keys of `value` are names of properties and not words of the schema.
    """
    if isinstance(value, dict):
        return {
            key: _tidy(item, names=key in ("properties", "$defs") and not names)
            for key, item in value.items()
            if names or not (key == "title" or (key == "default" and item in (None, [], {}, "")))
        }
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    return value
