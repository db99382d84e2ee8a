"""Which store paths, and which of their files, an image needs: references followed.

    asked for ──▶ files ──what they name──▶ files …            level `files`
    asked for ──▶ references, all of them                      level `packages`

At the level `packages` every store path stays: Nix's references are the evidence, and each step says in
which file one stands. At the level `files` what was asked for stays, without what nobody reads at run time
(manuals, headers, what linkers want); of all other store paths a command or library stays only where a file
that stays leads to it, and all the rest stays with its store path once anything of that is reached. A file
that names a folder may read everything in it, and one that names a whole store path all of that.
"""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ramekin.closure.evidence.model import Elf, Kind, PackageDetail, PackageEvidence
from ramekin.closure.follow import Asked, DroppedFile, DroppedPackage, Followed, KeptPackage, Step, globs
from ramekin.closure.storepaths import STORE, owner, title
from ramekin.closure.storepaths.prepare import unline
from ramekin.sources.protocol import Resolution


class _Part(NamedTuple):
    """Files that stay only where they are reached: the slice that keeps them all the same, and why they go.

    Those of a slice go from what was asked for too.
    """

    slice: str
    why: str
    pattern: re.Pattern[str]


_PARTS = tuple(
    _Part(name, why, re.compile(pattern, re.DOTALL))
    for name, why, pattern in (
        ("", "its commands are not called", r"s?bin/[^/]+"),
        ("", "no program that stays needs the library", r"lib(?:32|64)?/[^/]+\.so(?:\.[0-9.]+)?"),
        ("docs", "documentation", r"(?:share/)?(?:doc|gtk-doc|devhelp)(?:/.*)?"),
        ("man", "documentation", r"(?:share/)?man(?:/.*)?"),
        ("info", "documentation", r"(?:share/)?info(?:/.*)?"),
        ("headers", "headers", r"include(?:/.*)?"),
        ("headers", "for build tools only", r"(?:lib(?:32|64)?|share)/(?:pkgconfig|cmake|aclocal)(?:/.*)?"),
        ("headers", "for build tools only", r"nix-support/.*"),
        ("static-libraries", "for linkers only", r"lib(?:32|64)?/.*\.l?a"),
    )
)

_MOST_LINKS = 40
SHELL = "/bin/sh"


def packages(
    resolution: Resolution, evidence: Mapping[str, PackageEvidence], asked: Asked, requested: Sequence[str]
) -> Followed:
    """All store paths of `resolution`, each with the file that names it; `requested` are base names."""
    steps = {name: _steps(known) for name, known in evidence.items()}
    because: dict[str, Step | None] = dict.fromkeys(requested)
    todo = deque(requested)
    edges: dict[tuple[str, str], Step] = {}
    while todo:
        name = todo.popleft()
        for other in resolution.edges.get(name, ()):
            if other == name:
                continue
            step = steps[name].get(other) or Step(name, "", Kind.META, f"/{STORE}{other}", other, "")
            edges.setdefault((name, other), step)
            if other not in because:
                because[other] = step
                todo.append(other)
    kept = tuple(
        KeptPackage(
            package.name,
            evidence[package.name].size,
            because.get(package.name),
            "" if because.get(package.name) else "asked for",
        )
        for package in resolution.packages
    )
    return Followed(
        "packages",
        kept,
        files=tuple(_left_out(evidence, asked)),
        edges=tuple(edges[pair] for pair in sorted(edges)),
    )


def _steps(known: PackageEvidence) -> dict[str, Step]:
    paths = known.paths()
    found: dict[str, Step] = {}
    for need in known.needs:
        other = owner(need.target.lstrip("/"))
        found.setdefault(other, Step(known.name, paths[need.files[0]], need.kind, need.target, other, ""))
    return found


def _left_out(evidence: Mapping[str, PackageEvidence], asked: Asked) -> Iterator[DroppedFile]:
    """What the user wants to go."""
    drop, keep = globs(asked.drop), globs(asked.keep)
    if drop is None:
        return
    for name in sorted(evidence):
        known = evidence[name]
        sizes = known.sizes.split(" ")
        for number, path in enumerate(known.paths()):
            if drop.match(path) and not (keep and keep.match(path)) and (real := unline(path)):
                yield DroppedFile(name, real, int(sizes[number]), "left out by the request")


def files(
    resolution: Resolution,
    evidence: Mapping[str, PackageEvidence],
    detail: Mapping[str, PackageDetail],
    asked: Asked,
    requested: Sequence[str],
) -> Followed:
    """What of `resolution` is left when references are followed from file to file."""
    return _Reach(resolution, evidence, detail, asked, requested).run()


