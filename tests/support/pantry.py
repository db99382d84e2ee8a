"""Small packages with evidence, and closures of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from support.elves import elf

from ramekin.closure import follow, policy
from ramekin.closure.evidence.model import PackageDetail, PackageEvidence, Scanned
from ramekin.closure.evidence.scan import scan
from ramekin.closure.follow import Asked, Followed
from ramekin.closure.model import Alternative, Hints, PackageFacts, Prepared
from ramekin.image import tree
from ramekin.image.tree import Tree
from ramekin.sources.protocol import Package, Reason, Resolution
from ramekin.store import digest

LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def program(*needed: str, strings: Sequence[str] = (), imports: Sequence[str] = ()) -> bytes:
    """A program that needs libc and `needed`."""
    return elf(needed=[*needed, "libc.so.6"], interpreter=LOADER, strings=strings, imports=imports)


def scanned(
    name: str,
    files: Mapping[str, bytes | str],
    *,
    hints: Hints = Hints(),  # noqa: B008 - a frozen value
    alternatives: Sequence[Alternative] = (),
    depends: str = "",
) -> Scanned:
    """The evidence of a package with these files; a text is the target of a symbolic link."""
    entries = [
        tree.symlink(path, content) if isinstance(content, str) else tree.file(path, content, mode=0o755)
        for path, content in files.items()
    ]
    status = f"Package: {name}\n" + (f"Depends: {depends}\n" if depends else "")
    entries.append(tree.file(f"var/lib/dpkg/status.d/{name}", status.encode()))
    facts = PackageFacts(name, "1", "amd64", hints=hints, alternatives=tuple(alternatives))
    return scan(Prepared(Tree(entries).with_parents(), facts))


LIBC = scanned(
    "libc6",
    {
        f"{LIBRARIES}/libc.so.6": elf(
            soname="libc.so.6", defines=("libc.so.6", "GLIBC_2.34"), strings=("/bin/sh",)
        ),
        "usr/lib64/ld-linux-x86-64.so.2": elf(soname="ld-linux-x86-64.so.2"),
    },
)


class Closure:
    """Packages by name with what each declares; libc6 is always among them."""

    def __init__(
        self, requested: Sequence[str], depends: Mapping[str, Sequence[str]], **origins: str
    ) -> None:
        self.requested = tuple(requested)
        self.depends = {"libc6": (), **{name: tuple(names) for name, names in depends.items()}}
        self.origins = origins
        self.scanned: dict[str, Scanned] = {"libc6": LIBC}

    def holds(self, name: str, files: Mapping[str, bytes | str], **more: object) -> Closure:
        """The same closure, in which package `name` has these files."""
        self.depends.setdefault(name, ())
        self.scanned[name] = scanned(name, files, **more)  # type: ignore[arg-type]
        return self

    @property
    def resolution(self) -> Resolution:
        return Resolution(
            "amd64",
            self.requested,
            tuple(
                Package(
                    name=name,
                    version="1",
                    architecture="amd64",
                    digest=digest.of(name.encode()),
                    size=1,
                    origin=self.origins.get(name.replace("-", "_"), name),
                )
                for name in sorted(self.depends)
            ),
            {name: Reason("", name) for name in self.depends},
            {name: tuple(other for other in names) for name, names in self.depends.items()},
            {},
        )

    @property
    def evidence(self) -> dict[str, PackageEvidence]:
        for name in self.depends:
            if name not in self.scanned:
                self.scanned[name] = scanned(name, {})
        return {name: known.evidence for name, known in self.scanned.items()}

    @property
    def detail(self) -> dict[str, PackageDetail]:
        return {name: known.detail for name, known in self.scanned.items()}

    def packages(self, **asked: Sequence[str]) -> Followed:
        """The closure by evidence at the level `packages`."""
        wanted = Asked(**{key: tuple(values) for key, values in asked.items()})
        return follow.packages(self.resolution, self.evidence, wanted, policy.load())

    def files(self, **asked: Sequence[str]) -> Followed:
        """The closure by evidence at the level `files`."""
        wanted = Asked(**{key: tuple(values) for key, values in asked.items()})
        first = follow.packages(self.resolution, self.evidence, wanted, policy.load())
        return follow.files(first, self.resolution, self.evidence, self.detail, wanted, policy.load())
