"""Where in a store path its references stand.

Nix finds what a store path refers to by the hashes in its bytes. So does this: for every reference the file
and the whole path that it names, so that a closure can be followed from file to file. A path that is named in
an ELF file's search list is no need by itself: it says where the libraries are that the file needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ramekin.closure.evidence import elf as elves
from ramekin.closure.evidence.model import (
    Elf,
    FileNeed,
    Kind,
    Need,
    PackageDetail,
    PackageEvidence,
)
from ramekin.closure.model import Prepared
from ramekin.closure.storepaths.prepare import leads, line
from ramekin.image.tree import Entry
from ramekin.image.tree import Kind as EntryKind

_CHUNK = 4 << 20
_OVERLAP = 4096
"""Bytes that two chunks have in common: no path is longer."""

_WHOLE = 256 << 20
"""Bytes of the largest file that is read at once, to see whether it is ELF."""

_PREFIX = b"/nix/store/"
_MENTION = re.compile(
    rb"/nix/store/([0-9a-df-np-sv-z]{32})-([0-9A-Za-z+._?=-]+)"
    rb"((?:/[^\x00-\x20\x7f-\xff\"'`:;,<>(){}\[\]$*?|&\\^/]+)*)"
)
_SONAME = re.compile(rb"lib[A-Za-z0-9_+.-]{1,80}?\.so(?:\.[0-9]+)*")
_HASH = 32
_SHELL = b"/bin/sh"
_STARTERS = (b"\0system\0", b"\0popen\0")

Found = dict[tuple[Kind, str], dict[int, None]]
"""Needs, and the files that have each, in order."""


def evidence(ready: Prepared, references: Iterable[str]) -> PackageEvidence:
    """The files of a prepared store path, and for each of its `references` (base names) one that holds it.

    That is enough to say why each is there; what all files need is in `detail`.
    """
    name = ready.facts.name
    entries = _files(ready)
    found: Found = {}
    left = {base[:32]: base for base in references if base != name}
    for number, entry in enumerate(entries):
        if not left:
            break
        for base in [base for start, base in left.items() if start in entry.path]:
            _note(found, Kind.PATH, f"/nix/store/{left.pop(base[:32])}", number)
        if entry.kind is EntryKind.SYMLINK:
            target = leads(entry)
            if target.startswith("/nix/store/") and (base := left.pop(target[11:43], "")):
                _note(found, Kind.LINK, line(target), number)
        elif entry.kind is EntryKind.FILE and entry.size > _HASH:
            # a list, as what is found is taken out of what is looked for
            for kind, path in list(_of_text(_chunks(entry), left)):
                if path.startswith("/nix/store/") and left.pop(path[11:43], ""):
                    _note(found, kind, path, number)
    for number, base in _by_hash(entries, sorted(left.values())):
        _note(found, Kind.PATH, f"/nix/store/{base}", number)
    return PackageEvidence(
        name=name,
        files="\n".join(line(entry.path) for entry in entries),
        sizes=" ".join(str(entry.size) for entry in entries),
        size=sum(entry.size for entry in entries),
        data_only=False,
        needs=tuple(
            Need(kind, target, "", tuple(files), len(files))
            for (kind, target), files in sorted(found.items())
        ),
        links="\n".join(
            f"{number}\t{line(entry.target)}"
            for number, entry in enumerate(entries)
            if entry.kind is EntryKind.SYMLINK
        ),
    )


def detail(ready: Prepared, references: Iterable[str]) -> PackageDetail:
    """All that each file of a prepared store path needs; files are numbered as in its evidence."""
    name = ready.facts.name
    known = {base[:32]: base for base in (*references, name)}
    found: Found = {}
    elf_files: list[Elf] = []
    entries = _files(ready)
    left = set(known.values()) - {name}
    for number, entry in enumerate(entries):
        if entry.kind is EntryKind.SYMLINK:
            target = leads(entry)
            if target.startswith("/nix/store/") and target[11:43] in known:
                _note(found, Kind.LINK, line(target), number)
        elif entry.kind is EntryKind.FILE and entry.size > 2:
            data = entry.read() if entry.size <= _WHOLE else b""
            if data[:4] == elves.MAGIC:
                _of_elf(data, number, known, found, elf_files)
            else:
                for kind, path in _of_text(((data, len(data)),) if data else _chunks(entry), known):
                    _note(found, kind, path, number)
    named = [target for _, target in found] + [folder for elf in elf_files for folder in elf.search]
    left -= {known.get(path[11:43], "") for path in named if path.startswith("/nix/store/")}
    for number, base in _by_hash(entries, sorted(left)):
        _note(found, Kind.PATH, f"/nix/store/{base}", number)
    return PackageDetail(
        name,
        elves=tuple(elf_files),
        needs=tuple(FileNeed(kind, target, tuple(files)) for (kind, target), files in sorted(found.items())),
        hard=(),
    )


def _files(ready: Prepared) -> list[Entry]:
    return [entry for entry in ready.tree.entries() if entry.kind is not EntryKind.DIRECTORY]


def _note(found: Found, kind: Kind, target: str, number: int) -> None:
    found.setdefault((kind, target), {})[number] = None


def _chunks(entry: Entry) -> Iterator[tuple[bytes, int]]:
    """The bytes of a file, and up to where in them what begins is there to its end; the rest comes again."""
    assert entry.content is not None
    with entry.content.open() as stream:
        data = stream.read(_CHUNK)
        while following := stream.read(_CHUNK):
            whole = max(len(data) - _OVERLAP, 0)
            yield data, whole
            data = data[whole:] + following
        yield data, len(data)


def _of_text(chunks: Iterable[tuple[bytes, int]], known: Mapping[str, str]) -> Iterator[tuple[Kind, str]]:
    """What any file names."""
    first = True
    for data, whole in chunks:
        end = -1
        if first and data[:2] == b"#!":
            end = data.find(b"\n", 0, 4096)
            if (shell := data[2 : max(end, 2)].split()[:1]) and not shell[0].startswith(_PREFIX):
                yield Kind.INTERPRETER, line(shell[0].decode("utf-8", "surrogateescape"))
        first = False
        for place, path in _mentions(data, known):
            if place >= whole:
                break
            yield (Kind.INTERPRETER if place < end else Kind.PATH), path


def _mentions(data: bytes, known: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Each path below a known store path that `data` names, and where it stands."""
    place = data.find(_PREFIX)
    while place >= 0:
        found = _MENTION.match(data, place)
        if found is None:
            place = data.find(_PREFIX, place + 1)
            continue
        base = known.get(found[1].decode())
        if base is not None:
            # a name that goes on where the store path's ends is some other word: all of the path is meant
            rest = found[3].decode() if found[2].decode() == base[33:] else ""
            yield place, f"/nix/store/{base}{rest}"
        place = data.find(_PREFIX, found.end())


