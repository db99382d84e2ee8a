"""The texts that options and spec keys have in common, read and checked in one place.

Every function takes the text as the user wrote it and gives the form that `ImageRequest` holds; `UsageError`
names `where` (an option or a key) otherwise.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from ramekin import sources
from ramekin.errors import UsageError

SBOM_FORMATS = ("spdx", "cyclonedx")
"""Formats of bills of materials; the first is meant when none is named."""

ESSENTIALS_OF_NIX = ("own", "nixpkgs", "debian")
"""Whose CA certificates and time zones an image of store paths has; the first is meant when none is named."""

CLOSURES = ("packages", "files", "depends")
"""What of the dependencies is followed; the first is meant when none is named."""

MAX_ID = (1 << 32) - 2
"""The last number of a user or group; the one after it means nobody at all to Linux."""

_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*")
_REPOSITORY = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_LABEL = re.compile(r"\S+")
_VARIABLE = re.compile(r"[^=\0]+")


def near(word: str, known: Iterable[str], otherwise: str = "") -> str | None:
    """A hint that names the nearest of `known`, or all of them after `otherwise`."""
    from difflib import get_close_matches

    candidates = list(known)
    found = get_close_matches(word, candidates, 1)
    if found:
        return f"did you mean {found[0]}?"
    return f"{otherwise}{', '.join(candidates)}" if candidates and otherwise else None


def commas(texts: Iterable[str]) -> tuple[str, ...]:
    """Names from comma-separated lists, each once, in the order given."""
    return tuple(dict.fromkeys(part.strip() for text in texts for part in text.split(",") if part.strip()))


def words(text: str, *, where: str) -> tuple[str, ...]:
    """The words of a command line, split as a shell would; no words for an empty text."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise UsageError(f"{where}: {text!r} has a quotation that is not closed") from None


def pair(text: str, *, where: str) -> tuple[str, str]:
    """`NAME=VALUE` taken apart."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"{where}: {text!r} is not NAME=VALUE")
    return name, value


def variable(name: str, value: str, *, where: str) -> tuple[str, str]:
    """One environment variable."""
    if not _VARIABLE.fullmatch(name) or "\0" in value:
        raise UsageError(f"{where}: {name!r} cannot be an environment variable")
    return name, value


def label(name: str, value: str, *, where: str) -> tuple[str, str]:
    """One label."""
    if not _LABEL.fullmatch(name):
        raise UsageError(f"{where}: {name!r} cannot be the name of a label")
    return name, value


def package(text: str, *, where: str) -> str:
    """`NAME`, `NAME=VERSION` or `NAME/SUITE`, or what Nix has; whether there is one its source says."""
    from ramekin.build.request import split_kind

    kind, name = split_kind(text)
    nix = kind == "nix" or "#" in name
    pattern = r"\S+" if nix else r"[^\s=/:,]+(?::[a-z0-9-]+|\^[^\s=/:]+)?(?:=[^\s=/]+|/[^\s=/]+)?"
    if not re.fullmatch(pattern, name) or name.startswith("-"):
        raise UsageError(
            f"{where}: {text!r} is not a package",
            hint="a package is NAME, NAME=VERSION or NAME/SUITE, or of Nix nix:NAME or a store path",
        )
    return text


def image_name(text: str, *, where: str) -> str:
    """A name of an image in a spec: lower case, digits, and `.`, `_`, `-` between them."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{where}: {text!r} cannot be the name of an image",
            hint="names are lower-case letters and digits with '.', '_' or '-' between them",
        )
    return text


def source(text: str, *, where: str) -> str:
    """`KIND`, `debian:SUITE` or `nix:CACHE`."""
    kind = text.partition(":")[0]
    pattern = r"nix(?::\S+)?" if kind == "nix" else r"[a-z][a-z0-9-]*(?::[^\s:]+)?"
    if not re.fullmatch(pattern, text):
        raise UsageError(f"{where}: {text!r} is not a source", hint="a source is written as debian:bookworm")
    if kind not in sources.KINDS:
        raise UsageError(
            f"{where}: there is no kind of source called {kind!r}",
            hint=near(kind, sources.KINDS, "kinds are "),
        )
    return text


def place(text: str, folder: Path) -> str:
    """A URL, or the path of a folder that a file in `folder` names."""
    return text if re.match(r"[a-z][a-z0-9+]*:", text) else str(folder / Path(text).expanduser())


def source_in(text: str, folder: Path) -> str:
    """A source that a file in `folder` names."""
    kind, _, rest = text.partition(":")
    return f"nix:{place(rest, folder)}" if kind == "nix" and rest else text


