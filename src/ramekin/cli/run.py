"""`ramekin run`: try an image in a sandbox."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

from cyclopts import Parameter

from ramekin.build import fields
from ramekin.cli import terminal
from ramekin.cli.options import PlainHttpOption
from ramekin.errors import UsageError


def run(
    image: Annotated[str, Parameter(help="The image, as in oci:./web or docker://HOST/REPO:TAG.")],
    /,
    *arguments: Annotated[str, Parameter(help="Arguments in place of the image's own, after --.")],
    entrypoint: Annotated[
        str | None,
        Parameter(name="--entrypoint", help="Another program, split as a shell would.", metavar="COMMAND"),
    ] = None,
    env: Annotated[
        list[str] | None,
        Parameter(name=["--env", "-e"], help="An environment variable more.", metavar="NAME=VALUE"),
    ] = None,
    user: Annotated[
        str | None,
        Parameter(name=["--user", "-u"], help="Another user.", metavar="NAME|UID"),
    ] = None,
    workdir: Annotated[
        str | None, Parameter(name=["--workdir", "-w"], help="Another folder to start in.", metavar="DIR")
    ] = None,
    volume: Annotated[
        list[str] | None,
        Parameter(
            name=["--volume", "-v"],
            help="A folder of this machine to be seen inside; :ro after it for reading only.",
            metavar="HOST:DIR",
        ),
    ] = None,
    net: Annotated[
        str,
        Parameter(name="--net", help="The machine's network, or none. Default: host.", metavar="host|none"),
    ] = "host",
    runtime: Annotated[
        str | None,
        Parameter(
            name="--runtime",
            help="What makes the sandbox. Default: runc for root if it is installed, else bwrap.",
            metavar="bwrap|runc",
        ),
    ] = None,
    plain_http: PlainHttpOption = None,
) -> int:
    """Run an image on a throw-away copy of its files and exit as its program does."""
    from ramekin.build import trial
    from ramekin.image import reference, transports
    from ramekin.image.running.container import Wishes
    from ramekin.image.running.runtimes import choose_runtime

    if net not in trial.NETWORKS:
        raise UsageError(f"--net: there is no {net!r}", hint="choose host or none")
    wishes = Wishes(
        arguments=arguments,
        entrypoint=None if entrypoint is None else fields.words(entrypoint, where="--entrypoint"),
        env=tuple(fields.variable(*fields.pair(text, where="--env"), where="--env") for text in env or ()),
        user=None if user is None else fields.user(user, where="--user"),
        workdir=None if workdir is None else fields.folder(workdir, where="--workdir"),
        volumes=tuple(trial.volume(text, where="--volume") for text in volume or ()),
        network=net,
    )
    place = reference.parse(image)
    chosen = choose_runtime(runtime)
    with ExitStack() as stack:
        # the display is gone before the program has the terminal to itself
        with terminal.progress() as progress:
            opened = stack.enter_context(
                transports.read(place, plain_http=bool(plain_http), progress=progress)
            )
            made = stack.enter_context(trial.prepared(opened, wishes, progress=progress))
        return trial.run(made, runtime=chosen)
