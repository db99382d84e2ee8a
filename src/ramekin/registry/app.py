"""The registry as an ASGI application: `create` puts it together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute

    from ramekin.registry.provider import Provider
    from ramekin.store.store import Store


def create(
    config: object, store: Store, provider: Provider | None = None, extra_routes: Sequence[BaseRoute] = ()
) -> Starlette:
    """The application over `store`; `extra_routes` (the page's) are asked after the registry's own.

    `app.state.registry` has `.config`, `.store`, `.catalog` and `.provider` for those routes.
    """
    raise NotImplementedError
