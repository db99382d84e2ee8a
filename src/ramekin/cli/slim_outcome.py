"""What comes of `ramekin slim`: files beside the image, and what people and programs are told."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramekin.cli import terminal
from ramekin.cli.terminal import plural
from ramekin.errors import RamekinError

if TYPE_CHECKING:
    from ramekin.image.reference import Reference
    from ramekin.progress import Progress
    from ramekin.slim.settings import Settings
    from ramekin.slim.slimmed import Slimmed

SHOWN = 20
"""Lines of each kind that are said of a verification."""


def write_all(
    settings: Settings,
    slimmed: Slimmed,
    target: Reference | None,
    jobs: int,
    plain_http: bool,
    progress: Progress,
) -> dict[str, str]:
    """Write everything that was asked for; which file holds what. A slim image that fails is not written."""
    from ramekin.image import transports

    written: dict[str, str] = {}
    if settings.report is not None:
        from ramekin.analyze import page
        from ramekin.slim import report

        page.write(settings.report, report.page(slimmed))
        written["report"] = str(settings.report)
    if not slimmed.passed:
        return written
    profile = b""
    if settings.seccomp is not None and slimmed.observation is not None:
        from ramekin.slim import seccomp

        # which may turn out not to be possible
        profile = seccomp.encode(slimmed.observation)
    if target is not None:
        platform = slimmed.contents.outline.platform
        transports.write(
            slimmed.image, target, jobs=jobs, plain_http=plain_http, progress=progress, platform=platform
        )
    if slimmed.observation is not None:
        from ramekin.slim import observation

        path = settings.observation or _beside(target, "observation.json")
        if path is not None:
            _put(path, observation.encode(slimmed.observation))
            written["observation"] = str(path)
        if settings.seccomp is not None:
            _put(settings.seccomp, profile)
            written["seccomp"] = str(settings.seccomp)
    elif settings.seccomp is not None:
        progress.warn(f"{settings.seccomp} was not written: nothing was run, so no system calls are known")
    return written


def shadow(settings: Settings, slimmed: Slimmed, target: Reference | None) -> Path:
    """Run the slim image for the user's own workload, and say where its look-ups are recorded."""
    from ramekin.slim import shadow as shadows

    assert settings.shadow is not None
    seconds = settings.shadow.seconds
    folder = settings.shadow.folder or _beside(target, "shadow") or Path("shadow")
    terminal.say(
        "running the slim image for your own workload, "
        + ("until interrupted (Ctrl-C)" if seconds is None else f"for {seconds:g} s")
    )
    lookups = shadows.run(slimmed, seconds, folder, say=terminal.say)
    terminal.say(f"{plural(len(lookups), 'look-up')} of what was taken away: {folder / shadows.MISSES}")
    return folder


def _beside(target: Reference | None, ending: str) -> Path | None:
    """Where something goes that nobody named a file for: beside an image on this machine."""
    if target is None or target.transport not in ("oci", "oci-archive", "docker-archive", "dir", "rootfs"):
        return None
    place = Path(target.location)
    return place.with_name(f"{place.name}.{ending}")


def require_place(path: Path | None) -> None:
    """`RamekinError` when a file cannot be written where it shall go, before anything else takes its time."""
    if path is None:
        return
    if path.is_dir():
        raise RamekinError(f"{path} cannot be written: it is a folder", hint="name a file")
    if not path.parent.is_dir():
        raise RamekinError(
            f"{path} cannot be written: there is no folder {path.parent}", hint="make it first"
        )
    if not os.access(path.parent, os.W_OK):
        raise RamekinError(f"{path} cannot be written: permission denied")


def _put(path: Path, data: bytes) -> None:
    try:
        beside = path.with_name(f".{path.name}.part")
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        raise RamekinError(f"{path} cannot be written: {error.strerror}") from None


def summarize(slimmed: Slimmed, settings: Settings, written: dict[str, str]) -> None:
    """What people are told: sizes, what was asked, what was put back, what is wrong."""
    from ramekin.slim import report

    for line in report.summary(slimmed):
        terminal.say(line)
    for note in slimmed.selection.notes:
        terminal.say(note, mark="note", style="36")
    for what, path in written.items():
        terminal.say(f"{what}: {path}")
    if "seccomp" in written and slimmed.observation is not None:
        from ramekin.slim import seccomp

        terminal.say(
            f"use it by `docker run {shlex.join(seccomp.options(slimmed.observation, written['seccomp']))} …`"
        )
    if slimmed.passed:
        return
    differences = slimmed.differences
    terminal.say(
        f"the slim image answers otherwise, and was not written ({plural(len(differences), 'difference')}):",
        mark="error",
        style="1;31",
    )
    for difference in differences[:SHOWN]:
        terminal.say(f"  {difference}")
    if len(differences) > SHOWN:
        terminal.say(f"  and {len(differences) - SHOWN} more")
    for line in report.missing(slimmed)[:SHOWN]:
        terminal.say(f"  missing: {line}")
    terminal.say(report.advice(slimmed, healed=settings.heal is not False), mark=" hint", style="36")


def as_data(
    slimmed: Slimmed, settings: Settings, target: Reference | None, written: dict[str, str]
) -> dict[str, Any]:
    """The same for programs (`--json`)."""
    from ramekin.slim import report

    return {
        "image": slimmed.name,
        "original": slimmed.contents.outline.root.digest,
        "target": str(target) if target is not None else None,
        "written": written,
        **report.data(slimmed),
    }
