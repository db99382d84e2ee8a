"""Runtimes that no database owns, as official images of languages have them below /usr/local and /opt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ramekin.slim.units.catalog import Known

if TYPE_CHECKING:
    from ramekin.slim.units.completion import Completion

_WHOLE = ("ruby", "php", "perl", "java")
_LEFT_OUT = re.compile(
    r".*/(?:ruby/gems/[^/]+/(?:doc|cache)|share/ri|test|tests|rdoc/generator/template)/.*", re.DOTALL
)
_COMMAND = re.compile(r"usr/local/s?bin/[^/]+\Z")


class RuntimeRules:
    def __init__(self, completion: Completion) -> None:
        self._all = completion

    def begin(self, unit: Known, by: str, because: str) -> None:
        """A file of a runtime stays: its library does, as what its interpreter loads cannot be seen.

        Python's is judged module by module, and Node's is in its program. Commands stay by evidence.
        """
        name = unit.name.partition(":")[2].partition("@")[0]
        if name not in _WHOLE:
            return

        def is_out(path: str) -> bool:
            return _LEFT_OUT.match(path) is not None or (name != "java" and _COMMAND.match(path) is not None)

        self._all.fill(unit, "runtime", because, but=is_out)
