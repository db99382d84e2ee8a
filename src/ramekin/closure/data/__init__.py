"""The data files of this room, read and checked: accounts, slices, recipes, scripts known to be needless."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ramekin.errors import FormatError

ROOM = Path(__file__).parent


class AccountGroup(msgspec.Struct, forbid_unknown_fields=True):
    users: dict[str, tuple[int, int, str, str, str]]
    groups: dict[str, int]


class Accounts(msgspec.Struct, forbid_unknown_fields=True):
    """accounts.yaml."""

    base: AccountGroup
    system: AccountGroup


class SliceRule(msgspec.Struct, forbid_unknown_fields=True):
    """One slice: `paths` and `unless` are globs of tree paths; `default` is `keep` or `drop`."""

    reason: str
    paths: tuple[str, ...]
    unless: tuple[str, ...] = ()
    default: str = "drop"


class Slices(msgspec.Struct, forbid_unknown_fields=True):
    """slices.yaml."""

    slices: dict[str, SliceRule]


class DirectoryRule(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    owner: str = "root"
    group: str = "root"
    mode: str = "0755"


class FileRule(msgspec.Struct, forbid_unknown_fields=True):
    """A file with `text`, or with what the package's file `copy` holds."""

    path: str
    text: str | None = None
    copy: str | None = None
    owner: str = "root"
    group: str = "root"
    mode: str = "0644"


class LinkRule(msgspec.Struct, forbid_unknown_fields=True):
    """A symbolic link; with `when`, only in images that also hold that package, and with `if_free` only where
    no package has the path.
    """

    path: str
    target: str
    when: str = ""
    if_free: bool = False


class OwnerRule(msgspec.Struct, forbid_unknown_fields=True):
    """Another owner or mode for what the package brings; `path` is a glob."""

    path: str
    owner: str = ""
    group: str = ""
    mode: str = ""


class AlternativeRule(msgspec.Struct, forbid_unknown_fields=True):
    """A candidate for a generic name, as update-alternatives(1) takes it; absolute paths."""

    name: str
    link: str
    path: str
    priority: int


class CoverRule(msgspec.Struct, forbid_unknown_fields=True):
    """Commands of maintainer scripts, by a pattern of fnmatch over their text, and why they need not run."""

    command: str
    reason: str


class ImageRule(msgspec.Struct, forbid_unknown_fields=True):
    """How an image for this package runs; `user` is a name of the table of accounts."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""


class Recipe(msgspec.Struct, forbid_unknown_fields=True):
    """recipes/NAME.yaml."""

    reason: str
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    directories: tuple[DirectoryRule, ...] = ()
    files: tuple[FileRule, ...] = ()
    links: tuple[LinkRule, ...] = ()
    owners: tuple[OwnerRule, ...] = ()
    remove: tuple[str, ...] = ()
    alternatives: tuple[AlternativeRule, ...] = ()
    built_in: tuple[str, ...] = ()
    covers: tuple[CoverRule, ...] = ()
    image: ImageRule = msgspec.field(default_factory=ImageRule)


class NeedlessScript(msgspec.Struct, forbid_unknown_fields=True):
    """A maintainer script that was read by a person: `sha256` of its bytes."""

    sha256: str
    package: str
    script: str
    reason: str


class Needless(msgspec.Struct, forbid_unknown_fields=True):
    """needless.yaml: whole scripts, commands and triggers that need not run for a fresh image."""

    commands: dict[str, str]
    sections: dict[str, str]
    triggers: dict[str, str]
    present: tuple[str, ...] = ()
    scripts: tuple[NeedlessScript, ...] = ()


class Needs(msgspec.Struct, forbid_unknown_fields=True):
    """needs.yaml: packages that a package silently expects, by its name or pattern."""

    needs: dict[str, dict[str, str]]


Document = TypeVar("Document")

_LEARNING = threading.Lock()
"""Held while a type may be new to msgspec: two threads that make it learn one at once crash the process."""


def load(name: str, kind: type[Document]) -> Document:
    """The data file `name`, checked; `FormatError` names the file and the key at fault."""
    return parse((ROOM / name).read_bytes(), kind, where=name)


def parse(text: bytes, kind: type[Document], *, where: str) -> Document:
    """A document from YAML."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        plain = yaml.load(text, Loader=loader)
        with _LEARNING:
            return msgspec.convert(plain, kind)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise FormatError(f"{where}{line} is not YAML: {getattr(error, 'problem', error)}") from None
    except msgspec.ValidationError as error:
        raise FormatError(f"{where}: {error}", hint="see docs/recipes.md for the keys") from None
