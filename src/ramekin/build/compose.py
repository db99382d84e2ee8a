"""The main job: from a request to an image in the store.

    request ──resolve──▶ closure ──lay out──▶ groups ──make──▶ layers ──assemble──▶ manifest ──▶ index
             (indexes)   (a lock)  (plan/)             (layers.py)    (configure.py)

Each arrow is an action: what it made is found again by the key of what it was made from. A warm build looks
up the resolution by the state of the indexes and the manifest by the closure, and reads no package at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import msgspec

from ramekin import closure
from ramekin.build import configure, lock
from ramekin.build.layers import Hidden, MadeLayer, Terms, find, make, write
from ramekin.build.lock import LockedClosure, LockedImage
from ramekin.build.request import ImageRequest
from ramekin.closure import essentials, slices
from ramekin.closure.model import SliceTally
from ramekin.errors import NotFoundError, RamekinError, UsageError
from ramekin.image import compress, oci
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor, Index, Manifest
from ramekin.plan import layers as plan
from ramekin.plan.layers import Group
from ramekin.progress import Progress
from ramekin.sources.protocol import Package, Reason, Resolution, Source
from ramekin.store.action import Key, key
from ramekin.store.digest import Digest
from ramekin.store.store import Store

REVISION = 1
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

    `unknown` are commands of maintainer scripts that nothing covers, each after the package's name.
    """

    architecture: str
    manifest: Descriptor
    sbom: Descriptor | None
    layers: tuple[LayerReport, ...]
    dropped: tuple[SliceTally, ...]
    unknown: tuple[str, ...]
    handled: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers as they travel."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Built:
    """What `build` made: the image (blobs in the store), the lock that it follows, and what to tell."""

    image: Image
    locked: LockedImage
    reports: tuple[ImageReport, ...]


def resolve(request: ImageRequest, *, store: Store, progress: Progress, refresh: bool = False) -> LockedImage:
    """The closure of `request` for each of its architectures, pinned.

    `refresh` asks the source for news even where its indexes are fresh. Raises what `Source.refresh` and
    `Source.resolve` raise.
    """
    source = _source(request, store)
    state = source.refresh(request.architectures, progress, force=refresh)
    closures = {}
    for architecture in request.architectures:
        name = key(
            "closure",
            REVISION,
            source.name,
            state,
            architecture,
            int(request.recommends),
            " ".join(request.packages),
            " ".join(sorted(request.leave_out)),
        )
        found = store.result(name)
        if found is None:
            resolution = _with_essentials(
                source.resolve(request.packages, architecture, recommends=request.recommends), source, request
            )
            pinned = lock.closure(resolution, state=state, facts=source.facts(architecture))
            found = msgspec.json.encode(pinned)
            store.record(name, found)
        closures[architecture] = msgspec.json.decode(found, type=LockedClosure)
    return lock.image(request, closures)


def build(
    request: ImageRequest,
    *,
    store: Store,
    progress: Progress,
    jobs: int,
    locked: LockedImage | None = None,
    refresh: bool = False,
) -> Built:
    """Make the image of `request` in `store`, of exactly the packages of `locked` when that is given.

    At most `jobs` packages are unpacked at once. Times follow SOURCE_DATE_EPOCH where it is set. With
    `request.strict`, `UnknownScriptError` names what no recipe covers.
    """
    if locked is None:
        locked = resolve(request, store=store, progress=progress, refresh=refresh)
    source = _source(request, store)
    epoch = _epoch()
    reports = tuple(
        _one(request, architecture, locked.architectures[architecture], source, store, progress, jobs, epoch)
        for architecture in request.architectures
    )
    _judge_scripts(request, reports, progress)
    root = _root(reports, store)
    referrers = tuple(report.sbom for report in reports if report.sbom is not None)
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


def _source(request: ImageRequest, store: Store) -> Source:
    from ramekin.sources import open_source

    return open_source(request.source, store, mirrors=request.mirrors)


def _with_essentials(resolution: Resolution, source: Source, request: ImageRequest) -> Resolution:
    """The resolution and those packages that stand in every image, which bring nobody with them."""
    there = {package.name for package in resolution.packages}
    added: list[Package] = []
    for name in essentials.packages(frozenset(request.leave_out)):
        if name not in there:
            try:
                added.append(source.show(name, resolution.architecture)[0])
            except NotFoundError:
                continue  # a private archive need not have them: the image then does without
    return replace(
        resolution,
        packages=(*added, *resolution.packages),
        reasons={**resolution.reasons, **{package.name: Reason("", "essentials") for package in added}},
        edges={**resolution.edges, **{package.name: () for package in added}},
    )


def _one(
    request: ImageRequest,
    architecture: str,
    pinned: LockedClosure,
    source: Source,
    store: Store,
    progress: Progress,
    jobs: int,
    epoch: int | None,
) -> ImageReport:
    name = _image_key(request, architecture, pinned, epoch)
    if (found := store.result(name)) is not None:
        return msgspec.json.decode(found, type=ImageReport)
    terms = Terms(
        suite=pinned.facts(),
        architecture=architecture,
        slices=slices.choose(request.keep, request.drop, requests=request.packages),
        compression=compress.parse(request.compression),
        epoch=epoch,
    )
    resolution = pinned.resolution(architecture)
    leave_out = frozenset(request.leave_out)
    below = [
        write(title, files, terms, store) for title, files in essentials.essentials(terms.suite, leave_out)
    ]
    laid = plan.groups(
        resolution.packages,
        foundation=essentials.packages(leave_out),
        limit=max(request.layers - len(below) - _FINISHING, 1),
    )
    made = _make_all(laid, terms, {}, source, store, progress, jobs)
    if hidden := _hidden(made, resolution):
        made = _make_all(laid, terms, hidden, source, store, progress, jobs)
    report = _assemble(request, resolution, terms, laid, below, made, store)
    blobs = [report.manifest.digest, *(layer.digest for layer in report.layers)]
    if report.sbom is not None:
        blobs.append(report.sbom.digest)
    store.record(name, msgspec.json.encode(report), blobs=blobs)
    return report


