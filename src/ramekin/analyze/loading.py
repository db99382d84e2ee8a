"""What an image starts: its program, and the files that the loader maps with it.

By the rules of ld.so(8), as far as files tell them: the interpreter, then NEEDED entries in the folders that
the file itself names, those of /etc/ld.so.conf and the system's own. LD_LIBRARY_PATH counts when the image's
Env sets it; what a program opens itself while it runs (dlopen) is not told by its files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ramekin.analyze.stack import Stack
from ramekin.image.oci import Config
from ramekin.image.tree import Kind

_TRIPLETS = {
    3: ("i386-linux-gnu",),
    40: ("arm-linux-gnueabihf", "arm-linux-gnueabi"),
    62: ("x86_64-linux-gnu",),
    183: ("aarch64-linux-gnu",),
    21: ("powerpc64le-linux-gnu",),
    22: ("s390x-linux-gnu",),
    243: ("riscv64-linux-gnu",),
}
_FOLDERS = ("lib64", "usr/lib64", "lib", "usr/lib", "lib32", "usr/lib32", "usr/local/lib", "usr/local/lib64")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST = 5000
"""Files that are followed from one program."""


@dataclass(frozen=True)
class Missing:
    """A file that `path` asks the loader for and the image has not; `interpreter` or `library` is `what`."""

    path: str
    what: str
    name: str


def words(config: Config) -> tuple[str, ...]:
    """The command line that a container of the image starts with."""
    runtime = config.config
    return (*(runtime.entrypoint or ()), *(runtime.cmd or ())) if runtime else ()


def environment(config: Config) -> Mapping[str, str]:
    """The variables that the image sets."""
    entries = (config.config.env or ()) if config.config else ()
    return {name: value for name, equals, value in (entry.partition("=") for entry in entries) if equals}


def program(stack: Stack, config: Config) -> str | None:
    """The path of the file that the image starts, its links followed; None when that cannot be told."""
    line = words(config)
    return find_command(stack, config, line[0]) if line else None


def find_command(stack: Stack, config: Config, name: str) -> str | None:
    """The file that a command's name means: by PATH, or from the working folder."""
    folder = (config.config.working_dir if config.config else "") or "/"
    if "/" in name:
        return _file(stack, posixpath.join("/", folder, name))
    for place in environment(config).get("PATH", _PATH).split(":"):
        if found := _file(stack, posixpath.join("/", folder, place, name)):
            return found
    return None


def _file(stack: Stack, path: str) -> str | None:
    """The file at an absolute path, its links followed; None when there is none."""
    found = stack.resolve(posixpath.normpath(path).strip("/"))
    if found is None or found not in stack.files:
        return None
    return found if stack.files[found].content.kind is Kind.FILE else None


class Loader:
    """Finds what the files of one image need. `traits` of files are asked for their `elf`."""

    def __init__(self, stack: Stack, config: Config) -> None:
        self._stack = stack
        self._configured = tuple(_configured(stack))
        self._variable = tuple(filter(None, environment(config).get("LD_LIBRARY_PATH", "").split(":")))
        self._found: dict[tuple[tuple[str, ...], str, int, int], str | None] = {}

    def elf(self, path: str) -> Mapping[str, Any]:
        """What is known of an ELF file; empty for all that is none."""
        known: Mapping[str, Any] = self._stack.traits(path).get("elf", {})
        return known

    def closure(
        self, path: str, *, missing: Callable[[Missing], None] = lambda what: None
    ) -> tuple[str, ...]:
        """The program at `path` and all files that the loader maps with it, in the order of the search."""
        found = {path: None}
        waiting = [(path, tuple(self.elf(path).get("search", ())))]
        while waiting and len(found) < _MOST:
            current, search = waiting.pop(0)
            for target in self._needs(current, search, missing):
                if target not in found:
                    found[target] = None
                    own = tuple(self.elf(target).get("search", ()))
                    waiting.append((target, own or search))
        return tuple(found)

    def lacks(self, path: str) -> tuple[Missing, ...]:
        """What the loader would not find for this one file."""
        found: list[Missing] = []
        self._needs(path, tuple(self.elf(path).get("search", ())), found.append)
        return tuple(found)

    def _needs(
        self, path: str, search: tuple[str, ...], missing: Callable[[Missing], None]
    ) -> tuple[str, ...]:
        facts = self.elf(path)
        found: list[str] = []
        if interpreter := facts.get("interpreter"):
            target = _file(self._stack, interpreter)
            if target is None:
                missing(Missing(path, "interpreter", interpreter))
            else:
                found.append(target)
        folder = "/" + posixpath.dirname(path)
        here = tuple(place.replace("$ORIGIN", folder).replace("${ORIGIN}", folder) for place in search)
        for name in facts.get("needed", ()):
            target = self._library(name, here, facts.get("machine", 0), facts.get("bits", 64))
            if target is None:
                missing(Missing(path, "library", name))
            else:
                found.append(target)
        return tuple(found)

    def _library(self, name: str, search: tuple[str, ...], machine: int, bits: int) -> str | None:
        key = (search, name, machine, bits)
        if key not in self._found:
            self._found[key] = self._look(name, search, machine, bits)
        return self._found[key]

    def _look(self, name: str, search: tuple[str, ...], machine: int, bits: int) -> str | None:
        if "/" in name:
            return _file(self._stack, name)
        triplets = [f"{top}/{t}" for t in _TRIPLETS.get(machine, ()) for top in ("lib", "usr/lib")]
        for folder in (*search, *self._variable, *self._configured, *triplets, *_FOLDERS):
            found = _file(self._stack, posixpath.join("/", folder, name))
            if found is None:
                continue
            facts = self.elf(found)
            # a file for another machine is passed over, as the loader does
            if facts and facts.get("machine", machine) == machine and facts.get("bits", bits) == bits:
                return found
        return None


def _configured(stack: Stack) -> list[str]:
    """The folders that ld.so.conf and what it includes name, and musl's own list."""
    folders: list[str] = []
    for path in sorted(stack.files):
        if path == "etc/ld.so.conf" or (path.startswith("etc/ld.so.conf.d/") and path.endswith(".conf")):
            lines = (stack.kept(path) or b"").decode("utf-8", "replace").splitlines()
            folders += [line.strip() for line in lines if line.strip().startswith("/")]
    return folders
