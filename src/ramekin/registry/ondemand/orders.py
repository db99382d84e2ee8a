"""What is asked of a worker process and what it answers: plain values that go through JSON."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ramekin.build.compose import ImageReport
from ramekin.build.lock import LockedImage
from ramekin.build.request import Choices, ImageRequest, NixChoices, as_data, fold
from ramekin.errors import UsageError
from ramekin.image.oci import Descriptor
from ramekin.registry.ondemand.names import ARCHITECTURES, NIX, Day, Locked, Moving, Named, Tag
from ramekin.registry.ondemand_config import OnDemand
from ramekin.store.digest import Digest


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One image that is asked for.

    `image` is its name without an architecture, `tag` the tag as it was given. `day` and `lock` are set for
    tags that never move. `locked` is what a spec's lock file pins. The limits are those of the configuration.
    """

    image: str
    tag: str
    request: ImageRequest
    day: str = ""
    lock: str = ""
    locked: LockedImage | None = None
    packages: int
    size: int
    history: int
    jobs: int

    @property
    def fixed(self) -> bool:
        """Whether the tag never moves."""
        return bool(self.day or self.lock)

    @property
    def key(self) -> bytes:
        """Equal for orders of the same image."""
        parts = (self.image, self.tag, as_data(self.request), self.locked)
        return msgspec.json.encode(parts, order="deterministic")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was made. `data` is its manifest or index; `lock` is the digest that its lock tag holds.

    `source` and `state` say which indexes it follows. `packages` counts those of the first architecture.
    """

    digest: Digest
    media_type: str
    data: bytes
    referrers: tuple[Descriptor, ...] = ()
    lock: str = ""
    source: str = ""
    reports: tuple[ImageReport, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a worker did not do it. `kind` is `error`, `missing` (not made yet), `network` or `bug`."""

    kind: str
    message: str
    hint: str = ""


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sign of progress: a step begins (`label`), goes on (`done`), ends; or a line to read.

    `step` numbers steps from 1; 0 is for `note` and `warn`. Amounts are in `unit`s.
    """

    step: int = 0
    label: str = ""
    total: int | None = None
    unit: str = "B"
    done: int | None = None
    ended: bool = False
    note: str = ""
    warn: str = ""


class LayerView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A layer before or after it is made. `exact` says whether `size` (bytes as it travels) is known.

    `unpacked` is the index's estimate. `held` is whether this registry has it.
    """

    name: str
    packages: tuple[str, ...]
    size: int
    unpacked: int = 0
    exact: bool = False
    held: bool = False
    digest: str = ""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """An image of one architecture, made or not.

    `closed` says whether it is known which packages evidence keeps; else the image holds `layers` at most.
    `lock` is the digest of its lock tag.
    """

    image: str
    architecture: str
    source: str
    made: bool
    closed: bool
    digest: str = ""
    lock: str = ""
    layers: tuple[LayerView, ...]


class Suggestion(msgspec.Struct, frozen=True):
    """A package that may have been meant; sizes are in bytes, as it travels and unpacked."""

    name: str
    version: str
    description: str
    size: int
    unpacked: int
    spelled: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What turns names into orders."""

    source: str
    config: OnDemand
    jobs: int

    def named(self, named: Named, tag_text: str, tag: Tag) -> Order:
        """The order for packages that are named one by one."""
        if named.kind:
            return self._of_nix(named, tag_text, tag)
        suite = tag.suite if isinstance(tag, Moving | Day) else ""
        packages = tuple(sorted({*named.packages, *(self.config.shell if named.shell else ())}))
        starts = Choices(entrypoint=(), cmd=("/bin/bash",)) if named.shell else Choices()
        choices = Choices(
            packages=packages,
            source=f"{self.source.partition(':')[0]}:{suite}" if suite else self.source,
            architectures=(named.architecture,) if named.architecture else ARCHITECTURES,
            sbom=self.config.sbom or None,
        )
        request = fold(named.image, (starts, choices), where=named.repository)
        return self.order(named.image, tag_text, request, tag)

    def _of_nix(self, named: Named, tag_text: str, tag: Tag) -> Order:
        """The order for store paths."""
        nix = self.config.nix
        if nix is None:
            raise UsageError(
                "this registry makes no images of Nix",
                hint="its configuration has `on-demand: nix:` with a channel, caches and their keys",
            )
        if isinstance(tag, Day) or (isinstance(tag, Moving) and tag.suite):
            raise UsageError(
                f"{tag_text!r} is no tag of an image of Nix", hint="there are latest and lock-DIGEST"
            )
        tools = nix.shell if named.shell else ()
        starts = Choices(entrypoint=(), cmd=("/bin/bash",)) if named.shell else Choices()
        choices = Choices(
            packages=tuple(sorted({*named.packages, *tools})),
            source=NIX,
            architectures=(named.architecture,) if named.architecture else nix.architectures,
            sbom=self.config.sbom or None,
            nix=NixChoices(
                caches=nix.caches,
                trusted_keys=nix.trusted_keys,
                channel=nix.channel,
                essentials=nix.essentials,
                database=nix.database or None,
            ),
        )
        request = fold(named.image, (starts, choices), where=named.repository)
        return self.order(named.image, tag_text, request, tag)

    def order(
        self, image: str, tag_text: str, request: ImageRequest, tag: Tag, locked: LockedImage | None = None
    ) -> Order:
        """The order for a request, within the configuration's limits."""
        return Order(
            image=image,
            tag=tag_text,
            request=request,
            day=tag.day if isinstance(tag, Day) else "",
            lock=tag.hex if isinstance(tag, Locked) else "",
            locked=locked,
            packages=self.config.packages,
            size=self.config.size,
            history=self.config.history,
            jobs=self.jobs,
        )


# learnt here, as two threads that make msgspec learn a type at the same time crash the process
for _kind in (Order, Answer, Failure, Event, View, Suggestion):
    msgspec.json.Decoder(_kind)
