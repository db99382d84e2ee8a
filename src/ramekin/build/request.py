"""What one image shall be, as a plain value: where the command line's options and the spec file meet.

Only the standard library is imported here, so that `ramekin build PACKAGE…` starts without the machinery
that reads spec files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from ramekin.errors import UsageError
from ramekin.sources import KINDS
from ramekin.sources.mirror import Mirror

Value = TypeVar("Value")

STORE_PATHS = "/nix/store/"
"""How a package begins that can only be a store path of Nix; so is one that holds a `#`."""

LAYERS = 64
"""How many layers an image has at most when nothing else is asked for."""

PLATFORMS = MappingProxyType(
    {
        "amd64": ("amd64", ""),
        "arm64": ("arm64", "v8"),
        "armel": ("arm", "v5"),
        "armhf": ("arm", "v7"),
        "i386": ("386", ""),
        "loong64": ("loong64", ""),
        "mips64el": ("mips64le", ""),
        "mipsel": ("mipsle", ""),
        "ppc64el": ("ppc64le", ""),
        "riscv64": ("riscv64", ""),
        "s390x": ("s390x", ""),
    }
)
"""Architectures by their Debian name, as the image specification names them: architecture and variant."""

_SPELLINGS = {
    "386": "i386",
    "aarch64": "arm64",
    "arm/v5": "armel",
    "arm/v7": "armhf",
    "arm64/v8": "arm64",
    "armv7l": "armhf",
    "i586": "i386",
    "i686": "i386",
    "mips64le": "mips64el",
    "mipsle": "mipsel",
    "ppc64le": "ppc64el",
    "x86_64": "amd64",
    "x86-64": "amd64",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NixChoices:
    """What one place says of packages from Nix; None and empty say nothing.

    `caches`, `trusted_keys` and `channel` are those of `sources.nix.source.NixSettings`. `essentials` says
    whose CA certificates and time zones an image has that holds nothing but store paths: nobody's (`own`, the
    usual), or those of the packages of `nixpkgs` or `debian`. `links` says whether what was asked for is
    linked from `/bin` and the like (usually), `database` whether the image tells Nix what is in its store.
    """

    caches: tuple[str, ...] = ()
    trusted_keys: tuple[str, ...] = ()
    channel: str | None = None
    essentials: str | None = None
    links: bool | None = None
    database: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One image that was asked for, every default filled in.

    `packages` are `name`, `name=version` or `name/suite`, or what else their source understands; those of
    another kind than `source` have theirs before a colon. `architectures` are Debian names. `entrypoint` and
    `cmd` are None where the recipe or the first package decides, and empty where there shall be none.
    `leave_out` names essentials. `expose` holds `PORT/PROTOCOL`. `tag` is `NAME[:TAG]` or empty, `target` a
    transport's reference or empty for `oci:./NAME`; `sbom` is `cyclonedx` or empty. `closure` says what of
    the dependencies is followed: `depends` (all), `packages` or `files` (by evidence). `keep` and `drop`
    hold slices, and for closures by evidence package names and globs of absolute paths. `layers` is the most
    layers that the image may have.
    """

    name: str
    packages: tuple[str, ...]
    source: str = "debian"
    mirrors: tuple[Mirror, ...] = ()
    architectures: tuple[str, ...]
    compression: str = "gzip"
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = ""
    expose: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    tag: str = ""
    target: str = ""
    sbom: str = ""
    strict: bool = False
    recommends: bool = False
    closure: str = "packages"
    layers: int = LAYERS
    nix: NixChoices | None = None

    @property
    def kind(self) -> str:
        """The kind of `source`."""
        return self.source.partition(":")[0]

    def by_kind(self) -> dict[str, tuple[str, ...]]:
        """The packages by the kind of source that they are asked of, without it before them."""
        found: dict[str, list[str]] = {}
        for text in self.packages:
            kind, name = split_kind(text)
            found.setdefault(kind or self.kind, []).append(name)
        return {kind: tuple(names) for kind, names in found.items()}


