"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from support.archive import SigningKey
from support.skips import pytest_runtest_makereport as pytest_runtest_makereport

if TYPE_CHECKING:
    from support.nix_world import World

    from ramekin.store.store import Store

# how long an example takes says more of the machine than of the program
settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_store() -> Store:
    """The store under .cache/ that keeps packages of the machine's archive between runs."""
    from ramekin.store.store import Store

    return Store.at(REPOSITORY / ".cache" / "store")


@pytest.fixture(scope="session")
def signing_key() -> SigningKey:
    """A key for the archives that tests make."""
    return SigningKey.generate()


@pytest.fixture(scope="session")
def nix_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A tiny nixpkgs that Debian's Nix built, and its binary caches."""
    from support.containers import need
    from support.nix_world import World

    need("nix-store", "busybox", "gcc", "strip")
    return World.build(tmp_path_factory.mktemp("nix-world"))
