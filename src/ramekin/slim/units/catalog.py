"""Which unit each file of an image belongs to.

The first that knows a file has it:

    standard libraries (a module or package each) → system packages → Python distributions → Node packages
    → gems, runtimes, archives → what is left, which its author put there (a folder each)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ramekin.analyze.owners import apk, dpkg, node, python, rpm
from ramekin.analyze.owners.model import Package, paragraphs
from ramekin.closure import policy as policies
from ramekin.image.tree import Kind, to_text
from ramekin.slim.contents import Contents

AUTHOR, SYSTEM, STDLIB, PYTHON, NODE, GEM, RUNTIME, ARCHIVE, LINKS = (
    "files",
    "system",
    "stdlib",
    "python",
    "node",
    "gem",
    "runtime",
    "archive",
    "links",
)
"""Kinds of units, which say how their files are judged."""

_MERGED = frozenset(("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32", "var/run", "var/lock"))
_STDLIB = re.compile(r"((?:.+/)?lib/(python3\.\d+)t?)/(?!site-packages/|dist-packages/)(.+)\Z", re.DOTALL)
_GEM = re.compile(
    r"((?:.+/)?)(?:(?:gems|doc)/([^/]+?-\d[^/]*)/.*|specifications/(?:default/)?([^/]+-\d[^/]*)\.gemspec"
    r"|extensions/[^/]+/[^/]+/([^/]+-\d[^/]*)/.*|cache/([^/]+-\d[^/]*)\.gem"
    r"|build_info/([^/]+-\d[^/]*)\.info)\Z",
    re.DOTALL,
)
_RUNTIMES = (
    (
        "ruby",
        re.compile(
            r"usr/local/(?:lib/ruby/.*|lib/libruby[^/]*|bin/(?:ruby|irb|erb|rake|gem|ri|rdoc|bundler?|racc|rbs|typeprof|syntax_suggest|rdbg)|share/ri/.*)\Z",
            re.DOTALL,
        ),
    ),
    (
        "php",
        re.compile(
            r"usr/local/(?:lib/php/.*|php/.*|bin/(?:php|phar|phpize|php-config|pecl|pear|peardev|phar\.phar|phpdbg|php-cgi)|sbin/php-fpm)\Z",
            re.DOTALL,
        ),
    ),
    ("perl", re.compile(r"usr/local/(?:lib/perl5/.*|bin/perl[^/]*)\Z", re.DOTALL)),
    (
        "node",
        re.compile(
            r"usr/local/(?:bin/node(?:js)?|include/node/.*|share/systemtap/.*|share/doc/node/.*)\Z", re.DOTALL
        ),
    ),
)
_PYTHON_COMMANDS = re.compile(
    r"((?:.+/)?)(?:bin/(?:python3?(?:\.\d+)?t?(?:-config)?|pydoc3?(?:\.\d+)?|idle3?(?:\.\d+)?|2to3(?:-3\.\d+)?)"
    r"|lib/libpython3[^/]*\.so[^/]*|lib/pkgconfig/python[^/]*|share/man/man1/python[^/]*)\Z"
)


@dataclass
class Known:
    """A unit before it is known what of it stays."""

    name: str
    kind: str
    version: str = ""
    root: str = ""
    paths: list[str] = field(default_factory=list)
    package: SystemPackage | None = None


@dataclass(frozen=True)
class SystemPackage:
    """What a system's database says of a package; `depends` are names of packages that it may need.

    `essential` packages are declared by nobody (Debian Policy, 3.8); those of the `base` system hold tools of
    all kinds, of which one says nothing about the others.
    """

    system: str
    name: str
    version: str
    source: str
    depends: frozenset[str]
    essential: bool
    base: bool
    provides: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Catalog:
    """The units of an image by name, and for each path that is no folder the name of its unit.

    `owned` are paths in the database of a system's package manager with the unit of the package, which may
    be another than the unit that judges the path.
    """

    units: dict[str, Known]
    of: dict[str, str]
    owned: dict[str, str]
    stdlibs: tuple[str, ...]


def catalog(contents: Contents) -> Catalog:
    """Find all units."""
    return _Cataloguing(contents).run()


class _Cataloguing:
    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.units: dict[str, Known] = {}
        self.of: dict[str, str] = {}
        self.owned: dict[str, str] = {}
        self._folders: dict[str, str | None] = {}
        self._beside: dict[str, Known | None] = {}

    def run(self) -> Catalog:
        stdlibs = self._stdlibs()
        self._standard_libraries(stdlibs)
        self._systems()
        self._distributions()
        self._node()
        self._gems()
        self._runtimes(stdlibs, self._java_homes())
        self._compiled()
        self._links()
        self._left()
        return Catalog(self.units, self.of, self.owned, stdlibs)

    def _unit(self, name: str, kind: str, version: str = "", root: str = "") -> Known:
        known = self.units.get(name)
        if known is None:
            known = self.units[name] = Known(name, kind, version, root)
        return known

    def _give(self, unit: Known, paths: Iterable[str]) -> None:
        for path in paths:
            if path not in self.of:
                self.of[path] = unit.name
                unit.paths.append(path)

    def _find(self, path: str) -> str | None:
        """Where a path that a database names is, in an image whose folders may be links."""
        path = path.strip("/")
        if path in self.contents.files:
            return path
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self.contents.resolve(folder)
        real = self._folders[folder]
        found = f"{real}/{name}" if real else name
        return found if real is not None and found in self.contents.files else None

    def _present(self, paths: Iterable[str]) -> Iterator[str]:
        for path in paths:
            found = self._find(path)
            # packages list the folders that links of a merged /usr stand in for
            if found is None or found in _MERGED or self.contents.kind(found) is Kind.DIRECTORY:
                continue
            yield found

    def _stdlibs(self) -> tuple[str, ...]:
        found = []
        for path in self.contents.paths:
            if path.endswith(("/os.py", "/os.pyc", "/encodings/__init__.py")):
                match = _STDLIB.match(path)
                if match and match[3] in ("os.py", "os.pyc", "encodings/__init__.py"):
                    found.append(match[1])
        return tuple(dict.fromkeys(found))

    def _standard_libraries(self, stdlibs: tuple[str, ...]) -> None:
        for folder in stdlibs:
            version = folder.rpartition("/")[2]
            for path in self.contents.below(folder):
                rest = path[len(folder) + 1 :]
                if rest.startswith(("site-packages/", "dist-packages/")):
                    continue
                self._give(self._unit(f"{version}:{_module(rest)}", STDLIB, root=folder), (path,))

    def _systems(self) -> None:
        told = {known.name: known for known in self._system_packages()}
        for claims in (dpkg.claims, apk.claims, rpm.claims):
            for package, paths in claims(self.contents.stack):
                unit = self._unit(f"{package.system}:{package.name}", SYSTEM, package.version)
                unit.package = told.get(package.name) or _plain(package)
                found = list(self._present(paths))
                for path in found:
                    self.owned.setdefault(path, unit.name)
                self._give(unit, found)

    def _system_packages(self) -> Iterator[SystemPackage]:
        kept = self.contents.stack.kept
        essential = policies.load().essential_packages
        texts = [kept("var/lib/dpkg/status") or b""]
        texts += [
            kept(path) or b""
            for path in self.contents.below("var/lib/dpkg/status.d")
            if not path.endswith(".md5sums")
        ]
        for data in texts:
            for fields in paragraphs(data):
                if name := fields.get("package"):
                    wanted = ",".join(fields.get(key, "") for key in ("depends", "pre-depends"))
                    yield SystemPackage(
                        "dpkg",
                        name,
                        fields.get("version", ""),
                        fields.get("source", name).partition(" ")[0],
                        frozenset(re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", wanted)),
                        fields.get("essential", "") == "yes" or name in essential,
                        fields.get("essential", "") == "yes" or fields.get("priority", "") == "required",
                        frozenset(
                            re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]*)", fields.get("provides", ""))
                        ),
                    )
        database = kept("lib/apk/db/installed") or kept("usr/lib/apk/db/installed") or b""
        for block in to_text(database).split("\n\n"):
            found = {line[0]: line[2:] for line in block.split("\n") if line[1:2] == ":"}
            if name := found.get("P"):
                depends = re.findall(r"(?:^|\s)([a-z0-9][\w+.-]*)", found.get("D", ""))
                base = name in ("busybox", "musl", "alpine-baselayout", "apk-tools", "musl-utils")
                yield SystemPackage(
                    "apk", name, found.get("V", ""), found.get("o", name), frozenset(depends), base, base
                )

    def _distributions(self) -> None:
        for package, paths in python.claims(self.contents.stack):
            found = list(paths)
            root = found[0].rpartition("/")[0] if found else ""
            if root in self.owned or (found and found[0] in self.owned):
                continue
            name = f"python:{package.name}"
            if name in self.units and self.units[name].root != root:
                name = f"python:{package.name}@/{root.rpartition('/')[0]}"
            self._give(self._unit(name, PYTHON, package.version, root), self._present(found))

    def _node(self) -> None:
        for package, paths in node.claims(self.contents.stack):
            found = [path for path in paths if path not in self.of]
            manifest = next((path for path in found if path.endswith("/package.json")), "")
            if not manifest:
                continue
            root = min((p.rpartition("/")[0] for p in found if p.endswith("/package.json")), key=len)
            name = f"node:{package.name}"
            if name in self.units:
                name = f"node:{package.name}@/{root}"
            self._give(self._unit(name, NODE, package.version, root), found)
        for path in self.contents.paths:
            match = re.match(r"(opt/yarn-v[^/]+)/", path)
            if match:
                self._give(self._unit("node:yarn", NODE, root=match[1]), (path,))

    def _gems(self) -> None:
        for path in self.contents.paths:
            named = "/gems/" in path or "/extensions/" in path
            if path in self.of or not (named or path.endswith((".gemspec", ".gem", ".info"))):
                continue
            match = _GEM.match(path)
            if match is None:
                continue
            name = next(filter(None, match.groups()[1:]))
            place = match[1]
            if f"{place}specifications/{name}.gemspec" not in self.contents.files and (
                f"{place}specifications/default/{name}.gemspec" not in self.contents.files
            ):
                continue
            base, _, version = name.rpartition("-")
            self._give(self._unit(f"gem:{base}", GEM, version, f"{place}gems/{name}"), (path,))

    def _java_homes(self) -> tuple[str, ...]:
        """Folders of Java runtimes that no system package owns."""
        files = self.contents.files
        return tuple(
            path.removesuffix("/lib/modules")
            for path in self.contents.paths
            if path.endswith("/lib/modules")
            and path not in self.owned
            and f"{path.removesuffix('/lib/modules')}/bin/java" in files
        )

    def _runtimes(self, stdlibs: tuple[str, ...], homes: tuple[str, ...]) -> None:
        prefixes = {folder.rpartition("lib/")[0]: folder.rpartition("/")[2] for folder in stdlibs}
        for path in self.contents.paths:
            if path in self.of:
                continue
            home = next((one for one in homes if path.startswith(one + "/")), None)
            if home is not None:
                self._give(self._unit(f"runtime:java@/{home}", RUNTIME, root=home), (path,))
                continue
            if path.endswith((".jar", ".war", ".ear")):
                self._give(self._unit(f"archive:/{path}", ARCHIVE), (path,))
                continue
            match = _PYTHON_COMMANDS.match(path)
            if match and match[1] in prefixes:
                self._give(self._unit(f"runtime:{prefixes[match[1]]}", RUNTIME), (path,))
                continue
            for name, pattern in _RUNTIMES:
                if pattern.match(path):
                    self._give(self._unit(f"runtime:{name}", RUNTIME), (path,))
                    break

    def _compiled(self) -> None:
        """Compiled Python belongs to its source."""
        for path in self.contents.paths:
            if path in self.of or not path.endswith(".pyc"):
                continue
            owner = self.of.get(source_of(path))
            if owner is not None:
                self._give(self.units[owner], (path,))

    def _links(self) -> None:
        """Links that nobody owns belong to the package that fills their folder, where checksums are all that
        is known of it, else to what they lead to.
        """
        for path in self.contents.paths:
            if path in self.of or self.contents.kind(path) is not Kind.SYMLINK:
                continue
            if path.startswith("etc/alternatives/"):
                self._give(self._unit("links:alternatives", LINKS), (path,))
                continue
            real = self.contents.resolve(path)
            if (beside := self._package_beside(path)) is not None:
                self._give(beside, (path,))
            elif real is not None and real in self.of:
                self._give(self.units[self.of[real]], (path,))
            elif real is not None and path.startswith(("usr/bin/", "usr/sbin/", "bin/", "sbin/")):
                self._give(self._unit("links:commands", LINKS), (path,))

    def _package_beside(self, path: str) -> Known | None:
        """The package known by checksums, which list no links, that owns all else in a folder of its own."""
        folder = path.rpartition("/")[0]
        if folder.count("/") < 2 or not folder.startswith(("usr/lib/", "usr/libexec/", "usr/share/")):
            return None
        if folder not in self._beside:
            paths = (f"{folder}/{name}" for name in self.contents.children.get(folder, ()))
            owners = {self.owned[other] for other in paths if other in self.owned}
            name = next(iter(owners)) if len(owners) == 1 else ""
            sums = f"var/lib/dpkg/status.d/{name.removeprefix('dpkg:')}.md5sums"
            self._beside[folder] = self.units[name] if name and self.owned.get(sums) == name else None
        return self._beside[folder]

    def _left(self) -> None:
        for path in self.contents.paths:
            if path not in self.of:
                self._give(self._unit(f"files:/{_folder(path)}", AUTHOR), (path,))


def source_of(path: str) -> str:
    """The Python source that a compiled file is made from (PEP 3147, or beside it)."""
    folder, _, name = path.rpartition("/")
    if folder.endswith("__pycache__"):
        folder = folder.removesuffix("__pycache__").rstrip("/")
        return f"{folder}/{name.partition('.')[0]}.py".lstrip("/")
    return path[:-1]


def _module(rest: str) -> str:
    """The module or package of the standard library that a path below its folder is part of."""
    if rest.startswith(("lib-dynload/", "__pycache__/")):
        rest = rest.partition("/")[2]
    return rest.partition("/")[0].partition(".")[0]


def _folder(path: str) -> str:
    """The folder by which files that nobody owns are named: two levels in folders that all share."""
    parts = path.split("/")[:-1]
    if not parts:
        return ""
    depth = 1
    if parts[0] in ("usr", "var", "opt", "srv", "home"):
        depth = 3 if parts[:2] == ["usr", "local"] else 2
    return "/".join(parts[:depth])


def _plain(package: Package) -> SystemPackage:
    return SystemPackage(
        package.system,
        package.name,
        package.version,
        package.source or package.name,
        frozenset(),
        False,
        False,
    )
