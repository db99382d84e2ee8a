"""The provider that composes images of packages: names in, manifests out."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ramekin import workers
from ramekin.errors import RamekinError, UsageError
from ramekin.registry.ondemand import names
from ramekin.registry.ondemand.builds import Build, Builds, Outcome, Told, busy, refuse
from ramekin.registry.ondemand.names import Locked, Moving
from ramekin.registry.ondemand.orders import Order, Suggestion, Terms, View
from ramekin.registry.ondemand.specs import Specs
from ramekin.registry.ondemand.workers import BusyError, FailedError, Workers
from ramekin.registry.ondemand_config import OnDemand
from ramekin.registry.provider import Asker, Provided, Refusal
from ramekin.store.store import Store

_SHORT = 30.0
"""Seconds for which the registry may give a moving tag's answer without asking again."""

_ORDERS = 4096
"""Names that are kept read."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A name and a tag that were read, and the key that all names of the same image have."""

    order: Order
    key: bytes


class OnDemandProvider:
    """Carries out `provider.Provider`; the page asks it for more."""

    def __init__(self, config: OnDemand, store: Store, *, ahead: bool = True) -> None:
        """With `ahead`, indexes are fetched and read before anybody asks."""
        self._ahead = ahead
        self._reading: asyncio.Task[None] | None = None
        self._config, self._store = config, store
        jobs = config.jobs or workers.usual()
        self._terms = Terms(source=config.source or "debian", config=config, jobs=jobs)
        self._specs = Specs([Path(path) for path in config.specs])
        self._workers = Workers(store, builds=config.builds, queue=config.queue, seconds=config.time)
        self.builds = Builds(self._workers, config)
        self._orders: dict[tuple[str, str], Ordered] = {}
        self._anything = self._terms.named(names.Named("amd64", True, ()), "latest", Moving())

    def tell(self, told: Told) -> None:
        """See `provider.Counting`."""
        self.builds.told = told

    async def start(self) -> None:
        """Read the specs; `UsageError` for a broken one."""
        await asyncio.to_thread(self.load)
        if self._ahead and self._config.enabled:
            self._reading = asyncio.create_task(self._read_ahead())

    def load(self) -> None:
        """Read the specs; `UsageError` for a broken one."""
        self._specs.load()

    async def _read_ahead(self) -> None:
        # who asks meets the same failure, and is told
        await self._workers.prepare()
        with suppress(FailedError, BusyError, TimeoutError):
            await self._workers.ask(self._anything, "search", 600.0, words=("ramekin",))

    async def stop(self) -> None:
        """End what is being made."""
        if self._reading is not None:
            self._reading.cancel()
        await self.builds.end()

    # --- the registry's questions ------------------------------------------------------------------------

    async def provide(
        self, repository: str, reference: str, asker: Asker, *, anew: bool = False
    ) -> Provided | Refusal | None:
        """The image of a name; see `provider.Provider`."""
        ordered = self.order(repository, reference)
        if not isinstance(ordered, Ordered):
            return ordered
        if anew:
            self.builds.drop(ordered.key)
        outcome = await self.builds.get(ordered.order, ordered.key, asker)
        return provided(outcome)

    async def tags(self, repository: str, asker: Asker) -> tuple[str, ...] | None:
        """The tags of a name; None when it cannot be made."""
        spec = self._specs.images().get(names.split_architecture(repository)[1])
        if spec is not None:
            return spec.tags
        ordered = self.order(repository, "latest")
        if not isinstance(ordered, Ordered):
            return None
        try:
            reply = await self._workers.ask(ordered.order, "tags")
        except (FailedError, BusyError, TimeoutError):
            return None
        return reply.texts or None

    # --- names -------------------------------------------------------------------------------------------

    def order(self, repository: str, reference: str) -> Ordered | Refusal | None:
        """The order that a name and a tag stand for; None when images are not made at all."""
        if not self._config.enabled and not self._config.specs:
            return None
        architecture, rest = names.split_architecture(repository)
        spec = self._specs.images().get(rest) if self._config.specs else None
        try:
            if spec is not None:
                if spec.error is not None:
                    return refuse(spec.error.message, spec.error.hint, kind="error")
                return self._of_spec(rest, architecture, reference)
            if not self._config.enabled:
                return None
            found = self._orders.get((repository, reference))
            if found is None:
                found = self._named(repository, reference)
                if len(self._orders) >= _ORDERS:
                    self._orders.clear()
                self._orders[repository, reference] = found
            return found
        except RamekinError as error:
            return refuse(error.message, error.hint, kind="error")

    def _named(self, repository: str, reference: str) -> Ordered:
        named = names.parse(repository)
        if len(named.packages) > self._config.named:
            raise UsageError(
                f"{repository} names {len(named.packages)} packages",
                hint=f"one name may have {self._config.named}; write a spec file",
            )
        tag = names.parse_tag(reference)
        order = self._terms.named(named, reference, tag)
        return Ordered(order, order.key)

    def _of_spec(self, name: str, architecture: str, reference: str) -> Ordered:
        image = self._specs.images()[name]
        assert image.request is not None
        tag = names.parse_tag(reference) if reference.startswith("lock-") else Moving()
        if not isinstance(tag, Locked) and reference not in image.tags:
            raise UsageError(
                f"{name} has no tag {reference}",
                hint=f"it is an image of a spec, with {', '.join(image.tags)}",
            )
        request = image.request
        if architecture:
            if architecture not in request.architectures:
                raise UsageError(
                    f"{name} is not made for {architecture}",
                    hint=f"it is for {', '.join(request.architectures)}",
                )
            request = replace(request, architectures=(architecture,))
        order = self._terms.order(name, reference, request, tag, image.locked)
        return Ordered(order, order.key)

    # --- the page's questions ----------------------------------------------------------------------------

    def spec_names(self) -> tuple[str, ...]:
        """The names of all images of specs."""
        return tuple(sorted(self._specs.images()))

    def start_build(self, repository: str, reference: str, asker: Asker) -> Build | Outcome | None:
        """Begin to make an image, join a build that is under way, or give the answer at hand."""
        ordered = self.order(repository, reference)
        if not isinstance(ordered, Ordered):
            return ordered
        return self.builds.at_hand(ordered.key) or self.builds.start(ordered.order, ordered.key, asker)

    def following(self, repository: str, reference: str) -> Build | Outcome | None:
        """The build of an image that is under way, or what is at hand or was refused just now."""
        ordered = self.order(repository, reference)
        if not isinstance(ordered, Ordered):
            return ordered
        return self.builds.under_way(ordered.key) or self.builds.known(ordered.key)

    async def search(self, words: tuple[str, ...], limit: int) -> tuple[Suggestion, ...] | Refusal:
        """Packages whose name or description hold all words."""
        try:
            reply = await self._workers.ask(self._anything, "search", words=words, limit=limit)
        except FailedError as error:
            return refuse(error.message, error.hint, kind=error.kind)
        except BusyError as error:
            return busy(error)
        except TimeoutError:
            return refuse("the search took too long", None, kind="time")
        return reply.found or ()

    async def view(self, repository: str, reference: str, architecture: str) -> View | Refusal | None:
        """An image before or after it was made."""
        reply = await self._look(repository, reference, "view", architecture)
        return reply if reply is None or isinstance(reply, Refusal | View) else None

    async def graph(self, repository: str, reference: str, architecture: str) -> str | Refusal | None:
        """Who needs whom in an image, as SVG."""
        reply = await self._look(repository, reference, "graph", architecture)
        return reply if reply is None or isinstance(reply, Refusal | str) else None

    async def _look(
        self, repository: str, reference: str, work: str, architecture: str
    ) -> View | str | Refusal | None:
        ordered = self.order(repository, reference)
        if not isinstance(ordered, Ordered):
            return ordered
        known = ordered.order.request.architectures
        architecture = architecture if architecture in known else known[0]
        try:
            reply = await self._workers.ask(ordered.order, work, 120.0, architecture=architecture)
        except FailedError as error:
            return refuse(error.message, error.hint, kind=error.kind)
        except BusyError as error:
            return busy(error)
        except TimeoutError:
            return refuse("that took too long", None, kind="time")
        return reply.view if reply.texts is None else reply.texts[0]


def provided(outcome: Outcome) -> Provided | Refusal:
    """An outcome as the registry takes it."""
    if isinstance(outcome, Refusal):
        return outcome
    answer = outcome.answer
    left = max(outcome.fresh - time.monotonic(), 0.0)
    return Provided(
        answer.digest, answer.media_type, answer.data, fresh=min(left, _SHORT), referrers=answer.referrers
    )
