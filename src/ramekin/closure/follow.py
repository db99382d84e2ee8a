"""From declared dependencies to the packages that evidence shows to be needed.

    requested ──▶ files that count ──▶ their needs ──▶ files that meet them ──▶ packages ──▶ …

Pure: evidence in, reasons out. A need is met only by packages that its own package declares, transitively,
and by Essential ones, which nobody declares. Whether a need counts is the policy's to say: it asks where the
file lies, whether its package was asked for, and whether evidence has reached the very file.

A need that several packages meet waits until nothing else is left to follow; then one that is kept already is
taken, else the nearest by declared dependencies, else the first by name. So the order of packages does not
matter.

A script of a kept package whose own needs do not count is left out when its interpreter is not in the
closure by evidence of that package alone. The rest of the image is not asked, so that the package's layer
stays the same in all images.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ramekin.closure.evidence.model import ENV, Kind, Need, PackageDetail, PackageEvidence
from ramekin.closure.offers import Offer, Offers
from ramekin.closure.policy import Policy
from ramekin.errors import RamekinError
from ramekin.sources.protocol import Resolution


class MissingNeedError(RamekinError):
    """A program or library needs what no package of the closure holds."""


class Asked(msgspec.Struct, frozen=True):
    """What the user wants of a closure by evidence, besides the packages.

    `keep` and `drop` are package names, and globs of absolute paths. `programs` are the first words of the
    image's entry point and command as the user gave them (absolute paths or commands), if any. `essentials`
    are packages that stand in every image for their data: what they need is not followed. `slices` are those
    that are kept by name.
    """

    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    essentials: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One link of a chain: `file` of `package` needs `target`, which `offer` of `provider` meets.

    `file` and `offer` are tree paths, empty where a package as a whole is meant.
    """

    package: str
    file: str
    kind: Kind
    target: str
    provider: str
    offer: str


class KeptPackage(msgspec.Struct, frozen=True, array_like=True):
    """A package that stays, and its bytes. `because` is None when `reason` says why (`asked for`)."""

    name: str
    size: int
    because: Step | None = None
    reason: str = ""


class DroppedPackage(msgspec.Struct, frozen=True, array_like=True):
    """A package of the closure by Depends that goes, its bytes, and why."""

    name: str
    size: int
    reason: str


class DroppedFile(msgspec.Struct, frozen=True, array_like=True):
    """A file (tree path) of a kept package that goes, its bytes, and why."""

    package: str
    path: str
    size: int
    reason: str


