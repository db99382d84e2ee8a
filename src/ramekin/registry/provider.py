"""What the registry needs of whoever makes images on demand.

The registry asks its provider for every manifest by tag that was not pushed, and for tags of repositories
that nobody pushed to. It keeps what it is given: the manifest, those below it and its referrers become
records of the repository (`catalog.adopt`), so that all of them and their blobs can be had by digest from
then on, without the provider, for as long as the retention says.

    client ── GET /v2/shell/redis/manifests/latest ──► app: pushed? ── no ──► provider.provide(…)
                                                        │                        │
                                                        ◄── records it ◄── Provided
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ramekin.image.oci import Descriptor
from ramekin.store.digest import Digest


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. `user` is empty for nobody in particular, `address` is the client's IP address.

    Without `may_build`, only what is made already may be given.
    """

    user: str
    address: str
    may_build: bool
    request: str = ""


@dataclass(frozen=True, slots=True)
class Provided:
    """A manifest or index. Everything that it names, manifests and blobs, is in the store.

    `fresh` is for how many seconds the registry may answer the same name with it without asking again.
    `referrers` describe manifests in the store whose subject is this one or one below it.
    """

    digest: Digest
    media_type: str
    data: bytes
    fresh: float = 0.0
    referrers: tuple[Descriptor, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no such image: a status and an error code of the distribution specification.

    `detail` is any value that JSON can hold. `retry_after` is in seconds, for 429 and 503.
    """

    message: str
    code: str = "MANIFEST_UNKNOWN"
    status: int = 404
    detail: object = None
    retry_after: float | None = None


class Provider(Protocol):
    """Makes images by name. All methods run on the event loop of the worker that asks."""

    async def start(self) -> None:
        """Called once in each worker before it serves."""

    async def stop(self) -> None:
        """Called once in each worker after its last request; ends what still runs."""

    async def provide(
        self, repository: str, reference: str, asker: Asker, *, anew: bool = False
    ) -> Provided | Refusal | None:
        """The image of a name; None when the name is not one of the provider's.

        `repository` and `reference` (a tag) are valid by the specification's patterns. Waits while the
        image is made; cancelled when the client goes, which must not end a build that others wait for.
        With `anew`, blobs of what was given last have gone from the store since: make it again.
        """

    async def tags(self, repository: str, asker: Asker) -> tuple[str, ...] | None:
        """The tags of a repository that nobody pushed to; None when it is not one of the provider's."""


@runtime_checkable
class Counting(Protocol):
    """A provider that tells what it does, for the metrics."""

    def tell(self, told: Callable[[str, float | None, int], None]) -> None:
        """Have `told` called with what came of an image, its seconds, and how many are under way."""