def as_data(request: ImageRequest) -> dict[str, object]:
    """A request as plain data for the keys of actions, the same in all versions where nothing new is said."""
    import msgspec

    data: dict[str, object] = msgspec.to_builtins(request)
    if request.nix is None:
        del data["nix"]
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What one place (the command line, a spec's defaults, one of its images) says about an image.

    Fields are those of `ImageRequest`; None and empty say nothing, so that the next place decides.
    """

    packages: tuple[str, ...] = ()
    source: str | None = None
    mirrors: tuple[Mirror, ...] = ()
    architectures: tuple[str, ...] = ()
    compression: str | None = None
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    workdir: str | None = None
    expose: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    tag: str | None = None
    target: str | None = None
    sbom: str | None = None
    strict: bool | None = None
    recommends: bool | None = None
    closure: str | None = None
    layers: int | None = None
    nix: NixChoices | None = None


def fold(name: str, places: Sequence[Choices], *, where: str) -> ImageRequest:
    """The request that `places` make together, the one with the most say first.

    Lists (packages, slices, essentials left out, ports, volumes) add up, environment and labels merge by
    name, and of everything else the first that is said stands. Of `keep` and `drop` for one slice the first
    place wins. `UsageError` names `where` when that is not a request.
    """
    source, packages = _kinds(
        _first((place.source for place in places), "debian"), _union(place.packages for place in places)
    )
    request = ImageRequest(
        name=name,
        packages=packages,
        source=source,
        mirrors=_first((place.mirrors or None for place in places), ()),
        architectures=_first((place.architectures or None for place in places), ()) or (host_architecture(),),
        compression=_first((place.compression for place in places), "gzip"),
        keep=_slices(places, lambda place: place.keep, lambda place: place.drop, where),
        drop=_slices(places, lambda place: place.drop, lambda place: place.keep, where),
        leave_out=tuple(sorted(_union(place.leave_out for place in places))),
        entrypoint=_first((place.entrypoint for place in places), None),
        cmd=_first((place.cmd for place in places), None),
        env=_merge(place.env for place in places),
        user=_first((place.user for place in places), ""),
        workdir=_first((place.workdir for place in places), ""),
        expose=tuple(sorted(_union(place.expose for place in places))),
        volumes=tuple(sorted(_union(place.volumes for place in places))),
        labels=_merge(place.labels for place in places),
        tag=_first((place.tag for place in places), ""),
        target=_first((place.target for place in places), ""),
        sbom=_first((place.sbom for place in places), ""),
        strict=_first((place.strict for place in places), False),
        recommends=_first((place.recommends for place in places), False),
        closure=_first((place.closure for place in places), "packages"),
        layers=_first((place.layers for place in places), LAYERS),
        nix=_nix([place.nix for place in places if place.nix is not None]),
    )
    if not request.packages:
        raise UsageError(f"{where} names no package", hint="name at least one")
    for text in _texts(request):
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UsageError(
                f"{where}: {text!r} is no text", hint="images hold UTF-8; is the locale that of the terminal?"
            )
    return request


def _kinds(source: str, packages: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The source that an image is of, and its packages with a kind before those that are of another.

    Where all packages are of one other kind, the image is of that kind.
    """
    own = source.partition(":")[0]
    asked = [(kind or own, name) for kind, name in map(split_kind, packages)]
    kinds = {kind for kind, _ in asked}
    if len(kinds) == 1 and own not in kinds:
        (own,) = kinds
        source = own
    return source, _union([[name if kind == own else f"{kind}:{name}" for kind, name in asked]])


def _nix(places: Sequence[NixChoices]) -> NixChoices | None:
    if not places:
        return None
    return NixChoices(
        caches=_union(place.caches for place in places),
        trusted_keys=_union(place.trusted_keys for place in places),
        channel=_first((place.channel for place in places), None),
        essentials=_first((place.essentials for place in places), None),
        links=_first((place.links for place in places), None),
        database=_first((place.database for place in places), None),
    )


def _texts(request: ImageRequest) -> Iterator[str]:
    """All that stands in an image as it was written. Where it goes is a matter of the file system."""
    yield from (request.source, request.user, request.workdir, request.tag)
    for texts in (request.packages, request.keep, request.drop, request.volumes):
        yield from texts
    yield from (*(request.entrypoint or ()), *(request.cmd or ()))
    for name, value in (*request.env, *request.labels):
        yield from (name, value)


def _first(said: Iterable[Value | None], otherwise: Value) -> Value:
    return next((value for value in said if value is not None), otherwise)


def _union(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for items in lists for item in items))


def _merge(mappings: Iterable[Iterable[tuple[str, str]]]) -> tuple[tuple[str, str], ...]:
    merged: dict[str, str] = {}
    for mapping in mappings:
        merged = {**dict(mapping), **merged}
    return tuple(sorted(merged.items()))


def _slices(
    places: Sequence[Choices],
    chosen: Callable[[Choices], tuple[str, ...]],
    opposite: Callable[[Choices], tuple[str, ...]],
    where: str,
) -> tuple[str, ...]:
    found: set[str] = set()
    decided: set[str] = set()
    for place in places:
        for name in sorted(set(chosen(place)) & set(opposite(place))):
            raise UsageError(f"{where} keeps and drops the slice {name}", hint="say one of the two")
        found |= set(chosen(place)) - decided
        decided |= {*chosen(place), *opposite(place)}
    return tuple(sorted(found))


def host_architecture() -> str:
    """The Debian name of this machine's architecture; `UsageError` when it has none."""
    return architecture(os.uname().machine)


def architecture(text: str) -> str:
    """The Debian name for any usual spelling of an architecture (`x86_64`, `linux/arm/v7`, `ppc64le`)."""
    short = text.strip().removeprefix("linux/")
    name = _SPELLINGS.get(short, short)
    if name in PLATFORMS:
        return name
    from difflib import get_close_matches

    near = get_close_matches(short, [*PLATFORMS, *_SPELLINGS], 1)
    raise UsageError(
        f"{text!r} is not an architecture that Ramekin knows",
        hint=f"did you mean {near[0]}?" if near else f"it knows {', '.join(PLATFORMS)}",
    )


def architectures(texts: Iterable[str]) -> tuple[str, ...]:
    """Names from any number of comma-separated lists, each once."""
    names = [architecture(part) for text in texts for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(names))


def split_kind(package: str) -> tuple[str, str]:
    """The kind of source that a request for a package names, or nothing, and the rest of it."""
    kind, colon, name = package.partition(":")
    if colon and kind in KINDS:
        return kind, name
    return ("nix" if package.startswith(STORE_PATHS) or "#" in package else ""), package


def bare_name(package: str) -> str:
    """The name in a request for a package, without its source, a pin, an architecture or an output.

    Of a store path it is the name without hash and version, of `FLAKE#attr` the end of the attribute.
    """
    _, text = split_kind(package)
    if "#" in text:
        text = text.rpartition("#")[2].rpartition(".")[2]
    text = text.removeprefix(STORE_PATHS).partition("^")[0]
    if found := _STORE_NAME.fullmatch(text):
        return found[1]
    return re.split(r"[=/:]", text, maxsplit=1)[0]


_STORE_NAME = re.compile(r"[0-9a-df-np-sv-z]{32}-(.+?)(?:-[0-9].*)?", re.DOTALL)
