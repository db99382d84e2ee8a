"""What a start may import: the warm path is fast because it stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "asyncio",
    "deflate",
    "niquests",
    "obstore",
    "pydantic",
    "pysequoia",
    "resolvelib",
    "rich.progress",
    "rich.table",
    "yaml",
    "zstandard",
    "cyclonedx",
)


def imported(code: str) -> set[str]:
    """Modules in a new process after `code`."""
    report = "\nimport sys; print('\\n'.join(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True, cwd="/"
    )
    return set(result.stdout.splitlines())


@pytest.mark.parametrize(
    "code",
    [
        "from ramekin.cli import main; assert main.run(['--version']) == 0",
        "from ramekin.cli import main; assert main.run(['build', 'nginx', '--expose', 'x']) == 2",
        "from ramekin.cli import main; assert main.run(['build', 'nginx', '-o', 'nowhere']) == 2",
    ],
)
def test_a_start_imports_nothing_heavy(code: str) -> None:
    assert imported(code) & set(HEAVY) == set()


def test_the_version_imports_no_command() -> None:
    modules = imported("from ramekin.cli import main; assert main.run(['--version']) == 0")
    assert not {
        name for name in modules if name.startswith(("ramekin.build", "ramekin.image", "ramekin.store"))
    }


def test_composing_imports_nothing_heavy_until_there_is_work() -> None:
    modules = imported("import ramekin.build.compose, ramekin.image.transports.layout, ramekin.store.store")
    assert modules & set(HEAVY) == set()
