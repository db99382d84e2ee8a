"""Ruby: gems by their specifications, and those that the author's Gemfile and source name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ramekin.closure.evidence import languages
from ramekin.slim.units.catalog import AUTHOR, GEM, Known

if TYPE_CHECKING:
    from ramekin.slim.units.completion import Completion

_DEPENDS = re.compile(rb"add_(?:runtime_)?dependency\s*\(?\s*(?:%q<|['\"]|%q\()([\w.-]+)")
_GEMFILE = re.compile(rb"^[ \t]*gem[ (]+['\"]([\w.-]+)['\"]", re.MULTILINE)
_LOCKED = re.compile(rb"^    ([\w.-]+) \(", re.MULTILINE)
_OUTSIDE = re.compile(
    r"(?:.*/)?(?:cache/[^/]+\.gem|doc/.*|build_info/.*|(?:spec|test|tests|examples?)/.*)\Z", re.DOTALL
)


class RubyRules:
    def __init__(self, completion: Completion) -> None:
        self._all = completion
        self._gems = {
            unit.name.partition(":")[2]: unit for unit in completion.units.values() if unit.kind == GEM
        }

    def begin(self, unit: Known, by: str, because: str) -> None:
        """A file of a gem stays: all its files do, and the gems that it depends on."""

        def outside(path: str) -> bool:
            rest = path.removeprefix(unit.root + "/") if path.startswith(unit.root + "/") else path
            if path.startswith(unit.root + "/"):
                return re.match(r"(?:spec|test|tests|examples?)/", rest) is not None
            return _OUTSIDE.match(path) is not None

        self._all.fill(unit, "required" if by == "required" else "gem", because, but=outside)
        for path in unit.paths:
            if path.endswith(".gemspec") and "/specifications/" in path:
                for name in sorted(set(_DEPENDS.findall(self._all.contents.read(path, 1 << 20)))):
                    self._gem(name.decode(), f"{unit.name} depends on it", "required")

    def _gem(self, name: str, because: str, by: str) -> None:
        unit = self._gems.get(name)
        if unit is not None:
            self._all.begin(unit.name, because, by)

    def file(self, path: str, unit: Known) -> None:
        """Follow a Gemfile and what the author's source requires."""
        if unit.kind != AUTHOR:
            return
        name = path.rpartition("/")[2]
        if name == "Rakefile" and self._all.whole and (command := self._all.command("rake")) is not None:
            self._all.lead(command, "interpreter", f"/{path} is written for it")
        if not self._gems:
            return
        if name in ("Gemfile", "gems.rb"):
            for found in sorted(set(_GEMFILE.findall(self._all.text(path)))):
                self._gem(found.decode(), f"/{path} asks for it", "required")
        elif name == "Gemfile.lock":
            for found in sorted(set(_LOCKED.findall(self._all.text(path)))):
                self._gem(found.decode(), f"/{path} locks it", "required")
        elif path.endswith((".rb", ".ru", "Rakefile")):
            for feature in sorted(languages.ruby(self._all.text(path))):
                for gem in (feature, feature.replace("/", "-"), feature.partition("/")[0]):
                    self._gem(gem, f"/{path} requires {feature}", "import")
