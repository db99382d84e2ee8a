"""Whether a slim image does what the original does, and what to put back where it does not.

The original is tried twice: what it answers both times is expected, what differs is masked. The slim image is
tried under a watch that catches every look-up of a path that was taken away.

A look-up of such a path is judged by what it was (`judge`):

    given up     the user gave the path up by name, by language or as byte code: shown, and nothing else
    spare        it is byte code of Python, whose source stays and does as well: shown, and nothing else
    opened       it was to be opened, executed, read or linked: its unit is put back
    tested       it was only asked about (stat, access), or is a folder: it comes back itself, and nothing
                 that belongs to it, for more the program did not see of it in the original

A look-up that comes to nothing in the original too is none: the path was not taken away. Folders that were
listed are no look-ups, for programs look through folders of which they need one file. Only when an image
answers otherwise and no look-up explains it, what is gone from such folders is put back: what the program or
its answers name, or else all of it.

What is put back becomes part of the observation, so that the same observation gives the same image without
another verification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ramekin.slim import observation as observations
from ramekin.slim.contents import Contents
from ramekin.slim.observation import Observation
from ramekin.slim.probes.compare import Difference, Expected
from ramekin.slim.sandbox.plan import Miss
from ramekin.slim.trial import Trial
from ramekin.slim.units import Selection
from ramekin.slim.units.catalog import source_of

OPENING = frozenset(
    (
        *("open", "openat", "openat2", "open_by_handle_at", "name_to_handle_at", "creat", "truncate"),
        *("execve", "execveat", "uselib", "readlink", "readlinkat", "chdir", "bind", "connect"),
        *("link", "linkat", "rename", "renameat", "renameat2"),
    )
)
"""System calls that do more with a path than ask about it."""
CREATING = frozenset(("mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"))
"""System calls that ask for a path not to be there."""
LISTED = 2000
"""Paths that are put back at most because folders that held them were listed."""

_TEXTS = 1 << 20
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*")


class Lookup(msgspec.Struct, frozen=True):
    """A look-up of a path that was taken away, judged. `program` made it by the system call `syscall`."""

    path: str
    judgement: str
    syscall: str
    program: str
    unit: str = ""


GIVEN_UP, SPARE, OPENED, TESTED, LISTING = "given up", "spare", "opened", "tested", "listed"
HARMLESS = frozenset((GIVEN_UP, SPARE))
"""Judgements of look-ups that nothing is done about."""


class Round(msgspec.Struct, frozen=True):
    """One verification. `size` is that of the image that was verified."""

    number: int
    size: int
    trial: Trial
    differences: tuple[Difference, ...]
    lookups: tuple[Lookup, ...]
    healed: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is left to put back, and nothing differs."""
        return not self.differences and all(one.judgement in HARMLESS for one in self.lookups)


@dataclass(frozen=True, slots=True)
class Gone:
    """What was taken away from an image: paths with the names of their units, and folders.

    `given_up` are those that the user gave up, `spare` byte code whose source stays. Folders are there with
    the paths below them that went.
    """

    units: Mapping[str, str]
    folders: Mapping[str, tuple[str, ...]]
    given_up: frozenset[str] = frozenset()
    spare: frozenset[str] = frozenset()

    @property
    def paths(self) -> frozenset[str]:
        """All paths whose look-ups are of interest."""
        return frozenset((*self.units, *self.folders))


def gone(contents: Contents, selection: Selection, root: Path) -> Gone:
    """What an image has that the one below `root` has not."""
    units = {path: reason.unit for path, reason in selection.dropped.items()}
    folders = [
        path
        for path in contents.children
        if path and not (root / path).is_dir() and not (root / path).is_symlink()
    ]
    below: dict[str, list[str]] = {path: [] for path in folders}
    for path in units:
        folder = path.rpartition("/")[0]
        while folder in below:
            below[folder].append(path)
            folder = folder.rpartition("/")[0]
    return Gone(
        units=units,
        folders={folder: tuple(paths) for folder, paths in below.items()},
        given_up=selection.deliberate,
        spare=frozenset(
            path for path in units if path.endswith(".pyc") and source_of(path) in selection.kept
        ),
    )


def judge(misses: Iterable[Miss], gone: Gone) -> tuple[Lookup, ...]:
    """The look-ups of a verification, one a path, the gravest; in the order of paths."""
    found: dict[str, Lookup] = {}
    for miss in sorted(misses):
        path = miss.path.strip("/")
        if miss.syscall in CREATING or (path not in gone.units and path not in gone.folders):
            continue
        judgement = OPENED if miss.syscall in OPENING and path in gone.units else TESTED
        if _all_of(path, gone, gone.given_up):
            judgement = GIVEN_UP
        elif _all_of(path, gone, gone.spare):
            judgement = SPARE
        known = found.get(path)
        if known is None or (known.judgement == TESTED and judgement == OPENED):
            unit = gone.units.get(path, "")
            found[path] = Lookup(path, judgement, miss.syscall, miss.program, unit)
    return tuple(found[path] for path in sorted(found))


def _all_of(path: str, gone: Gone, which: frozenset[str]) -> bool:
    """Whether a path is one of `which`, or all that went from a folder is."""
    below = gone.folders.get(path, ())
    return path in which or (bool(below) and which.issuperset(below))


def explained(lookups: Iterable[Lookup]) -> bool:
    """Whether what the user gave up, which is not put back, may explain differences.

    Byte code explains none: its source stays.
    """
    return any(
        one.judgement == GIVEN_UP and not one.path.endswith((".pyc", "/__pycache__")) for one in lookups
    )


