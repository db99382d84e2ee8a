"""Who offers what among the packages of a closure: names in needs turned into files.

need ──kind──▶ names it may have (paths, sonames, modules, folders) ──▶ offers, within what its package
declares
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat

from ramekin.closure.evidence.model import ANY_CONVERTER, Kind, Need, PackageEvidence
from ramekin.closure.policy import Policy
from ramekin.sources.protocol import Resolution

MERGED = ("bin/", "sbin/", "lib/", "lib32/", "lib64/", "libx32/")
"""Top-level folders that stand under `usr/` on a merged layout."""
_COMMAND_FOLDERS = ("usr/bin/", "usr/sbin/", "usr/games/", "usr/local/bin/", "bin/", "sbin/")
_EMPTY = ("usr/share/doc/", "var/lib/dpkg/", "usr/share/man/", "usr/share/lintian/", "usr/share/bug/")


@dataclass(frozen=True, slots=True)
class Offer:
    """A package that meets a need, by a file (its number) or as the owner of a folder (None).

    `essential` says that the package is not declared but Essential.
    """

    package: str
    file: int | None
    essential: bool = False


def absolute(path: str, target: str) -> str:
    """Where a link at a tree path leads, as an absolute path; `..` above the root stays at the root."""
    joined = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target))
    return "/" + joined.lstrip("/")


class Offers:
    """The offers of all packages of a resolution; tables are made when first asked for."""

    def __init__(
        self, resolution: Resolution, evidence: Mapping[str, PackageEvidence], policy: Policy
    ) -> None:
        self.evidence, self.policy = evidence, policy
        self.origin = {package.name: package.origin or package.name for package in resolution.packages}
        self.names = [package.name for package in resolution.packages if package.name in evidence]
        self.edges = resolution.edges
        every = [package.name for package in resolution.packages]
        self.bit = {name: 1 << place for place, name in enumerate(every)}
        self._cones = self._reach()
        present = {name for name in policy.essential.values() if name in self.bit}
        self._essential = 0
        for name in present:
            self._essential |= self._cones[name]
        self._paths = {name: evidence[name].paths() for name in self.names}
        self._owner: dict[str, tuple[str, int]] = {}
        for name in self.names:
            paths = self._paths[name]
            self._owner.update(zip(paths, zip(repeat(name), range(len(paths))), strict=False))
        self._split = any(path.startswith(MERGED) for path in self._owner)
        self._shared: dict[str, list[tuple[str, int]]] = {}
        self._provided: dict[str, list[tuple[str, int]]] = {}
        self._links: dict[str, str] = {}
        for name in self.names:
            known = evidence[name]
            for item in known.shared:
                self._shared.setdefault(item.soname, []).append((name, item.file))
            if known.provided:
                for line in known.provided.split("\n"):
                    link, _, target = line.partition("\t")
                    owner = self._owner.get(target) or self._owner.get("usr/" + target)
                    if owner is not None:
                        self._provided.setdefault(self._merged(link), []).append(owner)
            if known.links:
                paths = self._paths[name]
                for line in known.links.split("\n"):
                    number, _, target = line.partition("\t")
                    self._links[paths[int(number)]] = target
        self._modules: dict[str, dict[str, list[tuple[str, int]]]] = {}
        self._folders: dict[str, frozenset[str]] = {}
        self._found: dict[tuple[str, str, str | None], list[Offer]] = {}
        self._near: dict[str, dict[str, int]] = {}
        self._names: dict[str, list[str]] | None = None
        self._scripts: dict[str, frozenset[int]] = {}

    def _reach(self) -> dict[str, int]:
        """For each package the bits of all that it declares, transitively, and its own."""
        cones = dict(self.bit)
        changed = True
        while changed:
            changed = False
            for name in self.bit:
                cone = cones[name]
                for other in self.edges.get(name, ()):
                    cone |= cones.get(other, 0)
                if cone != cones[name]:
                    cones[name] = cone
                    changed = True
        return cones

    def path(self, name: str, number: int) -> str:
        """The tree path of a package's file."""
        return self._paths[name][number]

    def declares(self, name: str, other: str) -> bool:
        """Whether a package declares another, transitively."""
        return bool(self._cones[name] & self.bit[other])

    def plugins_only(self, name: str) -> bool:
        """Whether a package's programs are all plugins: no command, no library where the loader looks."""
        return bool(self.evidence[name].shared) and not any(
            self.is_public(path) or self.policy.module_folders.match("/" + path) for path in self._paths[name]
        )

    def extends(self, name: str, other: str) -> bool:
        """Whether `other` has Perl modules below one of `name`, which loads them by names that it makes
        up.
        """
        ours = self._perl_modules(name)
        return bool(ours) and any(
            module.count("::") > 1 and module.rpartition("::")[0] in ours
            for module in self._perl_modules(other)
        )

    def _perl_modules(self, name: str) -> frozenset[str]:
        for modules in self.evidence[name].modules:
            if modules.language == Kind.PERL:
                return frozenset(line.rpartition(" ")[0] for line in modules.names.split("\n"))
        return frozenset()

    def share_private_folder(self, name: str, other: str) -> bool:
        """Whether two packages have files in one folder that is theirs alone, so that they are parts of one
        program.
        """
        both = self._folders_of(name) & self._folders_of(other)
        return any(
            folder.startswith(("usr/lib/", "usr/libexec/"))
            and not self.policy.ignored_paths.match("/" + folder)
            and not self.policy.module_folders.match("/" + folder)
            and (folder.count("/") > 2 or "-linux-" not in folder)
            for folder in both
        )

    def number(self, name: str, path: str) -> int | None:
        """The number of the file at a tree path if package `name` owns it."""
        owner = self._owner.get(path)
        return owner[1] if owner is not None and owner[0] == name else None

    def owner(self, path: str) -> tuple[str, int] | None:
        """The package that owns a tree path, and the file's number."""
        return self._owner.get(path)

    def links(self, name: str) -> Iterator[tuple[int, str, str]]:
        """The symbolic links of a package: number, tree path, and the tree path that each leads to
        directly.
        """
        if self.evidence[name].links:
            paths = self._paths[name]
            for line in self.evidence[name].links.split("\n"):
                number, _, target = line.partition("\t")
                path = paths[int(number)]
                yield int(number), path, self._merged(absolute(path, target))

    def substantial(self, name: str) -> bool:
        """Whether a package holds more than documentation and what dpkg knows of it."""
        return any(not path.startswith(_EMPTY) for path in self._paths[name])

    def is_script(self, name: str, number: int) -> bool:
        """Whether a package's file is a script."""
        scripts = self._scripts.get(name)
        if scripts is None:
            scripts = self._scripts[name] = frozenset(
                user
                for need in self.evidence[name].needs
                if need.kind is Kind.INTERPRETER and ".so." not in need.target
                for user in need.files
            )
        return number in scripts

    def has_programs(self, name: str) -> bool:
        """Whether a package has commands that are not scripts."""
        return any(
            path.startswith(_COMMAND_FOLDERS) and path not in self._links and not self.is_script(name, number)
            for number, path in enumerate(self._paths[name])
        )

    def is_public(self, path: str) -> bool:
        """Whether a file is a command, or a library where the loader looks."""
        folder = posixpath.dirname(path)
        return (
            path.startswith(_COMMAND_FOLDERS)
            or folder in ("usr/lib", "lib")
            or ("-linux-" in folder and posixpath.dirname(folder) in ("usr/lib", "lib"))
        )

    def is_asked_for(self, path: str) -> bool:
        """Whether a file is a command: others start it without saying so."""
        return path.startswith(_COMMAND_FOLDERS)

    def find(self, need: Need, name: str | None) -> list[Offer]:
        """What meets a need of package `name` (None: of the image), nearest first."""
        key = (need.kind, need.target, name)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._find(need, name)
        return found

    def anywhere(self, need: Need) -> list[Offer]:
        """What meets a need among all packages, declared or not."""
        return self.find(need, None)

    def _find(self, need: Need, name: str | None) -> list[Offer]:
        owners = list(dict.fromkeys(self._owners(need, name)))
        if name is None:
            return [Offer(owner, file) for owner, file in owners]
        cone, near = self._cones[name], self._distance(name) if len(owners) > 1 else {}
        offers = []
        for owner, file in owners:
            bit = self.bit[owner]
            if bit & cone:
                offers.append(Offer(owner, file))
            elif bit & self._essential:
                offers.append(Offer(owner, file, True))
        if len(offers) > 1:
            offers.sort(key=lambda offer: (offer.essential, near.get(offer.package, 1 << 30), offer.package))
        return offers

    def _owners(self, need: Need, name: str | None) -> Iterator[tuple[str, int | None]]:
        kind, target = need.kind, need.target
        if kind in (Kind.NEEDED, Kind.LOADED, Kind.MODULE):
            if target == ANY_CONVERTER:
                yield from self._converters()
                return
            if "/" in target:
                target = posixpath.basename(target)
            yield from self._shared.get(target) or self._by_file_name(target)
        elif target.startswith("/"):
            yield from self._at(target, need, name)
        elif kind in (Kind.COMMAND, Kind.INTERPRETER, Kind.SERVICE, Kind.RECIPE, Kind.RUNTIME):
            for folder in _COMMAND_FOLDERS:
                yield from self._exact(folder + target)
        elif kind in (Kind.PYTHON, Kind.PERL, Kind.RUBY, Kind.NODE, Kind.ERLANG):
            yield from self._module(kind, target)
        elif kind is Kind.PHP:
            yield from self._exact("usr/share/php/" + target)

    def _by_file_name(self, name: str) -> Iterator[tuple[str, int]]:
        """Links by which the loader finds a library whose soname is another (DT_NEEDED is a file name)."""
        if self._names is None:
            self._names = {}
            for path in self._links:
                if ".so" in path:
                    self._names.setdefault(posixpath.basename(path), []).append(path)
        for path in self._names.get(name, ()):
            yield self._owner[path]

    def _converters(self) -> Iterator[tuple[str, int]]:
        for name in self.names:
            if name.startswith("libc6"):
                for number, path in enumerate(self._paths[name]):
                    if "/gconv/" in path:
                        yield name, number

    def _exact(self, path: str) -> Iterator[tuple[str, int]]:
        owner = self._owner.get(path)
        if owner is not None:
            yield owner
        yield from self._provided.get(path, ())

    def _merged(self, path: str) -> str:
        """The tree path of a path; suites before the merged /usr have files where packages name them."""
        path = path.strip("/")
        if not path.startswith(MERGED) or (path in self._owner and "usr/" + path not in self._owner):
            return path
        return "usr/" + path

    def _at(self, target: str, need: Need, name: str | None) -> Iterator[tuple[str, int | None]]:
        path = self._merged(target)
        found = list(self._exact(path))
        if not found:
            real = self.real(path)
            if real is not None and real != path:
                found = list(self._exact(real))
                path = real
        if found:
            yield from found
            return
        if name is None or need.kind not in (Kind.PATH, Kind.SETTING, Kind.LINK, Kind.JAVA):
            return
        if self.policy.module_folders.match(target) or self.policy.ignored_paths.match(target):
            return
        own = path in self._folders_of(name)
        for other in self.edges.get(name, ()):
            if other not in self.evidence or path not in self._folders_of(other):
                continue
            if (
                need.kind is Kind.LINK
                or self.origin[other] == self.origin[name]
                or (self.evidence[other].data_only and not own)
            ):
                yield other, None

    def real(self, path: str) -> str | None:
        """Where a tree path leads when every link on it is followed; None for a loop of links."""
        parts, done, steps = path.split("/"), "", 0
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = posixpath.dirname(done)
                continue
            here = f"{done}/{part}" if done else part
            target = self._links.get(here)
            if target is None:
                done = here
                if done + "/" in MERGED and not self._split:
                    done = "usr/" + done
                continue
            steps += 1
            if steps > 40:
                return None
            parts = target.split("/") + parts
            if target.startswith("/"):
                done = ""
        return done

    def _folders_of(self, name: str) -> frozenset[str]:
        folders = self._folders.get(name)
        if folders is None:
            found: set[str] = set()
            for path in self._paths[name]:
                folder = path.rpartition("/")[0]
                while folder and folder not in found:
                    found.add(folder)
                    folder = folder.rpartition("/")[0]
            folders = self._folders[name] = frozenset(found)
        return folders

    def _module(self, kind: Kind, target: str) -> Iterator[tuple[str, int]]:
        table = self._modules.get(kind)
        if table is None:
            table = self._modules[kind] = {}
            for name in self.names:
                for modules in self.evidence[name].modules:
                    if modules.language == kind:
                        for line in modules.names.split("\n"):
                            module, _, number = line.rpartition(" ")
                            table.setdefault(module, []).append((name, int(number)))
        if kind is Kind.PYTHON:
            while target:
                if target in table:
                    yield from table[target]
                    return
                target = target.rpartition(".")[0]
        elif kind is Kind.NODE:
            parts = target.split("/")
            yield from table.get("/".join(parts[: 2 if target.startswith("@") else 1]), ())
        else:
            yield from table.get(target, ())

    def essential(self, need: Need) -> str | None:
        """The Essential package that would meet a need for a command or a path of one, in the closure or
        not.
        """
        if need.kind not in _OF_COMMANDS:
            return None
        target = need.target
        if target.startswith("/"):
            path = self._merged(target)
            if not path.startswith(_COMMAND_FOLDERS):
                return None
            target = posixpath.basename(path)
        return self.policy.essential.get(target)

    def _distance(self, name: str) -> dict[str, int]:
        """How many declared dependencies lie between a package and others."""
        near = self._near.get(name)
        if near is None:
            near = self._near[name] = {name: 0}
            layer = [name]
            while layer:
                following = []
                for one in layer:
                    for other in self.edges.get(one, ()):
                        if other not in near:
                            near[other] = near[one] + 1
                            following.append(other)
                layer = following
        return near


_OF_COMMANDS = frozenset(
    (Kind.PATH, Kind.COMMAND, Kind.SHELL, Kind.INTERPRETER, Kind.SERVICE, Kind.RECIPE, Kind.RUNTIME)
)
