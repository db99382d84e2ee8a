"""What --keep and --drop name: globs of absolute paths, and units."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

from ramekin.closure import slices
from ramekin.errors import UsageError
from ramekin.slim.contents import Contents
from ramekin.slim.units.catalog import Catalog
from ramekin.slim.units.model import Choice


def check(choice: Choice, contents: Contents, known: Catalog) -> None:
    """`UsageError` when --keep or --drop names neither a path nor a unit of the image."""
    Wanted(choice.keep, "--keep", contents, known)
    Wanted(choice.drop, "--drop", contents, known)


class Wanted:
    """The paths of an image that the words of an option mean.

    `UsageError`, in the option's name, for a word that means nothing.
    """

    def __init__(self, words: Iterable[str], option: str, contents: Contents, known: Catalog) -> None:
        self._of = known.of
        self._globs: list[tuple[str, re.Pattern[str]]] = []
        self._units: dict[str, str] = {}
        for word in words:
            if word.startswith("/"):
                self._add_glob(word, option, contents)
            else:
                self._add_units(word, option, known)

    def _add_glob(self, word: str, option: str, contents: Contents) -> None:
        folder = word.strip("/")
        pattern = slices.glob(folder)
        self._globs.append((word, pattern))
        if folder in contents.children:
            self._globs.append((word, slices.glob(folder + "/**")))
        elif not any(pattern.match(path) for path in self._of):
            raise UsageError(
                f"{option}: {word} matches no file of the image", hint="paths are absolute, as in /app/**"
            )

    def _add_units(self, word: str, option: str, known: Catalog) -> None:
        pattern = slices.glob(word)
        names = [name for name in known.units if pattern.match(name)]
        if not names:
            near = _near(word, known.units)
            hint = f"did you mean {', '.join(near)}?" if near else "units are named as in python:Django"
            raise UsageError(f"{option}: the image has no unit {word!r}", hint=hint)
        self._units.update((name, word) for name in names)

    def paths(self) -> Iterator[str]:
        """All paths of the image that are meant."""
        if not (self._globs or self._units):
            return iter(())
        return (path for path in self._of if self.match(path) is not None)

    def match(self, path: str) -> str | None:
        """The word that means a path, or None."""
        if self._units and (word := self._units.get(self._of.get(path, ""))) is not None:
            return word
        for word, pattern in self._globs:
            if pattern.match(path):
                return word
        return None


def _near(word: str, names: Iterable[str]) -> list[str]:
    """Units that a name may mean, of its kind if it has one."""
    kind, colon, base = word.rpartition(":")
    known = {name.partition(":")[2]: name for name in names if name.startswith(kind + colon)}
    return [known[one] for one in difflib.get_close_matches(base, list(known), 3)]
