"""`ramekin serve`: a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ramekin.cli.options import StoreOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

    from ramekin.registry.config import Config
    from ramekin.registry.provider import Provider
    from ramekin.store.store import Store


def serve(
    *,
    host: Annotated[str | None, Parameter(help="The address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, Parameter(help="The port to listen on. Default: 5000.")] = None,
    store: StoreOption = None,
    config: Annotated[
        Path | None,
        Parameter(name="--config", help="The registry's configuration, a YAML file.", metavar="FILE"),
    ] = None,
    replica: Annotated[
        bool, Parameter(name="--replica", help="Be one of several over the same bucket.")
    ] = False,
) -> None:
    """Serve images until told to stop."""
    from ramekin.registry import config as configuration
    from ramekin.registry import server

    read = configuration.read(config) if config is not None else configuration.Config()
    settings = configuration.changed(read, host=host, port=port, store=store, replica=replica or None)
    server.serve(settings, _provider, _routes)


def _provider(config: Config, store: Store) -> Provider | None:
    if not config.on_demand.enabled:
        return None
    from ramekin.registry.ondemand.provider import OnDemandProvider

    return OnDemandProvider(config.on_demand, store)


def _routes(config: Config, store: Store, provider: Provider | None) -> Sequence[BaseRoute]:
    from ramekin.registry import page

    return page.routes(config, store, provider)
