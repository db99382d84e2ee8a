"""Which of the packages that dependencies name an image really holds, and the proof that it works.

dependencies ──▶ all that may be needed ──evidence──▶ what is needed ──proof──▶ the image's packages
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import msgspec

from ramekin.build.packages import Bench, Examined, Preparation, examine
from ramekin.build.request import ImageRequest
from ramekin.closure import essentials, recipes, slices
from ramekin.closure.evidence.model import PackageEvidence
from ramekin.closure.follow import Asked, DroppedFile, Followed, Step
from ramekin.closure.model import PackageFacts, SliceChoice
from ramekin.errors import NotFoundError, RamekinError, UsageError
from ramekin.sources import joined as sources
from ramekin.sources.protocol import Package, Reason, Resolution, Source

ESSENTIALS = "essentials"
"""The words of whoever asked for packages that stand in every image."""

_ESSENTIAL = Reason("", ESSENTIALS)

SHOWN = 5
"""How many failures of a proof an error names."""


class ProofError(RamekinError):
    """Something in the image would not find what it needs."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The packages of an image with what is known of them.

    `followed` is the evidence that chose them, None where every dependency was followed. `gone` are their
    files that the image does not hold. `unmatched` says which globs of the request match nothing.
    """

    packages: tuple[Package, ...]
    facts: tuple[PackageFacts, ...]
    followed: Followed | None
    gone: tuple[DroppedFile, ...]
    unmatched: tuple[str, ...] = ()

    def hidden(self) -> dict[str, dict[str, str]]:
        """Files of these packages that are left out, in the form of `layers.Hidden`."""
        hidden: dict[str, dict[str, str]] = {}
        for file in self.gone:
            hidden.setdefault(file.package, {})[file.path] = ""
        return hidden


def resolve(
    request: ImageRequest, architecture: str, how: Preparation, bench: Bench
) -> tuple[Resolution, tuple[str, ...]]:
    """All packages that an image of `request` may need, and the names that evidence added to it."""
    asked = request.by_kind()
    if asked.keys() == {"debian"}:
        return _resolve_debian(request, architecture, how, bench)
    from ramekin.build import storepaths

    wanted: tuple[str, ...] = ()
    parts = {}
    if "nix" in asked:
        names = (*asked["nix"], *storepaths.essentials(request))
        parts["nix"] = storepaths.resolve(names, architecture, sources.of(bench.source, "nix"))
    if "debian" in kinds(request):
        debian = replace(request, packages=asked.get("debian", ()))
        parts["debian"], wanted = _resolve_debian(debian, architecture, how, bench)
    return _joined(parts, request), wanted


def kinds(request: ImageRequest) -> tuple[str, ...]:
    """The kinds of packages that an image of `request` holds: first that which it is of."""
    found = [*request.by_kind()]
    if request.nix is not None and request.nix.essentials == "debian":
        found.append("debian")
    return tuple(sorted(set(found), key=lambda kind: (kind != request.kind, kind)))


def _joined(parts: Mapping[str, Resolution], request: ImageRequest) -> Resolution:
    """One resolution of all; a distribution's packages stand before store paths."""
    ordered = [parts[kind] for kind in sorted(parts)]
    return Resolution(
        ordered[0].architecture,
        request.packages,
        tuple(package for part in ordered for package in part.packages),
        {name: reason for part in ordered for name, reason in part.reasons.items()},
        {name: names for part in ordered for name, names in part.edges.items()},
        {name: names for part in ordered for name, names in part.replaces.items()},
    )


def parted(resolution: Resolution, kind: str, request: ImageRequest) -> Resolution:
    """The packages of one kind of a resolution that may hold several."""
    packages = tuple(package for package in resolution.packages if package.kind == kind)
    if len(packages) == len(resolution.packages) and kind == request.kind:
        return resolution
    names = {package.name for package in packages}
    return Resolution(
        resolution.architecture,
        request.by_kind().get(kind, ()),
        packages,
        {name: reason for name, reason in resolution.reasons.items() if name in names},
        {name: others for name, others in resolution.edges.items() if name in names},
        {name: others for name, others in resolution.replaces.items() if name in names},
    )


def _resolve_debian(
    request: ImageRequest, architecture: str, how: Preparation, bench: Bench
) -> tuple[Resolution, tuple[str, ...]]:
    """The part of `resolve` that is of a distribution.

    No package declares that it needs an Essential one, so those that evidence points to (or, where none is
    looked for, our tables name) are resolved too, until nothing more is wanted.
    """
    source = sources.of(bench.source, "debian")
    wanted: tuple[str, ...] = ()
    while True:
        names = (*request.packages, *wanted)
        resolution = (
            source.resolve(names, architecture, recommends=request.recommends)
            if names
            else Resolution(architecture, (), (), {}, {}, {})
        )
        resolution = _with_essentials(
            replace(resolution, requested=request.packages), source, frozenset(request.leave_out)
        )
        if request.closure == "depends":
            there = [package.name for package in resolution.packages]
            more = tuple(name for name in recipes.needs(there) if name not in there)
        else:
            examined = examine(resolution.packages, how, bench, evidence=True)
            more = _follow(resolution, examined, request).wanted
        more = tuple(name for name in more if name in wanted or _exists(name, source, architecture))
        if not set(more) - set(wanted):
            return resolution, wanted
        wanted = tuple(sorted({*wanted, *more}))


