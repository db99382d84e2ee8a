"""Packages of a system (dpkg, apk, rpm), and what every program may silently expect.

A package of which a file stays keeps all its files but its parts (`closure`'s policy: commands, public
libraries, modules), each of which stays only where evidence leads to it. Of a package whose program ran all
commands stay, and those of the packages that were built from the same source and that it depends on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ramekin.closure import policy as policies
from ramekin.closure import slices
from ramekin.closure.evidence.model import Kind as Shown
from ramekin.closure.model import SliceChoice
from ramekin.image.tree import Kind
from ramekin.slim.units.catalog import AUTHOR, SYSTEM, Known
from ramekin.slim.units.table import rule

if TYPE_CHECKING:
    from ramekin.slim.units.completion import Completion

_PUBLIC = re.compile(r"(?:usr/)?lib(?:32|64|x32)?(?:/[^/]+-linux-[^/]+)?/[^/]+\.so(?:\.[^/]+)?\Z")
_REGION = re.compile(r":?[A-Z][A-Za-z_]+/[A-Za-z_/+-]+\Z")
_TWICE = re.compile(r"usr/share/zoneinfo/(?:posix|right)/.*", re.DOTALL)
_LIBC = re.compile(r"(?:libc\.so\.6|libc\.musl-\w+\.so\.1|ld-[\w.-]+|libc-[\d.]+\.so)\Z")
_FOR_COMPILERS = slices.matcher(
    SliceChoice(keep=frozenset(slices.rules()) - slices.FOR_COMPILERS, drop=slices.FOR_COMPILERS)
)
_SHARED = re.compile(rb"/[\w/.+-]+\.so[\w.]*")
_SCRIPT = 1 << 12
"""Bytes of a linker's script, which stands where a library is looked for."""
_MOST_IN_FOLDER = 2000
_NAMED = ("companion", "correction", "add-on", "bare", "compilers")
_NAMES = frozenset((Shown.PATH, Shown.SETTING, Shown.COMMAND, Shown.SERVICE))
"""Evidence by names: what programs and libraries name of Essential packages does not count, for most of them
name tools that only a whole system has."""


