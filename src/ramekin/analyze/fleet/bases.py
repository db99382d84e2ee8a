"""Which bases images stand on, and which of these are builds of one another.

A base is the lowest layers that all images with the same first layer have in common; an image that is alone
on its first layer stands on that one, if there is anything above it. Distribution and version are what the
image's os-release says or, where only manifests are read, what labels and history say.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ramekin.analyze.fleet.sharing import Member
from ramekin.analyze.model import Outline

_SUITES = {
    "buster": "10",
    "bullseye": "11",
    "bookworm": "12",
    "trixie": "13",
    "forky": "14",
}
_HINTS = (
    (re.compile(r"debian\.sh .*?'(buster|bullseye|bookworm|trixie|forky)'"), "debian"),
    (re.compile(r"debootstrap.*?\b(buster|bullseye|bookworm|trixie|forky)\b"), "debian"),
    (re.compile(r"alpine-minirootfs-(\d+\.\d+)"), "alpine"),
    (re.compile(r"\b(?:ubuntu|jammy|noble|focal)\S*?(\d\d\.\d\d)"), "ubuntu"),
    (re.compile(r"fedora\S*?[-:](\d\d)\b", re.IGNORECASE), "fedora"),
    (re.compile(r"busybox"), "busybox"),
)


@dataclass(frozen=True)
class Identity:
    """What a base is: a distribution's `id` and version as os-release writes them; empty when unknown."""

    distribution: str = ""
    version: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.distribution, self.version))) or "unknown"


@dataclass(frozen=True)
class Base:
    """Layers that images stand on. `key` names them by their content; `layers` is how many they are."""

    key: str
    identity: Identity
    layers: int
    stored: int
    unpacked: int
    images: tuple[str, ...]
    name: str = ""
    created: str = ""


@dataclass(frozen=True)
class Kinship:
    """Two bases that are nearly the same: builds of one base at different times.

    `common` is the part of the smaller one's bytes whose files the other has too; None where only manifests
    were read.
    """

    one: str
    other: str
    identity: Identity
    common: float | None = None


@dataclass(frozen=True)
class Bases:
    """All bases of a fleet, most used first; `of` gives each image's by its name, and "" for none."""

    bases: tuple[Base, ...]
    kin: tuple[Kinship, ...]
    of: Mapping[str, str]

    def base(self, key: str) -> Base:
        return next(base for base in self.bases if base.key == key)


def find(
    members: Sequence[Member],
    outlines: Sequence[Outline],
    identities: Sequence[Identity],
    contents: Mapping[str, Mapping[str, int]] | None = None,
) -> Bases:
    """The bases of images; `contents` gives the files (size by path and digest) of layers by diff_id."""
    cohorts: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(members):
        if one.parts:
            cohorts[one.parts[0].content].append(number)
    found: list[Base] = []
    of = {one.name: "" for one in members}
    prefixes: dict[str, tuple[str, ...]] = {}
    for images in cohorts.values():
        distinct = {tuple(part.content for part in members[n].parts) for n in images}
        depth = len(_common(sorted(distinct)))
        identity = next((identities[n] for n in images if identities[n].distribution), Identity())
        if len(distinct) == 1:
            depth = 1 if len(members[images[0]].parts) > 1 or identity.distribution else 0
        if not depth:
            continue
        first = members[images[0]]
        parts, key = first.parts[:depth], first.chains[depth - 1]
        names = [name for n in images if (name := _said_base(outlines[n]))]
        history = [step for step in outlines[images[0]].config.history if not step.empty_layer]
        found.append(
            Base(
                key=key,
                identity=identity,
                layers=depth,
                stored=sum(part.stored for part in parts),
                unpacked=sum(part.unpacked for part in parts),
                images=tuple(members[n].name for n in images),
                name=min(names, key=lambda name: (-names.count(name), name)) if names else "",
                created=history[depth - 1].created if len(history) >= depth else "",
            )
        )
        prefixes[key] = tuple(part.content for part in parts)
        of.update({members[n].name: key for n in images})
    found.sort(key=lambda base: (-len(base.images), -base.stored, base.key))
    return Bases(tuple(found), _kin(found, prefixes, contents), of)


def _common(rows: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What the rows, sorted, begin with in common."""
    first, last = rows[0], rows[-1]
    count = 0
    while count < min(len(first), len(last)) and first[count] == last[count]:
        count += 1
    return first[:count]


def _said_base(outline: Outline) -> str:
    labels = outline.config.config.labels if outline.config.config else None
    for notes in (outline.manifest.annotations, labels or {}):
        if name := notes.get("org.opencontainers.image.base.name", ""):
            return name
    return ""


def _kin(
    bases: Sequence[Base],
    prefixes: Mapping[str, tuple[str, ...]],
    contents: Mapping[str, Mapping[str, int]] | None,
) -> tuple[Kinship, ...]:
    """Pairs of one distribution and version, and pairs most of whose bytes are the same."""
    files: dict[str, dict[str, int]] = {}
    if contents is not None:
        for base in bases:
            merged: dict[str, int] = {}
            for content in prefixes[base.key]:
                merged.update(contents.get(content, {}))
            files[base.key] = merged
    found = []
    for place, one in enumerate(bases):
        for other in bases[place + 1 :]:
            same = bool(one.identity.distribution) and one.identity == other.identity
            common = None
            if contents is not None:
                small, large = sorted((files[one.key], files[other.key]), key=lambda f: sum(f.values()))
                total = sum(small.values())
                both = sum(size for name, size in small.items() if name in large)
                common = both / total if total else 0.0
                larger = sum(large.values())
                same = common >= (0.3 if same else 0.8) and total >= 0.5 * larger > 0
            if same:
                found.append(Kinship(one.key, other.key, one.identity, common))
    return tuple(found)


def identity_of_release(release: bytes) -> Identity:
    """What an os-release file says (os-release(5))."""
    fields: dict[str, str] = {}
    for line in release.decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            fields[name.strip()] = value.strip().strip("\"'")
    return Identity(fields.get("ID", ""), fields.get("VERSION_ID", "") or fields.get("VERSION_CODENAME", ""))


def identity_of_outline(outline: Outline) -> Identity:
    """What labels and the first steps of the history say of the distribution."""
    labels = (outline.config.config.labels if outline.config.config else None) or {}
    if said := _said_base(outline):
        name, _, tag = said.partition("@")[0].rpartition(":")
        name, tag = (name, tag) if name and "/" not in tag else (said, "")
        distribution = name.rpartition("/")[2]
        word = tag.partition("-")[0]
        if distribution in ("debian", "ubuntu", "alpine", "fedora", "busybox", "rockylinux", "almalinux"):
            return Identity(distribution, _SUITES.get(word, word))
    if labels.get("org.opencontainers.image.ref.name") == "ubuntu":
        return Identity("ubuntu", labels.get("org.opencontainers.image.version", ""))
    for step in outline.config.history[:3]:
        for pattern, distribution in _HINTS:
            if match := pattern.search(step.created_by):
                version = match[1] if match.groups() else ""
                return Identity(distribution, _SUITES.get(version, version))
    return Identity()