_FINISHING = 1
"""Layers that `closure.finish` may put on top."""


def _image_key(request: ImageRequest, architecture: str, pinned: LockedClosure, epoch: int | None) -> Key:
    """Everything that decides the manifest; target, tag, jobs and strictness do not."""
    same = replace(request, target="", tag="", strict=False, architectures=(), mirrors=())
    return key(
        "image",
        REVISION,
        closure.revision(),
        architecture,
        compress.parse(request.compression).identity,
        "" if epoch is None else str(epoch),
        msgspec.json.encode(same, order="deterministic"),
        msgspec.json.encode(msgspec.structs.replace(pinned, state=Digest("")), order="deterministic"),
    )


def _make_all(
    laid: Sequence[Group],
    terms: Terms,
    hidden: Hidden,
    source: Source,
    store: Store,
    progress: Progress,
    jobs: int,
) -> list[MadeLayer]:
    there = [find(group, terms, hidden, store) for group in laid]
    missing = [group for group, layer in zip(laid, there, strict=True) if layer is None]
    if not missing:
        return [layer for layer in there if layer is not None]
    packages = [package for group in missing for package in group.packages]
    source.fetch(packages, progress)
    made: dict[int, MadeLayer] = {}
    with (
        progress.task("layers", total=sum(package.size for package in packages)) as task,
        ThreadPoolExecutor(max(jobs, 1)) as pool,
    ):

        def one(group: Group) -> None:
            made[group.place] = make(group, terms, hidden, source, store)
            task.advance(group.size)

        # the largest first, so that no worker is left alone with it at the end
        waiting = [pool.submit(one, group) for group in sorted(missing, key=lambda g: (-g.size, g.place))]
        try:
            for future in waiting:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [layer or made[group.place] for group, layer in zip(laid, there, strict=True)]


def _hidden(made: Iterable[MadeLayer], resolution: Resolution) -> Hidden:
    from ramekin.closure.conflicts import claims

    return claims([facts for layer in made for facts in layer.facts], dict(resolution.replaces))


def _assemble(
    request: ImageRequest,
    resolution: Resolution,
    terms: Terms,
    laid: Sequence[Group],
    below: Sequence[MadeLayer],
    made: Sequence[MadeLayer],
    store: Store,
) -> ImageReport:
    from ramekin.closure.finish import finish, hints

    facts = [known for layer in made for known in layer.facts]
    finishing = finish(
        facts,
        suite=terms.suite,
        architecture=terms.architecture,
        leave_out=frozenset(request.leave_out),
    )
    above = [write(title, files, terms, store) for title, files in finishing]
    accounts = [files["etc/passwd"] for _, files in finishing if "etc/passwd" in files]
    newest = max((known.newest for known in facts), default=0)
    created = newest if terms.epoch is None else terms.epoch
    layers = [*below, *made, *above]
    inside: list[tuple[Package, ...]] = [
        *(() for _ in below),
        *(group.packages for group in laid),
        *(() for _ in above),
    ]
    labels = configure.labels(request, resolution.packages, created=created)
    started = configure.runtime(
        request,
        hints(facts, resolution.requested),
        facts,
        passwd=accounts[-1].read().decode() if accounts else None,
    )
    started = msgspec.structs.replace(started, labels=labels)
    config = oci.encode(configure.config(terms.architecture, layers, started, inside, created=created))
    manifest = oci.encode(
        Manifest(
            schema_version=2,
            media_type=oci.MANIFEST,
            config=oci.describe(config, oci.CONFIG),
            layers=tuple(_annotated(layer, packages) for layer, packages in zip(layers, inside, strict=True)),
            annotations=labels,
        )
    )
    store.put(config)
    store.put(manifest)
    described = oci.describe(manifest, oci.MANIFEST)
    return ImageReport(
        architecture=terms.architecture,
        manifest=described,
        sbom=_bill(request, resolution, described, store, terms.suite.name, created),
        layers=tuple(
            LayerReport(
                layer.name,
                layer.descriptor.digest,
                layer.diff_id,
                layer.descriptor.media_type,
                layer.descriptor.size,
                tuple(f"{package.name}={package.version}" for package in packages),
            )
            for layer, packages in zip(layers, inside, strict=True)
        ),
        dropped=_tally(tally for known in facts for tally in known.dropped),
        unknown=tuple(f"{known.name}: {item}" for known in facts for item in known.unknown),
        handled=tuple(f"{known.name}: {line}" for known in facts for line in known.handled),
    )


def _annotated(layer: MadeLayer, packages: Sequence[Package]) -> Descriptor:
    if not packages:
        return layer.descriptor
    names = " ".join(f"{package.name}={package.version}" for package in packages)
    return msgspec.structs.replace(layer.descriptor, annotations={configure.LAYER_PACKAGES: names})


def _bill(
    request: ImageRequest,
    resolution: Resolution,
    manifest: Descriptor,
    store: Store,
    distribution: str,
    created: int,
) -> Descriptor | None:
    if not request.sbom:
        return None
    from ramekin.build import sbom

    bill = sbom.document(
        request.name,
        manifest,
        resolution.packages,
        resolution.edges,
        distribution=distribution,
        created=created,
    )
    return sbom.attach(bill, manifest, store, created=configure.rfc3339(created))


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


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}", hint="it is a number of seconds since 1970")
    return int(text)
