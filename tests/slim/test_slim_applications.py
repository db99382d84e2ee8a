"""Applications as people build them are slimmed by one request and lose nothing.

The whole set is behind `make slim-apps`; here are those that have a size to keep to, and some more that are
built in seconds.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support.containers import need, ramekin

FLEET = Path(__file__).resolve().parents[2] / "fleet" / "slim"

pytestmark = [pytest.mark.archive, pytest.mark.runtime]


@pytest.fixture(scope="module")
def tools() -> Any:
    """The modules of fleet/slim: build and judge."""
    need("mmdebstrap", "buildah", "umoci", "runc")
    if os.getuid() != 0:
        pytest.skip("runc is tried as root only")
    sys.path.insert(0, str(FLEET))
    try:
        return importlib.import_module("build"), importlib.import_module("judge")
    finally:
        sys.path.remove(str(FLEET))


@pytest.mark.parametrize("name", ["django", "node", "redis", "nginx", "flask", "musl"])
def test_slimming_sees_one_request_and_every_check_held_back_from_it_passes(
    name: str, tools: Any, tmp_path: Path
) -> None:
    build, judge = tools
    app = build.Application(name)
    build.build(app)
    target = f"oci:{tmp_path}/slim:slim"
    ramekin("slim", app.reference, "-o", target, "--probe", app.home / "probes.yaml")
    assert len(app.checks) >= 10
    sizes = []
    for reference in (app.reference, target):
        with judge.laid_out(reference) as box:
            sizes.append(box.size)
            failed = {one.check: one.reason for one in judge.judge(app.checks, box, app.settings)}
            assert not {check: reason for check, reason in failed.items() if reason}, reference
    assert sizes[1] < sizes[0]
    assert sizes[1] <= app.settings.get("targets", {}).get("units", 1e9) * 1e6


def test_probes_and_checks_of_every_application_are_written_as_they_are_read(tools: Any) -> None:
    build, _ = tools
    apps = build.applications()
    assert len(apps) >= 13
    for app in apps:
        checks = app.checks
        assert len(checks) >= 10, app.name
        assert len({check["check"] for check in checks}) == len(checks), app.name
        probes = (app.home / "probes.yaml").read_text()
        assert probes.count("- get:") + probes.count("- run:") <= 1, app.name
