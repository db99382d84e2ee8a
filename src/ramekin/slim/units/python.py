"""Python: distributions by their RECORD, the standard library by the import graph.

    source that stays ──its imports──▶ modules of the standard library (a package whole), distributions
    a distribution that stays ──▶ its RECORD, its requirements, those that offer it entry points
    names of other distributions in quotes in the author's source, as in INSTALLED_APPS ──▶ those too

Imports of the standard library and of the author's code count wherever they stand, for errors and rare paths
import late; only parts for developers (`developers` in the table) must be imported at the top of a module.
Between distributions only metadata counts: most of them can work with dozens that they do not need.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ramekin.closure.evidence import python as imports
from ramekin.image.tree import Kind
from ramekin.slim.units.catalog import AUTHOR, PYTHON, STDLIB, SYSTEM, Known
from ramekin.slim.units.model import title
from ramekin.slim.units.table import rule

if TYPE_CHECKING:
    from ramekin.slim.units.completion import Completion

_SITE = re.compile(r"((?:.*/)?lib/python3(?:\.\d+t?)?/(?:site|dist)-packages)/", re.DOTALL)
_TAGS = re.compile(r"\.(?:cpython|abi3|pypy)[^/]*\.so\Z")
_METADATA = re.compile(r"[^/]+\.(?:dist|egg)-info\Z")
_REQUIRES = re.compile(r"^Requires-Dist:[ \t]*([A-Za-z0-9][\w.-]*)([^\n]*)", re.MULTILINE)
_EXTRA = re.compile(r"\bextra\s*==")
_GROUP = re.compile(r"^\[([^\]\n]+)\]", re.MULTILINE)
_COMMON = frozenset(("console_scripts", "gui_scripts"))
_TOP = re.compile(
    rb"^(?:from[ \t]+([A-Za-z_][\w.]*)[ \t]+import\b|import[ \t]+([A-Za-z_][\w., \t]*))", re.MULTILINE
)
_INNER_TESTS = re.compile(
    rb"^[ \t]*from[ \t]+(\.+)(?:((?:\w+\.)*(?:tests?|test_\w+|conftest)(?:\.\w+)*)[ \t]+import\b"
    rb"|[ \t]+import[ \t]+(tests?|test_\w+)\b)",
    re.MULTILINE,
)
_SOURCE = 8 << 20
_QUOTED = re.compile(rb"'[^'\n]{1,400}'|\"[^\"\n]{1,400}\"")
_WORDS = re.compile(rb"[A-Za-z_][\w]*")


class PythonRules:
    def __init__(self, completion: Completion) -> None:
        self._all = completion
        self._stdlibs = completion.catalog.stdlibs
        self._used: set[str] = set()
        self._sites = tuple(
            dict.fromkeys(match[1] for path in completion.of if (match := _SITE.match(path)) is not None)
        )
        self._roots: tuple[str, ...] | None = None
        self._distributions = {
            normal(title(unit.name)): unit for unit in completion.units.values() if unit.kind == PYTHON
        }
        self._listings = self._scanned_metadata()
        self._found: dict[str, tuple[str, ...]] = {}
        self._named: set[str] = set()
        self._groups: dict[str, frozenset[str]] | None = None
        self._tops: dict[str, frozenset[str]] = {}
        self._hints: dict[str, str] = {}
        self._named_components: dict[str, bool] = {}

    # --- what was observed

    def _scanned_metadata(self) -> bool:
        """Whether something read a file of metadata of all distributions that have it, to look for entry
        points.
        """
        seen = self._all.seen
        for name in ("entry_points.txt", "METADATA", "PKG-INFO"):
            there = [f"{unit.root}/{name}" for unit in self._distributions.values() if unit.root]
            there = [path for path in there if path in self._all.of]
            if len(there) > 1 and all(path in seen for path in there):
                return True
        return False

    def is_listing(self, path: str) -> bool:
        """Whether that a file of metadata was opened only shows that all of them were."""
        return self._listings and _METADATA.search(path.rpartition("/")[0]) is not None

    # --- units

    def begin(self, unit: Known, by: str, because: str) -> None:
        """A file of a distribution stays: all its files do, and what it requires."""
        name = by if by in ("required", "named", "plug-in", "feature") else "distribution"
        self._all.fill(unit, name, because, but=lambda path: self.component(path, unit) is not None)
        for path in unit.paths:
            if path.startswith(unit.root + "/"):
                # metadata stays true with whatever is left
                self._all.keep(path, name, because, sought=False)
        for required, extra in self._requires(unit):
            other = self._distributions.get(required)
            if other is not None and other is not unit and not extra:
                self._all.begin(other.name, f"{unit.name} requires it", "required")
        self._offer_entry_points(unit)

    def component(self, path: str, unit: Known) -> str | None:
        """The optional component of a distribution that a path is part of and that nobody names, or None."""
        for module, name in _COMPONENTS:
            if normal(title(unit.name)) == name:
                folder = f"{unit.root.rpartition('/')[0]}/{module.replace('.', '/')}/"
                if path.startswith(folder) and not self._names_component(module, folder):
                    return module
        return None

    def _names_component(self, module: str, folder: str) -> bool:
        known = self._named_components.get(module)
        if known is None:
            word = module.encode()
            known = any(path.startswith(folder) for path in self._all.seen) or any(
                unit.kind == AUTHOR
                and any(
                    path.endswith((".py", *_SETTINGS)) and word in self._all.text(path) for path in unit.paths
                )
                for unit in self._all.units.values()
            )
            self._named_components[module] = known
        return known

    def _requires(self, unit: Known) -> Iterator[tuple[str, bool]]:
        for name in ("METADATA", "PKG-INFO"):
            text = self._all.contents.read(f"{unit.root}/{name}", 1 << 20).decode("utf-8", "replace")
            for found in _REQUIRES.findall(text.partition("\n\n")[0]):
                yield normal(found[0]), _EXTRA.search(found[1]) is not None

    def _offer_entry_points(self, unit: Known) -> None:
        """Distributions that stay in the groups of `unit`, and `unit` in groups of those that stay."""
        if self._groups is None:
            self._groups = {other.name: self._entry_points(other) for other in self._distributions.values()}
        for other in self._distributions.values():
            if other.name == unit.name or other.name in self._all.begun:
                continue
            for group in sorted(self._groups[other.name]):
                top = group.partition(".")[0]
                if top in self._modules_of(unit):
                    self._all.begin(other.name, f"it offers {group} to {unit.name}", "plug-in")

    def _entry_points(self, unit: Known) -> frozenset[str]:
        text = self._all.contents.read(f"{unit.root}/entry_points.txt", 1 << 20).decode("utf-8", "replace")
        return frozenset(_GROUP.findall(text)) - _COMMON

    def _modules_of(self, unit: Known) -> frozenset[str]:
        """The names at the top that a distribution is imported by."""
        known = self._tops.get(unit.name)
        if known is None:
            site = unit.root.rpartition("/")[0]
            found = set()
            for path in unit.paths:
                if path.startswith(site + "/") and path.endswith((".py", ".so", ".pyc")):
                    top = path[len(site) + 1 :].partition("/")[0]
                    if top != "__pycache__" and ("." not in top or top.endswith((".py", ".so"))):
                        found.add(top.partition(".")[0])
            known = self._tops[unit.name] = frozenset(found)
        return known

    def begin_module(self, unit: Known, by: str, because: str) -> None:
        """A module of a standard library stays: its package does, and what it imports by made-up names."""
        name = by if by in ("interpreter-start", "dynamic", "embedded", "bare") else "standard-library"
        self._all.fill(unit, name, because)
        self._use(unit.root)
        version, _, module = unit.name.partition(":")
        for pattern in rule("dynamic").when.get(module, ()):
            self._modules(version, pattern, "dynamic", f"{unit.name} imports it by a name it makes up")

    def _use(self, folder: str) -> None:
        """An interpreter is used: it starts, and reports errors."""
        if folder in self._used:
            return
        self._used.add(folder)
        version = folder.rpartition("/")[2]
        for name in sorted(rule("interpreter-start").names):
            self._modules(version, name, "interpreter-start", "the interpreter imports it by itself")

    def embedded(self, path: str) -> None:
        """The library of an interpreter stays: where no interpreter does, a program has it inside, and what
        that imports nobody sees.
        """
        found = re.match(r"libpython(3\.\d+)", path.rpartition("/")[2])
        if found is None or not self._all.whole:
            return
        program = re.compile(r".*bin/python" + re.escape(found[1]) + r"\Z")
        if any(program.match(other) for other in self._all.kept):
            return
        for name in sorted(self._all.units):
            version, _, module = name.partition(":")
            if version == f"python{found[1]}" and module not in rule("developers").names:
                self._all.begin(name, f"/{path} stays, which programs have inside", "embedded")

    def bare(self, interpreter: str, because: str) -> None:
        """The whole library of an interpreter (a path) that is started without a program stays."""
        version = interpreter.rpartition("/")[2]
        for name in sorted(self._all.units):
            if name.startswith(f"{version}:") and self._all.units[name].kind == STDLIB:
                self._all.begin(name, because, "bare")

    def _modules(self, version: str, pattern: str, name: str, because: str) -> None:
        if "*" in pattern:
            names = [
                unit
                for unit in self._all.units
                if unit.startswith(version + ":") and fnmatch.fnmatchcase(unit.partition(":")[2], pattern)
            ]
        else:
            names = [f"{version}:{pattern}"]
        for one in names:
            self._all.begin(one, because, name)

    def reads(self, path: str) -> bool:
        """Whether an interpreter of the image reads a compiled file, by its tag."""
        tag = re.search(r"\.cpython-3(\d+)t?(?:\.opt-\d)?\.pyc\Z", path)
        minors = {re.sub(r"\D", "", one.rpartition(".")[2]) for one in self._stdlibs}
        return tag is None or not minors or tag[1] in minors

    # --- imports

    def file(self, path: str, unit: Known) -> None:
        """Follow the imports of a source that stays."""
        if unit.kind == STDLIB:
            self._use(unit.root)
        if not self._is_source(path, unit):
            return
        data = self._all.text(path, _SOURCE)
        if not data:
            return
        if not self._all.whole:
            self._follow_exactly(path, unit, data)
            return
        if not self._used:
            for folder in self._stdlibs:
                self._use(folder)
        top = set() if path.endswith("/__main__.py") and unit.kind != AUTHOR else _at_top(data)
        for name in sorted(_names(data)):
            self._import(name, path, unit, late=name not in top)
        if b"test" in data:
            self._import_tests(path, data)

    def _is_source(self, path: str, unit: Known) -> bool:
        if path.endswith((".py", ".pyw")):
            return True
        if unit.kind in (AUTHOR, PYTHON, SYSTEM) and "." not in path.rpartition("/")[2]:
            return b"python" in self._all.contents.read(path, 64).partition(b"\n")[0] and (
                self._all.contents.read(path, 2) == b"#!"
            )
        return False

    def _import(self, name: str, path: str, unit: Known, *, late: bool) -> None:
        top = name.partition(".")[0]
        weak = (late and unit.kind != AUTHOR) or unit.name.endswith(":dbm")
        found = False
        for folder in self._stdlibs:
            module = f"{folder.rpartition('/')[2]}:{top}"
            if module in self._all.units:
                found = True
                if self._is_spare(folder, top):
                    continue
                if not (weak and top in rule("developers").names):
                    self._all.begin(module, f"/{path} imports {name}", "standard-library")
        if found and unit.kind == STDLIB:
            return
        if weak and top in _INSTALLERS:
            return
        for target in self._module(name):
            other = self._all.units[self._all.of[target]]
            if other is unit:
                if not self._all.unwanted.is_test(target, unit):
                    continue
            elif unit.kind == PYTHON and other.kind == PYTHON:
                # what it cannot do without its metadata says; the rest is for those who use it
                if other.name in self._all.begun and (part := self.component(target, other)) is not None:
                    self._named_components[part] = True
                    self._all.fill(other, "distribution", f"/{path} imports {name}")
                continue
            elif unit.kind == SYSTEM and not self._all.system.may_use(path, unit, target):
                continue
            self._all.keep(target, "import", f"/{path} imports {name}")
            self._parents(target)

    def _is_spare(self, folder: str, module: str) -> bool:
        """Whether a module only stands in for one in C that the image has."""
        version = folder.rpartition("/")[2]
        return any(f"{version}:{other}" in self._all.units for other in rule("spare").when.get(module, ()))

    def _parents(self, path: str) -> None:
        """Packages that importing a module imports first."""
        folder = path.rpartition("/")[0]
        while f"{folder}/__init__.py" in self._all.of:
            self._all.keep(f"{folder}/__init__.py", "import", f"/{path} lies in its package", sought=False)
            folder = folder.rpartition("/")[0]

    def _module(self, name: str) -> tuple[str, ...]:
        """The files that importing a dotted name means, outside the standard library: the longest that is
        there in each folder that is searched.
        """
        found = self._found.get(name)
        if found is None:
            hits: list[str] = []
            parts = name.split(".")
            for folder in (*self._sites, *self._search()):
                for length in range(len(parts), 0, -1):
                    if (hit := self._file(f"{folder}/{'/'.join(parts[:length])}".lstrip("/"))) is not None:
                        hits.append(hit)
                        break
            found = self._found[name] = tuple(dict.fromkeys(hits))
        return found

    def _file(self, stem: str) -> str | None:
        for place in (f"{stem}/__init__.py", f"{stem}.py", f"{stem}.pyc", f"{stem}/__init__.pyc"):
            if place in self._all.of:
                return place
        folder, _, name = stem.rpartition("/")
        for other in self._all.contents.children.get(folder, ()):
            if not other.startswith(name + ".") or not other.endswith(".so"):
                continue
            if other == f"{name}.so" or _TAGS.search(other):
                return f"{folder}/{other}"
        return None

    def _search(self) -> tuple[str, ...]:
        """Folders besides those of distributions that modules are searched in."""
        if self._roots is None:
            runtime = self._all.contents.config.config
            roots = [(runtime.working_dir if runtime else "").strip("/")]
            roots += [p.strip("/") for p in self._all.environment.get("PYTHONPATH", "").split(":")]
            roots += [f"{root}/src" for root in list(roots) if f"{root}/src" in self._all.contents.children]
            for path in sorted(self._all.seen):
                if path.endswith((".py", ".pth")) and self._all.units[self._all.of[path]].kind == AUTHOR:
                    if path.endswith(".pth"):
                        lines = self._all.text(path).decode("utf-8", "replace").splitlines()
                        roots += [line.strip("/") for line in lines if line.startswith("/")]
                    else:
                        folder = path.rpartition("/")[0]
                        while folder and f"{folder}/__init__.py" in self._all.of:
                            folder = folder.rpartition("/")[0]
                        roots.append(folder)
            self._roots = tuple(dict.fromkeys(filter(None, roots)))
        return self._roots

    def _import_tests(self, path: str, data: bytes) -> None:
        """Relative imports of what looks like tests: they stay."""
        for dots, first, second in _INNER_TESTS.findall(data):
            name = first or second
            folder = posixpath.normpath(posixpath.join(path.rpartition("/")[0], *([".."] * (len(dots) - 1))))
            target = self._file(f"{folder}/{name.decode().replace('.', '/')}")
            if target is not None:
                self._all.keep(target, "import", f"/{path} imports it")
                self._parents(target)

    # --- level files

    def _follow_exactly(self, path: str, unit: Known, data: bytes) -> None:
        """At level files: the very modules that a source imports."""
        deep = path in self._all.seen or unit.kind == AUTHOR
        for name, level, at_top in _statements(data):
            if not (deep or at_top):
                continue
            top = name.partition(".")[0]
            if not at_top and top in rule("developers").names and unit.kind != AUTHOR:
                continue
            for target in self._targets(path, name, level):
                self._all.keep(target, "import", f"/{path} imports {'.' * level}{name}")
                self._parents(target)

    def _targets(self, path: str, name: str, level: int) -> Iterator[str]:
        if level:
            folder = path.rpartition("/")[0]
            for _ in range(level - 1):
                folder = folder.rpartition("/")[0]
            found = self._file(f"{folder}/{name.replace('.', '/')}".rstrip("/"))
            if found is not None:
                yield found
            return
        for folder in self._stdlibs:
            for place in (f"{folder}/{name.replace('.', '/')}", f"{folder}/lib-dynload/{name}"):
                if (found := self._file(place)) is not None:
                    yield found
                    break
        parts = name.split(".")
        for folder in (*self._sites, *self._search()):
            found = self._file(f"{folder}/{'/'.join(parts)}".lstrip("/"))
            if found is not None:
                yield found

    # --- names in quotes

    def settle(self) -> None:
        """Distributions that did not begin and whose module stands in quotes in source that stays.

        At level files: metadata of distributions of which anything stays, by which entry points are found.
        """
        if not self._all.whole:
            for unit in self._distributions.values():
                if any(path in self._all.kept for path in unit.paths):
                    for name in ("METADATA", "RECORD", "entry_points.txt"):
                        self._all.keep(
                            f"{unit.root}/{name}", "distribution", f"{unit.name} is used", sought=False
                        )
            return
        waiting = {
            top: unit.name
            for unit in self._distributions.values()
            if unit.name not in self._all.begun
            for top in sorted(self._modules_of(unit))
            if top not in _INSTALLERS | _CODECS and not top.startswith("_") and len(top) > 2
        }
        if not waiting:
            return
        for word in self._configured():
            if word in waiting:
                self._all.begin(waiting[word], f"the image's configuration names {word}", "named")
        names = b"|".join(re.escape(top.encode()) for top in sorted(waiting))
        pattern = re.compile(rb"(?<![\w./-])(" + names + rb")(?![\w-])")
        for path in list(self._all.kept):
            if path in self._named or self._all.units[self._all.of[path]].kind != AUTHOR:
                continue
            if not path.endswith((".py", *_SETTINGS)) or self._all.contents.kind(path) is not Kind.FILE:
                continue
            if "node_modules/" in path or path.endswith("-lock.json"):
                continue
            self._named.add(path)
            data = self._all.text(path)
            if path.endswith(".py"):
                self._features(path, data)
                data = b"\n".join(_QUOTED.findall(data))
            for name in sorted(set(pattern.findall(data))):
                if (wanted := waiting.get(name.decode())) is not None:
                    self._all.begin(wanted, f"/{path} names {name.decode()}", "named")

    def _features(self, path: str, data: bytes) -> None:
        for word, names in rule("feature").when.items():
            if word.encode() in data:
                for name in names:
                    if (unit := self._distributions.get(name)) is not None:
                        self._all.begin(unit.name, f"/{path} names {word}", "feature")
        for word, names in rule("hint").when.items():
            if word.encode() in data:
                self._hints.update(
                    (unit.name, f"/{path} names {word}")
                    for name in names
                    if (unit := self._distributions.get(name)) is not None
                )

    def notes(self) -> Iterator[str]:
        """Distributions that go although something hints at them."""
        for name, because in sorted(self._hints.items()):
            if name not in self._all.begun:
                yield f"{name} was not used and goes, but {because}; `--keep {name}` keeps it"

    def _configured(self) -> Iterable[str]:
        runtime = self._all.contents.config.config
        if runtime is None:
            return ()
        words = " ".join((*(runtime.entrypoint or ()), *(runtime.cmd or ()), *self._all.environment.values()))
        return sorted({word.decode() for word in _WORDS.findall(words.encode())})


_CODECS = frozenset(("idna",))
"""Distributions whose name stands in quotes for an encoding of the standard library."""
_SETTINGS = (".toml", ".yaml", ".yml", ".json", ".ini", ".cfg", ".conf", ".env", ".sh")
_INSTALLERS = frozenset(("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "ensurepip"))


_COMPONENTS = tuple((module, name) for name, modules in rule("component").when.items() for module in modules)


def normal(name: str) -> str:
    """A distribution's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(data: bytes) -> set[str]:
    """Absolute modules that source imports, in code; where a line may stand in a string, the parser tells."""
    sure, doubtful = imports.candidates(data)
    if doubtful:
        try:
            doubtful &= imports.imports(data).keys()
        except (SyntaxError, ValueError):
            pass
    return sure | doubtful


