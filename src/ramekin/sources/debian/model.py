"""A binary package as Debian's indexes describe it (Debian Policy, chapter 5 and 7)."""

from __future__ import annotations

from dataclasses import dataclass

from ramekin.sources.protocol import Package


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianPackage(Package):
    """Relationship fields are the raw text of the index; `relations.parse` reads them.

    `architecture` is as the index has it, so `all` is possible. `priority` is Policy's (required … optional).
    """

    component: str = "main"
    section: str = ""
    priority: str = ""
    multi_arch: str = "no"
    essential: bool = False
    pre_depends: str = ""
    depends: str = ""
    recommends: str = ""
    provides: str = ""
    conflicts: str = ""
    breaks: str = ""
    replaces: str = ""
