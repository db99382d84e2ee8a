"""Runtimes that no database owns, as official images of languages have them below /usr/local and /opt."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from ramekin.closure.evidence import languages
from ramekin.slim.units.catalog import AUTHOR, SYSTEM, Known
from ramekin.slim.units.model import title

if TYPE_CHECKING:
    from ramekin.slim.units.completion import Completion

_WHOLE = ("ruby", "php", "perl", "java")
_LEFT_OUT = re.compile(
    r".*/(?:ruby/gems/[^/]+/(?:doc|cache)|share/ri|test|tests|rdoc/generator/template)/.*", re.DOTALL
)
_COMMAND = re.compile(r"usr/local/s?bin/[^/]+\Z")


_PHP_FOLDERS = ("usr/share/php", "usr/local/lib/php", "usr/share/pear")


class RuntimeRules:
    def __init__(self, completion: Completion) -> None:
        self._all = completion
        self._libraries: set[str] = set()

    def file(self, path: str, unit: Known) -> None:
        """What PHP source includes by a name that is looked for, and what stays with it.

        That is PHP's own command with the author's source, and for a library those that its package declares.
        """
        if not path.endswith(".php") or not self._all.whole or unit.kind not in (AUTHOR, SYSTEM):
            return
        if unit.kind == AUTHOR and (command := self._all.command("php")) is not None:
            self._all.lead(command, "interpreter", f"/{path} is written for it")
        if (
            unit.package is not None
            and path.startswith("usr/share/php/")
            and unit.name not in self._libraries
        ):
            self._libraries.add(unit.name)
            for name in sorted(unit.package.depends):
                other = self._all.units.get(f"{unit.package.system}:{name}")
                if other is not None and any(one.startswith("usr/share/php/") for one in other.paths):
                    self._all.begin(other.name, f"{unit.name} depends on it", "companion")
        for name in sorted(languages.php(self._all.text(path))):
            for folder in (path.rpartition("/")[0], *_PHP_FOLDERS):
                target = posixpath.normpath(f"/{folder}/{name}").strip("/")
                if target in self._all.of and self._all.system.may_use(path, unit, target):
                    self._all.keep(target, "import", f"/{path} includes {name}")
                    break

    def begin(self, unit: Known, by: str, because: str) -> None:
        """A file of a runtime stays: its library does, as what its interpreter loads cannot be seen.

        Python's is judged module by module, and Node's is in its program. Commands stay by evidence.
        """
        name = title(unit.name)
        if name not in _WHOLE:
            return

        def is_out(path: str) -> bool:
            return _LEFT_OUT.match(path) is not None or (name != "java" and _COMMAND.match(path) is not None)

        self._all.fill(unit, "runtime", because, but=is_out)
