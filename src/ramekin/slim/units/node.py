"""Node: packages by their package.json, and their source by what requires it.

A package that is used stays, with all that its package.json requires and the image has; of the author's own
package.json, `dependencies` stay and `devDependencies` go unless something that stays requires them. Of the
source of a package stays what Node can come to: from its entry points (`main`, `exports`, `imports`, `bin`)
and from what others require of it by path, following specifiers, those that are made up among them. What is
no source stays.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ramekin.closure.evidence import languages
from ramekin.image.tree import Kind
from ramekin.slim.units.catalog import AUTHOR, NODE, SYSTEM, Known
from ramekin.slim.units.javascript import leads, modules_by_name, packages_by_path
from ramekin.slim.units.model import title
from ramekin.slim.units.table import rule

if TYPE_CHECKING:
    from ramekin.slim.units.completion import Completion

_SOURCES = (".js", ".mjs", ".cjs", ".ts", ".jsx", ".tsx")
_MODULES = (*_SOURCES, ".mts", ".cts")
"""What is read by requiring it, and by nothing else."""
_DECLARATIONS = (".d.ts", ".d.mts", ".d.cts")
_SERVED = (*_SOURCES, ".json", ".html", ".yaml", ".yml", ".toml", ".conf")
"""The author's files that may name files of packages by their paths."""
_OF_TOOLS = re.compile(r"(?:package(?:-lock)?|npm-shrinkwrap|tsconfig.*|jsconfig.*|\..*)\.json\Z|\.")
_REQUIRED = ("dependencies", "optionalDependencies", "peerDependencies", "bundledDependencies")
_GLOBAL = ("usr/local/lib/node_modules", "usr/lib/node_modules", "usr/share/nodejs", "usr/share/node_modules")
_NOT_NODE = frozenset(
    (
        "types",
        "browser",
        "deno",
        "bun",
        "worker",
        "workerd",
        "edge-light",
        "react-native",
        "electron",
        "module",
    )
)
"""Conditions of `exports` that Node never sets (Node, Packages, Conditional exports)."""
_ALWAYS = ("node", "node-addons", "default")
"""Those that it always sets: what comes behind them does not count."""
_ENDINGS = (".js", ".mjs", ".cjs", ".json", ".node")
_TEXT = 4 << 20


