"""The main job: from a request to an image in the store.

    request ──resolve──▶ lock ──close──▶ packages ──lay out──▶ groups ──make──▶ layers ──assemble──▶ manifest
             (indexes)     (closures.py)            (plan/)             (layers.py)   (configure.py)

Each arrow is an action: what it made is found again by the key of what it was made from. A warm build looks
up the resolution by the state of the indexes and the manifest by the closure, and reads no package at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ramekin import closure
from ramekin.build import closures, configure, explain, lock
from ramekin.build.closures import Closed
from ramekin.build.configure import Start
from ramekin.build.layers import MadeLayer, Terms, make_all, write
from ramekin.build.lock import LockedClosure, LockedImage
from ramekin.build.packages import Bench, Preparation
from ramekin.build.request import ImageRequest, as_data, bare_name
from ramekin.closure import essentials, evidence
from ramekin.closure.conflicts import FileConflictError, claims
from ramekin.closure.finish import finish, hints
from ramekin.closure.model import SliceTally
from ramekin.errors import RamekinError, UsageError
from ramekin.image import compress, oci
from ramekin.image.artifact import attach
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor, Index, Manifest
from ramekin.image.transports.contents import UNLISTED
from ramekin.image.tree import Tree
from ramekin.plan import layers as plan
from ramekin.progress import Progress
from ramekin.sources import joined
from ramekin.sources.protocol import Package, Resolution, Source, SuiteFacts
from ramekin.store.action import Key, key
from ramekin.store.digest import Digest, of
from ramekin.store.store import Store

if TYPE_CHECKING:
    from ramekin.sources.nix.source import NixSource

REVISION = 4
"""Raised when the same closure is made into other bytes than before by this room, `plan/` or `image/`."""


class UnknownScriptError(RamekinError):
    """A maintainer script does something that no recipe covers, and the request is strict."""


class LayerReport(msgspec.Struct, frozen=True):
    """A layer of an image. `packages` are `name=version`; sizes are in bytes."""

    name: str
    digest: Digest
    diff_id: Digest
    media_type: str
    size: int
    packages: tuple[str, ...]


class ImageReport(msgspec.Struct, frozen=True):
    """The image of one architecture, as it lies in the store.

    `sbom` and `explanation` describe artifacts that refer to `manifest`. `unknown` are commands of maintainer
    scripts that nothing covers, each after the package's name. `conflicts` say which links to store paths
    gave way to which others, `unmatched` which globs of the request match nothing.
    """

    architecture: str
    manifest: Descriptor
    sbom: Descriptor | None
    explanation: Descriptor
    layers: tuple[LayerReport, ...]
    dropped: tuple[SliceTally, ...]
    unknown: tuple[str, ...]
    handled: tuple[str, ...]
    conflicts: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all layers as they travel."""
        return sum(layer.size for layer in self.layers)

    @property
    def artifacts(self) -> tuple[Descriptor, ...]:
        """The artifacts that refer to the image."""
        return (self.explanation,) if self.sbom is None else (self.explanation, self.sbom)


@dataclass(frozen=True, slots=True)
class Built:
    """What `build` made: the image (blobs in the store), the lock that it follows, and what to tell."""

    image: Image
    locked: LockedImage
    reports: tuple[ImageReport, ...]


def resolve(
    request: ImageRequest,
    *,
    store: Store,
    progress: Progress,
    jobs: int = 2,
    refresh: bool = False,
    source: Source | None = None,
) -> LockedImage:
    """The closure of `request` for each of its architectures, pinned.

    `refresh` asks the source for news even where its indexes are fresh. `source` is the request's, where the
    caller holds it open. Raises what `Source.refresh` and `Source.resolve` raise. Packages are fetched and
    opened (`jobs` at once) where evidence is followed.
    """
    return _resolve(request, _bench(request, store, progress, jobs, source), refresh=refresh)


