"""Which suites a source is made of: `debian:bookworm` is bookworm, its updates and its security suite.

    the machine's entries              debian:bookworm          debian:trixie (not configured)
    MIRROR/debian     bookworm         bookworm                 trixie, derived from it
    MIRROR/debian     bookworm-updates bookworm-updates         trixie-updates
    MIRROR/debian-s…  bookworm-security bookworm-security       trixie-security

Pure: configuration in, `Place`s out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ramekin.errors import NotFoundError, UsageError
from ramekin.sources.debian.apt import Configuration, SourceEntry

COMPANIONS = ("-updates", "-security", "/updates")
"""What a suite's name has behind it in the suites that are merged with it by version."""

ROLLING = frozenset({"sid", "unstable", "experimental", "rc-buggy"})
"""Suites that never have companions."""

UNMERGED = frozenset(
    {"wheezy", "jessie", "stretch", "buster", "bullseye", "trusty", "xenial", "bionic", "focal"}
)
"""Codenames before usr-merge was the rule for everyone."""

ARCHIVE_KEYRINGS = (Path("/usr/share/keyrings/debian-archive-keyring.gpg"),)
"""Keys of all releases of the distribution, for suites that the machine's apt does not list."""

_PATH_STYLE = frozenset({"wheezy", "jessie", "stretch", "buster"})

_BY_DEBOOTSTRAP = frozenset({"bookworm", "jammy", "noble"})
"""Codenames whose top-level links debootstrap makes, for every multilib folder that there may be."""

_MULTILIB = {
    "amd64": ("lib32", "lib64", "libx32"),
    "i386": ("lib64", "libx32"),
    "mips64el": ("lib32", "lib64", "libo32"),
    "mipsel": ("lib32", "lib64"),
    "ppc64el": ("lib64",),
    "s390x": ("lib32",),
}
_LOADER_IN_LIB64 = frozenset({"amd64", "loong64", "mips64el", "ppc64el"})
"""Architectures whose dynamic loader is in lib64: base-files has that link since trixie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One suite and the mirrors that have it, tried in order.

    `components` empty means all that the suite has. `derived` suites were named by pattern: when they are not
    the one asked for they may be missing.
    """

    suite: str
    uris: tuple[str, ...]
    components: tuple[str, ...]
    architectures: tuple[str, ...] = ()
    signed_by: tuple[str, ...] = ()
    check_valid_until: bool = True
    by_hash: bool = True
    derived: bool = False
    where: str = ""


def base_of(suite: str) -> str:
    """The suite that `suite` is a companion of, or itself."""
    for ending in (*COMPANIONS, "-backports", "-proposed-updates"):
        if suite.endswith(ending) and suite != ending:
            return suite.removesuffix(ending)
    return suite


def own(configuration: Configuration, codename: str) -> str:
    """The machine's own suite: its `codename` (of os-release) if apt lists it, else the first listed."""
    listed = [suite for entry in configuration.entries for suite in entry.suites]
    if codename and codename in listed:
        return codename
    if not listed:
        raise UsageError(
            "no Debian suite is known: apt on this machine lists none",
            hint="name one (debian:bookworm) and its mirrors in the spec",
        )
    return base_of(listed[0])


def places(suite: str, configuration: Configuration, *, codename: str = "") -> tuple[Place, ...]:
    """What `debian:SUITE` is made of, the suite itself first.

    `codename` is the machine's own (from os-release). `NotFoundError` when no entry can have it.
    """
    wanted = _family(suite)
    found = [(name, entry) for name in wanted for entry in configuration.entries if name in entry.suites]
    if not any(name == suite for name, _ in found):
        base = own(configuration, codename)
        found = _derive(suite, base, configuration.entries)
    if not found:
        raise unknown(suite, configuration)
    return _merge(found)


def given(entries: Iterable[SourceEntry]) -> tuple[Place, ...]:
    """Places of entries that someone wrote out, all of them as they are."""
    return _merge([(suite, entry) for entry in entries for suite in entry.suites])


def unknown(suite: str, configuration: Configuration, *, uris: Sequence[str] = ()) -> NotFoundError:
    """The error for a suite that no mirror has; `uris` are the mirrors when someone named them."""
    from difflib import get_close_matches

    known = sorted({name for entry in configuration.entries for name in entry.suites})
    near = get_close_matches(suite, [*known, *_RELEASES], 1, 0.7)
    hint = f"did you mean debian:{near[0]}?" if near and near[0] != suite else ""
    if uris:
        text = f"the suite {suite} is not on {' or '.join(uris)}"
        return NotFoundError(text, hint=hint or "correct the suite or the address of the mirror")
    if not hint:
        hint = f"apt on this machine lists {', '.join(known)}" if known else "name its mirrors in the spec"
    return NotFoundError(f"the suite {suite} is not on the mirrors that are configured", hint=hint)


_RELEASES = ("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable", "oldstable")


def merged(codename: str, architecture: str) -> dict[str, str]:
    """Top-level folders that are links into /usr; none for old suites."""
    if codename in UNMERGED:
        return {}
    if codename in _BY_DEBOOTSTRAP:
        more = _MULTILIB.get(architecture, ())
    else:
        more = ("lib64",) if architecture in _LOADER_IN_LIB64 else ()
    return {name: f"usr/{name}" for name in sorted(("bin", "lib", "sbin", *more))}


def _family(suite: str) -> tuple[str, ...]:
    if suite in ROLLING:
        return (suite,)
    base = base_of(suite)
    # backports are complete only together with what they are made for
    own_companions = tuple(base + ending for ending in COMPANIONS)
    if base != suite and suite not in own_companions:
        return (suite, base, *own_companions)
    return (suite, *own_companions) if base == suite else (suite,)


def _derive(suite: str, base: str, entries: Sequence[SourceEntry]) -> list[tuple[str, SourceEntry]]:
    """Entries for `suite` made after those of the suite `base`."""
    found: list[tuple[str, SourceEntry]] = []
    for wanted in _family(suite):
        ending = wanted.removeprefix(base_of(suite))
        if ending in ("-security", "/updates"):
            # security suites were named /updates before bullseye
            if (ending == "/updates") != (base_of(suite) in _PATH_STYLE):
                continue
            patterns = {base + "-security", base + "/updates"}
        elif ending == "-updates":
            patterns = {base + ending}
        else:
            patterns = {base}
        for entry in entries:
            if patterns & set(entry.suites):
                signed_by = entry.signed_by
                if signed_by and all(text.startswith("/") for text in signed_by):
                    extra = (str(p) for p in ARCHIVE_KEYRINGS if str(p) not in signed_by and p.is_file())
                    signed_by = (*signed_by, *extra)
                found.append((wanted, replace(entry, suites=(wanted,), signed_by=signed_by, where="")))
    return found


def _merge(found: Iterable[tuple[str, SourceEntry]]) -> tuple[Place, ...]:
    """One place a suite and set of terms; entries written together that differ by URI are its mirrors."""
    result: dict[tuple[object, ...], Place] = {}
    for suite, entry in found:
        key = (suite, entry.components, entry.architectures, entry.signed_by, entry.where)
        if key in result:
            if entry.uri not in result[key].uris:
                result[key] = replace(result[key], uris=(*result[key].uris, entry.uri))
            continue
        result[key] = Place(
            suite=suite,
            uris=(entry.uri,),
            components=entry.components,
            architectures=entry.architectures,
            signed_by=entry.signed_by,
            check_valid_until=entry.check_valid_until,
            by_hash=entry.by_hash,
            derived=not entry.where,
            where=entry.where or "the machine's apt configuration",
        )
    return tuple(result.values())
