"""`ramekin warm`: make images before anybody asks a registry for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ramekin.cli import options, terminal
from ramekin.cli.options import JobsOption, JsonOption, StoreOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ramekin.registry.ondemand.orders import Answer, Order
    from ramekin.registry.ondemand.provider import OnDemandProvider

_LISTS = (".txt", ".list", ".lst")
"""What names of files end with and no package's name does."""


def warm(
    *what: Annotated[
        str, Parameter(help="Names as a client pulls them (shell/redis-server:trixie), or a file of such.")
    ],
    config: Annotated[
        Path | None,
        Parameter(name="--config", help="The registry's configuration, a YAML file.", metavar="FILE"),
    ] = None,
    jobs: JobsOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> int:
    """Make images and put them into a registry's store, so that the first pull gets them at once."""
    from ramekin.errors import RamekinError, UsageError
    from ramekin.registry import config as configuration
    from ramekin.registry.ondemand.kitchen import Kitchen
    from ramekin.registry.ondemand.provider import OnDemandProvider

    if not what:
        raise UsageError("warm: which images?", hint="name packages, or a file that has a name a line")
    read = configuration.read(config) if config is not None else configuration.Config()
    specs = (*read.on_demand.specs, *(word for word in what if word.endswith((".yaml", ".yml"))))
    changed = {"specs": specs, "jobs": jobs or read.on_demand.jobs}
    settings = read.on_demand.model_copy(update=changed)
    opened = options.open_store(store, read.store)
    provider = OnDemandProvider(settings, opened, ahead=False)
    provider.load()
    kitchen = Kitchen(opened)
    orders = [_order(provider, name) for name in _names(what)]
    made: list[dict[str, Any]] = []
    failures: list[RamekinError] = []
    with terminal.progress() as progress:
        for order in orders:
            try:
                made.append(_told(order, kitchen.make(order, progress)))
            except RamekinError as error:
                # the others are worth having all the same
                failures.append(error)
                progress.warn(f"{order.image}:{order.tag}: {error.message}")
                continue
            if not json:
                terminal.write(f"{made[-1]['name']} {made[-1]['digest']}")
    if json:
        terminal.write_json({"images": made})
    if failures:
        raise RamekinError(f"{len(failures)} of {len(orders)} images could not be made")
    return 0


def _names(what: Iterable[str]) -> Iterator[str]:
    """The names that were given, and those that files hold: a name a line, `#` for remarks."""
    from ramekin.build.selection import is_spec
    from ramekin.errors import NotFoundError

    for word in what:
        path = Path(word)
        if word.endswith((".yaml", ".yml")):
            from ramekin.build import spec

            yield from spec.read(path).images
        elif is_spec(word) or path.is_file() or path.suffix in _LISTS:
            try:
                lines = path.read_text("utf-8").splitlines()
            except FileNotFoundError:
                raise NotFoundError(
                    f"there is no file {word}", hint="give names of images, or a file that has a name a line"
                ) from None
            except OSError as error:
                raise NotFoundError(f"{word} cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise NotFoundError(f"{word} is no text", hint="a file has a name a line") from None
            yield from (name for line in lines if (name := line.partition("#")[0].strip()))
        else:
            yield word


def _order(provider: OnDemandProvider, name: str) -> Order:
    from ramekin.build import fields
    from ramekin.errors import UsageError
    from ramekin.registry.provider import Refusal

    fields.tag(name, where="warm")
    repository, tag = fields.split_tag(name)
    found = provider.order(repository, tag or "latest")
    if found is None or isinstance(found, Refusal):
        raise UsageError(f"{name}: {found.message if found else 'the configuration makes no images'}")
    return found.order


def _told(order: Order, answer: Answer) -> dict[str, Any]:
    return {
        "name": f"{order.image}:{order.tag}",
        "digest": answer.digest,
        "lock": f"lock-{answer.lock}" if answer.lock else "",
        "layers": {report.architecture: len(report.layers) for report in answer.reports},
        "size": {report.architecture: report.size for report in answer.reports},
    }
