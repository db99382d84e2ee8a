"""A package's files made ready to be a layer."""

from __future__ import annotations

from ramekin.closure.model import PackageFacts, Prepared, SliceChoice
from ramekin.image import tree
from ramekin.sources.protocol import PackageContent, SuiteFacts


def prepare(
    content: PackageContent, *, facts: SuiteFacts, slices: SliceChoice, architecture: str
) -> Prepared:
    """The layer tree of `content` and the facts that the image needs of it.

    Pure: equal arguments (and `closure.revision()`) give an equal result. `architecture` is the image's, for
    packages of architecture `all`. `FormatError` names the package and path at fault.
    """
    package = content.package
    newest = content.tree.newest
    files = content.tree
    status = [
        tree.file(f"var/lib/dpkg/status.d/{package.name}", content.status, mtime=newest),
        tree.file(f"var/lib/dpkg/status.d/{package.name}.md5sums", content.md5sums, mtime=newest),
    ]
    files = files.plus(status).with_parents(mtime=newest)
    return Prepared(files, PackageFacts(package.name, package.version, architecture, newest))
