"""`ramekin validate`: every invariant of the specifications, all problems at once."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ramekin.cli import terminal
from ramekin.cli.options import JsonOption, PlainHttpOption


def validate(
    image: Annotated[str, Parameter(help="The image, as in oci:./web or docker://HOST/REPO:TAG.")],
    /,
    *,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Check an image; exit with 1 when there is any problem."""
    from ramekin.image import reference, transports
    from ramekin.image import validate as validation

    place = reference.parse(image)
    with (
        terminal.progress() as progress,
        transports.read(place, plain_http=bool(plain_http), progress=progress) as opened,
    ):
        problems = validation.validate(opened, progress)
        digest = opened.root.digest
    if json:
        found = [{"where": problem.where, "what": problem.what} for problem in problems]
        terminal.write_json({"image": str(place), "digest": digest, "problems": found})
    else:
        for problem in problems:
            terminal.write(f"{problem.where}: {problem.what}")
        found_text = terminal.plural(len(problems), "problem") if problems else "no problem"
        terminal.say(f"{place}: {found_text}")
    return 1 if problems else 0
