"""What the machine's apt is configured with: mirrors, suites, components, keyrings, proxies.

Read from sources.list, sources.list.d (both formats of sources.list(5)), trusted.gpg.d and those parts of
apt.conf(5) that bear on it. Nothing is run and nothing else is read; what concerns
only apt itself is skipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ramekin.errors import FormatError
from ramekin.sources.debian import control

ETC = Path("/etc/apt")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """One `deb` entry: packages of some suites on one mirror.

    `uri` has no trailing slash. `components` are empty for flat repositories, whose suite ends in a slash.
    `architectures` empty means all. `signed_by` holds paths of keyrings, armored keys or fingerprints; empty
    means the machine's trusted keyrings. `where` names the file that the entry stands in.
    """

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    signed_by: tuple[str, ...] = ()
    check_valid_until: bool = True
    by_hash: bool = True
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """All of it: entries in apt's order, default keyrings, proxies by URI scheme (and `scheme::host`)."""

    entries: tuple[SourceEntry, ...]
    keyrings: tuple[Path, ...] = ()
    check_valid_until: bool = True
    proxies: tuple[tuple[str, str], ...] = ()


def read(folder: Path | None = None) -> Configuration:
    """The configuration in `folder`, laid out as /etc/apt is; by default where apt itself looks.

    Without `folder` the file that the variable APT_CONFIG names is honoured, as apt does. `FormatError`
    names the file and line at fault.
    """
    settings: dict[str, str] = {}
    if folder is None:
        if extra := os.environ.get("APT_CONFIG"):
            settings |= parse_conf(_text(Path(extra)))
        base = Path(settings.get("dir", "/"))
        folder = base / settings.get("dir::etc", str(ETC).lstrip("/"))
    for path in _parts(folder / settings.get("dir::etc::parts", "apt.conf.d"), ("", ".conf")):
        settings |= parse_conf(_text(path))
    settings |= parse_conf(_text(folder / settings.get("dir::etc::main", "apt.conf")))

    entries: list[SourceEntry] = []
    main = folder / settings.get("dir::etc::sourcelist", "sources.list")
    entries.extend(parse_list(_text(main), where=str(main)))
    for path in _parts(
        folder / settings.get("dir::etc::sourceparts", "sources.list.d"), (".list", ".sources")
    ):
        parse = parse_list if path.suffix == ".list" else parse_sources
        entries.extend(parse(_text(path), where=str(path)))

    trusted = folder / settings.get("dir::etc::trusted", "trusted.gpg")
    keyrings = [trusted] if trusted.is_file() and trusted.stat().st_size else []
    keyrings += _parts(folder / settings.get("dir::etc::trustedparts", "trusted.gpg.d"), (".gpg", ".asc"))
    return Configuration(
        entries=tuple(entries),
        keyrings=tuple(keyrings),
        check_valid_until=_truth(settings.get("acquire::check-valid-until", "true")),
        proxies=tuple(
            sorted(
                (name.removeprefix("acquire::").removesuffix("::proxy").replace("::proxy::", "::"), value)
                for name, value in settings.items()
                if re.fullmatch(r"acquire::https?::proxy(::[^:]+)?", name)
            )
        ),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""


def _parts(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a .d folder that apt would read: names of safe characters and a known suffix."""
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [
        p for p in paths if re.fullmatch(r"[A-Za-z0-9_.-]+", p.name) and p.suffix in suffixes and p.is_file()
    ]


def _truth(text: str) -> bool:
    return text.strip().lower() not in ("no", "false", "without", "off", "disable", "0")


_WORD = re.compile(r'(?:"[^"]*"|\[[^\]]*\]|[^\s"\[#])+')
_OPTIONS = re.compile(r"\s*\[([^\]]*)\]\s*")


def parse_list(text: str, *, where: str) -> Iterator[SourceEntry]:
    """The `deb` entries of one-line format (sources.list(5), One-Line-Style Format)."""
    for number, line in enumerate(text.split("\n"), 1):
        kind, _, rest = line.strip().partition(" ")
        if kind.startswith("deb\t"):
            kind, _, rest = line.strip().partition("\t")
        if not kind or kind.startswith("#") or kind == "deb-src":
            continue
        place = f"{where}, line {number}"
        if kind != "deb":
            raise FormatError(f"{place}: {kind[:40]!r} is not a type of source", hint="deb and deb-src are")
        options: dict[str, str] = {}
        if found := _OPTIONS.match(rest):
            rest = rest[found.end() :]
            for option in found[1].split():
                name, equals, value = option.partition("=")
                if not equals:
                    raise FormatError(f"{place}: the option {option!r} has no value")
                options[name.lower()] = value
        words = [word.replace('"', "") for word in _WORD.findall(rest.split(" #")[0])]
        if len(words) < 2:
            raise FormatError(f"{place}: a source needs a URI and a suite")
        yield from _entries(
            uris=words[:1],
            suites=words[1:2],
            components=words[2:],
            options=options,
            architectures=options.get("arch", "").replace(",", " "),
            signed_by=_key_references(options.get("signed-by", "").replace(",", " ")),
            where=place,
        )


def parse_sources(text: str, *, where: str) -> Iterator[SourceEntry]:
    """The enabled `deb` entries of deb822 format (sources.list(5), deb822-Style Format)."""
    for number, raw in enumerate(control.paragraphs(text, where=where), 1):
        fields = control.folded(raw)
        place = f"{where}, paragraph {number}"
        if not _truth(fields.get("enabled", "yes")) or "deb" not in fields.get("types", "").split():
            continue
        for name in ("uris", "suites"):
            if not fields.get(name, "").split():
                raise FormatError(f"{place}: the field {name.capitalize()} is missing")
        signed_by = fields.get("signed-by", "")
        yield from _entries(
            uris=fields["uris"].split(),
            suites=fields["suites"].split(),
            components=fields.get("components", "").split(),
            options=fields,
            architectures=fields.get("architectures", ""),
            signed_by=_key_references(signed_by),
            where=place,
        )


def _key_references(text: str) -> tuple[str, ...]:
    """Paths and fingerprints as words; an armored key stays one text, its blank lines written as dots."""
    if "-----BEGIN" in text:
        return ("\n".join("" if line.strip() == "." else line.strip() for line in text.strip().split("\n")),)
    return tuple(text.split())


def _entries(
    *,
    uris: Iterable[str],
    suites: Iterable[str],
    components: Iterable[str],
    options: Mapping[str, str],
    architectures: str,
    signed_by: tuple[str, ...],
    where: str,
) -> Iterator[SourceEntry]:
    names, parts = tuple(suites), tuple(components)
    for suite in names:
        if suite.endswith("/") and parts:
            raise FormatError(f"{where}: the suite {suite} is a path, so it can have no components")
        if not suite.endswith("/") and not parts:
            raise FormatError(f"{where}: the suite {suite} has no components", hint="most often: main")
        if ".." in suite.split("/"):
            raise FormatError(f"{where}: the suite {suite} leads out of the mirror")
    for uri in uris:
        if not re.match(r"[a-z][a-z0-9+.-]*:", uri):
            raise FormatError(f"{where}: {uri[:60]!r} is not a URI")
        yield SourceEntry(
            uri=uri.rstrip("/"),
            suites=names,
            components=parts,
            architectures=tuple(architectures.split()),
            signed_by=signed_by,
            check_valid_until=_truth(options.get("check-valid-until", "yes")),
            by_hash=_truth(options.get("by-hash", "yes")),
            where=where,
        )


_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\#clear[^;]*;|\#[^\n]*    # comments, and what takes settings back
      |"(?P<text>[^"]*)"|(?P<mark>[{};])|(?P<word>[^\s{};"]+)""",
    re.VERBOSE | re.DOTALL,
)


def parse_conf(text: str) -> dict[str, str]:
    """Settings of apt.conf(5) by their full name in lower case; lists and `#include` are passed over."""
    settings: dict[str, str] = {}
    scopes: list[str] = []
    name, value = "", None
    for token in _TOKEN.finditer(text):
        if token["word"] is not None:
            if name:
                value = token["word"]
            else:
                name = token["word"].lower()
        elif token["text"] is not None:
            value = token["text"]
        elif token["mark"] == "{":
            scopes.append(name)
            name, value = "", None
        elif token["mark"] == "}":
            if scopes:
                scopes.pop()
            name, value = "", None
        elif token["mark"] == ";":
            if name and value is not None:
                settings["::".join([*scopes, name])] = value
            name, value = "", None
    return settings
