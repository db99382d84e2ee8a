"""Paragraphs of fields, as control files, Release files and .sources files write them (deb822(5)).

Not for Packages files: those have a reader of their own, made for sixty thousand paragraphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ramekin.errors import FormatError


def paragraphs(text: str, *, where: str) -> Iterator[dict[str, str]]:
    """The paragraphs of `text`, each a mapping from field name, as written, to value.

    A value keeps its continuation lines: they follow a line feed and have lost their first blank. Lines that
    start with `#` are comments. `FormatError` names `where` and the line that is no field.
    """
    fields: dict[str, str] = {}
    last = ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, ""
        elif line[0] in " \t":
            if not last:
                raise FormatError(f"{where}, line {number}: a continuation line without a field before it")
            fields[last] += "\n" + line[1:].rstrip()
        else:
            name, colon, value = line.partition(":")
            if not colon or not name or " " in name:
                raise FormatError(f"{where}, line {number}: {line[:60]!r} is not 'Field: value'")
            last = name
            fields[last] = value.strip()
    if fields:
        yield fields


def paragraph(text: str, *, where: str) -> dict[str, str]:
    """The one paragraph of `text`; `FormatError` when there is none or more than one."""
    found = list(paragraphs(text, where=where))
    if len(found) != 1:
        raise FormatError(f"{where} has {len(found)} paragraphs and should have one")
    return found[0]


def folded(fields: Mapping[str, str]) -> dict[str, str]:
    """The same fields under lower-case names: field names are compared without regard to case."""
    return {name.lower(): value for name, value in fields.items()}


def write(fields: Mapping[str, str]) -> str:
    """`fields` as text: what `paragraph` reads back."""
    return "".join(
        f"{name}: {value}\n".replace("\n", "\n ").removesuffix(" ").replace(": \n", ":\n")
        for name, value in fields.items()
    )
