"""From what was observed to what stays: observation chooses units, knowledge closes them.

    observed files, the program that starts, what the author added, essentials, --keep
        ──▶ a file stays ──▶ at level units, its unit begins (`ecosystems`: what of the unit stays with it)
                         ──▶ what it shows that it needs (closure's evidence) ──▶ files that meet it …
        ──▶ nothing is left to follow ──▶ certificates, time zones, terminals, names in quotes ──▶ again
    every path that did not stay gets the rule by which it goes

Pure but for reading the image's files. The order of paths is canonical throughout, so that equal images and
observations give equal selections, reasons among them.
"""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from ramekin.analyze import loading
from ramekin.closure import policy as policies
from ramekin.closure.evidence.model import ANY_CONVERTER
from ramekin.closure.evidence.model import Kind as Shown
from ramekin.image.tree import Kind
from ramekin.slim.contents import Contents
from ramekin.slim.observation import Observation
from ramekin.slim.units import java, node, python, ruby, runtimes, system
from ramekin.slim.units.catalog import (
    ARCHIVE,
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
    catalog,
    source_of,
)
from ramekin.slim.units.evidence import Evidence, Finding
from ramekin.slim.units.model import Choice, Level, Reason, Selection, Unit, title
from ramekin.slim.units.table import rule
from ramekin.slim.units.unwanted import Unwanted
from ramekin.slim.units.wanted import Wanted

_COMMAND_FOLDERS = (
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "sbin",
    "bin",
    "usr/games",
)
_LANGUAGES = frozenset((Shown.PYTHON, Shown.PERL, Shown.RUBY, Shown.PHP, Shown.NODE, Shown.ERLANG))
_RULES = {
    Shown.NEEDED: "needed",
    Shown.LOADED: "loaded",
    Shown.MODULE: "setting",
    Shown.INTERPRETER: "interpreter",
    Shown.PATH: "path",
    Shown.SETTING: "setting",
    Shown.COMMAND: "command",
    Shown.SHELL: "command",
    Shown.SERVICE: "command",
    Shown.RECIPE: "command",
    Shown.JAVA: "import",
    Shown.LINK: "link",
}
_CALLED = re.compile(
    rb"(?:\brun|\bcall|\bPopen|\bcheck_call|\bcheck_output|\bspawn(?:Sync)?|\bexec\w*|\bsystem|\bpopen|\bwhich)"
    rb"\s*\(\s*\[?\s*[fr]?['\"`]([A-Za-z0-9_][\w.+-]{0,40})(?=['\"` ])"
)
"""Commands that source starts by name, in the ways of Python, Node, Ruby and PHP."""
_HANDED_ON = re.compile(
    rb"(?:-exec(?:dir)?|-ok|\bxargs(?:[ \t]+-\S+)*"
    rb"|\b(?:gosu|su-exec|setpriv|chroot|timeout|nice|tini|dumb-init)[ \t](?:[^\s;|&]+[ \t]+)*?)"
    rb"[ \t]*([a-z][a-z0-9._+-]{0,40})\b"
)
"""Commands that shell scripts hand to others: `find -exec`, `xargs`."""
_PROPER = ("/cc1", "/cc1plus", "/f951")
"""How compilers' own programs end, which drivers start for source alone."""
_VERSIONED = re.compile(r"(?:.*-linux-\w+-)?([a-z0-9+]+?)(?:-[0-9.]+)?\Z")
_SOURCES = {"python": (".py",), "perl": (".pl", ".pm"), "ruby": (".rb", ".ru"), "php": (".php",)}
"""By language, how files of source end."""
_TEXT = 1 << 20
"""Bytes that source may have to be searched."""


def complete(
    contents: Contents,
    observation: Observation | None,
    choice: Choice,
    *,
    catalogued: Catalog | None = None,
    evidence: Evidence | None = None,
) -> Selection:
    """What stays of an image.

    Without an observation, what its configuration starts is all that is known, and the selection's notes say
    so. `UsageError` when --keep or --drop names neither a path nor a unit of the image.
    """
    known = catalogued or catalog(contents)
    seen = evidence or Evidence(contents)
    completion = Completion(contents, observation, choice, known, seen)
    completion.run()
    return completion.selection()


