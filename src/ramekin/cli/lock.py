"""`ramekin lock` and `ramekin update`: pin the packages of a spec's images, and bring the pins up to date."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ramekin.build.request import Choices
from ramekin.cli import options, terminal
from ramekin.cli.options import JobsOption, JsonOption, RefreshOption, StoreOption

if TYPE_CHECKING:
    from ramekin.build.lock import Change, LockedImage, LockFile
    from ramekin.build.request import ImageRequest
    from ramekin.build.selection import Selection

What = Annotated[str, Parameter(help="A spec file (default: ramekin.yaml) and images of it (default: all).")]
LockOption = Annotated[
    str | None,
    Parameter(name="--lock", help="The lock file. Default: ramekin.lock.json beside the spec."),
]


def lock(
    *what: What,
    lock: LockOption = None,
    refresh: RefreshOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> int:
    """Pin what is not pinned yet or was pinned for another request."""
    from ramekin.build import compose, pinning, selection

    chosen = selection.spec(what, Choices(), lock_file=lock)
    opened = options.open_store(store, chosen.store)
    with terminal.progress() as progress:
        made = pinning.fill(
            chosen.pinned,
            chosen.requests,
            lambda request: compose.resolve(request, store=opened, progress=progress, refresh=refresh),
            whole=_is_whole(what),
        )
    written = _write(chosen, made)
    _tell(chosen, made, written=written, json=json)
    return 0


def update(
    *what: What,
    lock: LockOption = None,
    check: Annotated[
        bool, Parameter(name="--check", help="Write nothing; exit with 1 when something would change.")
    ] = False,
    bytes_pulled: Annotated[
        bool,
        Parameter(
            name="--bytes",
            negative="--no-bytes",
            help="Make both images to say what a node with the old one pulls. Default: yes.",
        ),
    ] = True,
    jobs: JobsOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> int:
    """Pin the newest packages and say what changes, and what that costs a node that has the old image."""
    from ramekin.build import compose, pinning, selection

    chosen = selection.spec(what, Choices(), lock_file=lock)
    opened = options.open_store(store, chosen.store)
    pulled: dict[str, Mapping[str, int]] = {}
    with terminal.progress() as progress:
        made = pinning.renew(
            chosen.pinned,
            chosen.requests,
            lambda request: compose.resolve(request, store=opened, progress=progress, refresh=True),
            whole=_is_whole(what),
        )
        for request in chosen.requests:
            old, new = _old(chosen, request), made.images[request.name]
            if bytes_pulled and old is not None and pinning.changes(old, new):
                pulled[request.name] = compose.transfer(
                    old,
                    new,
                    _of_both(request, old),
                    store=opened,
                    progress=progress,
                    jobs=options.jobs(jobs, chosen.jobs),
                )
    found = {
        request.name: pinning.changes(_old(chosen, request), made.images[request.name])
        for request in chosen.requests
    }
    changed = any(found.values())
    if not check:
        _write(chosen, made)
    if json:
        terminal.write_json({"lock": str(chosen.lock), "changes": found, "bytes": pulled})
    else:
        for name, by_architecture in found.items():
            _tell_changes(name, by_architecture, pulled.get(name, {}))
    return 1 if check and changed else 0


def _is_whole(what: tuple[str, ...]) -> bool:
    """Whether all images of the spec are meant."""
    from ramekin.build import selection

    return len(what) == (1 if what and selection.is_spec(what[0]) else 0)


def _old(chosen: Selection, request: ImageRequest) -> LockedImage | None:
    return chosen.pinned.images.get(request.name) if chosen.pinned else None


def _of_both(request: ImageRequest, old: LockedImage) -> ImageRequest:
    """The request for those architectures that there was an image of before."""
    from dataclasses import replace

    both = tuple(name for name in request.architectures if name in old.architectures)
    return replace(request, architectures=both)


def _write(chosen: Selection, made: LockFile) -> bool:
    from ramekin.build import lock as locks

    assert chosen.lock is not None
    return locks.write(made, chosen.lock)


def _tell(chosen: Selection, made: LockFile, *, written: bool, json: bool) -> None:
    rows = [
        (name, architecture, closure)
        for name, image in sorted(made.images.items())
        for architecture, closure in sorted(image.architectures.items())
    ]
    if json:
        images: dict[str, dict[str, object]] = {}
        for name, architecture, closure in rows:
            images.setdefault(name, {})[architecture] = {
                "packages": len(closure.packages),
                "size": sum(package.size for package in closure.packages),
            }
        terminal.write_json({"lock": str(chosen.lock), "written": written, "images": images})
        return
    terminal.write_table(
        ("image", "architecture", "packages", "to fetch"),
        [
            (
                name,
                architecture,
                str(len(closure.packages)),
                terminal.size(sum(package.size for package in closure.packages)),
            )
            for name, architecture, closure in rows
        ],
        numbers=(2, 3),
    )
    terminal.say(f"{'wrote' if written else 'nothing to change in'} {chosen.lock}")


def _tell_changes(
    name: str, by_architecture: Mapping[str, tuple[Change, ...]], pulled: Mapping[str, int]
) -> None:
    if not by_architecture:
        terminal.write(f"{name}: up to date")
    for architecture, changes in by_architecture.items():
        cost = ""
        if architecture in pulled:
            cost = f", a node with the old image pulls {terminal.size(pulled[architecture])}"
        terminal.write(f"{name} {architecture}: {terminal.plural(len(changes), 'package')} to change{cost}")
        for change in changes:
            terminal.write(f"  {_spell(change)}")


def _spell(change: Change) -> str:
    if not change.before:
        return f"+ {change.name} {change.after}"
    if not change.after:
        return f"- {change.name} {change.before}"
    if change.before == change.after:
        return f"~ {change.name} {change.after}, other bytes"
    return f"~ {change.name} {change.before} -> {change.after}"
