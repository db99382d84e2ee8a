"""Proof, before an image is written and without running it, that what stands in it finds what it needs.

Works on evidence and lists of paths only. The loader's search is ld.so(8)'s: RPATH, RUNPATH, the folders that
ld.so.cache is made from. A library that stands elsewhere counts when it is its program that loads it first.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ramekin.closure.evidence import python
from ramekin.closure.evidence.model import Elf, Kind, PackageDetail, PackageEvidence
from ramekin.closure.follow import Followed
from ramekin.closure.model import PackageFacts
from ramekin.closure.offers import MERGED, absolute
from ramekin.closure.policy import Policy, is_command

_COMMAND_FOLDERS = (
    *("usr/local/sbin/", "usr/local/bin/", "usr/sbin/", "usr/bin/", "usr/games/"),
    *("sbin/", "bin/"),
)
_MOST_LINKS = 40


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """`path` (a tree path) of `package` will not work: `what`, and the way out."""

    package: str
    path: str
    what: str
    hint: str


def prove(
    followed: Followed,
    evidence: Mapping[str, PackageEvidence],
    detail: Mapping[str, PackageDetail],
    facts: Mapping[str, PackageFacts],
    policy: Policy,
    *,
    present: Sequence[str] = (),
) -> tuple[Failure, ...]:
    """All that would fail in the image, in order of path.

    `present` are tree paths that stand in the image without a package (essentials, the finishing layer).
    """
    image = _Image(followed, evidence, detail, present)
    failures = [
        *_elves(image),
        *_interpreters(image),
        *_links(image),
        *_recipes(image, followed, facts),
        *_imports(image, followed),
    ]
    return tuple(sorted(set(failures), key=lambda failure: (failure.path, failure.what)))


class _Image:
    """The files of the image by tree path, and its links."""

    def __init__(
        self,
        followed: Followed,
        evidence: Mapping[str, PackageEvidence],
        detail: Mapping[str, PackageDetail],
        present: Sequence[str],
    ) -> None:
        self.names = [kept.name for kept in followed.kept]
        self.shallow = {kept.name for kept in followed.kept if kept.reason == "stands in every image"}
        self.evidence, self.detail = evidence, detail
        self.gone = {file.path: file for file in followed.files}
        self.paths = {name: evidence[name].paths() for name in self.names}
        self.all = {path for name in self.names for path in self.paths[name]}
        self.files = (self.all - self.gone.keys()) | set(present)
        # suites before the merged /usr have files where packages name them
        self.split = any(path.startswith(MERGED) for path in self.all)
        self.targets: dict[str, str] = {}
        self.elves: dict[str, Elf] = {}
        self.folders: set[str] = set()
        for name in self.names:
            known = evidence[name]
            for line in known.links.split("\n") if known.links else ():
                number, _, target = line.partition("\t")
                path = self.paths[name][int(number)]
                self.targets[path] = absolute(path, target).lstrip("/")
            for line in known.provided.split("\n") if known.provided else ():
                link, _, target = line.partition("\t")
                self.files.add(self._merged(link))
                self.targets.setdefault(self._merged(link), self._merged(target))
            for elf in detail[name].elves:
                self.elves[self.paths[name][elf.file]] = elf
        for path in self.files:
            folder = path.rpartition("/")[0]
            while folder and folder not in self.folders:
                self.folders.add(folder)
                folder = folder.rpartition("/")[0]

    def real(self, path: str, *, among: set[str] | None = None) -> str | None:
        """The file or folder that a path leads to through all links, or None when it leads nowhere."""
        files = self.files if among is None else among
        todo, done, steps = path.split("/"), "", 0
        while todo:
            part = todo.pop(0)
            here = f"{done}/{part}" if done else part
            if here + "/" in MERGED and not self.split:
                here = "usr/" + here
            target = self.targets.get(here) if here in files else None
            if target is None:
                done = here
                continue
            steps += 1
            if steps > _MOST_LINKS:
                return None
            todo, done = [*target.split("/"), *todo], ""
        if done in files or (among is None and done in self.folders):
            return done
        return None

    def command(self, name: str) -> str | None:
        """The tree path of the program that a command name starts."""
        return next((found for folder in _COMMAND_FOLDERS if (found := self.real(folder + name))), None)

    def _merged(self, path: str) -> str:
        path = path.strip("/")
        return "usr/" + path if path.startswith(MERGED) and not self.split else path


def _elves(image: _Image) -> Iterator[Failure]:
    by_name: dict[tuple[str, str], list[str]] = {}
    for path, elf in image.elves.items():
        if path in image.files:
            for name in {elf.soname, posixpath.basename(path)} - {""}:
                by_name.setdefault((name, elf.machine), []).append(path)
    for path, target in image.targets.items():
        led = image.elves.get(target)
        if led is not None and path in image.files and target in image.files:
            by_name.setdefault((posixpath.basename(path), led.machine), []).append(target)
    for name in image.names:
        for elf in image.detail[name].elves:
            path = image.paths[name][elf.file]
            if path not in image.files:
                continue
            for soname, versions in elf.needed:
                found = by_name.get((posixpath.basename(soname), elf.machine), ())
                if not found:
                    yield _fails(image, name, path, f"needs {soname}, which the image does not hold", soname)
                    continue
                missing = min(
                    ([v for v in versions if v not in image.elves[other].versions] for other in found),
                    key=len,
                )
                if missing and any(image.elves[other].versions for other in found):
                    what = f"asks {soname} for {missing[0]}, which /{found[0]} does not define"
                    yield Failure(name, path, what, "take both packages from the same suite")


def _fails(image: _Image, name: str, path: str, what: str, target: str) -> Failure:
    base = posixpath.basename(target)
    gone = next((file for file in image.gone.values() if posixpath.basename(file.path) == base), None)
    if gone is not None:
        return Failure(name, path, f"{what}: {gone.package} was left without it", f"--keep /{gone.path}")
    return Failure(name, path, what, f"add the package that holds {target} to the request, or --drop /{path}")


def _interpreters(image: _Image) -> Iterator[Failure]:
    for name in image.names:
        if name in image.shallow:
            continue
        for need in image.evidence[name].needs:
            if need.kind is not Kind.INTERPRETER:
                continue
            target = need.target
            found = image.real(target.strip("/")) if target.startswith("/") else image.command(target)
            if found is not None:
                continue
            for number in need.files:
                path = image.paths[name][number]
                if path in image.files:
                    yield _fails(
                        image, name, path, f"is run by {target}, which the image does not hold", target
                    )


def _links(image: _Image) -> Iterator[Failure]:
    for name in image.names:
        own = set(image.paths[name])
        known = image.evidence[name]
        for line in known.links.split("\n") if known.links else ():
            number, _, target = line.partition("\t")
            path = image.paths[name][int(number)]
            if path not in image.files or image.real(path) is not None:
                continue
            if image.real(path, among=own) is not None:
                yield _fails(image, name, path, f"leads to {target}, which was left out", target)


def _recipes(image: _Image, followed: Followed, facts: Mapping[str, PackageFacts]) -> Iterator[Failure]:
    users = {user.uid for known in facts.values() for user in known.users} | {0, 65532, 65534}
    asked = {kept.name for kept in followed.kept if kept.because is None or kept.because.kind is Kind.META}
    for name in image.names:
        known = facts.get(name)
        if known is None:
            continue
        hints = known.hints
        uid = hints.user.partition(":")[0]
        if uid.isdecimal() and int(uid) not in users and int(uid) >= 100:
            yield Failure(name, "", f"its recipe runs as user {uid}, whom no package makes", "give --user")
        for word in (hints.entrypoint or hints.cmd)[:1]:
            # every package's user must exist, but only what the user asked for is started
            found = image.real(word.strip("/")) if word.startswith("/") else image.command(word)
            if found is None and name in asked:
                yield Failure(
                    name,
                    word.strip("/"),
                    f"its recipe starts {word}, which the image does not hold",
                    f"--keep {word}",
                )


def _imports(image: _Image, followed: Followed) -> Iterator[Failure]:
    """Imports of scripts that the image starts, and of those that evidence reached."""
    started = {path for path, step in followed.reached if step.kind is Kind.RECIPE}
    reached = {path for path, _ in followed.reached} if started else set()
    modules: dict[str, set[str]] = {}
    files: dict[str, set[str]] = {}
    for name in image.names:
        for known in image.evidence[name].modules:
            for line in known.names.split("\n"):
                module, _, place = line.rpartition(" ")
                there = image.paths[name][int(place)] in image.files
                (modules if there else files).setdefault(known.language, set()).add(module)
    bases = {path.rpartition("/")[2] for path in image.files}
    for name in image.names:
        for need in image.detail[name].needs:
            if need.kind not in (Kind.PYTHON, Kind.PERL, Kind.RUBY) or need.optional:
                continue
            language = str(need.kind)
            if need.target in modules.get(language, ()):
                continue
            for number in need.files:
                path = image.paths[name][number]
                if path not in image.files or (
                    path not in started and not (path in reached and is_command(path))
                ):
                    continue
                if need.kind is Kind.PYTHON and _python_finds(
                    need.target, path, modules.get(language, set()), image
                ):
                    continue
                if _file_name(need.kind, need.target) in bases:
                    continue
                if path in started or need.target in files.get(language, ()):
                    yield Failure(
                        name,
                        path,
                        f"imports {need.target}, which the image does not hold",
                        "add the package that holds it to the request",
                    )


def _python_finds(target: str, path: str, modules: set[str], image: _Image) -> bool:
    top = target.partition(".")[0]
    if top in python.COMPILED_IN:
        return True
    parts = target.split(".")
    if any(".".join(parts[:count]) in modules for count in range(len(parts), 0, -1)):
        return True
    beside = posixpath.dirname(path)
    return (
        f"{beside}/{top}.py" in image.files
        or f"{beside}/{top}" in image.folders
        or top in {folder.rpartition("/")[2] for folder in image.folders if "python3" in folder}
    )


def _file_name(kind: Kind, target: str) -> str:
    if kind is Kind.PERL:
        return target.rpartition("::")[2] + ".pm"
    if kind is Kind.RUBY:
        return target.rpartition("/")[2] + ".rb"
    return target.rpartition(".")[2] + ".py"