class Completion:
    """The state of one run; the modules of ecosystems act on it through `keep`, `lead` and `begin`."""

    def __init__(
        self,
        contents: Contents,
        observation: Observation | None,
        choice: Choice,
        known: Catalog,
        evidence: Evidence,
    ) -> None:
        self.contents, self.observation, self.choice = contents, observation, choice
        self.catalog, self.evidence = known, evidence
        self.units, self.of = known.units, known.of
        self.policy = policies.load()
        self.kept: dict[str, Reason] = {}
        self.sought: set[str] = set()
        self.begun: dict[str, str] = {}
        self.todo: deque[str] = deque()
        self.notes: dict[str, None] = {}
        self.seen = frozenset() if observation is None else self._observed(observation)
        self.executed = frozenset(observation.executed if observation is not None else ())
        self.whole = choice.level is Level.UNITS
        self.environment = loading.environment(contents.config)
        self.loader = loading.Loader(contents.stack, contents.config)
        self._keep = Wanted(choice.keep, "--keep", contents, known)
        self._drop = Wanted(choice.drop, "--drop", contents, known)
        self._links = self._links_to()
        self._objects = self._shared_objects()
        self._outside: dict[str, bool] = {}
        self.pam = False
        self.logins: dict[str, tuple[str, str]] = {}
        """Settings of PAM, with what they would stay by: nothing reads them where no program uses it."""
        self.python = python.PythonRules(self)
        self.compilers = self._compilers()
        self.unwanted = Unwanted(
            contents, known, choice, self._drop, self.environment, self.python.reads, bool(self.compilers)
        )
        self.node = node.NodeRules(self)
        self.ruby = ruby.RubyRules(self)
        self.java = java.JavaRules(self)
        self.runtimes = runtimes.RuntimeRules(self)
        self.system = system.SystemRules(self)

    # --- the run

    def run(self) -> None:
        """Follow everything until nothing is left."""
        self._start()
        while True:
            while self.todo:
                self._file(self.todo.popleft())
            before = len(self.kept)
            self.system.settle()
            self.python.settle()
            if len(self.kept) == before and not self.todo:
                break
        self.system.without_interpreter()

    def _start(self) -> None:
        for path in self.contents.paths:
            if rule("essential").matches(path) and self._drop.match(path) is None:
                self.keep(path, "essential", enter=False)
        for path in sorted(self._keep.paths()):
            self.keep(path, "keep", self._keep.match(path) or "")
        self._started()
        self._bare()
        if self.compilers:
            self.system.for_compilers(self.compilers)
        self._observation()
        if self.whole or self.observation is None:
            for unit in list(self.units.values()):
                if unit.kind in (AUTHOR, ARCHIVE):
                    for path in unit.paths:
                        if self.unwanted.why(path, unit) is None:
                            self.keep(path, "author", sought=False)
        if self.observation is None:
            self.notes[
                "nothing was observed: what stays is what the image's configuration starts, what its author"
                " added, and what these need"
            ] = None

    def _observation(self) -> None:
        """What was seen. A file that was only tested for stays by itself: more was not seen of it."""
        if self.observation is None:
            return
        tested = frozenset(self.observation.tested).difference(
            self.observation.opened, self.observation.executed, self.observation.healed
        )
        for path in sorted(self.seen):
            whole = path not in tested
            if not self._is_hook(path):
                self.keep(path, "observed", "by the probes", sought=whole, enter=whole)
        for path in self.observation.healed:
            self.keep(path, "keep", "verification put it back")

    def _started(self) -> None:
        runtime = self.contents.config.config
        if runtime is None:
            return
        words = [*(runtime.entrypoint or ()), *(runtime.cmd or ())]
        folder = runtime.working_dir or "/"
        for number, word in enumerate(words):
            for part in word.split() if number else [word]:
                part = part.strip("\"'();&|")
                if not part or part.startswith("-") or len(part) > 4000:
                    continue
                if "/" in part or number:
                    place = posixpath.normpath(posixpath.join("/", folder, part))
                    if self.contents.resolve(place) and self.lead(place, "started", "of the command line"):
                        continue
                if (found := self.command(part)) is not None and (number == 0 or "/" not in part):
                    self.lead(found, "started", "of the command line")
                    if self.observation is None:
                        self.executed |= {self.contents.resolve(found) or found}

    def _compilers(self) -> list[str]:
        """The paths of compilers that ran or are kept."""
        linked = any(path.endswith(("/collect2", "/ld.bfd", "-ld.bfd")) for path in self.executed)
        ran = [path for path in sorted(self.executed) if _compiles(path)]
        if linked and not any(path.endswith(_PROPER) for path in ran):
            ran = []
        kept = (path for path in self._keep.paths() if policies.is_command(path) and _compiles(path))
        return [*ran, *sorted(kept)]

    def _bare(self) -> None:
        """An interpreter that the image starts without a program runs what nobody sees here."""
        runtime = self.contents.config.config
        words = [*(runtime.entrypoint or ()), *(runtime.cmd or ())] if runtime is not None else []
        found = self.command(words[0]) if len(words) == 1 else None
        real = self.contents.resolve(found) if found is not None else None
        language = policies.language_of(real) if real is not None else None
        if real is None or language not in _SOURCES or not self.whole:
            return
        if any(unit.kind == AUTHOR and _has(unit.paths, _SOURCES[language]) for unit in self.units.values()):
            return
        because = f"the image starts /{real} and no program"
        self.notes[
            f"{because}: what that runs comes from elsewhere, and of libraries beside its own only those "
            "stay that probes used"
        ] = None
        self.python.bare(real, because)
        self.system.extensions(self.units[self.of[real]], because)

    def _observed(self, observation: Observation) -> frozenset[str]:
        """What was used and is no folder."""
        return frozenset(path for path in observation.used if path in self.of)

    def _is_hook(self, path: str) -> bool:
        """Whether that a path was opened shows no use of its unit."""
        return rule("start-hooks").matches(path) or self.python.is_listing(path)

    # --- what the modules of ecosystems call

    def keep(
        self, path: str, name: str, because: str = "", *, sought: bool = True, enter: bool = True
    ) -> bool:
        """Have a path (no folder) stay by a rule; whether it stays.

        `sought` says that something led to this very file, so that all it shows that it needs counts; `enter`
        that its unit begins.
        """
        if path not in self.of:
            return False
        if path.startswith("etc/pam.d/") and not self.pam and name not in ("keep", "observed"):
            self.logins.setdefault(path, (name, because))
            return False
        if path not in self.kept:
            gone = self.unwanted.given_up(path) if self._keep.match(path) is None else None
            if gone is not None and gone[0] == "bytecode":
                return self.keep(source_of(path), name, because, sought=sought, enter=enter)
            if gone is not None:
                return False
            self.kept[path] = Reason(name, self.of[path], because)
            self._outside.setdefault(path, not enter)
            self.todo.append(path)
        if enter and self._outside.get(path):
            self._outside[path] = False
            self.todo.append(path)
        if sought and path not in self.sought:
            self.sought.add(path)
            self.todo.append(path)
        return True

    def lead(self, target: str, name: str, because: str = "", *, sought: bool = True) -> bool:
        """Have what a path leads to stay, with the links on the way; false for folders and nothing."""
        links, real = self.contents.way(target)
        if real is None or real not in self.of:
            return False
        if not self.keep(real, name, because, sought=sought):
            return False
        for link in links:
            self.keep(link, "link", f"it leads to /{real}", sought=False, enter=False)
        return True

    def begin(self, name: str, because: str, by: str) -> None:
        """Have a unit begin: its ecosystem says what of it stays. Nothing at level files."""
        unit = self.units.get(name)
        if unit is None or name in self.begun or not self.whole:
            return
        self.begun[name] = because
        if unit.kind == SYSTEM:
            self.system.begin(unit, by, because)
        elif unit.kind == STDLIB:
            self.python.begin_module(unit, by, because)
        elif unit.kind == PYTHON:
            self.python.begin(unit, by, because)
        elif unit.kind == NODE:
            self.node.begin(unit, by, because)
        elif unit.kind == GEM:
            self.ruby.begin(unit, by, because)
        elif unit.kind == RUNTIME:
            self.runtimes.begin(unit, by, because)

    def fill(self, unit: Known, name: str, because: str, *, but: Callable[[str], bool] | None = None) -> None:
        """Have all files of a unit stay but those that nobody wants."""
        for path in unit.paths:
            if (but is None or not but(path)) and self.unwanted.why(path, unit) is None:
                self.keep(path, name, because, sought=False)

    def command(self, name: str) -> str | None:
        """The path (its links not followed) that a command's name means."""
        if not name or "/" in name:
            return name.strip("/") if name and self.contents.resolve(name) else None
        places = [place.strip("/") for place in self.environment.get("PATH", "").split(":")]
        for place in (*filter(None, places), *_COMMAND_FOLDERS):
            path = f"{place}/{name}"
            real = self.contents.resolve(path)
            if real is not None and self.contents.kind(real) is Kind.FILE:
                return path
        return None

    def text(self, path: str, most: int = _TEXT) -> bytes:
        """The content of a file that is text of at most `most` bytes; else nothing."""
        if self.contents.kind(path) is not Kind.FILE or self.contents.size(path) > most:
            return b""
        data = self.contents.read(path, most)
        return b"" if b"\0" in data[:4096] else data

    # --- following

    def _file(self, path: str) -> None:
        unit = self.units[self.of[path]]
        reason = self.kept[path]
        entered = not self._outside.get(path)
        if self.contents.kind(path) is Kind.SYMLINK:
            self._follow_link(path)
            return
        if entered and unit.name not in self.begun:
            name = "package" if unit.kind == SYSTEM else reason.rule
            self.begin(unit.name, f"/{path}: {rule(reason.rule).reason}", name)
        self._names(path, unit)
        if not entered:
            return
        if path.endswith((".gz", ".br")) and path[:-3] in self.of:
            self.keep(path[:-3], "squeezed", f"/{path} is the same", sought=False)
        if path.endswith(".pyc"):
            self.keep(source_of(path), reason.rule, f"the source of /{path}")
        self.system.file(path, unit)
        self._needs(path, unit)
        self.python.file(path, unit)
        self.node.file(path, unit)
        self.ruby.file(path, unit)
        self.java.file(path, unit)
        self.runtimes.file(path, unit)

    def _follow_link(self, path: str) -> None:
        links, real = self.contents.way(path)
        for link in links[1:]:
            self.keep(link, "link", f"/{path} leads over it", sought=False, enter=False)
        if real is None:
            return
        if real in self.of:
            strong = path in self.sought or self.units[self.of[path]].kind == AUTHOR
            self.keep(real, "link", f"/{path} leads to it", sought=strong)
        elif path in self.sought and self.of[path].startswith("files:"):
            for below in self.contents.below(real):
                other = self.units[self.of[below]]
                if other.kind == AUTHOR and self.unwanted.why(below, other) is None:
                    self.keep(below, "link", f"/{path} leads to its folder", sought=False)

    def _names(self, path: str, unit: Known) -> None:
        """Links that lead to a file that stays, and its other names."""
        for link in self._links.get(path, ()):
            other = self.units[self.of[link]]
            near = other is unit or other.kind in (LINKS, AUTHOR)
            if near and self.unwanted.why(link, other) is None:
                self.keep(link, "link", f"it leads to /{path}", sought=False, enter=False)
        placed = self.contents.files[path]
        if placed.inode is not None and placed.inode.names > 1 and self.whole:
            for name in self.contents.names[id(placed.inode)]:
                if (
                    name not in self.kept
                    and self.of[name] == unit.name
                    and self.unwanted.why(name, unit) is None
                ):
                    self.keep(name, "hardlink", f"a name of /{path}", sought=False)

    def _needs(self, path: str, unit: Known) -> None:
        if rule("essential").matches(path) and not path.endswith(("nsswitch.conf", "profile")):
            return
        found = self.evidence.of(path, unit)
        if found.is_elf:
            self.closure(path)
        correction = self.policy.correction(unit.package.name) if unit.package else None
        interprets = found.is_elf and policies.language_of(path) not in (None, "shell")
        for need in found.needs:
            if interprets and need.kind is Shown.COMMAND:
                continue
            if correction and correction.ignores and correction.ignores.match(need.target):
                continue
            if need.kind not in _LANGUAGES and self.follows(need.kind, path, unit):
                self._meet(path, unit, need)
            elif need.kind is Shown.INTERPRETER:
                self.system.waiting[path] = need.target
        for word in sorted(found.words):
            self.system.word(path, unit, word)
        if (unit.kind == AUTHOR or path in self.sought) and not found.is_elf:
            called = set(_CALLED.findall(self.text(path))) if unit.kind == AUTHOR else set()
            if self.contents.read(path, 2) == b"#!" or path.endswith(".sh"):
                called |= set(_HANDED_ON.findall(self.text(path)))
            for name in sorted(called):
                self._meet(path, unit, Finding(Shown.COMMAND, name.decode()))

    def closure(self, path: str) -> None:
        """Keep all that the dynamic loader maps with a file."""
        for target in self.loader.closure(path)[1:]:
            self.keep(target, "needed", f"/{path} is loaded with it")
        facts = self.loader.elf(path)
        if interpreter := facts.get("interpreter"):
            self.lead(interpreter, "needed", f"the loader of /{path}")

    def follows(self, kind: Shown, path: str, unit: Known) -> bool:
        """Whether a need of a file counts."""
        if unit.kind == AUTHOR or path in self.sought:
            return True
        if unit.kind in (PYTHON, NODE, GEM, STDLIB, RUNTIME):
            return kind in (Shown.NEEDED, Shown.LOADED, Shown.PATH, Shown.MODULE, Shown.JAVA, Shown.LINK)
        if kind is Shown.INTERPRETER and not policies.is_command(path):
            return False
        asked = unit.name in self.system.asked
        return self.policy.follows(kind, policies.place_of(path), asked=asked, reached=False)

    def _meet(self, path: str, unit: Known, need: Finding) -> None:
        kind, target = need.kind, need.target
        name, because = _RULES.get(kind, "path"), f"/{path} names it"
        if kind in (Shown.LOADED, Shown.MODULE):
            if target == ANY_CONVERTER:
                self._converters(path)
                return
            for found in self.objects(posixpath.basename(target), path, unit):
                self.keep(found, name, because)
            return
        if kind is Shown.NEEDED:
            return
        if target.startswith("/"):
            self._path(path, unit, need, name, because)
            return
        if target in self.policy.ignored_commands:
            return
        command = self.command(target)
        if command is not None and self.system.may_use(path, unit, command, kind):
            self.lead(command, name, because)

    def _path(self, path: str, unit: Known, need: Finding, name: str, because: str) -> None:
        target = need.target
        if need.kind not in (Shown.INTERPRETER, Shown.LINK) and self.policy.ignored_paths.match(target):
            return
        if self.policy.module_folders.match(target) and need.kind is Shown.PATH:
            return
        real = self.contents.resolve(target)
        if real is None or not self.system.may_use(path, unit, real, need.kind):
            return
        if real in self.of:
            named = policies.is_command(real) and need.kind is Shown.PATH
            if named and unit.kind not in (AUTHOR, SYSTEM) and target not in self.policy.anyones:
                return
            self.lead(target, name, because)
        elif real and self.whole:
            self.system.folder(real, path, unit, because)

    def _converters(self, path: str) -> None:
        if "gconv" in self.begun:
            return
        self.begun["gconv"] = f"/{path}"
        for other in self.contents.paths:
            if "/gconv/" in other and self.unwanted.slice_of(other) is None:
                self.keep(other, "loaded", f"/{path} converts character sets")

    def objects(self, name: str, path: str, unit: Known) -> Iterator[str]:
        """Shared objects by file name, those nearest to the asking file first, of its machine."""
        found = self._objects.get(name, ())
        beside = [one for one in found if one.rpartition("/")[0] == path.rpartition("/")[0]]
        for one in beside or found:
            real = self.contents.resolve(one)
            if real is not None and self.system.may_use(path, unit, real):
                yield one

    def _shared_objects(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for path in self.contents.paths:
            if ".so" in path:
                found.setdefault(path.rpartition("/")[2], []).append(path)
        return {name: tuple(paths) for name, paths in found.items()}

    def _links_to(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for path in self.contents.paths:
            if self.contents.kind(path) is Kind.SYMLINK:
                real = self.contents.resolve(path)
                if real is not None and real in self.of:
                    found.setdefault(real, []).append(path)
        return {real: tuple(links) for real, links in found.items()}

    # --- the result

    def selection(self) -> Selection:
        """What stays, what goes and why."""
        kept = {path: self.kept[path] for path in self.contents.paths if path in self.kept}
        dropped = {path: self._why_not(path) for path in self.contents.paths if path not in self.kept}
        units = tuple(self._unit(unit) for unit in sorted(self.units.values(), key=lambda one: one.name))
        return Selection(
            kept=kept,
            dropped=dropped,
            units=units,
            notes=tuple(sorted({*self.notes, *self.evidence.notes, *self.python.notes()})),
            choice=self.choice,
            observation=self.observation,
            size=self._weigh(self.contents.paths),
            kept_size=self._weigh(kept),
            of=self.of,
        )

    def _weigh(self, paths: Iterable[str]) -> int:
        seen: set[int] = set()
        total = 0
        for path in paths:
            inode = self.contents.files[path].inode
            if inode is None or id(inode) in seen:
                continue
            if inode.names > 1:
                seen.add(id(inode))
            total += inode.file.size
        return total

    def _unit(self, unit: Known) -> Unit:
        staying = [path for path in unit.paths if path in self.kept]
        return Unit(
            name=unit.name,
            kind=unit.kind,
            version=unit.version,
            paths=tuple(unit.paths),
            kept=len(staying),
            size=self._weigh(unit.paths),
            kept_size=self._weigh(staying),
        )

    def _why_not(self, path: str) -> Reason:
        unit = self.units[self.of[path]]
        if (found := self.unwanted.why(path, unit)) is not None:
            return Reason(found[0], unit.name, found[1])
        if not self.whole:
            return Reason("not-seen", unit.name)
        base = title(unit.name)
        if path in self.system.left:
            return Reason("script", unit.name, f"its interpreter is {self.system.left[path]}")
        if unit.kind == PYTHON and (component := self.python.component(path, unit)) is not None:
            return Reason("component", unit.name, component)
        if unit.name in self.begun:
            part = {SYSTEM: "part", NODE: "node-graph"}.get(unit.kind, "unreached")
            return Reason(part, unit.name)
        if base in rule("package-manager").names:
            return Reason("package-manager", unit.name)
        if unit.kind == STDLIB:
            late = base in rule("developers").names
            return Reason("developers" if late else "module", unit.name)
        return Reason("unreached", unit.name)


def _has(paths: Iterable[str], endings: tuple[str, ...]) -> bool:
    """Whether some path ends so."""
    return any(path.endswith(endings) for path in paths)


def _compiles(path: str) -> bool:
    """Whether a path is named like a compiler, of some version or for some system."""
    match = _VERSIONED.match(path.rpartition("/")[2])
    return match is not None and match[1] in rule("compilers").names
