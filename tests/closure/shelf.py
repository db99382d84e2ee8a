"""Packages made in memory for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ramekin.closure.model import Prepared, SliceChoice
from ramekin.closure.prepare import prepare
from ramekin.image.tree import Entry, Tree, directory, file
from ramekin.sources.protocol import Package, PackageContent, SuiteFacts
from ramekin.store import digest

MERGED = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
SUITE = SuiteFacts("debian:bookworm", MERGED, 'ID=debian\nVERSION_ID="12"\n')
MTIME = 1_700_000_000


def package(
    name: str = "demo",
    files: Mapping[str, str] | None = None,
    *,
    entries: Iterable[Entry] = (),
    scripts: Mapping[str, str] | None = None,
    version: str = "1.0-1",
) -> PackageContent:
    """A package with text files by tree path, other entries, and control members."""
    made = [file(path, text.encode(), mtime=MTIME) for path, text in (files or {}).items()]
    return PackageContent(
        Package(name=name, version=version, architecture="amd64", digest=digest.of(name.encode()), size=1),
        Tree([*made, *entries]).with_parents(mtime=MTIME),
        {member: text.encode() for member, text in (scripts or {}).items()},
        f"Package: {name}\nVersion: {version}\n".encode(),
        b"",
    )


def ready(content: PackageContent, slices: SliceChoice | None = None) -> Prepared:
    """The package prepared for amd64 on the merged suite."""
    return prepare(content, facts=SUITE, slices=slices or SliceChoice(), architecture="amd64")


def configured(script: str, files: Mapping[str, str] | None = None, **members: str) -> Prepared:
    """A package whose postinst is `script` (without its first line), prepared."""
    scripts = {"postinst": "#!/bin/sh\nset -e\n" + script, **members}
    return ready(package(files=files, entries=[directory("etc", mtime=MTIME)], scripts=scripts))
