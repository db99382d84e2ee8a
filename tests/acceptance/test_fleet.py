"""A part of the fleet (fleet/): images closed by evidence do what their users want of them.

`make fleet` tries all of it; docs/fleet.md says what came out.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support import fleet
from support.containers import need

from ramekin.store.store import Store

pytestmark = [pytest.mark.archive, pytest.mark.runtime]

FAST = [
    "redis-server",  # a server whose data folder a recipe makes
    "nginx",  # modules and configuration in other packages
    "lighttpd",  # a configuration that runs a script
    "python3",  # a bare interpreter
    "python-flask",  # imports, through an entry point
    "php-fpm",  # modules by configuration
    "perl-www",  # modules that are loaded by name at run time
    "graphviz",  # plugins in a list that a script would have written
    "git",  # commands that are scripts
    "gawk",  # extensions beside a program
    "yq",  # a program that another one starts
]


@pytest.mark.parametrize("level", ["packages", "files"])
@pytest.mark.parametrize("name", FAST)
def test_an_image_by_evidence_works(store: Path, name: str, level: str) -> None:
    need("bwrap", "setpriv")
    (member,) = fleet.members([name])
    made = fleet.make(member, level, Store.at(store))
    assert made.report.unknown == ()
    with fleet.laid_out(made) as box:
        fleet.check(member)(box)


def test_every_image_of_the_fleet_has_a_check() -> None:
    for member in fleet.members():
        assert callable(fleet.check(member)), member.name


def test_the_fleet_has_images_of_every_kind() -> None:
    found = fleet.members()
    assert len(found) >= 60
    assert len({member.name for member in found}) == len(found)
    assert {member.kind for member in found} >= {
        *("servers", "databases", "languages", "build-tools", "media-tools", "network-tools", "shells"),
    }
