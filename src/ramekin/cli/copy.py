"""`ramekin copy`: an image from one transport to another."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from ramekin.cli import options, terminal
from ramekin.cli.options import JobsOption, JsonOption, PlainHttpOption


def copy(
    source: Annotated[str, Parameter(help="The image, as in oci:./web or docker://HOST/REPO:TAG.")],
    target: Annotated[str, Parameter(help="Where it goes, as in docker-archive:web.tar.")],
    /,
    *,
    arch: Annotated[
        str | None,
        Parameter(name=["--arch", "-a"], help="Of an index, the image of one architecture. Default: all."),
    ] = None,
    jobs: JobsOption = None,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Copy an image with everything that refers to it."""
    from ramekin.build import configure, request
    from ramekin.image import reference, transports

    place, destination = reference.parse(source), reference.parse(target)
    with terminal.progress() as progress:
        written = transports.copy(
            place,
            destination,
            jobs=options.jobs(jobs),
            plain_http=bool(plain_http),
            progress=progress,
            platform=configure.platform(request.architecture(arch)) if arch is not None else None,
        )
    if json:
        terminal.write_json({"target": str(destination), "digest": written.digest, "size": written.size})
    else:
        terminal.write(str(replace(destination, digest=written.digest)))
    return 0
