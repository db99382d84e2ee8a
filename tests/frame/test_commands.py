"""The commands that the README tells its reader to type are the ones that continuous integration runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_continuous_integration_runs_the_test_command_of_the_readme_and_nothing_else() -> None:
    commands = [
        line
        for line in (ROOT / ".ci/run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["exec scripts/test"]
    assert "scripts/test" in (ROOT / "README.md").read_text()


def test_the_readme_opens_with_the_command_that_builds_redis() -> None:
    assert "scripts/ramekin build redis-server" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("script", [".ci/run", "scripts/ramekin", "scripts/test", "scripts/environment.sh"])
def test_scripts_are_plain_posix_shell(script: str) -> None:
    subprocess.run(["sh", "-n", ROOT / script], check=True)
    if script != "scripts/environment.sh":
        assert os.access(ROOT / script, os.X_OK)
