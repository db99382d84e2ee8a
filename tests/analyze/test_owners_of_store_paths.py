"""Whose the files of a Nix store are."""

from __future__ import annotations

from pathlib import Path

from handmade import stacked, tar_of

from ramekin.analyze.owners import owners
from ramekin.image.tree import file
from ramekin.store.store import Store

HASH = "0123456789abcdfghijklmnpqrsvwxyz"


def test_files_of_a_store_path_are_of_the_package_in_its_name(tmp_path: Path) -> None:
    paths = {
        f"nix/store/{HASH}-redis-7.2.4/bin/redis-server": ("redis", "7.2.4"),
        f"nix/store/{HASH[::-1]}-redis-7.2.4/share/x": ("redis", "7.2.4"),
        f"nix/store/{HASH[1:]}0-python3-3.11.8-env/bin/python": ("python3", "3.11.8-env"),
        f"nix/store/{HASH[2:]}01-builder.sh": ("builder.sh", ""),
        "nix/store/README": None,
        "nix/var/nix/db/schema": None,
    }
    found = owners(stacked(Store.at(tmp_path), tar_of([file(path, b"x") for path in paths])))
    for path, expected in paths.items():
        package = found.package(path)
        assert (package and (package.system, package.name, package.version)) == (
            ("nix", *expected) if expected else None
        )
