"""From a prepared package's tree to its evidence. Pure: reads the tree's contents and nothing else.

    entry ──first bytes, name──▶ reader (elf, shell, python, …) ──▶ findings (kind, target) of the file
    findings of all files ──▶ PackageDetail;  those that the package does not meet itself ──▶ PackageEvidence

Each file is opened at most once, and no more of it is read than its kind asks for. What cannot be read is
skipped with a note; nothing that a file holds raises an error.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ramekin.closure import policy
from ramekin.closure.evidence import elf, java, languages, python, settings, shell, strings
from ramekin.closure.evidence.model import (
    ANY_CONVERTER,
    ENV,
    Elf,
    FileNeed,
    Kind,
    Modules,
    Need,
    PackageDetail,
    PackageEvidence,
    Scanned,
    SharedObject,
)
from ramekin.closure.model import Prepared
from ramekin.closure.policy import Weight
from ramekin.image.tree import Entry, Span
from ramekin.image.tree import Kind as Entity

TEXT_LIMIT = 4 << 20
"""Bytes that a script, module or configuration file may have to be looked at."""
ELF_LIMIT = 1 << 30
JAR_LIMIT = 64 << 20

_HEAD = 256
_FILES_A_NEED = 4
_MOST_FILES = 400
_MOST_PATHS = 400
_PARSED = 1 << 16
"""Bytes of a Python script that is parsed as a whole."""
_MOST_COMMANDS = 40
_SOURCES = re.compile(
    r".*\.(?:[chly]|cc|cpp|cxx|hh|hpp|hxx|tcc|rs|go|ml|mli|hs|inc|f|f90|ads|adb|java|s|S|o|a|la|html?|txt)\Z"
)
_SUFFIXES = {
    ".sh": "shell",
    ".py": "python",
    ".pm": "perl",
    ".pl": "perl",
    ".rb": "ruby",
    ".php": "php",
    ".js": "node",
    ".mjs": "node",
    ".cjs": "node",
    ".app": "erlang",
    ".jar": "java",
    ".service": "service",
    ".desktop": "service",
}
_RUNTIMES = {
    "python": "python3",
    "perl": "perl",
    "ruby": "ruby",
    "php": "php",
    "node": "node",
    "erlang": "erl",
}
_LANGUAGES = {
    "python": Kind.PYTHON,
    "perl": Kind.PERL,
    "ruby": Kind.RUBY,
    "php": Kind.PHP,
    "node": Kind.NODE,
    "erlang": Kind.ERLANG,
}
_STARTED = re.compile(r"(?:.*/)?(?:s?bin|games)/[^/]+\Z")
"""Where programs lie, also those of one package alone."""
_PRIVATE = re.compile(r"usr/(?:lib|libexec)/(?:[^/]+/)+[a-z][a-z0-9_-]*\Z")
"""Where files without a suffix that start with a comment are parts of shell scripts."""
_DEPENDS = re.compile(r"^(?:Pre-)?Depends:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_STARTS = tuple(
    b"\0" + name + b"\0"
    for name in (
        b"execvp",
        b"execlp",
        b"execvpe",
        b"execl",
        b"execv",
        b"execve",
        b"posix_spawnp",
        b"popen",
        b"system",
    )
)
_MOST_STRINGS = 4 << 20
"""Bytes of strings that are searched for command lines."""
_DEVELOPMENT = re.compile(r"usr/include/.|usr/lib/(?:.*/)?[^/]+\.[ao]\Z")
_FOREIGN = re.compile(rb"dlopen|CDLL|LoadLibrary|ffi_lib|FFI::cdef|dlload")
"""Calls by which a language loads shared objects by name."""
_CFFI = b"\0_cffi_backend\0"
"""What every extension that cffi made imports when it is loaded."""
_PROVIDERS = re.compile(rb"OSSL_PROVIDER_load\([^()]*?[\"'](\w{1,40})[\"']")
"""Modules of OpenSSL (OSSL_PROVIDER-base(7)), which it opens by their file's name."""
_QUIET = frozenset(("documentation", "hook"))