class _Reach:
    def __init__(
        self,
        resolution: Resolution,
        evidence: Mapping[str, PackageEvidence],
        detail: Mapping[str, PackageDetail],
        asked: Asked,
        requested: Sequence[str],
    ) -> None:
        self.resolution, self.evidence, self.asked = resolution, evidence, asked
        self.requested = requested
        self.paths = {name: known.paths() for name, known in evidence.items()}
        self.own = {name: sorted(paths) for name, paths in self.paths.items()}
        self.place = {path: (name, n) for name, paths in self.paths.items() for n, path in enumerate(paths)}
        self.links: dict[str, str] = {}
        for name, known in evidence.items():
            for line in known.links.split("\n") if known.links else ():
                place, _, target = line.partition("\t")
                self.links[self.paths[name][int(place)]] = target
        self.needs: dict[str, list[tuple[Kind, str]]] = {}
        self.elves: dict[str, Elf] = {}
        for name, known_detail in detail.items():
            for need in known_detail.needs:
                for number in need.files:
                    self.needs.setdefault(self.paths[name][number], []).append((need.kind, need.target))
            for elf in known_detail.elves:
                self.elves[self.paths[name][elf.file]] = elf
        self.drop, self.keep = globs(asked.drop), globs(asked.keep)
        self.present: dict[str, Step | None] = {}
        self.begun: dict[str, Step | None] = {}
        self.todo: deque[str] = deque()

    def run(self) -> Followed:
        for name in self.requested:
            self.begun[name] = None
            run = [path for path in self.paths[name] if not self._part(path, name, asked=True)]
            # who asks for an output of headers or manuals wants these
            for path in run or self.paths[name]:
                self._put(path, None)
        for package in self.resolution.packages:
            wanted = {package.name, title(package.name), package.origin} & set(self.asked.keep)
            for path in self.paths[package.name]:
                if wanted or (self.keep is not None and self.keep.match(path)):
                    self._begin(package.name, None)
                    self._put(path, None)
        for word in self.asked.programs:
            self._named(word, "", "", Kind.RECIPE)
        while self.todo:
            self._file(self.todo.popleft())
        return self._result()

    def _put(self, path: str, step: Step | None) -> None:
        if path not in self.present and not (
            self.drop and self.drop.match(path) and not (self.keep and self.keep.match(path))
        ):
            self.present[path] = step
            self.todo.append(path)

    def _begin(self, name: str, step: Step | None) -> None:
        """Bring in what stays with a store path whatever reaches it."""
        if name in self.begun:
            return
        self.begun[name] = step
        for path in self.paths[name]:
            if not self._part(path, name):
                self._put(path, step)

    def _part(self, path: str, name: str, *, asked: bool = False) -> _Part | None:
        """The part of a store path that a file is of, if it is one that can go."""
        inside = _inside(path, name)
        for part in _PARTS:
            if part.pattern.fullmatch(inside) and part.slice not in self.asked.keep:
                return part if part.slice or not asked else None
        return None

    def _file(self, path: str) -> None:
        name = self.place[path][0]
        self._begin(name, self.present[path])
        if path in self.links:
            self._named(_led(path, self.links[path]), name, path, Kind.LINK)
        elf = self.elves.get(path)
        if elf is not None:
            if elf.interpreter:
                self._named(elf.interpreter, name, path, Kind.INTERPRETER)
            for soname, _ in elf.needed:
                self._library(soname, name, path, elf, Kind.NEEDED)
        for kind, target in self.needs.get(path, ()):
            if kind is Kind.LOADED:
                if elf is not None:
                    self._library(target, name, path, elf, kind)
            elif kind is not Kind.LINK:
                self._named(target, name, path, kind)

    def _library(self, soname: str, name: str, path: str, elf: Elf, kind: Kind) -> None:
        """A library, looked for where the loader does (ld.so(8)): the search list, then the C library's."""
        folders = [folder.replace("${ORIGIN}", "$ORIGIN") for folder in elf.search]
        here = "/" + posixpath.dirname(path)
        folders = [folder.replace("$ORIGIN", here) for folder in folders]
        loader = elf.interpreter and posixpath.dirname(elf.interpreter)
        for folder in (*folders, *filter(None, (loader,)), here):
            real, through = self._real(f"{folder}/{soname}".lstrip("/"))
            if real in self.place:
                self._take(real, through, Step(name, path, kind, soname, self.place[real][0], real))
                return
        if kind is Kind.NEEDED:
            # a library has no loader of its own: its program brings one that looks beside the C library
            for other in sorted(p for p in self.place if p.endswith(f"/lib/{soname}")):
                self._take(other, (), Step(name, path, kind, soname, self.place[other][0], other))

    def _named(self, target: str, name: str, path: str, kind: Kind) -> None:
        """A file names an absolute path, or what starts the image a command."""
        text = target.lstrip("/")
        if not text.startswith(STORE):
            if kind is not Kind.RECIPE and target != SHELL:
                return
            text = command(posixpath.basename(target), self.resolution, self.paths, self.requested) or ""
        real, through = self._real(text)
        other = owner(real)
        if other not in self.evidence:
            return
        while real not in self.place and not self._below(real) and len(real) > len(STORE) + len(other):
            real = posixpath.dirname(real)
        step = Step(name, path, kind, target, other, real if real in self.place else "")
        self._take(real, through, step)

    def _take(self, real: str, through: Sequence[str], step: Step) -> None:
        """Keep a file, or all in a folder, and the links that led there."""
        for link in through:
            self._put(link, _onward(step, self.place[link][0], link))
        if real in self.place:
            self._put(real, step)
            return
        if step.provider != step.package or real != STORE + step.provider:
            self._begin(step.provider, step)
            # what names its own store path as a whole (a prefix) says nothing of it
            for inside in self._below(real):
                self._put(inside, step)

    def _below(self, folder: str) -> Sequence[str]:
        known = self.own.get(owner(folder), [])
        start = bisect_left(known, folder + "/")
        end = bisect_left(known, folder + "0")
        return known[start:end]

    def _real(self, path: str) -> tuple[str, tuple[str, ...]]:
        """Where a tree path leads through all links, which are given too."""
        todo, done = path.split("/"), ""
        through: list[str] = []
        while todo:
            part = todo.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = posixpath.dirname(done)
                continue
            here = f"{done}/{part}" if done else part
            if here in self.links and len(through) < _MOST_LINKS:
                through.append(here)
                led = _led(here, self.links[here]).lstrip("/")
                todo, done = [*led.split("/"), *todo], ""
            else:
                done = here
        return done, tuple(through)

    def _result(self) -> Followed:
        names = {package.name for package in self.resolution.packages}
        staying = {self.place[path][0] for path in self.present} | set(self.requested)
        edges: dict[tuple[str, str], Step] = {}
        for step in (*self.begun.values(), *self.present.values()):
            if step is not None and step.package and step.package != step.provider:
                edges.setdefault((step.package, step.provider), step)
        kept = tuple(
            KeptPackage(
                package.name,
                self.evidence[package.name].size,
                self._because(package.name),
                "" if self._because(package.name) else self._reason(package.name),
            )
            for package in self.resolution.packages
            if package.name in staying
        )
        dropped = [
            DroppedPackage(name, self.evidence[name].size, self._why_not(name, staying))
            for name in sorted(names - staying)
        ]
        reached = {
            path: step for path, step in self.present.items() if step is not None and step.offer == path
        }
        return Followed(
            "files",
            kept,
            tuple(dropped),
            tuple(sorted(self._dropped_files(staying), key=lambda file: (file.package, file.path))),
            tuple(edges[pair] for pair in sorted(edges)),
            tuple(sorted((path, step) for path, step in reached.items() if step.file != path)),
        )

    def _because(self, name: str) -> Step | None:
        return None if name in self.requested else self.begun.get(name)

    def _reason(self, name: str) -> str:
        return "asked for" if name in self.requested else "kept by name or path"

    def _why_not(self, name: str, staying: set[str]) -> str:
        namers = sorted(
            other for other in staying if name in self.resolution.edges.get(other, ()) and other != name
        )
        for other in namers:
            if (step := _steps(self.evidence[other]).get(name)) is not None:
                gone = step.file not in self.present
                what = "which is left out" if gone else "which needs none of its files"
                return f"{title(other)} names it in /{step.file}, {what}"
        return "only store paths that were left out name it"

    def _dropped_files(self, staying: set[str]) -> Iterator[DroppedFile]:
        for name in staying:
            sizes = self.evidence[name].sizes.split(" ")
            for number, path in enumerate(self.paths[name]):
                if path not in self.present and (real := unline(path)):
                    yield DroppedFile(name, real, int(sizes[number]), self._reason_of(name, path))

    def _reason_of(self, name: str, path: str) -> str:
        if self.drop is not None and self.drop.match(path):
            return "left out by the request"
        part = self._part(path, name)
        said = part.why if part is not None else "nothing that stays names it"
        return f"nothing that the image starts reaches it: {said}"


def _onward(step: Step, provider: str, offer: str) -> Step:
    """The step to a link on the way to where `step` leads."""
    return Step(step.package, step.file, step.kind, step.target, provider, offer)


def command(
    word: str, resolution: Resolution, paths: Mapping[str, Sequence[str]], requested: Sequence[str]
) -> str | None:
    """The tree path of the command `word`: of what was asked for, else of what people know it from.

    A shell is bash's rather than another's; else the first store path by name that has it wins.
    """
    others = sorted(
        (package.name for package in resolution.packages if package.name not in requested),
        key=lambda name: (_rank(title(name)), title(name), name),
    )
    for name in (*requested, *others):
        for folder in ("bin", "sbin"):
            path = f"{STORE}{name}/{folder}/{word}"
            known = paths.get(name, ())
            if path in known:
                return path
    return None


_KNOWN = ("bash", "coreutils", "dash", "busybox", "toybox")


def _rank(name: str) -> int:
    return next((place for place, known in enumerate(_KNOWN) if name.startswith(known)), len(_KNOWN))


def _inside(path: str, name: str) -> str:
    """A tree path within the store path called `name`."""
    return path[len(STORE) + len(name) + 1 :]


def _led(path: str, target: str) -> str:
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target))
