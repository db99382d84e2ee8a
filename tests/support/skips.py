"""Where a skip is not good enough, it is a failure.

On a developer's machine a test that lacks a program is skipped and says so. Continuous integration sets
RAMEKIN_REQUIRE_TOOLS, so that no test is ever lost there without anyone noticing.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

GOOD_REASONS = (
    # the same cannot be shown as root, and continuous integration is root
    "root may write everywhere",
    # an image with Java reads the same file in tests/acceptance
    "no keytool",
    # as large as all other programs together; hand-made node_modules are looked at elsewhere
    "npm is not installed",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the report of a skipped test into a failure, unless its reason is a good one."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("RAMEKIN_REQUIRE_TOOLS") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(good in reason for good in GOOD_REASONS):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, and RAMEKIN_REQUIRE_TOOLS is set: {reason}"
    return report
