"""The words that name a fleet, as references of images.

A word is one image, many of them, or a file that lists such words:

    docker://HOST/REPO:TAG  oci:DIR:TAG  …    one image
    docker://HOST/PREFIX                      every tag of every repository whose name begins with PREFIX
    docker://HOST                             every tag of every repository
    oci:DIR                                   every name in the layout
    FILE                                      a word a line; `#` begins a comment; `-` is standard input
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ramekin.errors import NotFoundError, RamekinError, UsageError
from ramekin.image import reference as references
from ramekin.image.reference import Reference
from ramekin.progress import SILENT, Progress

MOST_IMAGES = 20_000
_REF_NAME = "org.opencontainers.image.ref.name"
_LIST_LIMIT = 16 << 20


@dataclass(frozen=True)
class Filter:
    """Which tags of whole repositories are taken: those that match the glob `tags`."""

    tags: str = "*"


def expand(
    words: Sequence[str],
    *,
    chosen: Filter = Filter(),
    plain_http: bool = False,
    progress: Progress = SILENT,
) -> tuple[Reference, ...]:
    """The images that `words` name, each once, in their order.

    `UsageError` for a word that is neither, `NotFoundError` for a prefix that no repository has.
    """
    found: dict[Reference, None] = {}
    for word in words:
        for one in _expand(word, chosen, plain_http, progress, nested=False):
            found[one] = None
            if len(found) > MOST_IMAGES:
                raise UsageError(
                    f"{word} brings more than {MOST_IMAGES:,} images",
                    hint="choose by --tags, or list them in a file",
                )
    return tuple(found)


def _expand(
    word: str, chosen: Filter, plain_http: bool, progress: Progress, *, nested: bool
) -> Iterator[Reference]:
    scheme = word.partition(":")[0]
    if ":" not in word or "/" in scheme or (scheme not in references.TRANSPORTS and Path(word).exists()):
        if nested:
            references.parse(word)
        for line in _lines(word):
            yield from _expand(line, chosen, plain_http, progress, nested=True)
    elif scheme == "docker":
        yield from _registry(word, chosen, plain_http, progress)
    elif scheme == "oci":
        yield from _layout(references.parse(word))
    else:
        yield references.parse(word)


def _lines(word: str) -> list[str]:
    try:
        if word == "-":
            text = sys.stdin.read(_LIST_LIMIT)
        else:
            with Path(word).open(encoding="utf-8") as stream:
                text = stream.read(_LIST_LIMIT)
    except FileNotFoundError:
        raise UsageError(
            f"{word!r} is no image and no file",
            hint=f"an image is oci:{word}, docker://HOST/{word}, …; a file has one a line",
        ) from None
    except UnicodeDecodeError:
        hint = f"is it an image? Write oci-archive:{word} or docker-archive:{word}"
        raise UsageError(f"{word} is no list of images", hint=hint) from None
    except OSError as error:
        raise RamekinError(f"{word} cannot be read: {error.strerror}") from None
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UsageError(f"{word} lists no images", hint="write one reference a line")
    return found


def _layout(place: Reference) -> Iterator[Reference]:
    """Every name of a layout, unless one is said."""
    if place.tag or place.digest:
        yield place
        return
    from ramekin.image.transports.layout import Layout

    try:
        entries = Layout(Path(place.location)).index().manifests
    except RamekinError:
        # whoever opens it says what is wrong, and leaves it out
        yield place
        return
    names = dict.fromkeys(name for entry in entries if (name := entry.annotations.get(_REF_NAME, "")))
    if len(names) > 1:
        for name in names:
            yield references.parse(f"oci:{place.location}:{name}")
    else:
        yield place


def _registry(word: str, chosen: Filter, plain_http: bool, progress: Progress) -> Iterator[Reference]:
    """The one image with a tag or digest, else all of the repositories."""
    rest = word.removeprefix("docker://").rstrip("*")
    host, slash, prefix = rest.partition("/")
    if slash and prefix:
        place = references.parse(f"docker://{host}/{prefix.rstrip('/-._')}" if "@" not in prefix else word)
        if place.tag or place.digest:
            yield place
            return
    elif not host:
        references.parse(word)
    from ramekin.http import Client
    from ramekin.image.transports import listing

    with Client(plain_http=plain_http) as client:
        names = listing.repositories(client, host, prefix, plain_http=plain_http)
        if not names:
            raise NotFoundError(f"{word}: no repository of {host} has a name that begins with {prefix!r}")
        with progress.task(f"listing {word}", total=len(names), unit="repositories") as task:
            for name in names:
                for tag in listing.tags(client, host, name, plain_http=plain_http):
                    # what stands in for the referrers API are no images
                    if fnmatchcase(tag, chosen.tags) and not tag.startswith("sha256-"):
                        yield Reference("docker", f"{host}/{name}", tag=tag)
                task.advance(1)
