"""What files say of themselves: the manifests of Java archives, the build information of Go and Rust."""

from __future__ import annotations

from collections.abc import Iterator

from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack


def claims(stack: Stack) -> Iterator[Claim]:
    """One package a file."""
    for path, placed in stack.files.items():
        if placed.inode is None:
            continue
        traits = stack.traits(path)
        if not traits:
            continue
        name = path.rpartition("/")[2]
        if (jar := traits.get("jar")) is not None:
            yield Package("java", jar["name"] or name.rpartition(".")[0], jar["version"]), [path]
        elif (elf := traits.get("elf")) is not None:
            if (go := elf.get("go")) is not None:
                module, version = go.get("module") or [go.get("path") or name, ""]
                yield Package("go", module, version.replace("(devel)", "")), [path]
            elif (rust := elf.get("rust")) is not None:
                crate, version = rust["root"]
                yield Package("rust", crate or name, version), [path]
