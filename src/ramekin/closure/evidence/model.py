"""Evidence as values that go through JSON: what one prepared package offers and needs.

The evidence of a package is found once (`scan.scan`) and kept by the store in two records.
`PackageEvidence` is what every closure reads: only needs that the package does not meet itself, each once
for a kind of place. `PackageDetail` is what the level `files` and the proof read: every need of every file.
Files are named by their place (from 0) in `PackageEvidence.files`, which is one string of lines because
decoding one long string is a hundred times cheaper than decoding its lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

ENV = "/usr/bin/env"
"""What finds the interpreter of a script by its name."""


class Kind(StrEnum):
    """How a file shows that it needs something. The value of `Need.target` is in brackets."""

    NEEDED = "needed"
    """An ELF DT_NEEDED entry (a soname). `detail` holds the symbol versions asked for."""
    LOADED = "loaded"
    """A soname in the read-only strings of an ELF file, for dlopen(3) (a file name)."""
    INTERPRETER = "interpreter"
    """PT_INTERP of a program, or the first line of a script (an absolute path, or a command under env)."""
    PATH = "path"
    """An absolute path in a program, a library, a script or a module (the path)."""
    SETTING = "setting"
    """An absolute path in a configuration file (the path)."""
    COMMAND = "command"
    """A command that a script or a program calls by name (the name)."""
    SHELL = "shell"
    """A program that calls system(3) or popen(3) (`/bin/sh`)."""
    PYTHON = "python"
    """An import (a dotted module name)."""
    PERL = "perl"
    """A `use` or `require` (`A::B`)."""
    RUBY = "ruby"
    """A `require` (a feature name)."""
    PHP = "php"
    """An include, or an extension that the configuration loads (a path or a file name)."""
    NODE = "node"
    """A `require` or an import (a module name)."""
    ERLANG = "erlang"
    """An application that an Erlang application starts (its name)."""
    JAVA = "java"
    """A jar on the class path of another (an absolute path)."""
    LINK = "link"
    """A symbolic link (the absolute path that it leads to)."""
    MODULE = "module"
    """A module of NSS, PAM, SASL, gconv or OpenSSL that a configuration names (a file name)."""
    SERVICE = "service"
    """A program that a service or desktop file starts (an absolute path or a command)."""
    RUNTIME = "runtime"
    """The language of modules that a package consists of (a command: `python3`)."""
    RECIPE = "recipe"
    """What the package's recipe starts or links (an absolute path or a command)."""
    DATA = "data"
    """A declared package (its name) that goes with this one without any file that says so: one of the same
    origin that holds data, modules or parts of the same private folder, or headers for headers. Found by
    `follow`."""
    META = "meta"
    """What an empty package that was asked for depends on (its name); found by `follow`."""
    CORRECTION = "correction"
    """What the policy says by hand (a package's name); found by `follow`."""


ANY_CONVERTER = "gconv/*"
"""The target of a `Kind.MODULE` need of programs that call iconv_open(3): all converters that there are."""


class Need(msgspec.Struct, frozen=True, array_like=True):
    """One thing that files of a package need.

    `place` is the policy's class for where the needing files lie. `files` are the first of them, `count` is
    how many there are; all are listed where the policy may look at each file by itself. `optional` is true
    when each of them says that it copes without (a Python import under `try`).
    """

    kind: Kind
    target: str
    place: str
    files: tuple[int, ...]
    count: int = 1
    optional: bool = False
    detail: str = ""


class SharedObject(msgspec.Struct, frozen=True, array_like=True):
    """An ELF file that others can name: `machine` is `CLASS-DATA-MACHINE` as `64-1-62`."""

    soname: str
    file: int
    machine: str


class Modules(msgspec.Struct, frozen=True, array_like=True):
    """Modules of a language that a package offers: lines of a name, a space and the file's place."""

    language: str
    names: str


class PackageEvidence(msgspec.Struct, frozen=True, array_like=True):
    """What every closure must know of a prepared package.

    `files` are the tree paths of all that is not a folder, `sizes` their bytes as decimal words in the same
    order. `links` are lines of a symbolic link's place, a tab and its text. `provided` are lines of a tree
    path that the package brings about without owning it (the link of an alternative), a tab, and the tree
    path of the file behind it. `data_only` is true when no file is a program, a library or a module of a
    language. `start` is the entry point, or the command, that the package's recipe gives. `notes` name files
    that were skipped and why.
    """

    name: str
    files: str
    sizes: str
    size: int
    data_only: bool
    development: bool = False
    shared: tuple[SharedObject, ...] = ()
    modules: tuple[Modules, ...] = ()
    needs: tuple[Need, ...] = ()
    links: str = ""
    provided: str = ""
    start: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def paths(self) -> list[str]:
        """The tree paths of all files, in the order that `Need.files` counts them."""
        return self.files.split("\n") if self.files else []


class Elf(msgspec.Struct, frozen=True, array_like=True):
    """An ELF file as the dynamic loader sees it.

    `needed` are its DT_NEEDED entries, each with the symbol versions asked of it, `search` the folders of
    RUNPATH (or RPATH) with `$ORIGIN` as written, `versions` the symbol versions that it defines. `inherits`
    is true for RPATH, which also holds for what it loads.
    """

    file: int
    machine: str
    soname: str = ""
    interpreter: str = ""
    needed: tuple[tuple[str, tuple[str, ...]], ...] = ()
    search: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    inherits: bool = False


class FileNeed(msgspec.Struct, frozen=True, array_like=True):
    """A need of single files, met by the package itself or not; `files` are all of them."""

    kind: Kind
    target: str
    files: tuple[int, ...]
    optional: bool = False


class PackageDetail(msgspec.Struct, frozen=True, array_like=True):
    """What the level `files` and the proof must know of a prepared package.

    `hard` are hard links by file and the place of the file. `words` are, for programs that start others,
    strings that may be names of commands, parted by spaces.
    """

    name: str
    elves: tuple[Elf, ...] = ()
    needs: tuple[FileNeed, ...] = ()
    hard: tuple[tuple[int, int], ...] = ()
    words: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Scanned:
    """Both records of one package."""

    evidence: PackageEvidence
    detail: PackageDetail


def encode(record: PackageEvidence | PackageDetail) -> bytes:
    """The JSON of a record; the same bytes for equal records."""
    return msgspec.json.encode(record)


_EVIDENCE = msgspec.json.Decoder(PackageEvidence)
_DETAIL = msgspec.json.Decoder(PackageDetail)


def decode(data: bytes) -> PackageEvidence:
    """Evidence from what `encode` made."""
    return _EVIDENCE.decode(data)


def decode_detail(data: bytes) -> PackageDetail:
    """Detail from what `encode` made."""
    return _DETAIL.decode(data)
