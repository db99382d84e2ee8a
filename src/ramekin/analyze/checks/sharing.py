"""What keeps images from sharing their layers, with other images and with their own next build."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from ramekin.analyze.checks.model import Found, Severity, Subject
from ramekin.analyze.fleet import bases
from ramekin.analyze.fleet.sharing import member
from ramekin.image.tree import Kind

MOST_LAYERS = 100
_MIXED = 20 << 20
_WINDOW = 6 * 3600
"""Seconds before a layer was made in which a file's time is one of that build's clock."""
_BY_CLOCK = re.compile(
    r"var/log/[\w./-]+\.log\Z|var/log/(?:lastlog|faillog|btmp|wtmp)\Z|var/cache/ldconfig/aux-cache\Z"
    r"|var/lib/systemd/random-seed\Z|var/log/apt/\w+"
)
_EXACT = re.compile(r"\d+\.\d+\.\d+")
_INSTALLS = re.compile(
    r"\b(?:apt-get|apt|apk|dnf|microdnf|yum|zypper|pip3?|npm|yarn|bundle|gem|composer|go mod)\b[^\n]*?"
    r"\b(?:install|add|ci|download)\b"
)
_COPIES_ALL = re.compile(
    r"\A(?:COPY|ADD|/bin/sh -c #\(nop\) (?:COPY|ADD) \w+:\w+ in)\s+(?:--\S+\s+)*(?:\./?|/)\s"
)
_COPIES_DOCKER = re.compile(r"#\(nop\) (?:COPY|ADD) dir:\w+ in (\S+)")


def moving_tags(subject: Subject) -> Iterator[Found]:
    """The image says that it was made on a tag that moves."""
    labels = (subject.outline.config.config.labels if subject.outline.config.config else None) or {}
    for notes in (subject.outline.manifest.annotations, labels):
        name = notes.get("org.opencontainers.image.base.name", "")
        if not name:
            continue
        if "@sha256:" in name or notes.get("org.opencontainers.image.base.digest"):
            return
        tag = name.rpartition("/")[2].partition(":")[2] or "latest"
        if not _EXACT.search(tag) and not re.search(r"\d{8}", tag):
            stored = subject.outline.layers[0].size if subject.outline.layers else 0
            yield Found(f"the base {name} is a tag that moves: no digest is said", size=stored)
        return


def builds_of_one_base(subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Found]]:
    """Images on several builds of one base, as tags that move give."""
    outlines = [subject.outline for subject in subjects]
    identities = [_identity(subject) for subject in subjects]
    found = bases.find([member(one) for one in outlines], outlines, identities)
    by_name = {subject.name: subject for subject in subjects}
    families: dict[str, list[bases.Base]] = defaultdict(list)
    for base in found.bases:
        if base.identity.distribution:
            families[str(base.identity)].append(base)
    for name, builds in sorted(families.items()):
        for base in builds[1:]:
            first, kept = by_name[base.images[0]], builds[0].images[0]
            yield (
                first,
                Found(
                    f"{len(base.images)} of these images stand on another build of {name} than {kept}: "
                    "they share none of it",
                    size=base.stored,
                ),
            )


def _identity(subject: Subject) -> bases.Identity:
    for path in ("etc/os-release", "usr/lib/os-release"):
        if (release := subject.stack.kept(path)) is not None:
            found = bases.identity_of_release(release)
            if found.distribution:
                return found
    return bases.identity_of_outline(subject.outline)


def clock(subject: Subject) -> Iterator[Found]:
    """Layers whose bytes depend on when they were built."""
    made = _made(subject)
    for number, (layer, blob, when) in enumerate(
        zip(subject.image.layers, subject.outline.layers, made, strict=True)
    ):
        names: list[str] = []
        times: set[int] = set()
        for file in layer.files:
            if file.kind is not Kind.FILE:
                continue
            told = layer.traits.get(file.path, {}).get("clock")
            if (
                (file.size and _BY_CLOCK.match(file.path))
                or (file.path == "etc/machine-id" and file.size == 33)
                or (when and told is not None and when - 86400 <= told["time"] <= when + 300)
            ):
                names.append(file.path)
            elif when and when - _WINDOW <= file.mtime <= when + 300:
                times.add(file.mtime)
                names.append(file.path)
        certain = [name for name in names if _BY_CLOCK.match(name) or name == "etc/machine-id"]
        told_by_content = [name for name in names if layer.traits.get(name, {}).get("clock") is not None]
        if not certain and not told_by_content and len(times) < 2:
            continue
        shown = (certain or told_by_content or names)[0]
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        yield Found(
            f"/{shown}{more} of layer {number + 1} have the time of the build in them: "
            "the next build gives another layer of the same content",
            shown,
            blob.size,
        )


def _made(subject: Subject) -> list[float]:
    """When each layer was made, as the history says; 0 where it says nothing or was given whole seconds, as
    builds that fix the time do."""
    steps = [step.created for step in subject.outline.config.history if not step.empty_layer]
    count = len(subject.outline.layers)
    if len(steps) != count:
        steps = [subject.outline.config.created] * count
    return [_seconds(text) for text in steps]


def _seconds(text: str) -> float:
    if "." not in text:
        return 0.0
    try:
        # fractions have nine digits, and Python reads six
        return datetime.fromisoformat(
            re.sub(r"(\.\d{1,6})\d*", r"\1", text).replace("Z", "+00:00")
        ).timestamp()
    except ValueError:
        return 0.0


def same_but_for_time(subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Found]]:
    """Layers of several images with the same files that differ in their times only."""
    known: dict[int, tuple[str, str]] = {}
    for subject in subjects:
        for number, (layer, blob) in enumerate(
            zip(subject.image.layers, subject.outline.layers, strict=True)
        ):
            if not any(file.size for file in layer.files):
                continue
            name = hash(
                tuple((f.path, f.kind, f.mode, f.uid, f.gid, f.digest, f.target) for f in layer.files)
            )
            first = known.setdefault(name, (str(layer.diff_id), subject.name))
            if first[0] != layer.diff_id:
                yield (
                    subject,
                    Found(
                        f"layer {number + 1} has the same files as one of {first[1]}, and other times: "
                        "it is stored and pulled a second time",
                        size=blob.size,
                    ),
                )


def count(subject: Subject) -> Iterator[Found]:
    """More layers than engines like, or one in which everything is together."""
    layers = subject.outline.layers
    if len(layers) > MOST_LAYERS:
        yield Found(
            f"{len(layers)} layers: engines take 127 at most, and images on this one add theirs",
            severity=Severity.WARNING,
        )
    for number, (layer, blob) in enumerate(zip(subject.image.layers, layers, strict=True)):
        owned = unowned = 0
        for file in layer.files:
            if file.size:
                if file.path in subject.owners.of:
                    owned += file.size
                elif not file.path.startswith(("var/lib/", "var/cache/", "var/log/", "etc/")):
                    unowned += file.size
        if min(owned, unowned) * 10 >= owned + unowned >= _MIXED:
            yield Found(
                f"layer {number + 1} has packages and files of no package together: when one changes, "
                "both are stored and pulled anew",
                size=blob.size,
            )


def order(subject: Subject) -> Iterator[Found]:
    """What changes often lies below what changes seldom."""
    copied: int | None = None
    for number, command in enumerate(subject.outline.commands):
        if _COPIES_ALL.match(command) or (_COPIES_DOCKER.search(command) and number):
            copied = number if copied is None else copied
        elif copied is not None and _INSTALLS.search(command):
            above = sum(layer.size for layer in subject.outline.layers[number:])
            yield Found(
                f"layer {number + 1} installs packages above layer {copied + 1}, which copies the program's "
                "own files: each change of these installs, stores and pulls them anew",
                size=above,
            )
            return


def same_above_others(subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Found]]:
    """Layers that images have in common above others that they have not."""
    where: dict[str, dict[str, tuple[Subject, int]]] = defaultdict(dict)
    sizes: dict[str, int] = {}
    for subject in subjects:
        plain = [layer.size for layer in subject.image.layers]
        one = member(subject.outline, plain)
        for number, (part, chain) in enumerate(zip(one.parts, one.chains, strict=True)):
            where[part.content].setdefault(chain, (subject, number))
            sizes[part.content] = part.unpacked
    lost: dict[str, int] = defaultdict(int)
    first: dict[str, tuple[Subject, int]] = {}
    for content, chains in where.items():
        users = {subject.name for subject, _ in chains.values()}
        if len(chains) > 1 and len(users) > 1 and sizes[content] >= 64 << 10:
            for subject, number in list(chains.values())[1:]:
                lost[subject.name] += sizes[content]
                first.setdefault(subject.name, (subject, number))
    for name, size in sorted(lost.items()):
        subject, number = first[name]
        yield (
            subject,
            Found(
                f"layer {number + 1} and others are in several of these images above different ones: engines "
                "unpack them once for each",
                size=size,
            ),
        )