def _resolve(request: ImageRequest, bench: Bench, *, refresh: bool) -> LockedImage:
    _check(request)
    state = bench.source.refresh(request.architectures, bench.progress, force=refresh)
    closures = {
        architecture: _resolve_one(request, architecture, state, bench)
        for architecture in request.architectures
    }
    return lock.image(request, closures)


def _resolve_one(request: ImageRequest, architecture: str, state: Digest, bench: Bench) -> LockedClosure:
    same = replace(request, **_NOT_CLOSURE, architectures=())
    name = key(
        "closure",
        REVISION,
        closure.revision(),
        evidence.revision(),
        bench.source.name,
        state,
        architecture,
        msgspec.json.encode(as_data(same), order="deterministic"),
        *_revisions(request),
    )
    found = bench.store.result(name)
    if found is None:
        facts = _facts(request, architecture, bench)
        how = Preparation(facts, architecture, closures.choice(request))
        resolution, wanted = closures.resolve(request, architecture, how, bench)
        signed = _signatures(resolution, bench)
        pinned = lock.closure(resolution, state=state, facts=facts, wanted=wanted, signatures=signed)
        found = msgspec.json.encode(pinned)
        bench.store.record(name, found)
    return msgspec.json.decode(found, type=LockedClosure)


def _facts(request: ImageRequest, architecture: str, bench: Bench) -> SuiteFacts:
    """What the image looks like below its packages."""
    if "debian" in closures.kinds(request):
        return joined.of(bench.source, "debian").facts(architecture)
    # wherever store paths come from, their images are the same
    return replace(bench.source.facts(architecture), name=request.kind)


def _check(request: ImageRequest) -> None:
    if request.nix is not None:
        from ramekin.build import storepaths

        storepaths.check(request)


def _signatures(resolution: Resolution, bench: Bench) -> dict[str, tuple[str, ...]]:
    """The signatures of all store paths of a resolution, by package."""
    paths = [package for package in resolution.packages if package.kind == "nix"]
    if not paths:
        return {}
    source = cast("NixSource", joined.of(bench.source, "nix"))
    return {name: info.signatures for name, info in source.infos(paths).items()}


_NOT_CLOSURE: dict[str, Any] = {
    "name": "",
    "env": (),
    "user": "",
    "workdir": "",
    "expose": (),
    "volumes": (),
    "labels": (),
    "tag": "",
    "target": "",
    "sbom": "",
    "strict": False,
    "layers": 1,
    "compression": "",
}
"""What of a request has no part in which packages may be needed."""


def build(
    request: ImageRequest,
    *,
    store: Store,
    progress: Progress,
    jobs: int,
    locked: LockedImage | None = None,
    refresh: bool = False,
    source: Source | None = None,
) -> Built:
    """Make the image of `request` in `store`, of exactly the packages of `locked` when that is given.

    At most `jobs` packages are unpacked at once. Times follow SOURCE_DATE_EPOCH where it is set. With
    `request.strict`, `UnknownScriptError` names what no recipe covers. `source` is as for `resolve`.
    """
    bench = _bench(request, store, progress, jobs, source)
    _check(request)
    if locked is None:
        locked = _resolve(request, bench, refresh=refresh)
    epoch = _epoch()
    reports = tuple(
        _one(request, architecture, locked.architectures[architecture], bench, epoch)
        for architecture in request.architectures
    )
    _judge_scripts(request, reports, progress)
    _judge_conflicts(request, reports, progress)
    for text in dict.fromkeys(text for report in reports for text in report.unmatched):
        progress.note(text)
    root = _root(reports, store)
    referrers = tuple(artifact for report in reports for artifact in report.artifacts)
    return Built(Image(root, store, request.tag or request.name, referrers), locked, reports)


