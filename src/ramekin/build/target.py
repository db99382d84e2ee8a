"""Where an image goes: the reference that a request names, filled in from its name and tag."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ramekin.build.request import ImageRequest
from ramekin.errors import UsageError
from ramekin.image import reference
from ramekin.image.reference import Reference, split_name


def target(request: ImageRequest) -> Reference:
    """The reference that the image of `request` is written to; `UsageError` when it is none.

    `{name}` in it is the image's name. Without one it is `oci:./NAME`, of the tag's name if there is a tag.
    What the reference leaves open is filled in from the tag: the whole of it in archives, its last part in
    layouts and registries, which have their own name.
    """
    name, tag = split_name(request.tag)
    text = request.target.replace("{name}", request.name)
    found = reference.parse_target(text or f"oci:./{name.rpartition('/')[2] or request.name}")
    if found.tag or found.name:
        return found
    match found.transport:
        case "docker" | "oci":
            return replace(found, tag=tag)
        case "oci-archive":
            return replace(found, tag=request.tag)
        case "docker-archive":
            return replace(found, name=name or repository(request.name), tag=tag or "latest")
        case _:
            return found


def repository(name: str) -> str:
    """A repository's name that is as near to `name` as distribution-spec allows (`g++` is `g`)."""
    return re.sub(r"[^a-z0-9]+(?=$|[^a-z0-9])|^[^a-z0-9]+|[^a-z0-9._-]+", "", name.lower()) or "image"


def targets(requests: Iterable[ImageRequest]) -> tuple[Reference, ...]:
    """The target of each request; `UsageError` when two would be written over each other."""
    found: dict[str, str] = {}
    references = []
    for request in requests:
        place = target(request)
        shared = place.transport in ("oci", "docker")
        mark = str(place) if shared else f"{place.transport}:{place.location}"
        if mark in found:
            raise UsageError(
                f"{found[mark]} and {request.name} would both be written to {mark}",
                hint="give each its own output, or put {name} into it",
            )
        found[mark] = request.name
        references.append(place)
    return tuple(references)
