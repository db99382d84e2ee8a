"""What pydantic finds wrong with a YAML file, said as errors of ours: file, line, key, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ramekin import yaml_source
from ramekin.errors import UsageError
from ramekin.yaml_source import Document, Place

if TYPE_CHECKING:
    from pydantic import ValidationError

SHOWN = 10
"""How many errors are shown of a file that has more."""

WITH_HINT = "\0"
"""Between message and hint in the text of a `ValueError` that a validator raises."""


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """What there is to say of one kind of file.

    `keys` gives the keys that the mapping at a place may have; `whole` names the file's outermost mapping;
    `missing` has a hint for places that should be there.
    """

    keys: Callable[[Place], Sequence[str]]
    whole: str
    missing: Callable[[Place], str] = lambda place: ""


def explain(error: ValidationError, document: Document, known: Dictionary) -> UsageError:
    """All that is wrong with a document, in the order of its lines."""
    found = sorted(
        (document.lines.get(place(item["loc"]), 0), *_say(dict(item), document, known))
        for item in error.errors()
    )
    texts = list(dict.fromkeys(text for _, text, _ in found))
    hints = [hint for _, _, hint in found if hint]
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return UsageError("\n".join(texts[:SHOWN] + more), hint=hints[0] if hints and len(texts) == 1 else None)


def place(loc: Sequence[str | int]) -> Place:
    """Where an error is, without what pydantic adds: marks of keys, and tags of unions, written `<tag>`."""
    return tuple(part for part in loc if part != "[key]" and not str(part).startswith("<"))


def near(word: str, known: Sequence[str]) -> str:
    """A question that names the nearest of `known`, or nothing."""
    found = get_close_matches(word, known, 1)
    return f"did you mean {found[0]}?" if found else ""


def _say(item: dict[str, Any], document: Document, known: Dictionary) -> tuple[str, str]:
    there = place(item["loc"])
    where = document.where(there)
    match item["type"]:
        case "extra_forbidden":
            keys = known.keys(there[:-1])
            around = f"of {yaml_source.spell(there[:-1])}" if there[:-1] else f"of {known.whole}"
            meant = near(str(there[-1]), keys)
            text = f"{where} is not a key {around}" + (f"; {meant}" if meant else "")
            return text, "" if meant else f"its keys are {', '.join(keys)}"
        case "value_error":
            text, _, hint = str(item["ctx"]["error"]).removeprefix(": ").partition(WITH_HINT)
            return f"{where}: {text.removeprefix(': ')}", hint
        case "missing":
            return f"{where} is missing", known.missing(there)
        case "int_parsing" | "int_type" | "int_from_float":
            return f"{where} is a whole number, not {item['input']!r}", ""
        case "bool_parsing" | "bool_type":
            return f"{where} is true or false, not {item['input']!r}", ""
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{where} is a mapping of keys to values", ""
        case "tuple_type" | "list_type":
            return f"{where} is a list", ""
        case "too_short":
            return f"{where} is empty", ""
        case _:
            message = str(item["msg"])
            return f"{where}: {message[:1].lower()}{message[1:]}, not {item['input']!r}", ""