def _at_top(data: bytes) -> set[str]:
    found: set[str] = set()
    for source, listed in _TOP.findall(data):
        if source:
            found.add(source.decode("ascii", "replace"))
        else:
            found.update(
                part.split()[0].decode("ascii", "replace") for part in listed.split(b",") if part.split()
            )
    return found


def _statements(data: bytes) -> list[tuple[str, int, bool]]:
    """Every name that import statements may mean as a module, and the dots before it.

    The last is whether one of the statements stands at the top of the source. Statements are searched for, as
    parsing costs thirty times more; what stands in a string like a statement is taken for one.
    """
    found: dict[tuple[str, int], bool] = {}

    def note(name: bytes, level: int, at_top: bool) -> None:
        key = (name.decode("ascii", "replace"), level)
        found[key] = found.get(key, False) or at_top

    for indent, dots, module, braced, listed, plain in _STATEMENT.findall(data):
        at_top = not indent
        if plain:
            for part in plain.split(b","):
                if words := part.split():
                    note(words[0], 0, at_top)
            continue
        if not dots and not module:
            continue
        note(module, len(dots), at_top)
        for part in _COMMENT.sub(b"", braced or listed).split(b","):
            words = part.split()
            if words and _NAME.match(words[0]):
                note(module + b"." + words[0] if module else words[0], len(dots), at_top)
    return [(name, level, at_top) for (name, level), at_top in sorted(found.items())]


_STATEMENT = re.compile(
    rb"^([ \t]*)(?:from[ \t]*(\.*)[ \t]*([A-Za-z_][\w.]*)?[ \t]+import[ \t]*"
    rb"(?:\(([^)]*)\)|((?:[^(#;\n\\]|\\\n)*))|import[ \t]+([A-Za-z_][^#;\n]*))",
    re.MULTILINE,
)
_COMMENT = re.compile(rb"#[^\n]*|\\\n")
_NAME = re.compile(rb"[A-Za-z_]\w*\Z")
