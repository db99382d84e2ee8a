"""Options that all commands have, and what they mean.

They are apart from those of `build`, for commands that read images start without what builds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from ramekin.store.store import Store

WORK = Group("How to work", sort_key=9)

StoreOption = Annotated[
    str | None,
    Parameter(
        name="--store",
        group=WORK,
        help="The folder or URL of the store. Default: RAMEKIN_HOME, else in the cache folder.",
    ),
]
JsonOption = Annotated[
    bool, Parameter(name="--json", group=WORK, help="Write the result as JSON to standard output.")
]
JobsOption = Annotated[
    int | None,
    Parameter(
        name=["--jobs", "-j"],
        group=WORK,
        help="How many things to do at once. Default: one more than processors.",
    ),
]
PlainHttpOption = Annotated[
    bool | None,
    Parameter(
        name="--plain-http",
        group=WORK,
        help="Talk to registries without encryption, loopback or not.",
        negative=(),
    ),
]


def jobs(*said: int | None) -> int:
    """The first number of jobs that was said, else the usual one."""
    for number in said:
        if number is not None:
            from ramekin.build import fields

            return fields.jobs(number, where="--jobs")
    from ramekin import workers

    return workers.usual()


def open_store(*said: str | None) -> Store:
    """The store at the first place that was said, else the usual one."""
    from ramekin.store.store import Store

    return Store.at(next((place for place in said if place), None))