class SystemRules:
    def __init__(self, completion: Completion) -> None:
        self._all = completion
        self.asked: set[str] = set()
        self._cones: dict[str, frozenset[str]] = {}
        self._packages = {
            unit.package.name: unit for unit in completion.units.values() if unit.package is not None
        }
        self._looked: set[str] = set()
        self._settled: set[str] = set()
        self.waiting: dict[str, str] = {}
        self._shell = ""
        self.left: dict[str, str] = {}

    def begin(self, unit: Known, by: str, because: str) -> None:
        """A file of a package stays: so do those that no evidence could lead to."""
        correction = self._all.policy.correction(unit.package.name) if unit.package else None
        drops = correction.drops if correction is not None else None

        def is_part(path: str) -> bool:
            return (
                self._all.policy.part(path) is not None
                or (drops is not None and drops.match(path) is not None)
                or rule("time-zones").matches(path)
                or rule("locale-sources").matches(path)
                or ("/gconv/" in path and "gconv" not in self._all.begun)
            )

        but = None if by == "compilers" else is_part
        self._all.fill(unit, by if by in _NAMED else "package", because, but=but)
        if unit.package is None:
            return
        for name in correction.needs if correction else ():
            self._all.begin(f"{unit.package.system}:{name}", f"{unit.name} goes with it", "correction")
        for other in self._relatives(unit):
            if not any(policies.is_command(path) or _PUBLIC.match(path) for path in other.paths):
                self._all.begin(other.name, f"{unit.name} depends on it", "companion")

    def _relatives(self, unit: Known) -> Iterator[Known]:
        """Packages of the same source that a package depends on directly."""
        package = unit.package
        if package is None:
            return
        for name in sorted(package.depends):
            other = self._packages.get(name)
            if other is None or other is unit or other.package is None:
                continue
            if other.package.source == package.source:
                yield other

    def _depending(self, unit: Known) -> list[Known]:
        """Packages of the same source that depend directly on a package."""
        return [other for other in self._packages.values() if unit in self._relatives(other)]

    def file(self, path: str, unit: Known) -> None:
        """A file stays: its package is there, and if it is a program that ran, so are the others."""
        owner = self._all.catalog.owned.get(path)
        if owner is not None and owner != unit.name:
            self._all.begin(owner, f"/{path} is a file of it", "package")
        if path not in self._all.executed or unit.package is None or unit.name in self.asked:
            return
        if not unit.package.base and self._all.whole and policies.language_of(path) is None:
            self._tools(unit, path)

    def _tools(self, unit: Known, path: str) -> None:
        self.asked.add(unit.name)
        depending = [other for other in self._depending(unit) if other.name in self._all.begun]
        for one in (unit, *self._relatives(unit), *depending):
            if one.package is not None and one.package.base:
                continue
            commands = [other for other in one.paths if policies.is_command(other)]
            for command in commands:
                self._all.keep(command, "tools", f"/{path} ran")
        for other_path in unit.paths:
            if other_path in self._all.kept:
                self._all.todo.append(other_path)
        self._add_ons(unit, path)

    def _add_ons(self, unit: Known, path: str) -> None:
        """Packages that extend one whose program ran: they depend on it and put files beside its own."""
        assert unit.package is not None
        names = {unit.package.name, *unit.package.provides}
        folders = _private(unit.paths)
        for other in self._packages.values():
            if other is unit or other.package is None or not names & other.package.depends:
                continue
            if folders & _private(other.paths):
                self._all.begin(other.name, f"it adds to {unit.name}, and /{path} ran", "add-on")

    def word(self, path: str, unit: Known, word: str) -> None:
        """A program that starts others holds the name of a command: one of a declared package stays."""
        if unit.package is None or not (path in self._all.sought or unit.name in self.asked):
            return
        found = self._all.command(word) if word not in self._all.policy.ignored_commands else None
        if found is None:
            return
        real = self._all.contents.resolve(found)
        owner = self._owner(real) if real is not None else None
        if owner is None or owner.package is None or owner is unit:
            return
        if owner.package.name in unit.package.depends:
            self._all.lead(found, "command", f"/{path} names it")

    def _owner(self, path: str) -> Known | None:
        name = self._all.catalog.owned.get(path) or self._all.of.get(path)
        return self._all.units.get(name) if name is not None else None

    def may_use(self, path: str, unit: Known, target: str, kind: Shown = Shown.LINK) -> bool:
        """Whether a need of a package's file may be met by another path.

        Its package must declare the other's, unless that is one which every package may use.
        """
        owner = self._owner(path) if unit.kind != AUTHOR else None
        if owner is None or owner.package is None or owner.package.system != "dpkg":
            return True
        real = self._all.contents.resolve(target) or target
        other = self._owner(real)
        if other is None or other is owner or other.package is None or other.kind != SYSTEM:
            return True
        if other.package.name in self._cone(owner.package.name):
            return True
        if not other.package.essential:
            return False
        if kind not in _NAMES or "/" + target.strip("/") in self._all.policy.anyones:
            return True
        script = self._all.contents.read(path, 2) == b"#!"
        return script and (path in self._all.sought or unit.name in self.asked)

    def _cone(self, name: str) -> frozenset[str]:
        cone = self._cones.get(name)
        if cone is None:
            found, waiting = {name}, [name]
            while waiting:
                unit = self._packages.get(waiting.pop())
                if unit is None or unit.package is None:
                    continue
                for other in unit.package.depends:
                    if other not in found:
                        found.add(other)
                        waiting.append(other)
            cone = self._cones[name] = frozenset(found)
        return cone

    def folder(self, folder: str, path: str, unit: Known, because: str) -> None:
        """A file that stays names a folder: the one package that fills it is used."""
        owners: set[str] = set()
        for number, below in enumerate(self._all.contents.below(folder)):
            owners.add(self._all.of[below])
            if len(owners) > 1 or number > _MOST_IN_FOLDER:
                return
        for name in owners:
            other = self._all.units[name]
            first = next(iter(self._all.contents.below(folder)))
            if other.kind == SYSTEM and (unit.kind == AUTHOR or self.may_use(path, unit, first, Shown.PATH)):
                self._all.begin(name, because, "path")

    def for_compilers(self, compilers: list[str]) -> None:
        """Packages with headers or libraries to link with stay, whole, what assembles and links, and what
        compilers (paths) are made of: their packages and those of the same source that these depend on.
        """
        because = f"/{compilers[0]} compiles"
        owners = [self._owner(self._all.contents.resolve(path) or path) for path in compilers]
        parts = [unit for unit in owners if unit is not None and unit.kind == SYSTEM]
        for unit in parts:
            self._all.begin(unit.name, because, "package")
            parts += [other for other in self._relatives(unit) if other not in parts]
        for name in rule("compilers").when["itself"]:
            if (command := self._all.command(name)) is not None:
                self._all.lead(command, "compilers", because)
        for unit in list(self._packages.values()):
            if not any(_FOR_COMPILERS.slice_of(path) for path in unit.paths):
                continue
            self._all.begin(unit.name, because, "compilers")
            for path in unit.paths:
                if path.endswith(".so"):
                    for named in _SHARED.findall(self._all.text(path, _SCRIPT)):
                        self._all.lead(named.decode(), "compilers", f"/{path} has it linked")

    def extensions(self, unit: Known, because: str) -> None:
        """Packages of the same source that depend on one stay, with what they depend on of it."""
        for other in self._depending(unit):
            for one in (other, *self._relatives(other)):
                self._all.begin(one.name, because, "bare")

    # --- what programs expect without saying so

    def settle(self) -> None:
        """Certificates, time zones, terminals, fonts and sources of locales, by what stays."""
        for path in list(self._all.kept):
            if path not in self._looked:
                self._looked.add(path)
                self._look(path)
        self._tools_of_shell()
        zone = self._all.environment.get("TZ", "")
        if _REGION.match(zone):
            self._want("time-zones", f"TZ is {zone}")

    def _tools_of_shell(self) -> None:
        if not self._shell or not self._all.whole:
            return
        for tool in sorted(rule("shell-tools").names):
            found = self._all.command(tool)
            real = self._all.contents.resolve(found) if found is not None else None
            if found is None or real is None or real in self._all.kept:
                continue
            if all(other in self._all.kept for other in self._all.loader.closure(real)[1:]):
                self._all.lead(found, "shell-tools", f"/{self._shell} stays")

    def _look(self, path: str) -> None:
        name = path.rpartition("/")[2]
        if self._all.contents.kind(path) is not Kind.FILE:
            return
        stem = name.partition(".")[0]
        unit = self._all.of[path]
        if policies.language_of(path) == "shell" and policies.is_command(path):
            self._shell = self._shell or path
        if name in rule("locale-sources").names and policies.is_command(path):
            self._want("locale-sources", f"/{path} reads it")
        if name.startswith("libpython3."):
            self._all.python.embedded(path)
        if name.startswith("libpam.so"):
            self._all.pam = True
            for other, (name, because) in sorted(self._all.logins.items()):
                self._all.keep(other, name, because, sought=False)
        if unit.startswith("python3.") and unit.endswith(":zoneinfo"):
            self._want("time-zones", f"/{path} reads it")
        for which in ("certificates", "terminals", "time-zones", "fonts"):
            for start in rule(which).names:
                matches = stem == start or (stem.startswith(start) and start != "_ssl")
                if matches and ".so" in name:
                    self._want(which, f"/{path} reads it")
        if _LIBC.match(name) or ("time-zones" in self._settled and "certificates" in self._settled):
            return
        for text in self._all.loader.elf(path).get("mentions", ()):
            if "zoneinfo" in text:
                self._want("time-zones", f"/{path} names {text}")
            elif "/certs" in text or "SSL_CERT_FILE" in text:
                self._want("certificates", f"/{path} names {text}")

    def without_interpreter(self) -> None:
        """Let scripts go that stay with their package only, where nothing needs their interpreter."""
        for path, target in self.waiting.items():
            if path in self._all.sought or path not in self._all.kept:
                continue
            found = self._all.command(target)
            real = self._all.contents.resolve(found) if found is not None else None
            if real not in self._all.kept:
                self.left[path] = target
                del self._all.kept[path]

    def _want(self, which: str, because: str) -> None:
        if which in self._settled:
            return
        self._settled.add(which)
        for path in self._all.contents.paths:
            if rule(which).matches(path) and not _TWICE.match(path) and self._all.policy.part(path) is None:
                self._all.keep(path, which, because, sought=False, enter=False)
                if self._all.contents.kind(path) is Kind.SYMLINK:
                    self._all.lead(path, which, because, sought=False)


def _private(paths: list[str]) -> frozenset[str]:
    """Folders that packages do not share unless one extends the other."""
    return frozenset(
        folder
        for folder in (path.rpartition("/")[0] for path in paths)
        if folder.startswith(("usr/lib/", "usr/libexec/", "usr/share/"))
        and folder.count("/") > 2
        and not folder.startswith(
            ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/")
        )
        and "/systemd/" not in folder
        and not policies.load().module_folders.match("/" + folder)
    )
