"""A slim image under its real workload: what it misses is recorded, and nothing fails.

DIR/misses.json        each look-up of a path that was taken away, with its unit
DIR/observation.json   the observation with what was missed in it, for `--observation`
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ramekin.errors import RamekinError
from ramekin.image.oci import Runtime
from ramekin.image.running.container import Wishes
from ramekin.slim import observation, verify
from ramekin.slim.sandbox.plan import Watch, Watching
from ramekin.slim.sandbox.rootfs import unpacked
from ramekin.slim.sandbox.running import Running, sandbox
from ramekin.slim.slimmed import Slimmed
from ramekin.slim.verify import HARMLESS, Lookup

MISSES, OBSERVATION = "misses.json", "observation.json"
_PAUSE = 0.1
_LOOK = 0.5
"""Seconds between two looks at whether the program still runs."""
_PATIENCE = 60.0


def run(
    slimmed: Slimmed, seconds: float | None, folder: Path, *, say: Callable[[str], None]
) -> tuple[Lookup, ...]:
    """Run the slim image until its time is over, it ends, or somebody interrupts; what it missed.

    `say` is told where the container is reached. `RamekinError` when it cannot be started, or the record
    cannot be written.
    """
    settings = slimmed.contents.config.config or Runtime()
    plan = slimmed.request.plan
    with unpacked(slimmed.image, slimmed.folder) as root:
        gone = verify.gone(slimmed.contents, slimmed.selection, root.path)
        with sandbox(
            root,
            settings,
            wishes=Wishes(arguments=plan.arguments, env=plan.env),
            watch=Watch(by=Watching.LOOKUPS, removed=gone.paths, syscalls=False),
            limits=slimmed.request.limits,
            runtime=slimmed.request.runtime,
        ) as running:
            with _interruptions() as over:
                _announce(running, say, over)
                _wait(running, seconds, over)
            say("the workload is over")
            with suppress(RamekinError):
                running.stop()
            lookups = verify.judge(running.misses(), gone)
    _record(slimmed, lookups, folder)
    return lookups


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """An event that is set by signals that would end this process, which they do not meanwhile.

    An exception in the middle of a question to the sandbox would leave its answer behind.
    """
    over = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield over
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: over.set()) for number in numbers}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(running: Running, say: Callable[[str], None], over: threading.Event) -> None:
    """Say where each port is reached, once something listens."""
    end = time.monotonic() + _PATIENCE
    there = running.listening()
    while not there and running.alive() and time.monotonic() < end and not over.wait(_PAUSE):
        there = running.listening()
    ports = {int(one[4:]) for one in there if one.startswith("tcp:")}
    for port in sorted(ports):
        say(f"port {port} of the slim image is {running.address(port)}")
    if not running.alive():
        say("the program of the slim image has ended already; --cmd starts it otherwise")
    elif not ports:
        say("the slim image runs, and listens on no port")


def _wait(running: Running, seconds: float | None, over: threading.Event) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    while running.alive() and not over.is_set():
        left = _LOOK if end is None else end - time.monotonic()
        if left <= 0:
            return
        over.wait(min(left, _LOOK))


def _record(slimmed: Slimmed, lookups: tuple[Lookup, ...], folder: Path) -> None:
    rows = [msgspec.structs.asdict(one) for one in lookups]
    for row in rows:
        for name in ("path", "program"):
            row[name] = str(row[name]).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    data = msgspec.json.format(msgspec.json.encode(rows), indent=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MISSES).write_bytes(data + b"\n")
        if slimmed.observation is not None:
            wider = verify.extended(
                slimmed.observation, [one for one in lookups if one.judgement not in HARMLESS]
            )
            (folder / OBSERVATION).write_bytes(observation.encode(wider))
    except OSError as error:
        raise RamekinError(f"{folder} cannot be written to: {error.strerror}") from None
