"""What nobody wants: parts of units that go though their unit stays, unless something leads to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ramekin.closure import slices
from ramekin.closure.model import SliceChoice
from ramekin.image.tree import Kind
from ramekin.slim.contents import Contents
from ramekin.slim.units.catalog import (
    AUTHOR,
    GEM,
    LINKS,
    NODE,
    PYTHON,
    RUNTIME,
    STDLIB,
    SYSTEM,
    Catalog,
    Known,
    source_of,
)
from ramekin.slim.units.model import Bytecode, Choice
from ramekin.slim.units.table import rule
from ramekin.slim.units.wanted import Wanted

_OPTIMIZED = re.compile(r".*\.opt-[12]\.pyc\Z")
_LEGAL = re.compile(r"licen[cs]e|copying|notice", re.IGNORECASE)
_TEST_FILE = re.compile(
    r".*/(?:__pycache__/)?(?:test_\w+|tests|conftest)(?:\.cpython-[^/]*)?\.pyc?\Z", re.DOTALL
)
_LANGUAGE = re.compile(
    r".*?(?:^|/)(?:locale|locales|translations|locale-data)/([A-Za-z]{1,8}[^/]*?)(?:/|\.dat\Z|\Z)", re.DOTALL
)


class Unwanted:
    """The rules of the table by which parts of an image's units go.

    `reads` says whether an interpreter of the image reads a compiled file of Python, `compiles` whether
    headers and libraries to link with are read.
    """

    def __init__(
        self,
        contents: Contents,
        known: Catalog,
        choice: Choice,
        drop: Wanted,
        environment: Mapping[str, str],
        reads: Callable[[str], bool],
        compiles: bool,
    ) -> None:
        self._contents, self._of, self._units = contents, known.of, known.units
        self._choice, self._drop, self._reads = choice, drop, reads
        kept = {"locales", *(slices.FOR_COMPILERS if compiles else ())}
        self.slice_of = slices.matcher(SliceChoice(keep=frozenset(kept))).slice_of
        """The slice of the closure's that a path belongs to and that is left out, or None."""
        self._compiles = compiles
        self._optimizes = bool(environment.get("PYTHONOPTIMIZE"))
        runtime = contents.config.config
        self._working_dir = (runtime.working_dir if runtime else "").strip("/")
        self._speaks = _speaks(known.of)
        self._tests: dict[str, bool] = {}

    def given_up(self, path: str) -> tuple[str, str] | None:
        """The rule and cause by which a path goes whatever leads to it: the user said so."""
        if (wanted := self._drop.match(path)) is not None:
            return "drop", wanted
        compiled = self._choice.bytecode is Bytecode.DROP and path.endswith(".pyc")
        if compiled and source_of(path) in self._of:
            return "bytecode", ""
        if self._choice.locales is not None and (language := self._language(path)) is not None:
            return "locales", language
        return None

    def why(self, path: str, unit: Known) -> tuple[str, str] | None:
        """The rule and cause by which a path of a unit that stays goes unless something leads to it."""
        if (gone := self.given_up(path)) is not None:
            return gone
        for name in ("cache", "databases", "documents"):
            if rule(name).matches(path) and not self._is_working(path) and not self._is_stream(path):
                if self._compiles and rule("compilers").matches(path):
                    continue
                return name, ""
        sliced = unit.kind in (SYSTEM, RUNTIME, LINKS, AUTHOR) and not self._is_working(path)
        if sliced and (taken := self.slice_of(path)) is not None:
            return "slice", taken
        if path.endswith(".pyc") and (reason := self._stale(path)) is not None:
            return reason
        if unit.kind == SYSTEM and not self._speaks and rule("messages").matches(path):
            return "messages", ""
        if unit.kind == STDLIB:
            for name in ("frozen", "other-systems"):
                if rule(name).matches(path):
                    return name, ""
        if unit.kind in (PYTHON, STDLIB, GEM) and self.is_test(path, unit):
            return "tests", ""
        if path.endswith(".po") and unit.kind != AUTHOR and f"{path[:-3]}.mo" in self._of:
            return "message-sources", ""
        extra = unit.kind == NODE and rule("node-extras").matches(path)
        if extra and not _LEGAL.search(path.rpartition("/")[2]):
            return "node-extras", ""
        return None

    def is_test(self, path: str, unit: Known) -> bool:
        """Whether a path lies in a test suite of its library."""
        parts = path.split("/")
        for number, part in enumerate(parts[:-1]):
            if part in ("tests", "test") and number > unit.root.count("/"):
                folder = "/".join(parts[: number + 1])
                if (known := self._tests.get(folder)) is None:
                    known = self._tests[folder] = part == "tests" or self._looks_tested(folder)
                if known:
                    return True
        return unit.kind == PYTHON and _TEST_FILE.match(path) is not None

    def _looks_tested(self, folder: str) -> bool:
        names = [one for one in self._contents.children.get(folder, ()) if one.endswith((".py", ".rb"))]
        tests = [one for one in names if one.startswith("test_") or one.endswith(("_test.py", "_test.rb"))]
        return len(tests) * 2 > len(names)

    def _is_stream(self, path: str) -> bool:
        """Whether a path is a link by which a log goes to the container's output."""
        file = self._contents.files[path].file
        return file.kind is Kind.SYMLINK and file.target.startswith(("/dev/", "/proc/self/fd/"))

    def _is_working(self, path: str) -> bool:
        """Whether a path lies in the working directory."""
        return bool(self._working_dir) and path.startswith(self._working_dir + "/")

    def _stale(self, path: str) -> tuple[str, str] | None:
        if _OPTIMIZED.match(path) and not self._optimizes:
            return "optimized-bytecode", ""
        if "/__pycache__/" in path or path.startswith("__pycache__/"):
            if source_of(path) not in self._of:
                return "stale-bytecode", ""
            if not self._reads(path):
                return "optimized-bytecode", ""
        return None

    def _language(self, path: str) -> str | None:
        """The language of a translation that --locales does not name."""
        if not rule("locales").matches(path) or self._units[self._of[path]].kind == AUTHOR:
            return None
        assert self._choice.locales is not None
        language = _language_of(path)
        if language is None:
            return None
        base = re.split(r"[_.@-]", language, maxsplit=1)[0].lower()
        wanted = {one.lower().replace("-", "_") for one in self._choice.locales}
        whole = language.lower().replace("-", "_").partition(".")[0]
        if base in ("c", "posix", "root") or base in wanted or whole in wanted:
            return None
        return language


def _speaks(paths: Mapping[str, str]) -> bool:
    """Whether the C library of an image has another locale than C: glibc's data, or musl."""
    silent = ("usr/lib/locale/C.", "usr/lib/locale/POSIX")
    return any(
        (path.startswith("usr/lib/locale/") and not path.startswith(silent)) or path.startswith("lib/ld-musl")
        for path in paths
    )


def _language_of(path: str) -> str | None:
    found = _LANGUAGE.match(path)
    if found is None or found[1] in ("locale-archive", "__pycache__", "locale.alias"):
        return None
    return found[1]
