"""Java: archives are never split; the class path of one leads to others."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ramekin.closure.evidence import java
from ramekin.slim.units.catalog import ARCHIVE, Known

if TYPE_CHECKING:
    from ramekin.slim.units.completion import Completion

_LARGEST = 256 << 20


class JavaRules:
    def __init__(self, completion: Completion) -> None:
        self._all = completion

    def file(self, path: str, unit: Known) -> None:
        """Archives of the class path, and those that lie beside a used one: `-cp lib/*` names a folder."""
        if not path.endswith((".jar", ".war")) or path not in self._all.sought:
            return
        folder = path.rpartition("/")[0]
        if self._all.contents.size(path) <= _LARGEST:
            try:
                named = java.class_path(self._all.contents.read(path, _LARGEST))
            except java.BadJar:
                named = []
            for name in named:
                if ":" not in name:
                    target = posixpath.normpath(posixpath.join("/", folder, name))
                    self._all.lead(target, "archive", f"it is on the class path of /{path}")
        if unit.kind == ARCHIVE and self._all.whole:
            for other in self._all.contents.children.get(folder, ()):
                if other.endswith(".jar"):
                    self._all.keep(f"{folder}/{other}", "archive", f"it lies beside /{path}", sought=False)