def essentials_of_nix(text: str, *, where: str) -> str:
    """One of `ESSENTIALS_OF_NIX`."""
    if text not in ESSENTIALS_OF_NIX:
        raise UsageError(
            f"{where}: {text!r} are no essentials", hint=near(text, ESSENTIALS_OF_NIX, "there are ")
        )
    return text


def trusted_key(text: str, *, where: str) -> str:
    """`NAME:KEY`, an Ed25519 public key in base64 as Nix writes it."""
    import base64
    import binascii

    name, _, key = text.partition(":")
    try:
        sound = bool(name) and len(base64.b64decode(key, validate=True)) == 32
    except binascii.Error:
        sound = False
    if not sound:
        raise UsageError(
            f"{where}: {text!r} is not a public key of a cache", hint="it is written as NAME:KEY, in base64"
        )
    return text


def mirror(text: str, *, where: str) -> str:
    """The URI of a mirror."""
    from ramekin.sources.mirror import SCHEMES

    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES or not rest.strip("/"):
        raise UsageError(
            f"{where}: {text!r} is not the address of a mirror",
            hint=f"it begins with {', '.join(f'{name}:' for name in SCHEMES)}",
        )
    return text


def compression(text: str, *, where: str) -> str:
    """`gzip`, `zstd` or `none`, with `:LEVEL` where that is not the usual one."""
    from ramekin.image import compress

    try:
        chosen = compress.parse(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None
    return chosen.name if chosen == compress.parse(chosen.name) else str(chosen)


def closure(text: str, *, where: str) -> str:
    """One of `CLOSURES`."""
    if text not in CLOSURES:
        raise UsageError(
            f"{where}: {text!r} is not a closure", hint=near(text, CLOSURES, otherwise="closures are by ")
        )
    return text


def user(text: str, *, where: str) -> str:
    """`USER[:GROUP]`, each a name or a number (config.md, User)."""
    if not _USER.fullmatch(text):
        raise UsageError(
            f"{where}: {text!r} is not a user", hint="a user is NAME or UID, with :GROUP if wanted"
        )
    for part in text.split(":"):
        if part.isdecimal() and int(part.lstrip("0")[:11] or 0) > MAX_ID:
            raise UsageError(f"{where}: {part} is no number of a user", hint=f"the last one is {MAX_ID}")
    return text


def folder(text: str, *, where: str) -> str:
    """An absolute path inside the image, without a trailing slash."""
    parts = text.split("/")
    if not text.startswith("/") or ".." in parts or "\0" in text:
        raise UsageError(f"{where}: {text!r} is not an absolute path in the image", hint="begin it with /")
    return "/" + "/".join(part for part in parts if part not in ("", "."))


def port(text: str, *, where: str) -> str:
    """`PORT[/PROTOCOL]` with the protocol filled in (config.md, ExposedPorts)."""
    number, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if not (number.isascii() and number.isdecimal() and len(number) < 6 and 0 < int(number) < 65536):
        raise UsageError(
            f"{where}: {text!r} is not a port", hint="a port is 1 to 65535, as in 8080 or 53/udp"
        )
    if protocol not in ("tcp", "udp", "sctp"):
        raise UsageError(f"{where}: {protocol!r} is not a protocol", hint="one of tcp, udp and sctp")
    return f"{int(number)}/{protocol}"


def tag(text: str, *, where: str) -> str:
    """`NAME[:TAG]`, NAME as distribution-spec has it, with a registry's host before it if wanted."""
    name, text_tag = split_tag(text)
    if not _REPOSITORY.fullmatch(name) or (text_tag and not _TAG.fullmatch(text_tag)) or text.endswith(":"):
        raise UsageError(
            f"{where}: {text!r} is not NAME[:TAG]", hint="names are in lower case, as in team/redis:7.0"
        )
    return text


def split_tag(text: str) -> tuple[str, str]:
    """`NAME[:TAG]` taken apart; a colon before the last slash belongs to the host's port."""
    name, colon, after = text.rpartition(":")
    return (name, after) if colon and "/" not in after else (text, "")


def sbom(text: str, *, where: str) -> str:
    """A format of bills of materials."""
    if text not in SBOM_FORMATS:
        raise UsageError(
            f"{where}: {text!r} is not a format of bills", hint=near(text, SBOM_FORMATS, "there are ")
        )
    return text


def layers(number: int, *, where: str) -> int:
    """The most layers of an image; runtimes mount no more than 127."""
    if not 2 <= number <= 127:
        raise UsageError(f"{where}: {number} layers cannot be had", hint="choose 2 to 127")
    return number


def jobs(number: int, *, where: str) -> int:
    """How many things to do at once."""
    if not 1 <= number <= 1024:
        raise UsageError(f"{where}: {number} cannot be done at once", hint="choose 1 to 1024")
    return number
