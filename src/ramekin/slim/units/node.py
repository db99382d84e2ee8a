"""Node: packages by their package.json and by what kept source requires.

A package that is used stays whole, with all that its package.json requires and the image has; of the author's
own package.json, `dependencies` stay and `devDependencies` go unless something that stays requires them.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ramekin.closure.evidence import languages
from ramekin.image.tree import Kind
from ramekin.slim.units.catalog import AUTHOR, NODE, Known

if TYPE_CHECKING:
    from ramekin.slim.units.completion import Completion

_SOURCES = (".js", ".mjs", ".cjs", ".ts", ".jsx", ".tsx")
_RELATIVE = re.compile(
    rb"(?:require[ \t]*\(|import[ \t]*\(|from|import)[ \t]*['\"](\.{1,2}/[^'\"\n]{0,300}|\.{1,2})['\"]"
)
_REQUIRED = ("dependencies", "optionalDependencies", "peerDependencies", "bundledDependencies")
_GLOBAL = ("usr/local/lib/node_modules", "usr/lib/node_modules", "usr/share/nodejs", "usr/share/node_modules")


class NodeRules:
    def __init__(self, completion: Completion) -> None:
        self._all = completion
        self._roots = {unit.root: unit for unit in completion.units.values() if unit.kind == NODE}

    def begin(self, unit: Known, by: str, because: str) -> None:
        """A file of a package stays: all its files do, and the packages that it requires."""
        self._all.fill(unit, "required" if by == "required" else "node-package", because)
        for name in _required(self._manifest(unit.root)):
            self._require(name, unit.root, f"{unit.name} requires it", "required")

    def _manifest(self, folder: str) -> Mapping[str, Any]:
        data = self._all.text(f"{folder}/package.json".lstrip("/"))
        try:
            found = json.loads(data) if data else {}
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _require(self, name: str, folder: str, because: str, by: str) -> bool:
        """Have the package stay that `name` means to a file in `folder`."""
        for place in self._places(folder):
            unit = self._roots.get(f"{place}/{name}")
            if unit is not None:
                self._all.begin(unit.name, because, by)
                if not self._all.whole:
                    self._main(unit, because)
                return True
            manifest = f"{place}/{name}/package.json"
            if manifest in self._all.of:
                self._all.keep(manifest, "import", because)
                return True
        return False

    def _places(self, folder: str) -> Iterator[str]:
        here = folder
        while here:
            if here.rpartition("/")[2] != "node_modules":
                yield f"{here}/node_modules"
            here = here.rpartition("/")[0]
        yield "node_modules"
        for place in self._all.environment.get("NODE_PATH", "").split(":"):
            if place:
                yield place.strip("/")
        yield from _GLOBAL

    def file(self, path: str, unit: Known) -> None:
        """Follow what a source, or the author's package.json, requires."""
        if unit.kind == AUTHOR and path.rpartition("/")[2] == "package.json" and self._all.whole:
            folder = path.rpartition("/")[0]
            for name in _required(self._manifest(folder)):
                self._require(name, folder, f"/{path} requires it", "required")
        if unit.kind not in (AUTHOR, NODE) or not self._is_source(path):
            return
        data = self._all.text(path, 4 << 20)
        folder = path.rpartition("/")[0]
        for name in sorted(languages.node(data)):
            parts = name.split("/")
            package = "/".join(parts[: 2 if name.startswith("@") else 1])
            if unit.kind == AUTHOR or not self._all.whole:
                self._require(package, folder, f"/{path} requires {name}", "import")
                if len(parts) > len(package.split("/")) and not self._all.whole:
                    for place in self._places(folder):
                        if self._resolve(f"{place}/{name}", path):
                            break
        if not self._all.whole:
            for found in sorted(set(_RELATIVE.findall(data))):
                target = posixpath.normpath(posixpath.join(folder, found.decode("utf-8", "replace")))
                self._resolve(target, path)

    def _is_source(self, path: str) -> bool:
        if path.endswith(_SOURCES):
            return True
        if "." in path.rpartition("/")[2] or self._all.contents.kind(path) is not Kind.FILE:
            return False
        head = self._all.contents.read(path, 64)
        return head[:2] == b"#!" and b"node" in head.partition(b"\n")[0]

    def _resolve(self, stem: str, path: str) -> bool:
        """Keep the file that a path without its ending means (Node, CommonJS modules)."""
        for place in (stem, *(stem + end for end in (".js", ".mjs", ".cjs", ".json", ".node"))):
            if place in self._all.of:
                return self._all.keep(place, "import", f"/{path} requires it")
        if f"{stem}/package.json" in self._all.of:
            main = str(self._manifest(stem).get("main", "index.js"))
            self._all.keep(f"{stem}/package.json", "import", f"/{path} requires it")
            return self._resolve(posixpath.normpath(f"{stem}/{main}"), path)
        for end in (".js", ".json", ".mjs"):
            if f"{stem}/index{end}" in self._all.of:
                return self._all.keep(f"{stem}/index{end}", "import", f"/{path} requires it")
        return False

    def _main(self, unit: Known, because: str) -> None:
        """At level files: the manifest of a package and the file that it starts with."""
        manifest = f"{unit.root}/package.json"
        self._all.keep(manifest, "import", because)
        if not self._all.whole:
            told = self._manifest(unit.root)
            for main in sorted({str(told.get("main") or "index.js"), *_exported(told.get("exports"))}):
                self._resolve(posixpath.normpath(f"{unit.root}/{main}"), manifest)


def _required(manifest: Mapping[str, Any]) -> list[str]:
    """Packages that a manifest asks for; a peer that it calls optional is for those who use it."""
    found: set[str] = set()
    for field in _REQUIRED:
        value = manifest.get(field)
        if isinstance(value, dict | list):
            found.update(str(name) for name in value)
    told = manifest.get("peerDependenciesMeta")
    if isinstance(told, dict):
        firm = manifest.get("dependencies")
        for name, value in told.items():
            if isinstance(value, dict) and value.get("optional") and name not in (firm or ()):
                found.discard(str(name))
    return sorted(found)


def _exported(value: Any, depth: int = 0) -> set[str]:
    """Files of an `exports` field that `.` means (Node, Packages, Conditional exports)."""
    if isinstance(value, str):
        return set() if "*" in value else {value}
    if not isinstance(value, dict) or depth > 6:
        return set()
    if any(str(key).startswith(".") for key in value):
        value = {"": value.get(".")}
    return {path for one in value.values() for path in _exported(one, depth + 1)}
