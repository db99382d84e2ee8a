"""What a running container touched: a small file that can be kept and used again without running anything.

Paths are those of image trees: relative to the image's root, `usr/bin/redis-server`. A file that was opened
through links stands there by its own name and by the names of the links that led to it, as far as they are
known. The same observation always has the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from ramekin.errors import FormatError

VERSION = 1

Exposure = Literal["", "fanotify", "seccomp"]
"""What watched the container; nothing for an observation that nobody made."""


class Observation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All that was seen of an image while it ran.

    `image` is its manifest's digest and `platform` as `linux/amd64`. `tested` are paths that were only
    asked about (stat, access), `missing` those that were looked up and that the image has not; both need
    tracing, and are empty without it. `listening` are sockets as `tcp:8080`, `udp:53` or
    `unix:/run/x.sock`; `written` the paths that the program made, changed or removed; `probes` the names of
    what was asked of it. `healed` are paths that the slim image was found to miss, and that stay for it.
    `syscalls` are those that not every program makes (`seccomp` says which), and are
    all of them only if `calls_noted`."""

    version: int = VERSION
    image: str = ""
    platform: str = ""
    exposure: Exposure = ""
    probes: tuple[str, ...] = ()
    executed: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    healed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    listening: tuple[str, ...] = ()
    calls_noted: bool = False
    syscalls: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()

    @property
    def used(self) -> frozenset[str]:
        """Every path of the image that was opened, executed or asked about, or missed."""
        return frozenset((*self.opened, *self.executed, *self.tested, *self.healed))


_PATHS = ("probes", "executed", "opened", "tested", "healed", "missing", "written", "listening")
_NAMES = ("syscalls", "capabilities")

_DECODER = msgspec.json.Decoder(Observation)


def ordered(observation: Observation) -> Observation:
    """The same with each list sorted and nothing in it twice."""
    return _replaced(observation, {name: getattr(observation, name) for name in (*_PATHS, *_NAMES)})


def merge(first: Observation, second: Observation) -> Observation:
    """What either of two observations of one image has.

    `FormatError` when they are of different images or platforms;
    an observation that names none goes with any.
    """
    for field in ("image", "platform"):
        one, other = getattr(first, field), getattr(second, field)
        if one and other and one != other:
            raise FormatError(
                f"two observations are of different images: the {field} is {one} in one "
                f"and {other} in the other",
                hint="observe the image again, or leave one of the files out",
            )
    lists = {name: (*getattr(first, name), *getattr(second, name)) for name in (*_PATHS, *_NAMES)}
    united = _replaced(first, lists)
    return msgspec.structs.replace(
        united,
        image=first.image or second.image,
        platform=first.platform or second.platform,
        exposure=first.exposure or second.exposure,
        calls_noted=all(one.calls_noted for one in (first, second) if one.exposure)
        and bool(first.exposure or second.exposure),
    )


def _replaced(observation: Observation, lists: Mapping[str, Iterable[str]]) -> Observation:
    return msgspec.structs.replace(
        observation, **{name: tuple(sorted(set(items))) for name, items in lists.items()}
    )


def encode(observation: Observation) -> bytes:
    """The bytes of the file: JSON, a line a path, so that two of them can be compared by eye.

    File names that are not UTF-8 keep their bytes as Python's surrogate escapes do, written `\\udcXX`.
    """
    import json

    fields = msgspec.to_builtins(ordered(observation))
    # the version always stands there, so that a reader may know early that it is too old
    document = {"version": observation.version, **fields}
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def decode(data: bytes, where: str) -> Observation:
    """Read an observation; `FormatError` naming `where` when it is none, or one of a newer version."""
    import json

    try:
        # the standard library's reader, as file names may hold lone surrogates
        document = json.loads(data)
        observation = msgspec.convert(document, type=Observation, strict=True)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise FormatError(
            f"{where} is not an observation: {error}", hint="observe the image again with `ramekin slim`"
        ) from None
    if observation.version != VERSION:
        raise FormatError(
            f"{where} is an observation of version {observation.version}, and this program knows {VERSION}",
            hint="observe the image again, or take a newer ramekin",
        )
    for name in ("opened", "executed", "tested", "healed", "missing", "written"):
        for path in getattr(observation, name):
            if path.startswith("/") or ".." in path.split("/"):
                raise FormatError(f"{where}: {name}: {path!r} is not a path below the image's root")
    return ordered(observation)
