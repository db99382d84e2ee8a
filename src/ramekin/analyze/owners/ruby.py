"""What RubyGems installed: for each `specifications/NAME-VERSION.gemspec` (default gems have theirs in
`default/`) what lies in `gems/`, `extensions/` and `doc/` under that name, and the packed gem in `cache/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ramekin.analyze.owners.folders import beneath
from ramekin.analyze.owners.model import Claim, Package
from ramekin.analyze.stack import Stack

_SPECIFICATION = re.compile(
    r"(?P<root>.+)/specifications/(?:default/)?"
    r"(?P<whole>(?P<name>[^/]+?)-(?P<version>\d[0-9A-Za-z.]*)(?:-[^/]+)?)\.gemspec\Z"
)
_PARTS = re.compile(r"(?P<root>.+)/(?:gems|doc|extensions/[^/]+/[^/]+)/(?P<whole>[^/]+)\Z")


def claims(stack: Stack) -> Iterator[Claim]:
    """Every gem that has a specification."""
    gems: dict[tuple[str, str], tuple[Package, list[str]]] = {}
    for path in stack.files:
        if path.endswith(".gemspec") and (found := _SPECIFICATION.match(path)):
            root, whole = found["root"], found["whole"]
            made = [path, f"{root}/cache/{whole}.gem", f"{root}/build_info/{whole}.info"]
            gem = gems.setdefault((root, whole), (Package("ruby", found["name"], found["version"]), []))
            gem[1].extend(made)
    if not gems:
        return
    names = {whole for _, whole in gems}
    folders = {
        path: (found["root"], found["whole"])
        for path in stack.files
        if path.rpartition("/")[2] in names and (found := _PARTS.match(path)) is not None
    }
    for folder, paths in beneath(stack, folders).items():
        if folders[folder] in gems:
            gems[folders[folder]][1].extend(paths)
    yield from gems.values()