def transfer(
    old: LockedImage,
    new: LockedImage,
    request: ImageRequest,
    *,
    store: Store,
    progress: Progress,
    jobs: int,
) -> dict[str, int]:
    """Bytes of layers that a node which holds the image of `old` pulls for that of `new`, by architecture."""
    quiet = replace(request, strict=False)
    pulled = {}
    for architecture in request.architectures:
        one = replace(quiet, architectures=(architecture,))
        held: set[Digest] = set()
        if architecture in old.architectures:
            before = build(one, store=store, progress=progress, jobs=jobs, locked=old)
            held = {layer.digest for layer in before.reports[0].layers}
        after = build(one, store=store, progress=progress, jobs=jobs, locked=new)
        pulled[architecture] = sum(
            layer.size for layer in after.reports[0].layers if layer.digest not in held
        )
    return pulled


def _bench(
    request: ImageRequest, store: Store, progress: Progress, jobs: int, source: Source | None
) -> Bench:
    return Bench(source or open_sources(request, store), store, progress, jobs)


def open_sources(request: ImageRequest, store: Store) -> Source:
    """All that packages of an image of `request` come from, as one source."""
    from ramekin.sources import open_source

    kinds = closures.kinds(request)
    nix = None
    if "nix" in kinds:
        from ramekin.build import storepaths

        nix = storepaths.settings(request)
    opened = {
        kind: open_source(
            request.source if kind == request.kind else kind, store, mirrors=request.mirrors, nix=nix
        )
        for kind in kinds
    }
    return joined.Joined(opened) if len(opened) > 1 else next(iter(opened.values()))


def _one(
    request: ImageRequest, architecture: str, pinned: LockedClosure, bench: Bench, epoch: int | None
) -> ImageReport:
    """The image of one architecture, found again or made."""
    store = bench.store
    name = _image_key(request, architecture, pinned, epoch)
    if (found := store.result(name)) is not None:
        return msgspec.json.decode(found, type=ImageReport)
    how = Preparation(pinned.facts(), architecture, closures.choice(request))
    terms = Terms(how, compress.parse(request.compression), epoch)
    resolution = pinned.resolution(architecture)
    closed = closures.close(resolution, request, how, bench)
    below = essentials.essentials(how.suite, frozenset(request.leave_out))
    above = finish(
        closed.facts, suite=how.suite, architecture=architecture, leave_out=frozenset(request.leave_out)
    )
    conflicts: tuple[str, ...] = ()
    if any(package.kind == "nix" for package in closed.packages):
        from ramekin.build import storepaths

        own = (*below, *above)
        made, conflicts = storepaths.finish(closed, resolution, request, own, pinned.signatures())
        above = (*above, *made)
    present = [path for _, files in (*below, *above) for path in files]
    closures.prove(closed, how, bench, present=present)
    hidden = closed.hidden()
    # store paths lie apart from all else
    claiming = [
        known
        for package, known in zip(closed.packages, closed.facts, strict=True)
        if package.kind == "debian"
    ]
    for giving, moves in claims(claiming, dict(resolution.replaces)).items():
        hidden.setdefault(giving, {}).update(moves)
    laid = plan.groups(
        closed.packages,
        foundation=essentials.packages(frozenset(request.leave_out)),
        limit=max(request.layers - len(below) - len(above) - ("bytecode" in how.slices.keep), 1),
    )
    stack = [
        *(_Standing(write(title, files, terms, store), ()) for title, files in below),
        *(
            _Standing(layer, group.packages)
            for layer, group in zip(make_all(laid, terms, hidden, bench), laid, strict=True)
        ),
        *(_Standing(write(title, files, terms, store), ()) for title, files in above),
    ]
    if "bytecode" in how.slices.keep:
        from ramekin.build import bytecode

        compiled = bytecode.made([one.layer for one in stack], architecture, terms, store)
        if compiled is not None:
            stack.append(_Standing(compiled, ()))
    report = _assemble(request, resolution, closed, terms, stack, (*below, *above), store)
    if conflicts:
        report = msgspec.structs.replace(report, conflicts=conflicts)
    blobs = [digest for one in (report.manifest, *report.artifacts) for digest in named(one, store)]
    store.record(name, msgspec.json.encode(report), blobs=blobs)
    return report


