"""Why each path stayed in a slim image or went: an artifact beside it, and answers from it.

As an image that was built brings its explanation (`build.explain`), a slim one brings this: a JSON document
that refers to the image and that an annotation of its manifest names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

import msgspec

from ramekin.errors import FormatError, NotFoundError
from ramekin.image import artifact
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor
from ramekin.slim.contents import Contents
from ramekin.slim.units.model import Reason, Selection
from ramekin.slim.units.table import rules
from ramekin.store.store import Store

MEDIA_TYPE = "application/vnd.ramekin.slim.explanation.v1+json"
ANNOTATION = "io.ramekin.slim.explanation"
"""Annotation of a manifest: the digest of the explanation's JSON."""


class Group(msgspec.Struct, frozen=True, array_like=True):
    """Paths that one thing decided on: a rule, the unit, what set the rule off; `paths` are lines."""

    rule: str
    unit: str
    because: str
    paths: str


class UnitRow(msgspec.Struct, frozen=True, array_like=True):
    """A unit: how many files it has and how many stay, and their bytes."""

    name: str
    version: str
    files: int
    kept: int
    size: int
    kept_size: int


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that `ramekin why` needs to know of a slim image.

    `original` is the manifest's digest of the image that was slimmed, `probes` the names of what was asked of
    it; `level`, `locales`, `bytecode`, `symbols`, `keep` and `drop` are what the user chose.
    `leaner` are files that stay without symbols and debugging information, and the bytes that they lost.
    """

    version: int
    original: str
    level: str
    bytecode: str
    symbols: str = "keep"
    locales: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    size: int = 0
    kept_size: int = 0
    units: tuple[UnitRow, ...] = ()
    kept: tuple[Group, ...] = ()
    dropped: tuple[Group, ...] = ()
    leaner: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


_DECODER = msgspec.json.Decoder(Explanation)


def make(contents: Contents, selection: Selection, leaner: Mapping[str, int]) -> Explanation:
    """The explanation of a selection; `leaner` are bytes that files lost as symbols."""
    choice = selection.choice
    return Explanation(
        version=1,
        original=str(contents.outline.root.digest),
        level=str(choice.level),
        bytecode=str(choice.bytecode),
        symbols=str(choice.symbols),
        locales=choice.locales,
        keep=choice.keep,
        drop=choice.drop,
        probes=selection.observation.probes if selection.observation is not None else (),
        size=selection.size,
        kept_size=selection.kept_size,
        units=tuple(
            UnitRow(unit.name, unit.version, len(unit.paths), unit.kept, unit.size, unit.kept_size)
            for unit in selection.units
        ),
        kept=tuple(_groups(selection.kept.items())),
        dropped=tuple(_groups(selection.dropped.items())),
        leaner=tuple((_plain(path), saved) for path, saved in leaner.items()),
        notes=selection.notes,
    )


def _groups(reasons: Iterable[tuple[str, Reason]]) -> Iterator[Group]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for path, reason in reasons:
        found.setdefault((reason.unit, reason.rule, reason.because), []).append(path)
    for (unit, name, because), paths in sorted(found.items()):
        yield Group(name, _plain(unit), _plain(because), "\n".join(_plain(path) for path in paths))


def _plain(text: str) -> str:
    """`text` in Unicode, for names of files may be any bytes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\n", "\\n")


def encode(explanation: Explanation) -> bytes:
    """The artifact's bytes: the same for equal explanations."""
    return msgspec.json.encode(explanation)


def attach(data: bytes, subject: Descriptor, store: Store, *, created: str) -> Descriptor:
    """Put an encoded explanation into `store` as an artifact that refers to the slim image."""
    return artifact.attach(data, MEDIA_TYPE, subject, store, created=created)


def of(image: Image) -> Explanation:
    """The explanation that goes with a slim image (no index); `NotFoundError` when it has none."""
    name = image.name or str(image.root.digest)
    digest = image.manifest().annotations.get(ANNOTATION)
    if digest is None:
        raise NotFoundError(f"{name} brings no explanation of slimming")
    for referrer in image.referrers:
        if referrer.artifact_type in ("", MEDIA_TYPE):
            blob = next((b for b in image.manifest(referrer).layers if b.digest == digest), None)
            if blob is not None:
                try:
                    return _DECODER.decode(image.document(blob))
                except msgspec.DecodeError as error:
                    raise FormatError(f"the explanation {blob.digest} cannot be read: {error}") from None
    raise NotFoundError(
        f"the explanation of {name} is not where the image is",
        hint="copies to docker-archive:, dir: and rootfs: leave it behind",
    )