def _of_elf(data: bytes, number: int, known: Mapping[str, str], found: Found, elf_files: list[Elf]) -> None:
    try:
        read = elves.read(data)
    except elves.BadElf:
        for kind, path in _of_text(((data, len(data)),), known):
            _note(found, kind, path, number)
        return
    elf_files.append(
        Elf(
            number,
            read.machine,
            read.soname,
            line(read.interpreter),
            tuple((line(soname), ()) for soname in read.needed),
            tuple(line(folder) for folder in read.search),
            (),
            read.inherits,
        )
    )
    search = ":".join(read.search).encode("utf-8", "surrogateescape")
    start = data.find(search + b"\0") if search else -1
    end = start + len(search) if start >= 0 else -1
    for place, path in _mentions(data, known):
        if not start <= place < end:
            _note(found, Kind.INTERPRETER if path == read.interpreter else Kind.PATH, path, number)
    needed = set(read.needed)
    for word in set(_SONAME.findall(data)):
        soname = word.decode()
        if soname not in needed and soname != read.soname:
            _note(found, Kind.LOADED, soname, number)
    if any(word in read.names for word in _STARTERS):
        _note(found, Kind.SHELL, _SHELL.decode(), number)


def _by_hash(entries: Sequence[Entry], bases: Sequence[str]) -> Iterator[tuple[int, str]]:
    """References of which only the hash stands in a file, as Nix finds them too: the first file of each."""
    left = list(bases)
    for number, entry in enumerate(entries):
        if not left:
            return
        if entry.kind is not EntryKind.FILE or entry.size < 32:
            continue
        for data, _ in _chunks(entry):
            for base in [base for base in left if base[:32].encode() in data]:
                left.remove(base)
                yield number, base
