"""A store of its own for each test that asks for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ramekin.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")