def _exists(name: str, source: Source, architecture: str) -> bool:
    """Whether a package can be had; a private archive need not hold the Essential ones."""
    try:
        source.show(name, architecture)
    except NotFoundError:
        return False
    return True


def close(resolution: Resolution, request: ImageRequest, how: Preparation, bench: Bench) -> Closed:
    """The packages that an image of `request` holds out of `resolution`.

    Raises `follow.MissingNeedError` where nothing holds what a program needs.
    """
    there = {package.kind for package in resolution.packages}
    if there <= {"debian"}:
        return _close_debian(resolution, request, how, bench)
    from ramekin.build import storepaths

    _others((*request.keep, *request.drop), resolution)
    paths = parted(resolution, "nix", request)
    if there == {"nix"}:
        return storepaths.close(paths, request, how, bench)
    part = parted(resolution, "debian", request)
    # what is kept by name may be of either kind
    own = _mine((*request.keep, *request.drop), part)
    debian = replace(
        request,
        packages=request.by_kind().get("debian", ()),
        keep=tuple(name for name in request.keep if name in own),
        drop=tuple(name for name in request.drop if name in own),
    )
    first = _close_debian(part, debian, how, bench)
    return _both(first, storepaths.close(paths, request, how, bench))


def _mine(names: Sequence[str], resolution: Resolution) -> frozenset[str]:
    there = {package.name for package in resolution.packages} | slices.rules().keys()
    return frozenset(name for name in names if name.startswith("/") or name in there)


def _both(first: Closed, second: Closed) -> Closed:
    """The packages of two kinds in one image."""
    followed = first.followed
    if first.followed is not None and second.followed is not None:
        one, other = first.followed, second.followed
        followed = Followed(
            one.level,
            (*one.kept, *other.kept),
            (*one.dropped, *other.dropped),
            (*one.files, *other.files),
            (*one.edges, *other.edges),
            (*one.reached, *other.reached),
            one.wanted,
            (*one.notes, *other.notes),
        )
    return Closed(
        (*first.packages, *second.packages),
        (*first.facts, *second.facts),
        followed,
        (*first.gone, *second.gone),
        tuple(text for text in first.unmatched if text in second.unmatched),
    )


def _close_debian(resolution: Resolution, request: ImageRequest, how: Preparation, bench: Bench) -> Closed:
    by_evidence = request.closure != "depends"
    examined = examine(resolution.packages, how, bench, evidence=by_evidence)
    if not by_evidence:
        facts = tuple(examined[package.name].facts for package in resolution.packages)
        return Closed(resolution.packages, facts, None, _unessential(resolution, examined, ()))
    followed = _follow(resolution, examined, request)
    there = {(file.package, file.path) for file in followed.files}
    parted = [
        file
        for file in _unessential(resolution, examined, followed.edges)
        if (file.package, file.path) not in there
    ]
    followed = msgspec.structs.replace(followed, files=(*followed.files, *parted))
    if request.closure == "files":
        from ramekin.closure import follow, policy

        kept = [package for package in resolution.packages if package.name in followed.names]
        detail = {package.name: bench.detail(package, how) for package in kept}
        followed = follow.files(
            followed, resolution, _evidence(examined), detail, _asked(request, resolution), policy.load()
        )
    packages = tuple(package for package in resolution.packages if package.name in followed.names)
    bench.keep_only(packages)
    facts = tuple(examined[package.name].facts for package in packages)
    return Closed(packages, facts, followed, followed.files, unmatched(request, followed, examined))


def prove(closed: Closed, how: Preparation, bench: Bench, *, present: Sequence[str]) -> None:
    """Check that all programs of the image find what they need; `ProofError` names those that do not.

    `present` are tree paths of the image's own that belong to no package.
    """
    from ramekin.closure import policy, proof

    if closed.followed is None:
        return
    # store paths name all that they need by itself, and only with it are they there
    packages = tuple(package for package in closed.packages if package.kind == "debian")
    names = {package.name for package in packages}
    if not names:
        return
    followed = closed.followed
    if len(packages) < len(closed.packages):
        kept = tuple(one for one in followed.kept if one.name in names)
        followed = msgspec.structs.replace(followed, kept=kept)
    examined = examine(packages, how, bench, evidence=True)
    detail = {package.name: bench.detail(package, how) for package in packages}
    facts = {known.name: known for known in closed.facts if known.name in names}
    failures = proof.prove(followed, _evidence(examined), detail, facts, policy.load(), present=present)
    if not failures:
        return
    shown = "; ".join(f"{f.package}: /{f.path} {f.what}" for f in failures[:SHOWN])
    more = f"; and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    raise ProofError(f"the image would not work: {shown}{more}", hint=failures[0].hint)


