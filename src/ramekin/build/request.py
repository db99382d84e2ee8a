"""What one image shall be, as a plain value: where the command line's options and the spec file meet.

Only the standard library is imported here, so that `ramekin build PACKAGE…` starts without the machinery
that reads spec files.
"""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from ramekin.errors import UsageError

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
class Mirror:
    """A place to take packages from in place of the machine's own configuration.

    `suites` empty means the source's own suite, `components` empty those that the suite has. `signed_by` is
    the path of a keyring, or empty for the machine's.
    """

    uri: str
    suites: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    signed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One image that was asked for, every default filled in.

    `packages` are `name`, `name=version` or `name/suite`, `architectures` Debian names. `entrypoint` and
    `cmd` are None where the recipe or the first package decides, and empty where there shall be none.
    `leave_out` names essentials. `expose` holds `PORT/PROTOCOL`. `tag` is `NAME[:TAG]` or empty, `target` a
    transport's reference or empty for `oci:./NAME`; `sbom` is `spdx`, `cyclonedx` or empty. `layers` is the
    most layers that the image may have.
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
    layers: int = LAYERS


def host_architecture() -> str:
    """The Debian name of this machine's architecture; `UsageError` when it has none."""
    return architecture(platform.machine() or "unknown")


def architecture(text: str) -> str:
    """The Debian name for any usual spelling of an architecture (`x86_64`, `linux/arm/v7`, `ppc64le`)."""
    short = text.strip().removeprefix("linux/")
    name = _SPELLINGS.get(short, short)
    if name in PLATFORMS:
        return name
    near = get_close_matches(short, [*PLATFORMS, *_SPELLINGS], 1)
    raise UsageError(
        f"{text!r} is not an architecture that Ramekin knows",
        hint=f"did you mean {near[0]}?" if near else f"it knows {', '.join(PLATFORMS)}",
    )


def architectures(texts: Iterable[str]) -> tuple[str, ...]:
    """Names from any number of comma-separated lists, each once; this machine's own when there is none."""
    names = [architecture(part) for text in texts for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(names)) or (host_architecture(),)


def bare_name(package: str) -> str:
    """The name in a request for a package, without a pin or an architecture."""
    return re.split(r"[=/:]", package, maxsplit=1)[0]


def words(text: str, *, where: str) -> tuple[str, ...]:
    """The words of a command line, split as a shell would; no words for an empty text."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"{where}: {text!r} cannot be split into words: {error}", hint="close the quotation"
        ) from None


def pair(text: str, *, where: str) -> tuple[str, str]:
    """`NAME=VALUE` taken apart."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"{where}: {text!r} is not NAME=VALUE")
    return name, value


def pairs(items: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Names and values sorted by name; of several for one name the last stands."""
    return tuple(sorted(dict(items).items()))


def port(text: str, *, where: str) -> str:
    """`PORT[/PROTOCOL]` with the protocol filled in (config.md, ExposedPorts)."""
    number, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if not number.isascii() or not number.isdecimal() or not 0 < int(number) < 65536:
        raise UsageError(
            f"{where}: {text!r} is not a port", hint="a port is 1 to 65535, as in 8080 or 53/udp"
        )
    if protocol not in ("tcp", "udp", "sctp"):
        raise UsageError(f"{where}: {protocol!r} is not a protocol of ports", hint="one of tcp, udp, sctp")
    return f"{int(number)}/{protocol}"
