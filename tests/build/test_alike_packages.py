"""Packages that have the same archive and are not the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.binary_cache import Shelf, SigningKey

from ramekin.build.packages import Bench, Preparation
from ramekin.closure import slices
from ramekin.progress import SILENT
from ramekin.sources.nix.source import NixSettings, NixSource
from ramekin.store.store import Store


@pytest.mark.parametrize("first", [0, 1])
def test_store_paths_with_the_same_files_stand_in_their_own_places(tmp_path: Path, first: int) -> None:
    key = SigningKey("key-1")
    shelf = Shelf(tmp_path / "cache", key)
    paths = [shelf.add(f"twin{number}-1", {"share/x": b"same"}) for number in (1, 2)]
    store = Store.at(tmp_path / "store")
    source = NixSource("", store, NixSettings(caches=(shelf.url,), trusted_keys=(key.public,)))
    packages = source.resolve([path.path for path in paths], "amd64").packages
    assert packages[0].digest == packages[1].digest
    source.fetch(packages, SILENT)
    bench = Bench(source, store, SILENT, 1)
    how = Preparation(source.facts("amd64"), "amd64", slices.choose([], []))
    for package in packages:
        bench.examine(package, how, evidence=True)
    for package in (packages[first], packages[1 - first]):
        assert f"nix/store/{package.name}/share/x" in bench.tree(package, how)
