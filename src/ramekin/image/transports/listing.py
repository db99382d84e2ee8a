"""What a registry has: its repositories, and the tags of one (distribution-spec, Content Discovery).

The list of repositories (`_catalog`) is Docker's, and not in the specification: registries may refuse it.
"""

from __future__ import annotations

from urllib.parse import urljoin

import msgspec

from ramekin.errors import FormatError, NetworkError
from ramekin.http import Client, HttpError, origin
from ramekin.image.image import DOCUMENT_LIMIT
from ramekin.image.transports.registry import Repository, next_page

PAGE = 1000
PAGES = 1000
"""How many pages of a list are read at most."""
CATALOG_SCOPE = "registry:catalog:*"


class _Catalog(msgspec.Struct, frozen=True):
    repositories: tuple[str, ...] | None = ()


class _Tags(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] | None = ()


# made here, as two threads that make msgspec learn a type at the same time crash the process
_CATALOG, _TAGS = msgspec.json.Decoder(_Catalog), msgspec.json.Decoder(_Tags)


def repositories(client: Client, host: str, prefix: str, *, plain_http: bool = False) -> tuple[str, ...]:
    """Repositories whose names begin with `prefix`, sorted.

    A registry that lists none is asked for a repository called `prefix` itself. `NetworkError` when that
    is not there either.
    """
    repository = Repository(client, host, prefix.rstrip("/-._") or "catalog", plain_http=plain_http)
    found: list[str] = []
    url = f"{repository.base}/v2/_catalog?n={PAGE}"
    try:
        for _ in range(PAGES):
            with repository.pull("GET", url, scopes=(CATALOG_SCOPE,)) as response:
                data = response.read(DOCUMENT_LIMIT)
                following = next_page(response.headers.get("link", ""), url)
            found += _decode(_CATALOG, data, f"the catalog of {host}").repositories or ()
            if not following or origin(following) != origin(url):
                break
            url = urljoin(url, following)
    except (HttpError, NetworkError) as error:
        status = getattr(error, "status", 401)
        if status not in (400, 401, 403, 404, 405, 501):
            raise
        if prefix and tags(client, host, repository.name, plain_http=plain_http):
            return (repository.name,)
        raise NetworkError(
            f"{host} does not list its repositories: {error.message}",
            hint="list the images in a file, a reference a line",
        ) from None
    return tuple(sorted({name for name in found if name.startswith(prefix)}))


def tags(client: Client, host: str, name: str, *, plain_http: bool = False) -> tuple[str, ...]:
    """The tags of a repository, as the registry orders them; none when it is not there."""
    repository = Repository(client, host, name, plain_http=plain_http)
    found: dict[str, None] = {}
    url = repository.url(f"tags/list?n={PAGE}")
    for _ in range(PAGES):
        with repository.pull("GET", url, allow=(404,)) as response:
            if response.status == 404:
                return ()
            data = response.read(DOCUMENT_LIMIT)
            following = next_page(response.headers.get("link", ""), url)
        before = len(found)
        found.update(dict.fromkeys(_decode(_TAGS, data, f"the tags of {repository.shown}").tags or ()))
        if not following or origin(following) != origin(url) or len(found) == before:
            break
        url = urljoin(url, following)
    return tuple(found)


def _decode(decoder: msgspec.json.Decoder[_Catalog] | msgspec.json.Decoder[_Tags], data: bytes, where: str):  # type: ignore[no-untyped-def]
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{where} is not what it should be: {error}") from None
