"""What npm and its like installed: every file below a package's folder in node_modules, but for those of the
packages that lie in it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from ramekin.analyze.owners.folders import beneath
from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack


def claims(stack: Stack) -> Iterator[Claim]:
    """Every package that has a package.json."""
    packages: dict[str, Package] = {}
    for path in stack.files:
        if path.endswith("/package.json") and (found := stack.traits(path).get("node")) is not None:
            packages[path.rpartition("/")[0]] = Package("node", found["name"], found["version"])
    for folder, paths in beneath(stack, packages, within="node_modules/").items():
        yield packages[folder], paths