def listed(
    trial: Trial, differences: Sequence[Difference], gone: Gone, expected: Mapping[str, Expected] = {}
) -> tuple[Lookup, ...]:
    """What may explain differences that no look-up explains: what is gone from folders that were listed.

    What stands in the expected answers and no longer in those given comes alone, if there is any; else what
    the program's log or its answers name.
    """
    found = _in_listings(trial, gone)
    named = _lost(found, trial, differences, expected) or _named(found, trial, differences)
    chosen = named or sorted(found)[:LISTED]
    return tuple(found[path] for path in chosen)


def left_out(
    trial: Trial, differences: Sequence[Difference], gone: Gone, expected: Mapping[str, Expected]
) -> tuple[Lookup, ...]:
    """What is gone from folders that were listed, and that answers leave out which say nothing new.

    As a list of commands without some of them: no look-up of something else is likely to explain that.
    """
    given = {answer.probe: answer for answer in trial.answers}
    fields: dict[str, set[str]] = {}
    for one in differences:
        fields.setdefault(one.probe, set()).add(one.field)
    shorter: list[Difference] = []
    for probe, changed in fields.items():
        if probe in given and probe in expected and len(changed) == 1 and changed <= {"output", "body"}:
            (field,) = changed
            if _words_of(expected[probe], field) > set(_WORD.findall(given[probe].fields.get(field, ""))):
                shorter += [one for one in differences if one.probe == probe]
    if not shorter:
        return ()
    found = _in_listings(trial, gone)
    return tuple(found[path] for path in _lost(found, trial, shorter, expected))


def _in_listings(trial: Trial, gone: Gone) -> dict[str, Lookup]:
    """What is gone from folders that were listed."""
    found: dict[str, Lookup] = {}
    harmless = gone.given_up | gone.spare
    for listing in sorted(trial.listings):
        folder = listing.path.strip("/")
        start = f"{folder}/" if folder else ""
        for path, unit in gone.units.items():
            if path.startswith(start) and path not in found and path not in harmless:
                rest = path[len(start) :]
                # the folder's own entries, and of folders in it that are gone what was in them
                if "/" not in rest or f"{start}{rest.partition('/')[0]}" in gone.folders:
                    found[path] = Lookup(path, LISTING, listing.syscall, listing.program, unit)
    return found


def _words_of(expected: Expected, field: str) -> set[str]:
    return set(_WORD.findall("\n".join(text[-_TEXTS:] for text in expected.fields[field].literals)))


def _lost(
    paths: Iterable[str], trial: Trial, differences: Sequence[Difference], expected: Mapping[str, Expected]
) -> list[str]:
    """Paths whose file or module is missing from answers, such as commands from the list of commands."""
    given = {answer.probe: answer for answer in trial.answers}
    words: set[str] = set()
    for one in differences:
        if one.field in ("output", "body") and one.probe in given and one.probe in expected:
            words |= _words_of(expected[one.probe], one.field) - set(
                _WORD.findall(given[one.probe].fields.get(one.field, ""))
            )
    return _likeliest(list(_bearing(paths, words)))


def _bearing(paths: Iterable[str], words: set[str]) -> Iterator[tuple[str, str, str]]:
    """Paths whose file or module has one of `words` for its name, with that word and the folder it is in."""
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        stem = name.partition(".")[0]
        if name in words:
            yield path, name, folder
        elif len(stem) > 2 and stem in words:
            yield path, stem, folder
        elif stem == "__init__":
            folder, _, name = folder.rpartition("/")
            if name in words:
                yield path, name, folder


def _likeliest(found: Sequence[tuple[str, str, str]]) -> list[str]:
    """Of paths with the words that they are named by and their folders, those in folders that explain most.

    A list of commands comes from folders `commands`: of a word in it that is also the name of a file
    elsewhere, such as `test`, only what is in such a folder is meant.
    """
    holders: dict[str, set[str]] = {}
    for _, word, folder in found:
        holders.setdefault(folder, set()).add(word)
    left = {word for _, word, _ in found}
    names: set[str] = set()
    while left:
        best = min(holders, key=lambda folder: (-len(holders[folder] & left), folder))
        left -= holders[best]
        names.add(best.rpartition("/")[2])
    return [path for path, _, folder in found if folder.rpartition("/")[2] in names]


def _named(paths: Iterable[str], trial: Trial, differences: Sequence[Difference]) -> list[str]:
    """Paths whose file or module is named in what the program printed or answered otherwise."""
    said = [trial.log[-_TEXTS:], *(one.found for one in differences)]
    said += [text for answer in trial.answers for text in (answer.note, *answer.complaints)]
    changed = {one.probe for one in differences}
    for answer in trial.answers:
        if answer.probe in changed:
            said += [text[-_TEXTS:] for text in answer.fields.values()]
    words = set(_WORD.findall("\n".join(said)))
    modules = {part for word in words for part in word.strip(".").split(".")}
    return [
        path
        for path in sorted(paths)
        if (name := path.rpartition("/")[2]) in words
        or (len(stem := name.partition(".")[0]) > 2 and stem != "__init__" and stem in modules)
        or (name.startswith("__init__.") and path.split("/")[-2] in modules)
    ]


def extended(observation: Observation, lookups: Iterable[Lookup]) -> Observation:
    """The observation with what was missed in it."""
    healed = [one.path for one in lookups if one.judgement in (OPENED, LISTING)]
    tested = [one.path for one in lookups if one.judgement == TESTED]
    more = Observation(
        image=observation.image,
        platform=observation.platform,
        tested=tuple(tested),
        healed=tuple(healed),
        calls_noted=observation.calls_noted,
    )
    return observations.merge(observation, more)
