"""The image's own health check, as Docker's images have it (`Healthcheck`; OCI's have none)."""

from __future__ import annotations

import time
from typing import Any

from ramekin.errors import RamekinError
from ramekin.slim.probes.answer import Answer
from ramekin.slim.probes.commands import ENDED, failed
from ramekin.slim.probes.container import Container
from ramekin.slim.probes.model import Health

NAME = "health check"
PAUSE = 0.5
"""Seconds between two tries."""
START = 60.0
"""Seconds that a program has to become healthy, when its image says no start period."""
_LONGEST = 3600 * 10**9
"""Nanoseconds of a start period that are waited for at most."""


def of(config: Any) -> Health | None:
    """The health check of an image configuration, as plain data; None when there is none, or it is off."""
    settings = config.get("config") if isinstance(config, dict) else None
    check = settings.get("Healthcheck") if isinstance(settings, dict) else None
    test = check.get("Test") if isinstance(check, dict) else None
    if not isinstance(test, list) or len(test) < 2 or not all(isinstance(word, str) for word in test):
        return None
    match test[0]:
        case "CMD":
            command = tuple(test[1:])
        case "CMD-SHELL":
            shell = settings.get("Shell") if isinstance(settings, dict) else None
            if not isinstance(shell, list) or not shell or not all(isinstance(word, str) for word in shell):
                shell = ["/bin/sh", "-c"]
            command = (*shell, test[1])
        case _:
            return None
    assert isinstance(check, dict)
    period = check.get("StartPeriod")
    seconds = START + (min(period, _LONGEST) / 1e9 if isinstance(period, int) and period > 0 else 0)
    return Health(name=NAME, command=command, seconds=seconds)


def ask(probe: Health, container: Container) -> Answer:
    """Run the check until it ends with 0, or its time is over. Only whether it did is compared."""
    end = time.monotonic() + probe.seconds
    while True:
        try:
            done = container.exec(probe.command, timeout=max(1.0, end - time.monotonic()))
        except RamekinError:
            return failed(probe.name, "health", ENDED)
        if done.timed_out:
            return failed(probe.name, "health", f"the health check did not end in {probe.seconds:g} s")
        if done.code == 0:
            return Answer(probe.name, "health", {"exit": "0"})
        if time.monotonic() + PAUSE > end or not container.alive():
            said = (done.stderr or done.stdout).decode("utf-8", "backslashreplace").strip().splitlines()
            last = f": {said[-1][:200]}" if said else ""
            text = f"the image is not healthy: its check ends with {done.code}{last}"
            return Answer(probe.name, "health", {"exit": str(done.code)}, (text,))
        time.sleep(PAUSE)