@dataclass(slots=True)
class _File:
    """A file under scan: its place in the list, its tree path, and what it shows."""

    number: int
    path: str
    place: str
    found: dict[tuple[Kind, str], bool] = field(default_factory=dict)

    def add(self, kind: Kind, targets: Iterable[str], *, optional: bool = False) -> None:
        for target in targets:
            key = (kind, target)
            self.found[key] = self.found.get(key, True) and optional


@dataclass(slots=True)
class _Python:
    """A Python source with lines that are imports or stand in strings, which a parser can tell."""

    file: _File
    data: bytes
    doubtful: set[str]


def scan(prepared: Prepared) -> Scanned:
    """The evidence of one package. Odd and hostile files are skipped with a note that names them."""
    return _Scan(prepared).run()


class _Scan:
    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.notes: list[str] = []
        self.paths: list[str] = []
        self.sizes: list[str] = []
        self.total = 0
        self.files: list[_File] = []
        self.elves: list[Elf] = []
        self.shared: list[SharedObject] = []
        self.links: list[tuple[int, str]] = []
        self.hard: list[tuple[int, int]] = []
        self.modules: dict[str, list[str]] = {}
        self.python: list[_Python] = []
        self.shown: dict[str, set[str]] = {}
        self.declared = _declared(prepared)
        self.words: dict[int, set[str]] = {}

    def run(self) -> Scanned:
        entries = list(self._listed())
        own = {path: number for number, path in enumerate(self.paths)}
        with _Reader() as reader:
            for number, entry in entries:
                self._look(number, entry, own, reader)
        self._confirm()
        return Scanned(self._evidence(own), self._detail())

    def _listed(self) -> Iterator[tuple[int, Entry]]:
        for path, entry in self.prepared.tree.items():
            if entry.kind is Entity.DIRECTORY:
                continue
            if "\n" in path or "\t" in path or not path.isprintable():
                self.notes.append(f"{path!a}: not looked at, its name is not plain text")
                continue
            number = len(self.paths)
            self.paths.append(path)
            self.sizes.append(str(entry.size))
            self.total += entry.size
            yield number, entry

    def _look(self, number: int, entry: Entry, own: dict[str, int], reader: _Reader) -> None:
        path = entry.path
        if entry.kind is Entity.SYMLINK:
            if entry.target.isprintable() and entry.target:
                self.links.append((number, entry.target))
                target = _absolute(path, entry.target)
                if target.lstrip("/") not in own or policy.place_of(path) == "program":
                    self._file(number, path).add(Kind.LINK, (target,))
                self._name_module(number, path)
            return
        if entry.kind is Entity.HARDLINK:
            if entry.target in own:
                self.hard.append((number, own[entry.target]))
            return
        if entry.kind is not Entity.FILE or not entry.size:
            self._name_module(number, path)
            return
        self._name_module(number, path)
        suffix = path[path.rfind(".") :]
        if path.startswith(
            ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/zoneinfo/", "var/lib/dpkg/")
        ):
            return
        known = _SUFFIXES.get(suffix)
        setting = path.startswith("etc/")
        whole = known is not None or setting or entry.size <= _HEAD
        try:
            head = reader.read(entry, min(entry.size, TEXT_LIMIT) if whole else _HEAD)
        except OSError as error:  # pragma: no cover - the tree's own spool has gone
            self.notes.append(f"{path}: not looked at, {error.strerror}")
            return
        if head[:4] == elf.MAGIC:
            self._elf(self._file(number, path), entry, reader, head)
            return
        script = head[:2] == b"#!"
        if not script and known is None and head[:1] == b"#" and _PRIVATE.match(path):
            known = "shell"
        if not script and known is None and not setting:
            return
        if entry.size > (JAR_LIMIT if known == "java" else TEXT_LIMIT):
            self.notes.append(f"{path}: not looked at, {entry.size} bytes are too many")
            return
        file = self._file(number, path)
        data = head if len(head) == entry.size else reader.read(entry, entry.size)
        if known == "java":
            self._jar(file, data)
            return
        if script:
            self._script(file, data, known, runs=bool(entry.mode & 0o111))
        elif known == "service":
            file.add(Kind.SERVICE, settings.services(data))
        elif known is not None and not setting:
            if file.place not in _QUIET:
                self._source(file, known, data)
        elif setting and file.place == "settings":
            self._setting(file, data)

    def _file(self, number: int, path: str) -> _File:
        file = _File(number, path, policy.place_of(path))
        self.files.append(file)
        return file

    def _name_module(self, number: int, path: str) -> None:
        for language, name_of in _NAMERS.get(path[path.rfind(".") :], ()):
            name = name_of(path)
            if name is not None:
                self.modules.setdefault(language, []).append(f"{name} {number}")
                return

    def _elf(self, file: _File, entry: Entry, reader: _Reader, head: bytes) -> None:
        if entry.size > ELF_LIMIT:
            self.notes.append(f"{file.path}: not looked at, {entry.size} bytes are too many")
            return
        data = head if len(head) == entry.size else reader.read(entry, entry.size)
        try:
            read = elf.read(data)
        except elf.BadElf as error:
            self.notes.append(f"{file.path}: not looked at, {error}")
            return
        if read.kind not in (2, 3):
            return
        self.elves.append(
            Elf(
                file.number,
                read.machine,
                read.soname,
                read.interpreter,
                tuple((name, tuple(sorted(read.asked.get(name, ())))) for name in read.needed),
                tuple(read.search),
                tuple(sorted(read.defined)),
                read.inherits,
            )
        )
        library = not read.interpreter or bool(read.soname)
        if library and read.dynamic:
            self.shared.append(
                SharedObject(read.soname or posixpath.basename(file.path), file.number, read.machine)
            )
        file.add(Kind.NEEDED, read.needed)
        if read.interpreter:
            file.add(Kind.INTERPRETER, (read.interpreter,))
            if b"\0system\0" in read.names or b"\0popen\0" in read.names:
                file.add(Kind.SHELL, ("/bin/sh",))
        if b"\0iconv_open\0" in read.names and read.soname != "libc.so.6":
            file.add(Kind.MODULE, (ANY_CONVERTER,))
        if read.soname != "libc.so.6" and any(name in read.names for name in _STARTS):
            for start, length in read.strings:
                self._started(file, data, start, start + length)
        if file.place == "python" and any(data.find(_CFFI, at, at + size) >= 0 for at, size in read.strings):
            file.add(Kind.PYTHON, (_CFFI.strip(b"\0").decode(),))
        loads = b"\0dlopen\0" in read.names or b"\0g_module_open\0" in read.names
        for start, length in read.strings:
            paths = strings.paths(data, start, start + length, assigned=False)
            file.add(Kind.PATH, self._worth(paths))
            if loads:
                file.add(Kind.LOADED, strings.objects(data, start, start + length))

    def _started(self, file: _File, data: bytes, start: int, end: int) -> None:
        """Commands that a program starts by name, where the name is that of a declared package or leads a
        line.
        """
        rules = policy.load()
        named = {name for name in self.declared if data.find(b"\0" + name.encode() + b"\0", start, end) >= 0}
        if end - start < _MOST_STRINGS:
            words = strings.words(data, start, end)
            self.words.setdefault(file.number, set()).update(words)
            lines = strings.command_lines(data, start, end) - rules.ignored_commands
            named |= {*sorted(lines)[:_MOST_COMMANDS], *(words & rules.started)}
        file.add(Kind.COMMAND, named - rules.ignored_commands)

    def _worth(self, paths: set[str]) -> list[str]:
        kept = [path for path in sorted(paths) if not _SOURCES.match(path)]
        return kept[:_MOST_PATHS]

    def _script(self, file: _File, data: bytes, known: str | None, *, runs: bool) -> None:
        """A file with an interpreter's line; one that nobody may run (`runs`) does not need the
        interpreter. Of those that env finds for them, what lies among programs needs env too; elsewhere it
        may be a module that is only read.
        """
        interpreter = _interpreter(data)
        if interpreter is None:
            return
        if file.place in ("python", "perl", "ruby", "node", "php") and known is not None:
            self._source(file, known, data)
            return
        if runs:
            through = not interpreter.startswith("/") and _STARTED.match(file.path) is not None
            file.add(Kind.INTERPRETER, (interpreter, ENV) if through else (interpreter,))
        language = policy.language_of(interpreter)
        if file.place in _QUIET:
            return
        if language is not None:
            self._source(file, language, data)
        else:
            file.add(Kind.PATH, self._worth(strings.paths(data, comment=b"#")))

    def _source(self, file: _File, language: str, data: bytes) -> None:
        if b"\0" in data:
            self.notes.append(f"{file.path}: not looked at, it holds NUL bytes")
            return
        if language == "shell":
            text = data[: shell.LIMIT].decode("utf-8", "replace")
            called = shell.commands(text)
            ignored = policy.load().ignored_commands
            file.add(Kind.COMMAND, (name for name in called if "/" not in name and name not in ignored))
            file.add(Kind.PATH, (name for name in called if name.startswith("/")))
        elif language == "python":
            self._python(file, data)
        elif language == "perl":
            known = self.shown.setdefault(language, set()) if file.place == language else set()
            found = languages.perl(data, known)
            if "/perl5/" in file.path:
                found |= languages.perl_named(data) - known
            known |= found
            file.add(Kind.PERL, found)
        else:
            read = {
                "ruby": languages.ruby,
                "php": languages.php,
                "node": languages.node,
                "erlang": languages.erlang,
            }
            file.add(_LANGUAGES[language], read[language](data))
            if language == "php":
                file.add(Kind.PHP, languages.php_beside(data, file.path))
        if language != "shell":
            file.add(Kind.COMMAND, (name for name in self.declared if _quotes(name, data)))
        if b"OSSL_PROVIDER_load" in data:
            file.add(Kind.LOADED, (f"{name.decode()}.so" for name in _PROVIDERS.findall(data)))
        if b".so" in data and _FOREIGN.search(data):
            file.add(Kind.LOADED, strings.objects(data))
        comment = b"//" if language in ("php", "node") else b"#"
        file.add(Kind.PATH, self._worth(strings.paths(data, comment=comment)))

    def _setting(self, file: _File, data: bytes) -> None:
        if b"\0" in data:
            return
        data = settings.uncommented(data)
        file.add(Kind.SETTING, self._worth(strings.paths(data)))
        file.add(Kind.SETTING, settings.included(file.path, data))
        file.add(Kind.MODULE, settings.modules(file.path, data))

    def _jar(self, file: _File, data: bytes) -> None:
        try:
            entries = java.class_path(data)
        except java.BadJar as error:
            self.notes.append(f"{file.path}: not looked at, {error}")
            return
        for name in entries:
            if name.isprintable() and ":" not in name:
                file.add(Kind.JAVA, (_absolute(file.path, name),))

    def _python(self, file: _File, data: bytes) -> None:
        if file.place != "python" and len(data) <= _PARSED:
            try:
                for name, optional in python.imports(data).items():
                    file.add(Kind.PYTHON, (name,), optional=optional)
                return
            except (SyntaxError, ValueError) as error:
                self._unparsed(file, error)
        sure, doubtful = python.candidates(data)
        file.add(Kind.PYTHON, sure - python.COMPILED_IN)
        if doubtful := doubtful - python.COMPILED_IN:
            self.python.append(_Python(file, data, doubtful))
        self.shown.setdefault("python", set()).update(sure)

    def _unparsed(self, file: _File, error: SyntaxError | ValueError) -> None:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        self.notes.append(f"{file.path}: imports searched for, not parsed: {reason}")

    def _confirm(self) -> None:
        """Ask the parser about imports that may stand in strings, within a budget of bytes."""
        shown = self.shown.setdefault("python", set())
        budget = max(1 << 13, self.total >> 8)
        for waiting in sorted(self.python, key=lambda source: (len(source.data), source.file.number)):
            file, new = waiting.file, waiting.doubtful - shown
            if not new:
                continue
            if len(waiting.data) <= budget:
                budget -= len(waiting.data)
                try:
                    new &= python.imports(waiting.data).keys()
                except (SyntaxError, ValueError) as error:
                    self._unparsed(file, error)
            file.add(Kind.PYTHON, new)
            shown |= new

    def _evidence(self, own: dict[str, int]) -> PackageEvidence:
        facts = self.prepared.facts
        rules = policy.load()
        shared = {item.soname for item in self.shared} | {
            posixpath.basename(path) for path in self.paths if ".so" in path
        }
        modules = {
            language: {line.split(" ", 1)[0] for line in lines} for language, lines in self.modules.items()
        }
        commands = {path.rpartition("/")[2] for path in self.paths if policy.is_command(path)}
        scripts = {
            file.path for file in self.files if any(kind is Kind.INTERPRETER for kind, _ in file.found)
        }
        grouped: dict[tuple[Kind, str, str], list[tuple[int, bool]]] = {}
        for file in self.files:
            for (kind, target), optional in file.found.items():
                if kind in (Kind.NEEDED, Kind.LOADED, Kind.MODULE):
                    if posixpath.basename(target) in shared:
                        continue
                elif (
                    kind in (Kind.PATH, Kind.SETTING, Kind.LINK, Kind.JAVA, Kind.SERVICE)
                    and target[:1] == "/"
                ):
                    inside = _inside(target, own)
                    if inside is not None and inside not in scripts:
                        continue
                    if kind is not Kind.LINK and rules.ignored_paths.match(target):
                        continue
                elif kind is Kind.COMMAND:
                    if target in commands and not any(s.endswith("/" + target) for s in scripts):
                        continue
                elif kind in _MODULE_KINDS and target in modules.get(str(kind), ()):
                    continue
                grouped.setdefault((kind, target, file.place), []).append((file.number, optional))
        needs = []
        for (kind, target, place), users in sorted(grouped.items()):
            by_file = kind is not Kind.NEEDED and rules.weight(place) in (Weight.PROGRAM, Weight.HELPER)
            by_file = by_file or kind is Kind.INTERPRETER or (kind is Kind.NEEDED and target != "libc.so.6")
            numbers = tuple(number for number, _ in users)[: _MOST_FILES if by_file else _FILES_A_NEED]
            needs.append(Need(kind, target, place, numbers, len(users), all(o for _, o in users)))
        for language, names in sorted(self.modules.items()):
            first = int(names[0].rsplit(" ", 1)[1])
            needs.append(Need(Kind.RUNTIME, _RUNTIMES[language], language, (first,), len(names)))
        hints = facts.hints
        start = hints.entrypoint or hints.cmd
        for word in start[:1]:
            needs.append(Need(Kind.RECIPE, word, "program", ()))
        return PackageEvidence(
            name=facts.name,
            files="\n".join(self.paths),
            sizes=" ".join(self.sizes),
            size=self.total,
            data_only=not (self.elves or self.modules or any(map(policy.is_command, self.paths))),
            development=any(map(_DEVELOPMENT.match, self.paths)),
            shared=tuple(self.shared),
            modules=tuple(
                Modules(language, "\n".join(names)) for language, names in sorted(self.modules.items())
            ),
            needs=tuple(needs),
            links="\n".join(f"{number}\t{target}" for number, target in self.links),
            provided="\n".join(_provided(self.prepared)),
            start=tuple(start[:1]),
            notes=tuple(self.notes),
        )

    def _detail(self) -> PackageDetail:
        grouped: dict[tuple[Kind, str, bool], list[int]] = {}
        for file in self.files:
            for (kind, target), optional in file.found.items():
                if kind is not Kind.NEEDED and kind is not Kind.LINK:
                    grouped.setdefault((kind, target, optional), []).append(file.number)
        return PackageDetail(
            name=self.prepared.facts.name,
            elves=tuple(self.elves),
            needs=tuple(
                FileNeed(kind, target, tuple(numbers), optional)
                for (kind, target, optional), numbers in sorted(grouped.items())
            ),
            hard=tuple(self.hard),
            words=tuple(
                (number, " ".join(sorted(words))) for number, words in sorted(self.words.items()) if words
            ),
        )


