"""A store path as a package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ramekin.sources.protocol import Package


@dataclass(frozen=True, slots=True, kw_only=True)
class NixPackage(Package):
    """What a narinfo or a channel says beside what every package has.

    `references` are the base names of the store paths that its files name, itself among them where they do.
    `deriver` is a base name, or "". `ca` is the content address, or "". `attribute` and `output` are those of
    the channel, `priority` is its `meta.priority` (the lower wins where two packages have the same file, 5
    where it says nothing), `program` its `meta.mainProgram`, or ""; these four are only known for what was
    found by a name.
    """

    references: tuple[str, ...] = ()
    deriver: str = ""
    ca: str = ""
    attribute: str = ""
    output: str = ""
    priority: int = 5
    program: str = ""

    kind: ClassVar[str] = "nix"
