"""Below packages: what evidence reaches from file to file, from what the image starts.

    programs of the image, kept globs ──▶ files ──their needs──▶ files …
    a package's first file ──▶ its files that belong to no part (policy: parts) ──their needs──▶ files …

A file of a part (a command, a library, a module) stays only where a need leads to it. All others stay with
their package, because what reads them cannot be seen: data, configuration, private programs, modules of
languages.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping

from ramekin.closure.evidence.model import ANY_CONVERTER, Elf, Kind, Need, PackageDetail, PackageEvidence
from ramekin.closure.follow import Asked, DroppedFile, DroppedPackage, Followed, KeptPackage, Step, globs
from ramekin.closure.offers import Offer, Offers
from ramekin.closure.policy import Policy, is_command, language_of, place_of
from ramekin.closure.slices import glob, rules
from ramekin.sources.protocol import Resolution

File = tuple[str, int]
"""A package and the number of one of its files."""

_UNIT = re.compile(r"usr/lib/python3[^/]*/(?:dist|site)-packages/[^/]+/")
_WHOLE = frozenset((Kind.DATA, Kind.META, Kind.CORRECTION))


def files(
    followed: Followed,
    resolution: Resolution,
    evidence: Mapping[str, PackageEvidence],
    detail: Mapping[str, PackageDetail],
    asked: Asked,
    policy: Policy,
) -> Followed:
    """What is left of `followed` (at the level `packages`) when evidence is followed from file to file."""
    return _Reach(followed, resolution, evidence, detail, asked, policy).run()


class _Reach:
    def __init__(
        self,
        followed: Followed,
        resolution: Resolution,
        evidence: Mapping[str, PackageEvidence],
        detail: Mapping[str, PackageDetail],
        asked: Asked,
        policy: Policy,
    ) -> None:
        self.followed, self.resolution, self.asked, self.policy = followed, resolution, asked, policy
        self.evidence = {name: evidence[name] for name in followed.names}
        self.offers = Offers(resolution, self.evidence, policy)
        self.detail = detail
        self.gone = {(file.package, file.path): file.reason for file in followed.files}
        self.roots = {
            kept.name for kept in followed.kept if not kept.because and kept.name not in asked.essentials
        }
        for step in followed.edges:
            if step.kind is Kind.META:
                self.roots.add(step.provider)
        self.present: dict[File, Step | None] = {}
        self.sought: set[File] = set()
        self.begun: dict[str, Step | None] = {}
        self.slices = [glob(text) for name in asked.slices for text in rules()[name].paths]
        self.todo: deque[File] = deque()
        self.units: set[tuple[str, str]] = set()
        self.needs: dict[str, dict[int, list[tuple[Kind, str]]]] = {}
        self.elves: dict[str, dict[int, Elf]] = {}
        self.links: dict[str, dict[int, str]] = {}
        self.words: dict[str, dict[int, str]] = {}
        self.hard: dict[str, dict[int, int]] = {}
        self.beside: dict[str, list[tuple[int, str]]] = {}
        self.together: dict[str, list[Step]] = {}
        for step in followed.edges:
            if step.kind in _WHOLE or not step.offer:
                self.together.setdefault(step.package, []).append(step)

    def run(self) -> Followed:
        self._start()
        while self.todo:
            self._file(self.todo.popleft())
        self._without_interpreter()
        return self._result()

    def _start(self) -> None:
        keep = globs(self.asked.keep)
        started: set[str] = set()
        languages: set[str | None] = set()
        for kept in self.followed.kept:
            self._load(kept.name)
        by_path = {path: step for path, step in self.followed.reached if step.kind is Kind.RECIPE}
        for name in self.roots:
            # what the user runs with modules that he asked for by name nobody has seen yet
            languages.update(modules.language for modules in self.evidence[name].modules)
        for path, step in sorted(by_path.items()):
            owner = self.offers.owner(path)
            if owner is not None:
                started.add(step.package)
                self._seek(owner, step)
                languages.add(language_of(path))
        for kept in self.followed.kept:
            name = kept.name
            if name in self.asked.essentials:
                self._begin(name, None)
            elif kept.reason == "kept by name":
                self._all(name)
            elif name in self.roots and (kept.reason == "asked for" or kept.because is not None):
                if name not in started:
                    self._commands(name)
                self._begin(name, None)
            if any(modules.language in languages for modules in self.evidence[name].modules):
                # a bare interpreter runs what nobody has seen yet, so all its modules stay
                self._begin(name, kept.because)
            if keep is not None:
                for number, path in enumerate(self.evidence[name].paths()):
                    if keep.match(path):
                        self._seek((name, number), None)

    def _commands(self, name: str) -> None:
        """Start from all commands of a package that was asked for and has none of its own name, or from all
        of it.
        """
        commands = [n for n, path in enumerate(self.evidence[name].paths()) if is_command(path)]
        if not commands:
            self._all(name)
        for number in commands:
            self._seek((name, number), None)

    def _all(self, name: str) -> None:
        self._begin(name, None)
        for number in range(len(self.evidence[name].paths())):
            self._put((name, number), None)

    def _load(self, name: str) -> None:
        detail = self.detail[name]
        needs: dict[int, list[tuple[Kind, str]]] = {}
        for need in detail.needs:
            for number in need.files:
                needs.setdefault(number, []).append((need.kind, need.target))
        self.needs[name] = needs
        self.elves[name] = {elf.file: elf for elf in detail.elves}
        self.hard[name] = dict(detail.hard)
        self.words[name] = dict(detail.words)
        self.links[name] = {}
        for number, path, target in self.offers.links(name):
            self.links[name][number] = target
            if self.policy.part(path) is not None and not is_command(path):
                self.beside.setdefault(target, []).append((number, name))

    def _begin(self, name: str, step: Step | None) -> None:
        """Bring in what stays with a package whatever reaches it.

        Headers stay with the names that linkers look for: without the shared library's a linker takes the
        static one and says nothing.
        """
        if name in self.begun:
            return
        self.begun[name] = step
        whole = self.evidence[name].development
        for number, path in enumerate(self.evidence[name].paths()):
            if whole or self.policy.part(path) is None or any(glob.match(path) for glob in self.slices):
                self._put((name, number), step)
        for edge in self.together.get(name, ()):
            if edge.provider in self.evidence and edge.kind is Kind.CORRECTION:
                self._all(edge.provider)
            elif edge.provider in self.evidence:
                self._begin(edge.provider, edge)

    def _seek(self, file: File, step: Step | None) -> None:
        """A need leads to this very file."""
        if file not in self.sought:
            self.sought.add(file)
            self.present.setdefault(file, step)
            self.todo.append(file)

    def _put(self, file: File, step: Step | None) -> None:
        if file not in self.present:
            self.present[file] = step
            self.todo.append(file)

    def _file(self, file: File) -> None:
        name, number = file
        if name not in self.evidence:
            return
        path = self.offers.path(name, number)
        if (name, path) in self.gone:
            return
        self._begin(name, self.present.get(file))
        for other, owner in self.beside.get(path, ()):
            self._put((owner, other), None)
        if (target := self.links[name].get(number)) is not None:
            self._link(file, path, target)
        if (real := self.hard[name].get(number)) is not None:
            (self._seek if file in self.sought else self._put)((name, real), self.present[file])
        if (elf := self.elves[name].get(number)) is not None:
            for soname, _ in elf.needed:
                self._meet(file, path, Kind.NEEDED, soname, elf)
        for word in self.words[name].get(number, "").split():
            self._named(file, path, word)
        place = place_of(path)
        correction = self.policy.correction(name)
        for kind, target in self.needs[name].get(number, ()):
            if correction and correction.ignores and correction.ignores.match(target):
                continue
            reached = file in self.sought or (name in self.roots and not is_command(path))
            if self.policy.follows(kind, place, asked=False, reached=reached):
                self._meet(file, path, kind, target, elf)

    def _link(self, file: File, path: str, target: str) -> None:
        owner = self.offers.owner(target)
        if owner is None:
            real = self.offers.real(path)
            owner = self.offers.owner(real) if real is not None else None
        if owner is not None:
            step = Step(file[0], path, Kind.LINK, "/" + target, owner[0], self.offers.path(*owner))
            (self._seek if file in self.sought else self._put)(owner, step)

    def _meet(self, file: File, path: str, kind: Kind, target: str, elf: Elf | None) -> None:
        name = file[0]
        offers = self.offers.find(Need(kind, target, "", ()), name) or (
            self.offers.find(Need(kind, target, "", ()), None) if kind is Kind.NEEDED else []
        )
        offers = [offer for offer in offers if offer.package in self.evidence and not self._hidden(offer)]
        if elf is not None and kind in (Kind.NEEDED, Kind.LOADED):
            offers = [offer for offer in offers if self._machine(offer) in ("", elf.machine)] or offers
        if not offers:
            return
        own = [offer for offer in offers if offer.package == name]
        there = [o for o in offers if o.file is not None and (o.package, o.file) in self.present]
        for offer in offers if target == ANY_CONVERTER else (own or there or offers)[:1]:
            offered = self.offers.path(offer.package, offer.file) if offer.file is not None else ""
            step = Step(name, path, kind, target, offer.package, offered)
            if offer.file is None:
                self._begin(offer.package, step)
            else:
                self._seek((offer.package, offer.file), step)
                if kind is Kind.PYTHON:
                    self._unit(offer.package, offered, step)

    def _named(self, file: File, path: str, word: str) -> None:
        """A program that starts others holds the name of a command: that of another package stays.

        Names of its own package's commands are too often names that it goes by itself.
        """
        for offer in self.offers.find(Need(Kind.COMMAND, word, "", ()), file[0])[:1]:
            if offer.package != file[0] and offer.file is not None and not self._hidden(offer):
                offered = self.offers.path(offer.package, offer.file)
                step = Step(file[0], path, Kind.COMMAND, word, offer.package, offered)
                self._seek((offer.package, offer.file), step)

    def _unit(self, name: str, path: str, step: Step) -> None:
        """A Python distribution of which a module is imported stays whole; elsewhere its parents are
        imported too.
        """
        folder = _UNIT.match(path)
        if folder is None:
            parent = path.rpartition("/")[0]
            number = self.offers.number(name, f"{parent}/__init__.py")
            if number is not None:
                self._seek((name, number), step)
        elif (name, folder[0]) not in self.units:
            self.units.add((name, folder[0]))
            for number, other in enumerate(self.evidence[name].paths()):
                if other.startswith(folder[0]):
                    self._put((name, number), step)

    def _hidden(self, offer: Offer) -> bool:
        return (
            offer.file is not None
            and (offer.package, self.offers.path(offer.package, offer.file)) in self.gone
        )

    def _machine(self, offer: Offer) -> str:
        elf = self.elves[offer.package].get(offer.file) if offer.file is not None else None
        return elf.machine if elf is not None else ""

    def _without_interpreter(self) -> None:
        """Take out scripts that stayed with their package although nothing would run them."""
        for name in self.begun:
            for need in self.evidence[name].needs:
                if need.kind is not Kind.INTERPRETER:
                    continue
                offers = self.offers.find(need, name)
                if any(
                    offer.file is not None and (offer.package, offer.file) in self.present for offer in offers
                ):
                    continue
                for number in need.files:
                    if (name, number) not in self.sought and self.present.pop(
                        (name, number), self
                    ) is not self:
                        path = self.offers.path(name, number)
                        self.gone[name, path] = f"nothing in the image needs its interpreter {need.target}"

    def _result(self) -> Followed:
        staying = {name for name, _ in self.present} & set(self.begun)
        kept = [
            KeptPackage(package.name, package.size, self._because(package), package.reason)
            for package in self.followed.kept
            if package.name in staying
        ]
        dropped = [
            *self.followed.dropped,
            *(
                DroppedPackage(
                    package.name, package.size, "no file of it is reached from what the image starts"
                )
                for package in self.followed.kept
                if package.name not in staying
            ),
        ]
        edges: dict[tuple[str, str], Step] = {}
        for step in (*self.present.values(), *self.begun.values()):
            if step is not None and step.package and step.package != step.provider:
                edges.setdefault((step.package, step.provider), step)
        reached = {self.offers.path(*file): step for file, step in self.present.items() if step is not None}
        return Followed(
            "files",
            tuple(kept),
            tuple(sorted(dropped, key=lambda package: package.name)),
            tuple(sorted(self._dropped_files(staying), key=lambda file: (file.package, file.path))),
            tuple(edges[pair] for pair in sorted(edges)),
            tuple(sorted((path, step) for path, step in reached.items() if self._telling(path, step))),
            self.followed.wanted,
            self.followed.notes,
        )

    def _because(self, package: KeptPackage) -> Step | None:
        return (self.begun.get(package.name) or package.because) if package.because else None

    def _telling(self, path: str, step: Step) -> bool:
        return step.offer == path and step.file != path

    def _dropped_files(self, staying: set[str]) -> Iterator[DroppedFile]:
        for name in staying:
            known = self.evidence[name]
            sizes = known.sizes.split(" ")
            for number, path in enumerate(known.paths()):
                reason = self.gone.get((name, path))
                if reason is None and (name, number) not in self.present:
                    reason = f"nothing that the image starts reaches it: {self.policy.part(path)}"
                if reason is not None:
                    yield DroppedFile(name, path, int(sizes[number]), reason)
