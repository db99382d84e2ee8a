"""What rpm installed, as `examine.rpm` found it in the database."""

from __future__ import annotations

from collections.abc import Iterator

from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack

DATABASES = tuple(
    f"{folder}/{name}"
    for folder in ("var/lib/rpm", "usr/lib/sysimage/rpm")
    for name in ("rpmdb.sqlite", "Packages", "Packages.db")
)


def claims(stack: Stack) -> Iterator[Claim]:
    """Every package of the database, and the database itself for rpm."""
    for path in DATABASES:
        found = stack.traits(path).get("rpm")
        if found is None:
            continue
        for package in found["packages"]:
            source = package["source"].rsplit("-", 2)[0]
            yield (
                Package("rpm", package["name"], package["version"], package["architecture"], source),
                package["files"],
            )
