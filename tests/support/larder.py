"""The kitchen's archive for registries: two architectures, a shell, and names that no repository can have."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from support.archive import Archive, Deb, SigningKey, Suite
from support.kitchen import SUITE, Kitchen, packages, prose

SETTINGS = {"source": f"debian:{SUITE}", "shell": ["bash"]}
"""Of `on-demand`, for a registry that makes images of it."""


def debs() -> list[Deb]:
    """All packages: those of the kitchen for every architecture, and a few more."""
    found = {deb.name: dataclasses.replace(deb, architecture="all") for deb in packages()}
    for deb in (
        Deb("bash", files={"bin/bash": b"#!/bin/sh\n"}, architecture="all", compression="none"),
        Deb("fork", files={"usr/share/fork": prose(9, 1)}, conflicts="cream", architecture="all"),
        Deb("pan++", files={"usr/bin/pan": b"#!/bin/sh\n"}, architecture="all", compression="none"),
    ):
        found[deb.name] = deb
    return list(found.values())


def publish(kitchen: Kitchen, found: list[Deb], date: int = 1_800_000_000) -> None:
    """Have the archive hold these packages from now on."""
    kitchen.archive.publish(Suite(SUITE, found, architectures=("amd64", "arm64"), date=date))


def season(kitchen: Kitchen) -> None:
    """Publish a newer potato."""
    renewed = [dataclasses.replace(d, version="2.0-1") if d.name == "potato" else d for d in debs()]
    publish(kitchen, renewed, 1_800_000_001)


def open_larder(folder: Path, key: SigningKey) -> Kitchen:
    """The archive below a new folder; its `env()` points ramekin there."""
    folder.mkdir()
    made = Kitchen(Archive(folder / "archive", key), folder)
    publish(made, debs())
    return made
