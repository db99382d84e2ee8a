"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.archive import SigningKey
from support.skips import pytest_runtest_makereport as pytest_runtest_makereport

if TYPE_CHECKING:
    from ramekin.store.store import Store

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
