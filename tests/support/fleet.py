"""The acceptance fleet: images that engineers really run, each with a check that uses it as they do.

    for member in members():                      # fleet/*.yaml
        made = make(member, "packages", store)    # through the library; blobs in the store
        with laid_out(made, "bwrap") as box:      # its files, and nothing else of this machine
            check(member)(box)                    # fleet/checks/KIND.py, the function named like the image

A check gets a `Box`, runs the image's programs in it and raises AssertionError where one does not work.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

from support import containers
from support.containers import Identity, Layout, Running, free_port

from ramekin.build import compose, spec
from ramekin.build.compose import Built, ImageReport
from ramekin.build.request import ImageRequest
from ramekin.closure import slices
from ramekin.image import reference, transports
from ramekin.progress import SILENT
from ramekin.store.store import Store

FLEET = Path(__file__).resolve().parents[2] / "fleet"
LEVELS = ("depends", "packages", "files")
SOURCE = "debian:bookworm"

HOSTS = "127.0.0.1 localhost\n127.0.0.7 pantry.example pantry\n"
"""etc/hosts of a container, which its runtime writes."""


@dataclass(frozen=True)
class Member:
    """An image of the fleet; `kind` is the name of its spec file."""

    kind: str
    request: ImageRequest

    @property
    def name(self) -> str:
        return self.request.name


@dataclass(frozen=True)
class Made:
    """An image of the fleet at one level of closure, in the store; `seconds` is what building it took."""

    built: Built
    level: str
    seconds: float

    @property
    def report(self) -> ImageReport:
        return self.built.reports[0]

    @property
    def packages(self) -> list[str]:
        return sorted({text.partition("=")[0] for layer in self.report.layers for text in layer.packages})


def members(names: Sequence[str] = ()) -> list[Member]:
    """The images of all spec files, or those of `names`, by kind and then in their file's order."""
    found = [
        Member(path.stem, request)
        for path in sorted(FLEET.glob("*.yaml"))
        for request in spec.read(path).requests()
    ]
    unknown = set(names) - {member.name for member in found}
    assert not unknown, f"the fleet has no {', '.join(sorted(unknown))}"
    return [member for member in found if not names or member.name in names]


def check(member: Member) -> Callable[[Box], None]:
    """The check of an image: the function of its name in its kind's module."""
    function: Callable[[Box], None] = getattr(_module(member.kind), re.sub(r"\W", "_", member.name))
    return function


@cache
def _module(kind: str) -> ModuleType:
    name = kind.replace("-", "_")
    found = importlib.util.spec_from_file_location(f"fleet_{name}", FLEET / "checks" / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def request(member: Member, level: str, *, compression: str = "gzip") -> ImageRequest:
    """The request for an image at a level. By Depends everything stays, so globs to keep mean nothing."""
    asked = replace(member.request, closure=level, compression=compression)
    if level == "depends":
        known = slices.rules()
        asked = replace(asked, keep=tuple(name for name in asked.keep if name in known))
    return asked


def make(member: Member, level: str, store: Store, *, jobs: int = 2, compression: str = "gzip") -> Made:
    """Build an image. Raises what `compose.build` raises."""
    start = time.perf_counter()
    built = compose.build(
        request(member, level, compression=compression), store=store, progress=SILENT, jobs=jobs
    )
    return Made(built, level, time.perf_counter() - start)


@dataclass(frozen=True)
class Box:
    """The files of an image, in which its programs run; `folder` is for notes of the check outside of it."""

    image: Layout
    root: Path
    folder: Path
    runtime: str

    def run(
        self,
        *command: str,
        stdin: bytes | str = b"",
        env: Mapping[str, str] = {},
        user: str | None = None,
        status: int | None = 0,
        timeout: float = 120,
    ) -> str:
        """What a command in the image writes to its standard output; it must end with `status`."""
        return self.finish(*command, stdin=stdin, env=env, user=user, status=status, timeout=timeout).output

    def finish(
        self,
        *command: str,
        stdin: bytes | str = b"",
        env: Mapping[str, str] = {},
        user: str | None = None,
        status: int | None = 0,
        timeout: float = 120,
    ) -> containers.Finished:
        """As `run`, with what the command wrote to standard error."""
        return containers.run(
            self.image,
            self.folder,
            runtime=self.runtime,
            root=self.root,
            entrypoint=command,
            stdin=stdin.encode() if isinstance(stdin, str) else stdin,
            env=env,
            user=user,
            status=status,
            timeout=timeout,
        )

    def start(self, *args: str, **options: object) -> str:
        """What the image's own program, with these arguments in place of those of its command, writes."""
        return self.run(self.program, *args, **options)  # type: ignore[arg-type]

    @property
    def program(self) -> str:
        """What the image starts: its entry point, or the program of its command where it has none."""
        settings = self.image.config["config"]
        command: list[str] = settings.get("Entrypoint") or settings["Cmd"]
        return command[0]

    @contextmanager
    def serve(
        self,
        *command: str,
        port: int | None = None,
        env: Mapping[str, str] = {},
        user: str | None = None,
        patience: float = 60,
    ) -> Iterator[Running]:
        """A command that runs until the end of the context: the image's own when none is given.

        With `port`, it is there as soon as something listens there.
        """
        with containers.container(
            self.image,
            self.folder,
            runtime=self.runtime,
            root=self.root,
            entrypoint=command or None,
            env=env,
            user=user,
        ) as running:
            if port is not None:
                running.wait_for_port(port, patience)
            yield running

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644, owner: str | None = None) -> str:
        """Put a file into the image, as a volume or a derived image would; gives back its path."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        place.chmod(mode)
        if owner is not None:
            self._give(place, owner)
        return path

    def folder_for(self, path: str, owner: str | None = None, mode: int = 0o755) -> str:
        """Make a folder in the image, as a volume would be; gives back its path."""
        place = self.path(path)
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(mode)
        if owner is not None:
            self._give(place, owner)
        return path

    def _give(self, place: Path, owner: str) -> None:
        if os.getuid() == 0:
            who = Identity.of(self.root, owner)
            os.chown(place, who.uid, who.gid)

    def read(self, path: str) -> bytes:
        return self.path(path).read_bytes()

    def text(self, path: str) -> str:
        return self.read(path).decode()

    def path(self, path: str) -> Path:
        """A file of the image as this machine sees it."""
        return self.root / path.lstrip("/")


@contextmanager
def laid_out(made: Made, runtime: str = "bwrap") -> Iterator[Box]:
    """The image's files below a folder of their own, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="ramekin-fleet-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        transports.write(made.built.image, reference.parse(f"oci:{folder}/layout"))
        transports.write(made.built.image, reference.parse(f"rootfs:{folder}/rootfs"))
        notes = folder / "notes"
        notes.mkdir()
        box = Box(Layout(folder / "layout"), folder / "rootfs", notes, runtime)
        box.write("/etc/hosts", HOSTS)
        yield box


def until(
    what: Callable[[], object], *, patience: float = 60, wait: float = 0.1, running: Running | None = None
) -> object:
    """What `what` gives once that is true and raises nothing; the last failure when patience ends."""
    deadline = time.monotonic() + patience
    while True:
        try:
            found = what()
            if found or time.monotonic() > deadline:
                assert found, "it did not come true"
                return found
        except (AssertionError, OSError, ValueError, subprocess.SubprocessError):
            if time.monotonic() > deadline:
                raise
        if running is not None and running.process.poll() is not None:
            raise AssertionError(f"ended with {running.process.returncode}:\n{running.output}")
        time.sleep(wait)


def ports(count: int) -> list[int]:
    """As many different free ports."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)