def _with_essentials(resolution: Resolution, source: Source, leave_out: frozenset[str]) -> Resolution:
    """The resolution and those packages that stand in every image, which bring nobody with them."""
    there = {package.name for package in resolution.packages}
    added: list[Package] = []
    for name in essentials.packages(leave_out):
        if name not in there and _exists(name, source, resolution.architecture):
            added.append(source.show(name, resolution.architecture)[0])
    return replace(
        resolution,
        packages=(*added, *resolution.packages),
        reasons={**resolution.reasons, **{package.name: _ESSENTIAL for package in added}},
        edges={**resolution.edges, **{package.name: () for package in added}},
    )


def _unessential(
    resolution: Resolution, examined: Mapping[str, Examined], edges: Sequence[Step]
) -> tuple[DroppedFile, ...]:
    """Files of packages of which a part is essential, where nobody needs the rest."""
    gone: list[DroppedFile] = []
    for name, part in essentials.PARTS.items():
        if resolution.reasons.get(name) != _ESSENTIAL or name not in examined:
            continue
        if any(step.provider == name and not part.fullmatch(step.offer) for step in edges):
            continue
        reason = "only a part of this package is an essential, and nothing needs the rest"
        evidence = examined[name].evidence
        sizes = dict(zip(evidence.paths(), evidence.sizes.split(" "), strict=True)) if evidence else {}
        gone += [
            DroppedFile(name, path, int(sizes.get(path, "0")), reason)
            for path, _ in examined[name].facts.claimed()
            if not part.fullmatch(path)
        ]
    return tuple(gone)


def _follow(resolution: Resolution, examined: Mapping[str, Examined], request: ImageRequest) -> Followed:
    from ramekin.closure import follow, policy

    return follow.packages(resolution, _evidence(examined), _asked(request, resolution), policy.load())


def _evidence(examined: Mapping[str, Examined]) -> dict[str, PackageEvidence]:
    return {name: known.evidence for name, known in examined.items() if known.evidence is not None}


def choice(request: ImageRequest) -> SliceChoice:
    """The slices of a request; `UsageError` names one that there is not."""
    sliced = request.closure == "depends"
    return slices.choose(
        [name for name in request.keep if sliced or name in slices.rules()],
        [name for name in request.drop if sliced or name in slices.rules()],
        requests=request.packages,
    )


def _others(names: Sequence[str], resolution: Resolution) -> tuple[str, ...]:
    """Those of `--keep` or `--drop` that are no slices; `UsageError` for one that is nothing else either."""
    there = {package.name for package in resolution.packages}
    if any(package.kind == "nix" for package in resolution.packages):
        from ramekin.closure.storepaths import title

        there |= {text for package in resolution.packages for text in (title(package.name), package.origin)}
    others = tuple(name for name in names if name not in slices.rules())
    for name in others:
        if not name.startswith("/") and name not in there:
            near = get_close_matches(name, [*slices.rules(), *there], 3)
            raise UsageError(
                f"{name!r} is no slice, and no package that this image may hold",
                hint=f"did you mean {', '.join(near)}?" if near else "paths start with /",
            )
    return others


def _asked(request: ImageRequest, resolution: Resolution) -> Asked:
    programs = request.entrypoint or request.cmd or ()
    words = [*(request.entrypoint or ()), *(request.cmd or ())][1:]
    return Asked(
        keep=_others(request.keep, resolution),
        drop=_others(request.drop, resolution),
        programs=(*programs[:1], *(word for word in words if word.startswith("/"))),
        essentials=essentials.packages(frozenset(request.leave_out)),
        slices=tuple(name for name in request.keep if name in slices.rules()),
    )


def unmatched(request: ImageRequest, followed: Followed, examined: Mapping[str, Examined]) -> tuple[str, ...]:
    """What to say of globs of the request that match nothing."""
    from ramekin.closure.follow import globs

    taken = slices.matcher(choice(request))
    said = []
    for what, patterns in (("keep", request.keep), ("drop", request.drop)):
        for text in patterns:
            pattern = globs((text,))
            if pattern is None or any(
                pattern.match(path)
                for name, known in examined.items()
                if known.evidence is not None and (what == "keep" or name in followed.names)
                for path in known.evidence.paths()
            ):
                continue
            name = taken.slice_of(text.lstrip("/"))
            hint = f"; what is there goes with the slice {name}" if name else ""
            whose = "that this image may hold" if what == "keep" else "of this image"
            said.append(f"{what} {text}: no package {whose} has a file there{hint}")
    return tuple(said)
