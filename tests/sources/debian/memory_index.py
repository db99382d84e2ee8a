"""Packages held in memory, read from the text of a Packages file: the index that the resolver's tests use."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Iterable, Iterator
from functools import cmp_to_key
from hashlib import sha256

from ramekin.sources.debian import relations, versions
from ramekin.sources.debian.model import DebianPackage
from ramekin.store import digest


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1] in " \t":
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if "Package" in fields:
            yield fields


def package(fields: dict[str, str], suite: str = "main") -> DebianPackage:
    name, version = fields["Package"], fields.get("Version", "1")
    checksum = fields.get("SHA256") or sha256(f"{name} {version}".encode()).hexdigest()
    return DebianPackage(
        name=name,
        version=version,
        architecture=fields.get("Architecture", "amd64"),
        digest=digest.from_hex(checksum),
        size=int(fields.get("Size", "0")),
        installed_size=int(fields.get("Installed-Size", "1")) * 1024,
        suite=fields.get("Suite", suite),
        location=fields.get("Filename", ""),
        priority=fields.get("Priority", "optional"),
        multi_arch=fields.get("Multi-Arch", "no"),
        essential=fields.get("Essential") == "yes",
        pre_depends=fields.get("Pre-Depends", ""),
        depends=fields.get("Depends", ""),
        recommends=fields.get("Recommends", ""),
        provides=fields.get("Provides", ""),
        conflicts=fields.get("Conflicts", ""),
        breaks=fields.get("Breaks", ""),
        replaces=fields.get("Replaces", ""),
    )


class MemoryIndex:
    architecture = "amd64"

    def __init__(self, packages: Iterable[DebianPackage]) -> None:
        self.by_name: dict[str, list[DebianPackage]] = {}
        self.by_provided: dict[str, list[DebianPackage]] = {}
        for item in packages:
            if item.architecture not in (self.architecture, "all"):
                continue
            self.by_name.setdefault(item.name, []).append(item)
        newest_first = cmp_to_key(lambda a, b: versions.compare(b.version, a.version))
        for items in self.by_name.values():
            items.sort(key=newest_first)
        for name in sorted(self.by_name):
            for item in self.by_name[name]:
                for provided in {group[0].name for group in relations.parse(item.provides)}:
                    self.by_provided.setdefault(provided, []).append(item)

    @classmethod
    def of(cls, text: str) -> MemoryIndex:
        return cls(package(fields) for fields in paragraphs(text))

    def versions(self, name: str) -> tuple[DebianPackage, ...]:
        return tuple(self.by_name.get(name, ()))

    def providers(self, name: str) -> tuple[DebianPackage, ...]:
        return tuple(self.by_provided.get(name, ()))

    def near(self, name: str, limit: int = 5) -> tuple[str, ...]:
        return tuple(difflib.get_close_matches(name, sorted(self.by_name), n=limit))


def machine_index() -> MemoryIndex:
    """The machine's own archive, as its package manager has fetched it."""
    wanted = "$(FILENAME)|$(SUITE)|$(ARCHITECTURE)"
    command = ["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"]
    targets = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    packages: list[DebianPackage] = []
    for line in targets.splitlines():
        path, suite, _architecture = line.split("|")
        text = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", path], capture_output=True, text=True, check=True
        ).stdout
        packages.extend(package(fields, suite) for fields in paragraphs(text))
    return MemoryIndex(packages)
