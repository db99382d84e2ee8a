"""What a running container touched: a small file that can be kept and used again without running anything.

Paths are those of image trees: relative to the image's root, `usr/bin/redis-server`. A file that was opened
through links stands there by its own name and by the names of the links that led to it, as far as they are
known. The same observation always has the same bytes.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ramekin.errors import FormatError, RamekinError

VERSION = 1
FILE_LIMIT = 256 << 20
"""Bytes that an observation may have: a million paths, and more."""

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


def read(path: Path) -> Observation:
    """The observation in a file; `RamekinError` when there is none, or the file cannot be read."""
    try:
        # which does not wait for whom a pipe would need
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise FormatError(f"{path} is no file, and so no observation")
            data = stream.read(FILE_LIMIT + 1)
    except OSError as error:
        raise RamekinError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > FILE_LIMIT:
        raise FormatError(f"{path} is not an observation: it has more than {FILE_LIMIT >> 20} MiB")
    return decode(data, str(path))


def decode(data: bytes, where: str) -> Observation:
    """Read an observation; `FormatError` naming `where` and the field when it is none, or a newer one.

    People may have edited it: what nobody would read is refused, for what is not seen there is left out of
    the image.
    """
    import json

    hint = "correct it, or observe the image again with `ramekin slim`"
    try:
        # the standard library's reader, as file names may hold lone surrogates
        document = json.loads(data, object_pairs_hook=_once)
        version = document.get("version") if isinstance(document, dict) else None
        if isinstance(version, int) and version != VERSION:
            raise FormatError(
                f"{where} is an observation of version {version}, and this program knows {VERSION}",
                hint="observe the image again, or take a newer ramekin",
            )
        if isinstance(document, dict) and version is None:
            raise ValueError("it has no `version`")
        observation = msgspec.convert(document, type=_Strict, strict=True)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise FormatError(f"{where} is not an observation: {error}", hint=hint) from None
    for name, check in _CHECKS.items():
        given = getattr(observation, name)
        for one in (given,) if isinstance(given, str) else given:
            if (wrong := check(one)) is not None:
                raise FormatError(f"{where}: {name}: {one!r} {wrong}", hint=hint)
    plain = {name: getattr(observation, name) for name in Observation.__struct_fields__}
    return ordered(Observation(**plain))


class _Strict(Observation, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """An observation as a file must have it."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        again = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`{again}` stands there twice")
    return fields


def _path(text: str) -> str | None:
    if text.startswith("/") or ".." in text.split("/"):
        return "is not a path below the image's root"
    if not text or "\0" in text or any(part in ("", ".") for part in text.split("/")):
        return "is not how a path is written, as in usr/bin/tool"
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "is no path"
    return None


def _is(pattern: str, what: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern)
    return lambda text: None if compiled.fullmatch(text) else f"is no {what}"


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    **dict.fromkeys(("opened", "executed", "tested", "healed", "missing", "written"), _path),
    "image": _is(r"|[a-z0-9]+:[0-9a-f]{32,128}", "digest"),
    "platform": _is(r"|[\w.-]+(?:/[\w.-]+){1,2}", "platform, as in linux/amd64"),
    **dict.fromkeys(("probes", "listening"), _is(r"(?s)[^\ud800-\udfff]*", "text")),
    "syscalls": _is(r"[a-z0-9_]+|socket:[0-9]{1,10}", "system call"),
    "capabilities": _is(r"CAP_[A-Z_]+", "capability, as in CAP_CHOWN"),
}