class NodeRules:
    def __init__(self, completion: Completion) -> None:
        self._all = completion
        self._roots = {unit.root: unit for unit in completion.units.values() if unit.kind == NODE}
        self._names = {title(unit.name) for unit in self._roots.values()}
        self._asked: dict[str, list[tuple[str, str]]] = {}
        """What is required by path of packages that have not begun: stem and the file that requires it."""
        runtime = completion.contents.config.config
        self._working = (runtime.working_dir if runtime else "").strip("/")
        self._checked = False
        """Whether something that stays reads type declarations when it runs."""
        self._entire: set[str] = set()
        self._all_entire = False

    def begin(self, unit: Known, by: str, because: str) -> None:
        """A file of a package stays: so does the package, and the packages that it requires."""
        name = "required" if by == "required" else "node-package"
        if title(unit.name) in rule("node-graph").names:
            self._everything()
        if self._all_entire or unit.name in self._entire:
            self._all.fill(unit, name, because)
        else:
            self._all.fill(unit, name, because, but=_is_module)
            for path in sorted(self._entries(unit)):
                if self._all.unwanted.why(path, unit) is None:
                    self._all.keep(path, name, because, sought=False)
            for stem, path in self._asked.pop(unit.name, ()):
                self._beginning(unit, unit.root, posixpath.relpath(stem, unit.root), path)
        self._declare(unit)
        for other in _required(self._manifest(unit.root)):
            self._require(other, unit.root, f"{unit.name} requires it", "required")

    def _declare(self, unit: Known) -> None:
        """Have declarations stay that a compiler reads: its own, or all where one runs with the program."""
        name = title(unit.name)
        if name in rule("node-extras").names and not self._checked:
            self._checked = True
            for other in self._roots.values():
                if other.name in self._all.begun and other is not unit:
                    self._declare(other)
        if self._checked or any(fnmatchcase(name, one) for one in rule("node-extras").when["itself"]):
            for path in unit.paths:
                if path.endswith(_DECLARATIONS):
                    self._all.keep(path, "node-package", "a compiler that stays reads it", sought=False)

    def _manifest(self, folder: str) -> Mapping[str, Any]:
        data = self._all.text(f"{folder}/package.json".lstrip("/"))
        try:
            found = json.loads(data) if data else {}
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _entries(self, unit: Known) -> Iterator[str]:
        """Files by which others come into a package, programs without an ending among them."""
        told = self._manifest(unit.root)
        named = {str(told.get("main") or "index.js"), "index.js", *_targets(told.get("imports"))}
        named |= _targets(told.get("exports"))
        commands = told.get("bin")
        if isinstance(commands, dict):
            named |= {str(one) for one in commands.values()}
        elif isinstance(commands, str):
            named.add(commands)
        folders = told.get("directories")
        if isinstance(folders, dict) and isinstance(folders.get("bin"), str):
            named.add(f"{folders['bin']}/*")
        for name in sorted(named):
            stem = posixpath.normpath(f"{unit.root}/{name}")
            if "*" in name:
                first, _, last = stem.partition("*")
                yield from (one for one in unit.paths if one.startswith(first) and one.endswith(last))
            else:
                yield from self._files(stem)
        yield from (one for one in unit.paths if "." not in one.rpartition("/")[2])

    def _require(self, name: str, folder: str, because: str, by: str) -> bool:
        """Have the package stay that `name` means to a file in `folder`."""
        found = self._package(name, folder)
        if found is None:
            return False
        unit, manifest, links = found
        for link in links:
            self._all.keep(link, "link", f"it leads to /{manifest}", sought=False, enter=False)
        if unit is None:
            self._all.keep(manifest, "import", because)
            return True
        self._all.begin(unit.name, because, by)
        if not self._all.whole:
            self._main(unit, because)
        return True

    def _package(self, name: str, folder: str) -> tuple[Known | None, str, tuple[str, ...]] | None:
        """The package that a name means to a file in `folder`, its manifest, and the links to it."""
        for place in self._places(folder):
            links, manifest = self._all.contents.way(f"/{place}/{name}/package.json")
            if manifest is not None and manifest in self._all.of:
                return self._roots.get(manifest.rpartition("/")[0]), manifest, links
        return None

    def _places(self, folder: str) -> Iterator[str]:
        """Folders in which a package is looked for; commands found elsewhere may mean the working one."""
        for here in dict.fromkeys((folder, self._working)):
            while here:
                if here.rpartition("/")[2] != "node_modules":
                    yield f"{here}/node_modules"
                here = here.rpartition("/")[0]
        yield "node_modules"
        for place in self._all.environment.get("NODE_PATH", "").split(":"):
            if place:
                yield place.strip("/")
        yield from _GLOBAL

    # --- what a file leads to

    def file(self, path: str, unit: Known) -> None:
        """Follow what a source, or the author's package.json, requires; of the system's packages what theirs
        requires of others.
        """
        folder, _, name = path.rpartition("/")
        if unit.kind == SYSTEM and name == "package.json" and path.startswith(_GLOBAL) and self._all.whole:
            for other in _required(self._manifest(folder)):
                self._require(other, folder, f"/{path} requires it", "required")
        if unit.kind not in (AUTHOR, NODE):
            return
        if unit.kind == AUTHOR and self._all.whole:
            if name == "package.json":
                told = self._manifest(folder)
                for other in _required(told):
                    self._require(other, folder, f"/{path} requires it", "required")
                self._by_command(json.dumps(told.get("scripts")).encode(), path, folder)
            script = self._is_script(path)
            served = name.endswith(_SERVED) and not _OF_TOOLS.match(name)
            text = self._all.text(path) if script or served else b""
            if script:
                self._by_command(text, path, folder)
            if served:
                self._by_path(text, path, folder)
                self._by_name(text, path, folder)
        if not self._is_source(path) or (unit.kind == NODE and path.endswith(_DECLARATIONS)):
            return
        if unit.kind == NODE and self._all.contents.size(path) > _TEXT:
            self._complete(unit, f"/{path} is too large to look into")
            return
        data = self._all.text(path, _TEXT)
        required = sorted(languages.node(data))
        for specifier in required:
            package = _package_of(specifier)
            if unit.kind == AUTHOR or not self._all.whole:
                self._require(package, folder, f"/{path} requires {specifier}", "import")
            if len(specifier) > len(package):
                self._deep(specifier, folder, path)
        found = leads(data)
        for specifier in sorted(found.relative):
            if not specifier.startswith("#"):
                stem = posixpath.normpath(posixpath.join(folder, specifier))
                if not self._come(stem, path) or specifier.endswith(("/", ".")):
                    self._come(f"{stem}/index", path)
        if not self._all.whole:
            return
        for specifier in sorted(found.located):
            self._locate(specifier, folder, path)
        for beginning in sorted(found.beginnings):
            if not beginning.startswith("."):
                self._deep(beginning, folder, path)
            elif unit.kind == NODE:
                self._beginning(unit, folder, beginning, path)
        if unit.kind == NODE:
            for place in sorted(found.beside):
                self._beginning(unit, folder, place, path)
            if found.around:
                self._below(unit, folder, f"/{path} looks for files from its own place")

    def _by_path(self, data: bytes, path: str, folder: str) -> None:
        """Packages whose files the author's file names by path, to serve them for one, stay entire."""
        names, otherwise = packages_by_path(data)
        for name in sorted(names):
            otherwise |= not self._entirely(name, folder, path)
        if otherwise:
            self._everything()

    def _by_command(self, data: bytes, path: str, folder: str) -> None:
        """What commands that the author wrote name: packages by their path, modules to load first."""
        for other in sorted(packages_by_path(data)[0]):
            self._entirely(other, folder, path)
        self._by_name(data, path, folder)

    def _by_name(self, data: bytes, path: str, folder: str) -> None:
        """Modules inside packages whose names stand in the author's file stay: another may load them."""
        for name in sorted(modules_by_name(data)):
            if _package_of(name) in self._names:
                self._deep(name, folder, path)

    def _locate(self, specifier: str, folder: str, path: str) -> None:
        """Follow a module of which the place is asked for; a package itself stays entire."""
        package = _package_of(specifier)
        if specifier in (package, f"{package}/package.json"):
            found = self._package(package, folder)
            if found is not None and found[0] is not None:
                self._complete(found[0], f"/{path} asks for its place")
        else:
            self._deep(specifier, folder, path)

    def _entirely(self, name: str, folder: str, path: str) -> bool:
        """Have the package of a name stay entire, if it stays; whether there is one."""
        found = self._package(name, folder)
        if found is None or found[0] is None:
            return False
        self._complete(found[0], f"/{path} names it by its path")
        return True

    def _everything(self) -> None:
        """Have every package that is used stay entire."""
        if not self._all_entire:
            self._all_entire = True
            for unit in self._roots.values():
                if unit.name in self._all.begun:
                    self._complete(unit, self._all.begun[unit.name])

    def _complete(self, unit: Known, because: str) -> None:
        """Have all source of a package stay, if the package does."""
        self._entire.add(unit.name)
        if unit.name in self._all.begun:
            self._all.fill(unit, "node-package", because)

    def _deep(self, specifier: str, folder: str, path: str) -> None:
        """Follow `moment/locale/fr`, or with such a beginning all that begins so, where its package stays."""
        package = _package_of(specifier)
        found = self._package(package, folder)
        if found is None:
            return
        unit, manifest, _ = found
        root = manifest.rpartition("/")[0]
        stem = posixpath.normpath(f"{root}/{specifier[len(package) + 1 :]}")
        if unit is None or not self._all.whole:
            self._come(stem, path)
        elif unit.name not in self._all.begun:
            self._asked.setdefault(unit.name, []).append((stem, path))
        else:
            self._beginning(unit, root, specifier[len(package) + 1 :], path)

    def _beginning(self, unit: Known, folder: str, text: str, path: str) -> None:
        """Keep what a path from a folder of the package means: a file, a folder, or all that begins so."""
        stem = posixpath.normpath(posixpath.join(folder, text))
        if stem == unit.root or not stem.startswith(unit.root + "/"):
            if unit.root.startswith(stem):
                self._complete(unit, f"/{path} looks through it")
        elif self._come(stem, path) or stem in self._all.contents.children:
            self._below(unit, stem, f"/{path} makes up names in that folder")
        else:
            self._start_with(unit, stem, f"/{path} makes up names that begin so")

    def _below(self, unit: Known, folder: str, because: str) -> None:
        if folder == unit.root:
            self._complete(unit, because)
        else:
            self._start_with(unit, folder + "/", because)

    def _start_with(self, unit: Known, start: str, because: str) -> None:
        for path in unit.paths:
            if path.startswith(start) and self._all.unwanted.why(path, unit) is None:
                self._all.keep(path, "import", because, sought=False)

    def _come(self, stem: str, path: str) -> bool:
        """Keep the files that a path without its ending means."""
        found = self._files(stem)
        for one in found:
            self._all.keep(one, "import", f"/{path} requires it", sought=not self._all.whole)
        return bool(found)

    def _is_source(self, path: str) -> bool:
        if path.endswith(_SOURCES):
            return True
        if "." in path.rpartition("/")[2] or self._all.contents.kind(path) is not Kind.FILE:
            return False
        head = self._all.contents.read(path, 64)
        return head[:2] == b"#!" and b"node" in head.partition(b"\n")[0]

    def _is_script(self, path: str) -> bool:
        """Whether the author's file is for a shell."""
        name = path.rpartition("/")[2]
        if self._all.contents.kind(path) is not Kind.FILE or "." in name.removesuffix(".sh"):
            return False
        return name.endswith(".sh") or self._all.contents.read(path, 64).startswith(b"#!")

    def _files(self, stem: str) -> tuple[str, ...]:
        """The files that a path without its ending means (Node, CommonJS modules), manifests among them."""
        for place in (stem, *(stem + end for end in _ENDINGS)):
            if place in self._all.of:
                return (place,)
        manifest = f"{stem}/package.json"
        if manifest in self._all.of:
            main = posixpath.normpath(f"{stem}/{self._manifest(stem).get('main') or 'index.js'}")
            return (manifest, *(self._files(main) if main != stem else ()), *self._index(stem))
        return self._index(stem)

    def _index(self, stem: str) -> tuple[str, ...]:
        return next(((f"{stem}/index{end}",) for end in _ENDINGS if f"{stem}/index{end}" in self._all.of), ())

    def _main(self, unit: Known, because: str) -> None:
        """At level files: the manifest of a package and the file that it starts with."""
        manifest = f"{unit.root}/package.json"
        self._all.keep(manifest, "import", because)
        told = self._manifest(unit.root)
        for main in sorted({str(told.get("main") or "index.js"), *_exported(told.get("exports"))}):
            self._come(posixpath.normpath(f"{unit.root}/{main}"), manifest)


def _is_module(path: str) -> bool:
    return path.endswith(_MODULES)


def _package_of(specifier: str) -> str:
    parts = specifier.split("/")
    return "/".join(parts[: 2 if specifier.startswith("@") else 1])


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


def _targets(value: Any, depth: int = 0) -> set[str]:
    """Files that an `exports`, `imports` or `bin` field names for Node, patterns as they stand."""
    if isinstance(value, str):
        return {value}
    if depth > 6:
        return set()
    if isinstance(value, list):
        return {path for one in value for path in _targets(one, depth + 1)}
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, one in value.items():
        if key not in _NOT_NODE:
            found |= _targets(one, depth + 1)
            if key in _ALWAYS and found:
                break
    return found


def _exported(value: Any, depth: int = 0) -> set[str]:
    """Files of an `exports` field that `.` means (Node, Packages, Conditional exports)."""
    if isinstance(value, str):
        return set() if "*" in value else {value}
    if not isinstance(value, dict) or depth > 6:
        return set()
    if any(str(key).startswith(".") for key in value):
        value = {"": value.get(".")}
    return {path for one in value.values() for path in _exported(one, depth + 1)}