def named(manifest: Descriptor, store: Store) -> tuple[Digest, ...]:
    """The digests of a manifest in the store and of all blobs that it names."""
    read = oci.decode(store.read(manifest.digest), Manifest, where=manifest.digest)
    config = () if read.config is None else (read.config.digest,)
    return (manifest.digest, *config, *(layer.digest for layer in read.layers))


@dataclass(frozen=True, slots=True)
class _Standing:
    """A layer in its place, and the packages in it."""

    layer: MadeLayer
    packages: tuple[Package, ...]


def _image_key(request: ImageRequest, architecture: str, pinned: LockedClosure, epoch: int | None) -> Key:
    """Everything that decides the manifest; target, tag, jobs, strictness and where bytes are from do not."""
    same = replace(request, target="", tag="", strict=False, architectures=(), mirrors=())
    if request.kind == "nix":
        same = replace(same, source="nix")
    if request.nix is not None:
        same = replace(same, nix=replace(request.nix, caches=(), trusted_keys=(), channel=None))
    return key(
        "image",
        REVISION,
        closure.revision(),
        evidence.revision(),
        architecture,
        compress.parse(request.compression).identity,
        "" if epoch is None else str(epoch),
        msgspec.json.encode(as_data(same), order="deterministic"),
        msgspec.json.encode(msgspec.structs.replace(pinned, state=Digest("")), order="deterministic"),
        *_revisions(request),
    )


def _revisions(request: ImageRequest) -> tuple[str, ...]:
    """Of what only images with store paths are made by."""
    if "nix" not in closures.kinds(request):
        return ()
    from ramekin.closure import storepaths

    return (storepaths.revision(),)


def _assemble(
    request: ImageRequest,
    resolution: Resolution,
    closed: Closed,
    terms: Terms,
    stack: Sequence[_Standing],
    own: Sequence[tuple[str, Tree]],
    store: Store,
) -> ImageReport:
    newest = max((known.newest for known in closed.facts), default=0)
    created = newest if terms.epoch is None else terms.epoch
    start = _start(request, resolution, closed, own)
    labels = configure.labels(request, closed.packages, created=created, paths=start.paths)
    explanation = explain.encode(explain.make(closed, resolution, terms.preparation.slices))
    origins = {package.name: package.origin for package in resolution.packages}
    leading = [
        configure.stands_for(bare_name(text), closed.facts, resolution.edges, origins)
        for text in resolution.requested
    ]
    started = configure.runtime(
        request,
        hints(closed.facts, leading),
        closed.facts,
        accounts=_accounts(own),
        started=start.program,
        leading=leading[0] if leading else "",
        environment=start.environment,
    )
    started = msgspec.structs.replace(started, labels=labels)
    architecture = terms.preparation.architecture
    layers = [standing.layer for standing in stack]
    inside = [standing.packages for standing in stack]
    config = oci.encode(configure.config(architecture, layers, started, inside, created=created))
    manifest = oci.encode(
        Manifest(
            schema_version=2,
            media_type=oci.MANIFEST,
            config=oci.describe(config, oci.CONFIG),
            layers=tuple(_annotated(standing) for standing in stack),
            annotations={**labels, explain.ANNOTATION: of(explanation)},
        )
    )
    store.put(config)
    store.put(manifest)
    described = oci.describe(manifest, oci.MANIFEST)
    return ImageReport(
        architecture=architecture,
        manifest=described,
        sbom=_bill(request, resolution, closed, described, terms, store, created),
        explanation=attach(
            explanation,
            explain.MEDIA_TYPE,
            described,
            store,
            created=configure.rfc3339(created),
            annotations={UNLISTED: "it comes with every image"},
        ),
        layers=tuple(_report(standing) for standing in stack),
        dropped=_tally(tally for known in closed.facts for tally in known.dropped),
        unknown=tuple(f"{known.name}: {item}" for known in closed.facts for item in known.unknown),
        handled=tuple(f"{known.name}: {line}" for known in closed.facts for line in known.handled),
        unmatched=closed.unmatched,
    )


