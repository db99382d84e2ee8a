"""Proof, before an image is written and without running it, that what stands in it finds what it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ramekin.closure.evidence.model import PackageDetail, PackageEvidence
from ramekin.closure.follow import Followed
from ramekin.closure.model import PackageFacts
from ramekin.closure.policy import Policy


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
    return ()