def is_slim(image: Image) -> bool:
    """Whether an image (no index) says that it was slimmed and explains itself."""
    return ANNOTATION in image.manifest().annotations


def answer(explanation: Explanation, target: str) -> tuple[str, ...]:
    """Why a file (an absolute path) or a unit is in the image or not, a step a line.

    A unit may be named without its kind. `NotFoundError` when the original never had it.
    """
    target = _plain(target)
    lines = tuple(_of_path(explanation, target)) if target.startswith("/") else ()
    lines = lines or tuple(_of_unit(explanation, target))
    if lines:
        return lines
    near = _near(explanation, target)
    raise NotFoundError(
        f"{target} has nothing to do with this image",
        hint=f"did you mean {', '.join(near)}?" if near else "name a unit, or a file by its whole path",
    )


def _near(explanation: Explanation, target: str, most: int = 3) -> list[str]:
    """Units and files that may be meant: of that name, with it in their names, or with one like it."""
    word = target.strip("/").rpartition("/")[2].lower()
    names = [row.name for row in explanation.units]
    files = [
        f"/{path}"
        for group in (*explanation.kept, *explanation.dropped)
        for path in group.paths.split("\n")
        if path.rpartition("/")[2].lower() == word
    ]
    own = [name for name in names if name.partition(":")[2].lower() in (word, word.partition(":")[2])]
    within = [name for name in names if len(word) > 2 and word in name.lower()]
    within.sort(key=lambda name: (len(name), name))
    found = [*own, *files, *within, *get_close_matches(target, names, most)]
    return list(dict.fromkeys(found))[:most]


def _of_path(explanation: Explanation, target: str) -> Iterator[str]:
    path = target.strip("/")
    for groups, verb in ((explanation.kept, "stays"), (explanation.dropped, "goes")):
        for group in groups:
            if path in group.paths.split("\n"):
                known = rules().get(group.rule)
                reason = known.reason if known is not None else group.rule
                yield f"{target} {verb}: {reason} ({group.rule})"
                if group.because:
                    yield f"  {group.because}"
                yield from _symbols(explanation, path)
                yield from (f"  {line}" for line in _of_unit(explanation, group.unit, short=True))
                return
    below = [
        (verb, sum(one.startswith(path + "/") for group in groups for one in group.paths.split("\n")))
        for groups, verb in ((explanation.kept, "stay"), (explanation.dropped, "go"))
    ]
    if any(count for _, count in below):
        yield f"{target} is a folder: " + ", ".join(f"{count} files {verb}" for verb, count in below)


def _symbols(explanation: Explanation, path: str) -> Iterator[str]:
    saved = dict(explanation.leaner).get(path)
    if saved is not None:
        yield f"  without {saved:,} bytes of symbols: {rules()['symbols'].reason} (symbols)"


def _of_unit(explanation: Explanation, name: str, *, short: bool = False) -> Iterator[str]:
    for row in explanation.units:
        if row.name != name and (short or row.name.partition(":")[2] != name):
            continue
        told = f"{row.name} {row.version}".rstrip()
        yield f"{told}: {row.kept} of {row.files} files stay, {row.kept_size:,} of {row.size:,} bytes"
        if short:
            return
        for groups, verb in ((explanation.kept, "stay"), (explanation.dropped, "go")):
            tally: dict[str, list[int | str]] = {}
            for group in groups:
                if group.unit == row.name:
                    known = tally.setdefault(group.rule, [0, group.because])
                    known[0] = int(known[0]) + group.paths.count("\n") + 1
            for rule_name, (count, because) in sorted(tally.items(), key=lambda item: -int(item[1][0])):
                rule = rules().get(rule_name)
                reason = rule.reason if rule is not None else rule_name
                yield f"  {count} {verb}: {reason} ({rule_name})" + (f", as {because}" if because else "")


def left_out(explanation: Explanation) -> tuple[tuple[str, int, str], ...]:
    """Each unit of which something went: name, bytes, and the reason for most of it; largest first."""
    most: dict[str, tuple[int, str]] = {}
    for group in explanation.dropped:
        count = group.paths.count("\n") + 1
        if count > most.get(group.unit, (0, ""))[0]:
            rule = rules().get(group.rule)
            most[group.unit] = (count, rule.reason if rule is not None else group.rule)
    rows = [
        (row.name, row.size - row.kept_size, most[row.name][1])
        for row in explanation.units
        if row.name in most
    ]
    return tuple(sorted(rows, key=lambda row: (-row[1], row[0])))