def _start(
    request: ImageRequest, resolution: Resolution, closed: Closed, own: Sequence[tuple[str, Tree]]
) -> Start:
    """What store paths that were asked for say of how the image starts."""
    if "nix" not in closures.kinds(request):
        return Start()
    from ramekin.build import storepaths

    links = next((files for title, files in own if title == storepaths.PROFILE), Tree())
    return storepaths.start(closed, resolution, request, links)


def _accounts(own: Sequence[tuple[str, Tree]]) -> configure.Accounts | None:
    """The accounts of the image, if it has any, from the trees that are its own, lowest first."""
    for _, files in reversed(own):
        if "etc/passwd" in files and "etc/group" in files:
            return configure.Accounts(files["etc/passwd"].read().decode(), files["etc/group"].read().decode())
    return None


def _report(standing: _Standing) -> LayerReport:
    layer = standing.layer
    return LayerReport(
        layer.name,
        layer.descriptor.digest,
        layer.diff_id,
        layer.descriptor.media_type,
        layer.descriptor.size,
        tuple(f"{package.name}={package.version}" for package in standing.packages),
    )


def _annotated(standing: _Standing) -> Descriptor:
    if not standing.packages:
        return standing.layer.descriptor
    names = " ".join(f"{package.name}={package.version}" for package in standing.packages)
    return msgspec.structs.replace(standing.layer.descriptor, annotations={configure.LAYER_PACKAGES: names})


def _bill(
    request: ImageRequest,
    resolution: Resolution,
    closed: Closed,
    manifest: Descriptor,
    terms: Terms,
    store: Store,
    created: int,
) -> Descriptor | None:
    if not request.sbom:
        return None
    from ramekin.build import sbom

    bill = sbom.Bill(
        name=request.name,
        image=manifest,
        packages=closed.packages,
        edges=resolution.edges,
        distribution=terms.preparation.suite.name,
        created=created,
    )
    data = sbom.document(bill, request.sbom)
    media_type = sbom.MEDIA_TYPES[request.sbom]
    return attach(data, media_type, manifest, store, created=configure.rfc3339(created))


def _tally(tallies: Iterable[SliceTally]) -> tuple[SliceTally, ...]:
    sums: dict[str, tuple[int, int]] = {}
    for tally in tallies:
        count, size = sums.get(tally.name, (0, 0))
        sums[tally.name] = (count + tally.count, size + tally.size)
    return tuple(SliceTally(name, *sums[name]) for name in sorted(sums))


def _judge_scripts(request: ImageRequest, reports: Iterable[ImageReport], progress: Progress) -> None:
    unknown = dict.fromkeys(item for report in reports for item in report.unknown)
    if not unknown:
        return
    if request.strict:
        raise UnknownScriptError(
            "no recipe covers what these maintainer scripts do: " + "; ".join(unknown),
            hint="build without --strict to leave it undone, or write a recipe",
        )
    for item in unknown:
        progress.warn(f"left undone, no recipe covers it: {item}")


def _root(reports: Sequence[ImageReport], store: Store) -> Descriptor:
    """The manifest of the only architecture, or an index of all (image-index.md)."""
    if len(reports) == 1:
        return reports[0].manifest
    entries = tuple(
        msgspec.structs.replace(report.manifest, platform=configure.platform(report.architecture))
        for report in reports
    )
    data = oci.encode(Index(schema_version=2, media_type=oci.INDEX, manifests=entries))
    store.put(data)
    return oci.describe(data, oci.INDEX)


def _judge_conflicts(request: ImageRequest, reports: Iterable[ImageReport], progress: Progress) -> None:
    for line in dict.fromkeys(line for report in reports for line in report.conflicts):
        if request.strict:
            raise FileConflictError(line, hint="ask for one of the two, or build without --strict")
        progress.warn(line)


_EPOCH_DIGITS = 11
"""Digits of SOURCE_DATE_EPOCH: enough for every year that RFC 3339 can write with four."""


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > _EPOCH_DIGITS:
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}", hint="it is a number of seconds since 1970")
    return int(text)
