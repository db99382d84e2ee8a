"""Nix's own database of what is in its store (Nix manual; schema 10), so that Nix works within an image.

`var/nix/db/db.sqlite` says of every store path its hash, size, references and signatures: `nix path-info`,
`nix-store --verify` and `nix copy` then know them. What was asked for is a root, which no collection removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ramekin.closure.storepaths import MTIME, sqlite
from ramekin.closure.storepaths.sqlite import Index, Table
from ramekin.image import tree as trees
from ramekin.image.tree import Tree

if TYPE_CHECKING:
    from ramekin.sources.nix.model import NixPackage

SCHEMA = 10
_STATE = "nix/var/nix"
_ROOTS = f"{_STATE}/gcroots/ramekin"

_PATHS = (
    "CREATE TABLE ValidPaths (id integer primary key autoincrement not null, path text unique not null, "
    "hash text not null, registrationTime integer not null, deriver text, narSize integer, "
    "ultimate integer, sigs text, ca text)"
)
_REFERENCES = (
    "CREATE TABLE Refs (referrer integer not null, reference integer not null, "
    "primary key (referrer, reference), "
    "foreign key (referrer) references ValidPaths(id) on delete cascade, "
    "foreign key (reference) references ValidPaths(id) on delete restrict)"
)
_OUTPUTS = (
    "CREATE TABLE DerivationOutputs (drv integer not null, id text not null, path text not null, "
    "primary key (drv, id), foreign key (drv) references ValidPaths(id) on delete cascade)"
)
_SELF = (
    "CREATE TRIGGER DeleteSelfRefs before delete on ValidPaths begin "
    "delete from Refs where referrer = old.id and reference = old.id; end"
)


def database(
    packages: Sequence[NixPackage], signatures: Mapping[str, Sequence[str]], *, roots: Sequence[str]
) -> Tree:
    """The state of a store that holds exactly `packages`; `roots` are base names of what was asked for."""
    ordered = sorted(packages, key=lambda package: package.location)
    number = {package.name: place for place, package in enumerate(ordered, 1)}
    paths = [
        (
            None,
            package.location,
            "sha256:" + package.digest.removeprefix("sha256:"),
            MTIME,
            f"/nix/store/{package.deriver}" if package.deriver else None,
            package.size,
            None,
            " ".join(signatures.get(package.name, ())) or None,
            package.ca or None,
        )
        for package in ordered
    ]
    references = [
        (number[package.name], number[other])
        for package in ordered
        for other in package.references
        if other in number
    ]
    references.sort()
    file = sqlite.write(
        [
            Table(
                "ValidPaths",
                _PATHS,
                paths,
                (Index("sqlite_autoindex_ValidPaths_1", "", (1,)),),
                counts=True,
            ),
            Table(
                "Refs",
                _REFERENCES,
                references,
                (
                    Index("sqlite_autoindex_Refs_1", "", (0, 1)),
                    Index("IndexReferrer", "CREATE INDEX IndexReferrer on Refs(referrer)", (0,)),
                    Index("IndexReference", "CREATE INDEX IndexReference on Refs(reference)", (1,)),
                ),
            ),
            Table(
                "DerivationOutputs",
                _OUTPUTS,
                [],
                (
                    Index("sqlite_autoindex_DerivationOutputs_1", "", (0, 1)),
                    Index(
                        "IndexDerivationOutputs",
                        "CREATE INDEX IndexDerivationOutputs on DerivationOutputs(path)",
                        (2,),
                    ),
                ),
            ),
        ],
        triggers=[("DeleteSelfRefs", "ValidPaths", _SELF)],
    )
    entries = [
        trees.file(f"{_STATE}/db/db.sqlite", file, mtime=MTIME),
        trees.file(f"{_STATE}/db/schema", b"%d" % SCHEMA, mtime=MTIME),
        *(trees.symlink(f"{_ROOTS}/{name}", f"/nix/store/{name}", mtime=MTIME) for name in roots),
    ]
    return Tree(entries).with_parents(mtime=MTIME)