_MODULE_KINDS = frozenset(_LANGUAGES.values())
_NAMERS = {
    ".py": (("python", python.module_name),),
    ".so": (
        ("python", python.module_name),
        ("ruby", languages.ruby_feature),
        ("php", languages.php_extension),
    ),
    ".pm": (("perl", languages.perl_module),),
    ".pl": (("perl", languages.perl_module),),
    ".rb": (("ruby", languages.ruby_feature),),
    ".js": (("node", languages.node_module),),
    ".app": (("erlang", languages.erlang_application),),
    ".json": (("node", languages.node_module),),
}


class _Reader:
    """Reads beginnings of files, keeping each spool open for as long as the scan lasts."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def read(self, entry: Entry, size: int) -> bytes:
        content = entry.content
        if isinstance(content, Span):
            name = str(content.path)
            descriptor = self._open.get(name)
            if descriptor is None:
                descriptor = self._open[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(descriptor, min(size, content.size), content.offset)
        if content is None:
            return b""
        with content.open() as stream:
            return stream.read(size)


def _absolute(path: str, target: str) -> str:
    """Where a link at a tree path leads, as an absolute path; `..` above the root stays at the root."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target))


def _inside(target: str, own: dict[str, int]) -> str | None:
    path = target.strip("/")
    if path in own:
        return path
    merged = "usr/" + path
    return merged if merged in own else None


