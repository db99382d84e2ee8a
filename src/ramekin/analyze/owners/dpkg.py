"""What dpkg installed: its status file with the lists in info/, or a file a package in status.d, as images
without dpkg have them.
"""

from __future__ import annotations

from collections.abc import Iterator

from ramekin.analyze.owners.model import Claim, Package, paragraphs
from ramekin.analyze.stack import Stack
from ramekin.image.tree import to_text

_FOLDER = "var/lib/dpkg/"


def claims(stack: Stack) -> Iterator[Claim]:
    """Every package that is there."""
    yield from _installed(stack)
    yield from _listed(stack)


def _installed(stack: Stack) -> Iterator[Claim]:
    status = stack.kept(_FOLDER + "status")
    if status is None:
        return
    info: dict[str, list[str]] = {}
    start = _FOLDER + "info/"
    for path in stack.files:
        if path.startswith(start):
            info.setdefault(path[len(start) :].rpartition(".")[0], []).append(path)
    diverted = _diversions(stack)
    for fields in paragraphs(status):
        name, state = fields.get("package", ""), fields.get("status", "")
        if not name or state.endswith((" not-installed", " config-files")):
            continue
        package = _package(fields)
        paths: list[str] = []
        for stem in (f"{name}:{package.architecture}", name):
            if stem in info:
                listed = stack.kept(f"{start}{stem}.list") or b""
                paths = [*info[stem], *(to_text(line) for line in listed.split(b"\n") if line)]
                break
        paths += [line.split(" ")[0] for line in fields.get("conffiles", "").split("\n") if line]
        for number, path in enumerate(paths):
            found = diverted.get(path)
            if found is not None and found[1] != name:
                paths[number] = found[0]
        yield package, paths


def _listed(stack: Stack) -> Iterator[Claim]:
    start = _FOLDER + "status.d/"
    for path in stack.files:
        if not path.startswith(start) or path.endswith(".md5sums"):
            continue
        for fields in paragraphs(stack.kept(path) or b""):
            if "package" not in fields:
                continue
            sums = stack.kept(path + ".md5sums") or b""
            lines = [line.split(b"  ", 1) for line in sums.split(b"\n") if b"  " in line]
            listed = [to_text(line[1]) for line in lines]
            conffiles = [line.split(" ")[0] for line in fields.get("conffiles", "").split("\n") if line]
            others = _other_names(stack, listed)
            yield _package(fields), [path, path + ".md5sums", *listed, *conffiles, *others]


def _other_names(stack: Stack, listed: list[str]) -> Iterator[str]:
    """Hard links to files that are listed: packages have each content once in their checksums."""
    for path in listed:
        placed = stack.files.get(path)
        if placed is None and (real := stack.resolve(path)) is not None:
            placed = stack.files[real]
        if placed is not None and placed.inode is not None and placed.inode.names > 1:
            yield from stack.names[id(placed.inode)]


def _package(fields: dict[str, str]) -> Package:
    return Package(
        "dpkg",
        fields["package"],
        fields.get("version", ""),
        fields.get("architecture", ""),
        fields.get("source", "").partition(" ")[0],
    )


def _diversions(stack: Stack) -> dict[str, tuple[str, str]]:
    """By path: where other packages' file of it went, and the package that had it sent there."""
    lines = to_text(stack.kept(_FOLDER + "diversions") or b"").split("\n")
    return {
        path: (moved, package)
        for path, moved, package in zip(lines[::3], lines[1::3], lines[2::3], strict=False)
    }