class Followed(msgspec.Struct, frozen=True):
    """A closure by evidence; its JSON is the small artifact that goes with an image.

    `level` is `packages` or `files`. `kept` stand in the resolution's order, `dropped` and `files` by name.
    `edges` hold the first need between each two packages. `reached` gives the step that led to a file (tree
    path). `wanted` names Essential packages that a need points to and that are not in the resolution:
    resolve and scan them too, and follow again.
    """

    level: str
    kept: tuple[KeptPackage, ...] = ()
    dropped: tuple[DroppedPackage, ...] = ()
    files: tuple[DroppedFile, ...] = ()
    edges: tuple[Step, ...] = ()
    reached: tuple[tuple[str, Step], ...] = ()
    wanted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names of all packages that stay."""
        return frozenset(package.name for package in self.kept)


def packages(
    resolution: Resolution, evidence: Mapping[str, PackageEvidence], asked: Asked, policy: Policy
) -> Followed:
    """The packages of `resolution` that evidence reaches from the requested ones.

    `evidence` has every package of the resolution. `MissingNeedError` names what a program or library needs
    and no package holds.
    """
    return _Follow(resolution, evidence, asked, policy).run()


def files(
    followed: Followed,
    resolution: Resolution,
    evidence: Mapping[str, PackageEvidence],
    detail: Mapping[str, PackageDetail],
    asked: Asked,
    policy: Policy,
) -> Followed:
    """What is left of `followed` (by `packages`) when evidence is followed from file to file.

    `detail` has every kept package.
    """
    from ramekin.closure import reach

    return reach.files(followed, resolution, evidence, detail, asked, policy)


def globs(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """One pattern for all globs of absolute paths in `patterns` (matched against tree paths), or None."""
    parts = [fnmatch.translate(pattern.lstrip("/")) for pattern in patterns if pattern.startswith("/")]
    return re.compile("|".join(parts)) if parts else None


class _Follow:
    def __init__(
        self, resolution: Resolution, evidence: Mapping[str, PackageEvidence], asked: Asked, policy: Policy
    ) -> None:
        self.resolution, self.evidence, self.asked, self.policy = resolution, evidence, asked, policy
        self.offers = Offers(resolution, evidence, policy)
        self.kept: dict[str, KeptPackage] = {}
        self.roots: set[str] = set()
        self.shallow = frozenset(asked.essentials) - {
            re.split("[=/:]", text, maxsplit=1)[0] for text in resolution.requested
        }
        self.edges: dict[tuple[str, str], Step] = {}
        self.reached: dict[tuple[str, int], Step | None] = {}
        self.waiting: deque[tuple[str, int | None]] = deque()
        self.deferred: list[tuple[str, str, Need, list[Offer], bool]] = []
        self.unmet: list[tuple[str, str, Need, bool]] = []
        self.lent: dict[str, set[str]] = {}
        """For a package, what others that declare it declare besides, as of `lent_by` kept packages; by that,
        nobody lends what the first `tried` of `unmet` want."""
        self.lent_by = self.tried = 0
        self.dead: dict[str, dict[int, str]] = {}
        self.wanted: dict[str, None] = {}
        self.notes: dict[str, None] = {}
        self.by_file: dict[str, dict[int, list[Need]]] = {}

    def run(self) -> Followed:
        self._start()
        while True:
            while self.waiting:
                name, number = self.waiting.popleft()
                if number is None:
                    self._package(name)
                else:
                    self._file(name, number)
            if self.deferred:
                self._settle()
            elif not self._borrow():
                break
        return self._result()

    def _start(self) -> None:
        keep = globs(self.asked.keep)
        for text in self.resolution.requested:
            name = re.split("[=/:]", text, maxsplit=1)[0]
            if name in self.evidence:
                self._ask(name, "asked for")
                self._program(name, Need(Kind.RECIPE, name, "program", ()))
        for package in self.resolution.packages:
            name = package.name
            if name in self.asked.keep:
                self._ask(name, "kept by name")
            if keep is None:
                continue
            for number, path in enumerate(self.evidence[name].paths()):
                if keep.match(path):
                    self._keep(name, None, f"kept for /{path}")
                    self._reach(name, number, None)
        for name in self.asked.essentials:
            if name in self.evidence:
                self._keep(name, None, "stands in every image")
        for word in self.asked.programs:
            self._program("", Need(Kind.RECIPE, word, "program", ()))

    def _program(self, name: str, need: Need) -> None:
        """Keep and reach a program that the image starts, for package `name` or (if empty) for the user."""
        offers = self.offers.find(need, name or None)
        if offers:
            self._take(name, "", need, offers[0], deep=True)
        elif not name and (essential := self.offers.essential(need)) is not None:
            self.wanted[essential] = None

    def _ask(self, name: str, reason: str) -> None:
        """Keep a package that the user named; an empty one stands for what it depends on."""
        if name in self.roots or name not in self.evidence:
            return
        self.roots.add(name)
        self._keep(name, None, reason)
        if not self.offers.substantial(name):
            for other in self.resolution.edges.get(name, ()):
                if other in self.evidence and other not in self.roots:
                    step = Step(name, "", Kind.META, other, other, "")
                    self.edges.setdefault((name, other), step)
                    if other not in self.kept:
                        self.kept[other] = KeptPackage(other, self.evidence[other].size, step)
                        self.waiting.append((other, None))
                    self._ask(other, reason)

    def _keep(self, name: str, because: Step | None, reason: str = "") -> None:
        if name not in self.kept:
            self.kept[name] = KeptPackage(name, self.evidence[name].size, because, reason)
            self.waiting.append((name, None))

    def _reach(self, name: str, number: int, step: Step | None) -> None:
        if (name, number) not in self.reached:
            self.reached[name, number] = step
            self.waiting.append((name, number))

    def _package(self, name: str) -> None:
        if name in self.shallow:
            return
        known = self.evidence[name]
        correction = self.policy.correction(name)
        dead = self._dead(name)
        asked = name in self.roots
        for need in known.needs:
            if not self.policy.follows(need.kind, need.place, asked=asked, reached=False):
                continue
            if correction and correction.ignores and correction.ignores.match(need.target):
                continue
            if dead and need.count <= len(need.files) and all(number in dead for number in need.files):
                continue
            number = next((n for n in need.files if n not in dead), None)
            self._follow(name, number, need, deep=asked or need.kind is not Kind.LINK)
        for other in self.resolution.edges.get(name, ()):
            if other in self.evidence and other != name and self._together(name, other):
                self._link(Step(name, "", Kind.DATA, other, other, ""))
        for other in correction.needs if correction else ():
            if other in self.evidence:
                self._link(Step(name, "", Kind.CORRECTION, other, other, ""))
            elif other in self.policy.essential_packages:
                self.wanted[other] = None

    def _together(self, name: str, other: str) -> bool:
        """Whether a declared package goes with this one although no file says so."""
        ours, theirs = self.evidence[name], self.evidence[other]
        if ours.development and theirs.development:
            return True
        if not self.offers.substantial(other):
            return False
        if self.offers.origin[other] != self.offers.origin[name]:
            return self.offers.extends(name, other)
        return (
            theirs.data_only
            or bool(theirs.modules)
            or self.offers.plugins_only(other)
            or self.offers.share_private_folder(name, other)
        )

    def _file(self, name: str, number: int) -> None:
        if name in self.shallow and self.reached[name, number] is None:
            return
        needs = self.by_file.get(name)
        if needs is None:
            needs = self.by_file[name] = {}
            for need in self.evidence[name].needs:
                for user in need.files:
                    needs.setdefault(user, []).append(need)
        self._dead(name)
        for need in needs.get(number, ()):
            if self.policy.follows(need.kind, need.place, asked=False, reached=True) or (
                self.reached[name, number] is None
            ):
                self._follow(name, number, need, deep=True)

    def _dead(self, name: str) -> dict[int, str]:
        """Scripts of a package whose interpreter cannot be had, by number, with the interpreter."""
        dead = self.dead.get(name)
        if dead is None:
            dead = self.dead[name] = {}
            for need in self.evidence[name].needs:
                if need.kind is not Kind.INTERPRETER or self.offers.find(need, name):
                    continue
                if ".so" in need.target and self.offers.anywhere(need):
                    continue
                if self.offers.essential(need) is None:
                    dead.update(dict.fromkeys(need.files, need.target))
        return dead

    def _follow(self, name: str, number: int | None, need: Need, *, deep: bool) -> None:
        file = "" if number is None else self.offers.path(name, number)
        offers = self.offers.find(need, name)
        if need.kind in (Kind.PATH, Kind.SETTING, Kind.COMMAND, Kind.SHELL, Kind.SERVICE) and offers:
            offers = [offer for offer in offers if not offer.essential or self._may_want(name, need, number)]
        if not offers:
            self._unmet(name, number, file, need)
            if need.kind in _IMPORTS:
                self.unmet.append((name, file, need, deep))
        elif len({offer.package for offer in offers}) == 1:
            self._take(name, file, need, offers[0], deep=deep)
        else:
            self.deferred.append((name, file, need, offers, deep))

    def _may_want(self, name: str, need: Need, number: int | None) -> bool:
        """Whether a need for a program of an Essential package that is not declared counts."""
        if need.target in self.policy.anyones:
            return True
        if need.kind is Kind.INTERPRETER:
            reached = number is not None and (name, number) in self.reached
            if need.target == ENV:
                # the command may lack its interpreter besides
                usable = number is None or number not in self._dead(name)
                return usable and (reached or name in self.roots)
            shell = posixpath.basename(need.target) in ("sh", "bash")
            return shell or reached or not self.offers.has_programs(name)
        if need.kind is Kind.SHELL:
            return True
        if number is None or not self.offers.is_script(name, number):
            return False
        return name in self.roots or (name, number) in self.reached

    def _unmet(self, name: str, number: int | None, file: str, need: Need) -> None:
        essential = self.offers.essential(need)
        if essential is not None and essential not in self.evidence:
            if self._may_want(name, need, number):
                self.wanted[essential] = None
            return
        if need.kind is not Kind.NEEDED and not (need.kind is Kind.INTERPRETER and ".so" in need.target):
            return
        undeclared = self.offers.anywhere(need)
        if undeclared:
            self.notes[
                f"{name}: /{file} needs {need.target}, which {undeclared[0].package} holds undeclared"
            ] = None
            self._take(name, file, need, undeclared[0], deep=False)
            return
        for user in need.files:
            path = self.offers.path(name, user)
            if self.offers.is_public(path) and (name in self.roots or self.offers.is_asked_for(path)):
                raise MissingNeedError(
                    f"{name}: /{path} needs {need.target}, which no package of the closure holds",
                    hint="add the package that holds it to the request, or leave the file out by its path",
                )
            self._dead(name)[user] = need.target

    def _borrow(self) -> bool:
        """Meet imports that their own package does not declare through one that does, and that uses it.

        A wants TLS of B: A declares B and the TLS library, B imports it if it is there and declares nothing.
        """
        if self.lent_by != len(self.kept):
            self.lent_by, self.lent, self.tried = len(self.kept), {}, 0
        for place in range(self.tried, len(self.unmet)):
            name, file, need, deep = self.unmet[place]
            lent = self.lent.get(name)
            if lent is None:
                users = [user for user in self.kept if self.offers.declares(user, name)]
                lent = {other for user in users for other in self.resolution.edges.get(user, ())}
                self.lent[name] = lent
            for offer in self.offers.anywhere(need):
                if offer.package in lent:
                    del self.unmet[place]
                    self.tried = place
                    self._take(name, file, need, offer, deep=deep)
                    return True
        self.tried = len(self.unmet)
        return False

    def _settle(self) -> None:
        waiting, self.deferred = self.deferred, []
        left = []
        for name, file, need, offers, deep in waiting:
            there = [offer for offer in offers if offer.package in self.kept]
            if there:
                self._take(name, file, need, there[0], deep=deep)
            else:
                left.append((name, file, need, offers, deep))
        if self.waiting or len(left) < len(waiting):
            self.deferred = left
            if self.waiting or not left:
                return
        name, file, need, offers, deep = min(
            left, key=lambda item: (item[0], item[2].kind, item[2].target, item[1])
        )
        left.remove((name, file, need, offers, deep))
        self.deferred = left
        self._take(name, file, need, offers[0], deep=deep)

    def _take(self, name: str, file: str, need: Need, offer: Offer, *, deep: bool) -> None:
        path = self.offers.path(offer.package, offer.file) if offer.file is not None else ""
        step = Step(name, file, need.kind, need.target, offer.package, path)
        self._link(step)
        if deep and offer.file is not None and need.kind in _REACHING:
            self._reach(offer.package, offer.file, step)

    def _link(self, step: Step) -> None:
        if step.package and step.package != step.provider:
            self.edges.setdefault((step.package, step.provider), step)
        self._keep(step.provider, step)

    def _result(self) -> Followed:
        kept = [self.kept[p.name] for p in self.resolution.packages if p.name in self.kept]
        dropped = [
            DroppedPackage(name, self.evidence[name].size, self._why_not(name))
            for name in sorted(p.name for p in self.resolution.packages if p.name not in self.kept)
        ]
        return Followed(
            "packages",
            tuple(kept),
            tuple(dropped),
            tuple(sorted(self._dropped_files(), key=lambda file: (file.package, file.path))),
            tuple(self.edges[pair] for pair in sorted(self.edges)),
            tuple(
                (self.offers.path(name, number), step)
                for (name, number), step in sorted(self.reached.items(), key=lambda item: item[0])
                if step is not None
            ),
            tuple(sorted(self.wanted)),
            tuple(sorted(self.notes)),
        )

    def _why_not(self, name: str) -> str:
        askers = sorted(
            other
            for other in self.kept
            if name in self.resolution.edges.get(other, ()) and other not in self.shallow
        )
        if not askers:
            return "only packages that were left out depend on it"
        listed = ", ".join(askers[:4]) + (", …" if len(askers) > 4 else "")
        weak = [
            f"/{self.offers.path(other, need.files[0])}: {self.policy.reason(need.place)}"
            for other in askers
            for need in self.evidence[other].needs
            if need.files and any(offer.package == name for offer in self.offers.find(need, other))
        ]
        verb = "depends" if len(askers) == 1 else "depend"
        if weak:
            return f"{listed} {verb} on it, but only weak evidence needs it: {weak[0]}"
        return f"{listed} {verb} on it, but no file shows a need for it"

    def _dropped_files(self) -> Iterator[DroppedFile]:
        own = self._own_closures()
        keep = globs(self.asked.keep)
        drop = globs(self.asked.drop)
        for name in self.kept:
            known = self.evidence[name]
            gone: dict[int, str] = {}
            for number, target in self.dead.get(name, {}).items():
                gone[number] = f"it needs {target}, which no package of the closure holds"
            for need in known.needs:
                if need.kind is not Kind.INTERPRETER:
                    continue
                offers = {offer.package for offer in self.offers.find(need, name)}
                if offers & (own[name] | self.roots) or ".so" in need.target:
                    continue
                for number in need.files:
                    if (name, number) not in self.reached:
                        gone.setdefault(
                            number,
                            f"nothing needs its interpreter {need.target}: {self.policy.reason(need.place)}",
                        )
            for number, _, target in self.offers.links(name):
                if (real := self.offers.number(name, target)) is not None and real in gone:
                    gone.setdefault(number, f"it leads to /{target}, which is left out")
            for number, reason in self._corrected(name):
                gone.setdefault(number, reason)
            if drop is not None:
                for number, path in enumerate(known.paths()):
                    if drop.match(path):
                        gone[number] = "left out by the request"
            if not gone:
                continue
            sizes = known.sizes.split(" ")
            for number, reason in gone.items():
                path = self.offers.path(name, number)
                if keep is None or not keep.match(path):
                    yield DroppedFile(name, path, int(sizes[number]), reason)

    def _corrected(self, name: str) -> Iterator[tuple[int, str]]:
        """Files of a package that a correction leaves out, and why; not those that another package names."""
        correction = self.policy.correction(name)
        drops = [
            drop
            for drop in (correction.drop_rules if correction is not None else ())
            if drop.slice not in self.asked.slices and not self._asks(drop.unless)
        ]
        if not drops:
            return
        found = {
            number: (path, drop.reason)
            for number, path in enumerate(self.evidence[name].paths())
            for drop in drops
            if drop.match.match(path)
        }
        named = self._named({posixpath.basename(path) for path, _ in found.values()}, besides=name)
        for number, (path, reason) in found.items():
            if posixpath.basename(path) not in named:
                yield number, reason

    def _named(self, names: set[str], *, besides: str) -> set[str]:
        """Those of `names` that files of kept packages need, load, link to or call by path."""
        return {
            base
            for other in self.kept
            if other != besides
            for need in self.evidence[other].needs
            if (base := need.target.rpartition("/")[2]) in names
        }

    def _asks(self, target: str) -> bool:
        """Whether a command, an extension of PHP or a package that was asked for needs `target`."""
        return bool(target) and any(
            need.target == target and (name in self.roots or need.place in ("program", "php"))
            for name in self.kept
            if name not in self.shallow
            for need in self.evidence[name].needs
        )

    def _own_closures(self) -> dict[str, set[str]]:
        """For each kept package those that evidence reaches from it alone, itself among them."""
        after: dict[str, set[str]] = {name: set() for name in self.kept}
        for name, other in self.edges:
            after[name].add(other)
        closures = {}
        for name in self.kept:
            seen, todo = {name}, [name]
            while todo:
                for other in after[todo.pop()]:
                    if other not in seen:
                        seen.add(other)
                        todo.append(other)
            closures[name] = seen
        return closures


_IMPORTS = frozenset((Kind.PYTHON, Kind.PERL, Kind.RUBY, Kind.PHP, Kind.NODE))
_REACHING = frozenset(
    (
        Kind.PATH,
        Kind.SETTING,
        Kind.COMMAND,
        Kind.SHELL,
        Kind.SERVICE,
        Kind.RECIPE,
        Kind.LINK,
        Kind.INTERPRETER,
        Kind.JAVA,
    )
)