def _interpreter(data: bytes) -> str | None:
    """The program that the first line names: an absolute path, or a command when it goes through env."""
    words = data[2:_HEAD].split(b"\n", 1)[0].split()
    if not words:
        return None
    first = words[0].decode("utf-8", "replace")
    if not first.startswith("/") or not first.isprintable():
        return None
    if posixpath.basename(first) != "env":
        return first
    for word in words[1:]:
        if not word.startswith(b"-") and b"=" not in word:
            name = word.decode("utf-8", "replace")
            return name if name.isprintable() else None
    return first


def _declared(prepared: Prepared) -> frozenset[str]:
    """Names of packages that the package declares and that may be names of commands (its status
    paragraph).
    """
    status = prepared.tree.get(f"var/lib/dpkg/status.d/{prepared.facts.name}")
    if status is None or status.kind is not Entity.FILE:
        return frozenset()
    text = status.read()[:TEXT_LIMIT].decode("utf-8", "replace")
    names = {
        name
        for field in _DEPENDS.findall(text)
        for name in re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", field)
        if not name.startswith("lib")
    }
    return frozenset(names | {name.rstrip("0123456789.-") for name in names} - {""})


def _quotes(name: str, data: bytes) -> bool:
    text = name.encode()
    return b'"%b"' % text in data or b"'%b'" % text in data


def _provided(prepared: Prepared) -> Iterator[str]:
    for choice in prepared.facts.alternatives:
        yield f"{choice.link.lstrip('/')}\t{choice.path.lstrip('/')}"
        for slave in choice.slaves:
            yield f"{slave.link.lstrip('/')}\t{slave.path.lstrip('/')}"
