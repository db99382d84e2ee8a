"""What a worker process does: finds and makes images, previews them, searches packages, draws their graph.

    order ──which state──▶ source ──key──▶ answer made before? ── yes ──▶ answer
                                             │ no: one process at a time
                                             ▼
                                   resolve ─▶ limits ─▶ compose ─▶ recorded

Answers are recorded in the store, so that all processes and replicas find what one of them has made.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from ramekin import closure
from ramekin.build import closures, compose, explain, layers
from ramekin.build.closures import Closed
from ramekin.build.lock import LockedClosure, LockedImage
from ramekin.build.packages import Bench, Preparation, recall
from ramekin.build.request import ImageRequest, as_data, bare_name
from ramekin.closure import essentials, why
from ramekin.closure.evidence.model import Kind
from ramekin.closure.follow import Followed, KeptPackage, Step
from ramekin.errors import NotFoundError, RamekinError, UsageError
from ramekin.image import compress
from ramekin.image.image import Image
from ramekin.plan import layers as plan
from ramekin.progress import SILENT, Progress
from ramekin.registry.ondemand import names
from ramekin.registry.ondemand.orders import Answer, LayerView, Order, Suggestion, View
from ramekin.registry.ondemand.promises import Promised, Promises
from ramekin.sources import joined
from ramekin.sources.debian import history
from ramekin.sources.debian.source import DebianSource
from ramekin.sources.joined import Joined
from ramekin.sources.protocol import Package, Source
from ramekin.store.action import Key, key
from ramekin.store.digest import Digest
from ramekin.store.store import Store

REVISION = 1

GZIP_OVER_XZ = 1.25
"""About how many bytes a layer has for each of its packages' archive files, whose xz is tighter than gzip."""

GZIP_OF_NAR = 0.4
"""The same for NARs, whose sizes are those before compression."""


class NotMadeError(RamekinError):
    """The image has not been made yet, and making it was not asked for."""


class LimitError(RamekinError):
    """The image is larger than this registry makes."""


class LockRecord(msgspec.Struct, frozen=True):
    """A lock that was given out, and the request that it answers."""

    image: str
    request: ImageRequest
    locked: LockedImage


msgspec.json.Decoder(LockRecord)


@dataclass(frozen=True, slots=True)
class _Way:
    """How an order is to be carried out: from which source, with which lock, found under which name."""

    source: Source | None
    request: ImageRequest
    locked: LockedImage | None
    name: Key


class Kitchen:
    """Carries out orders over one store. Methods may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.promises = Promises(store)
        self._sources: dict[str, Source] = {}
        self._lock = threading.Lock()

    # --- making ------------------------------------------------------------------------------------------

    def make(self, order: Order, progress: Progress, *, build: bool = True) -> Answer:
        """The image that is ordered; `NotMadeError` when it is not there and not to be made."""
        if order.fixed and (kept := self._promised(order)) is not None:
            return kept
        way = self._plan(order, progress)
        if (found := self.store.result(way.name)) is not None:
            return self._given(order, msgspec.json.decode(found, type=Answer))
        if not build:
            raise NotMadeError(f"{order.image}:{order.tag} has not been made yet")
        with self.store.exclusive(way.name):
            if (found := self.store.result(way.name)) is None:
                answer = self._make(order, way, progress)
                found = msgspec.json.encode(answer)
                self.store.record(way.name, found, blobs=self._blobs(answer))
        return self._given(order, msgspec.json.decode(found, type=Answer))

    def _promised(self, order: Order) -> Answer | None:
        """The image that was promised for a tag that never moves, when all of it is there."""
        name = _fixed_name(order)
        kept = self.promises.image(name)
        if kept is None or not self.promises.whole(kept):
            return None
        if not kept.given:
            self.promises.keep_image(name, msgspec.structs.replace(kept, given=True))
        return msgspec.json.decode(kept.answer, type=Answer)

    def _given(self, order: Order, answer: Answer) -> Answer:
        """Hold on to what was given for a tag that never moves, and note that the tag is there."""
        if order.fixed:
            self._promise(_fixed_name(order), order, answer, given=True)
        if answer.lock and not order.lock:
            # what the lock stands for is known already
            name = _locked_name(order.image, answer.lock, order.request.architectures)
            self._promise(name, order, answer, given=False)
        wanted = {order.tag, f"lock-{answer.lock}"} if answer.lock else {order.tag}
        if not wanted <= set(self._tags(order.image)):
            notes = _tags_name(order.image)
            with self.store.exclusive(notes):
                tags = sorted({*self._tags(order.image), *wanted})
                self.promises.keep("tags", notes, msgspec.json.encode(tags))
        return answer

    def _promise(self, name: Key, order: Order, answer: Answer, *, given: bool) -> None:
        before = self.promises.image(name)
        if before is not None and before.digest == answer.digest and before.given >= given:
            return
        with self.store.exclusive(name):
            before = self.promises.image(name)
            if before is not None and before.digest != answer.digest:
                if not given:
                    return
                raise NotFoundError(
                    f"the image that {order.image}:{order.tag} stands for is not kept here any more",
                    hint="this version makes another one of the same packages; take a newer tag",
                )
            blobs = tuple(self._blobs(answer))
            asked = given or (before is not None and before.given)
            data = msgspec.Raw(msgspec.json.encode(answer))
            self.promises.keep_image(name, Promised(blobs, asked, answer.digest, data))

    def _plan(self, order: Order, progress: Progress) -> _Way:
        if order.lock:
            return self._by_lock(order)
        request, locked = order.request, order.locked
        if locked is not None:
            parts = ("locked", msgspec.json.encode(locked, order="deterministic"))
            return _Way(None, request, locked, self._name(request, *parts))
        source = self.source(request)
        # both, so that one state stands for all architectures
        wanted = tuple(dict.fromkeys((*request.architectures, *names.ARCHITECTURES)))
        if order.day:
            source = self._of_day(source, order.day, progress)
        else:
            try:
                source.refresh(wanted, progress)
            except NotFoundError:
                source.refresh(request.architectures, progress)
            self._keep(source, order.history)
        if request.kind == "debian":
            own = joined.of(source, "debian")
            request = replace(request, source=own.name)
        state = source.refresh(request.architectures, progress)
        return _Way(source, request, None, self._name(request, "state", state))

    def _name(self, request: ImageRequest, *parts: str | bytes) -> Key:
        return key(
            "image on demand",
            REVISION,
            compose.REVISION,
            closure.revision(),
            compress.parse(request.compression).identity,
            msgspec.json.encode(as_data(request), order="deterministic"),
            *parts,
        )

    def _by_lock(self, order: Order) -> _Way:
        data = self.promises.read("locks", _lock_name(order.lock))
        record = None if data is None else msgspec.json.decode(data, type=LockRecord)
        if record is None or record.image != order.image:
            raise NotFoundError(
                f"no lock {order.lock[:12]}… of {order.image} is known here",
                hint="a lock tag is good in the registry that gave it, for its own packages",
            )
        request = replace(record.request, architectures=order.request.architectures)
        absent = [name for name in request.architectures if name not in record.locked.architectures]
        if absent:
            raise NotFoundError(f"the lock {order.lock[:12]}… does not hold {', '.join(absent)}")
        return _Way(None, request, record.locked, self._name(request, "lock", order.lock))

    def _make(self, order: Order, way: _Way, progress: Progress) -> Answer:
        request, locked = way.request, way.locked
        if locked is None:
            locked = compose.resolve(
                request, store=self.store, progress=progress, jobs=order.jobs, source=way.source
            )
        for architecture in request.architectures:
            _within(order, architecture, locked.architectures[architecture])
        built = compose.build(
            request,
            store=self.store,
            progress=progress,
            jobs=order.jobs,
            locked=locked,
            source=way.source,
        )
        data = built.image.document(built.image.root)
        return Answer(
            digest=built.image.root.digest,
            media_type=built.image.root.media_type,
            data=data,
            referrers=built.image.referrers,
            lock=order.lock or self._hold_lock(order.image, request, locked),
            source=request.source,
            reports=built.reports,
        )

    def _hold_lock(self, image: str, request: ImageRequest, locked: LockedImage) -> str:
        record = msgspec.json.encode(LockRecord(image, request, locked), order="deterministic")
        digest = hashlib.sha256(record).hexdigest()
        self.promises.keep("locks", _lock_name(digest), record)
        return digest

    def _keep(self, source: Source, days: int) -> None:
        if isinstance(source, Joined):
            source = source.of("debian")
        if isinstance(source, DebianSource) and source.state is not None:
            history.keep(source, source.state, days=days)

    def _of_day(self, source: Source, day: str, progress: Progress) -> Source:
        """The source as it was on a day: the same state for all images, from the first that asked on."""
        if not isinstance(source, DebianSource):
            raise UsageError(f"{source.name} keeps no days")
        if day > time.strftime("%Y%m%d", time.gmtime()):
            raise NotFoundError(f"{day} has not come yet")
        name = key("state of a day", source.name, source.identity.hex, day)
        with self.store.exclusive(name):
            found = self.promises.read("days", name)
            if found is None:
                if day == time.strftime("%Y%m%d", time.gmtime()):
                    source.refresh(names.ARCHITECTURES, progress)
                    if source.state is not None:
                        history.keep(source, source.state, days=36500)
                moment = history.at(source, day)
                self.promises.keep("days", name, moment.stamp.encode())
            else:
                stamp = found.decode()
                known = [moment for moment in history.moments(source) if moment.stamp == stamp]
                if not known:
                    raise NotFoundError(f"the state of {source.name} of {day} is not kept here any more")
                moment = known[0]
        return history.opened(source, moment)

    def source(self, request: ImageRequest) -> Source:
        """The source of a request, opened once."""
        with self._lock:
            name = f"{request.source} {request.mirrors} {request.nix} {closures.kinds(request)}"
            found = self._sources.get(name)
            if found is None:
                found = self._sources[name] = compose.open_sources(request, self.store)
            return found

    def _blobs(self, answer: Answer) -> list[Digest]:
        manifests = [*answer.referrers, *(report.manifest for report in answer.reports)]
        found = [digest for manifest in manifests for digest in compose.named(manifest, self.store)]
        return list(dict.fromkeys([answer.digest, *found]))

    # --- looking -----------------------------------------------------------------------------------------

    def tags(self, order: Order) -> tuple[str, ...]:
        """The tags of an image that were given out, and those that there always are; none if it cannot be."""
        given = self._tags(order.image)
        if not given:
            source = self.source(order.request)
            for package in order.request.packages:
                name = package if order.request.kind == "nix" else bare_name(package)
                try:
                    source.show(name, order.request.architectures[0])
                except NotFoundError:
                    return ()
        return tuple(sorted({"latest", *given}))

    def _tags(self, image: str) -> tuple[str, ...]:
        data = self.promises.read("tags", _tags_name(image))
        return () if data is None else msgspec.json.decode(data, type=tuple[str, ...])

    def search(self, words: Sequence[str], request: ImageRequest, limit: int) -> tuple[Suggestion, ...]:
        """Packages whose name or description holds all words, best first."""
        found = self.source(request).search(words, request.architectures[0])
        return tuple(
            Suggestion(
                package.name,
                package.version,
                package.description,
                package.size,
                package.installed_size,
                names.spell(package.name),
            )
            for package in found[:limit]
        )

    def view(self, order: Order, architecture: str) -> View:
        """An image before it is made, or as it was made: its layers lowest first."""
        try:
            answer = self.make(order, SILENT, build=False)
        except NotMadeError:
            return self._foresee(order, architecture)
        report = next((one for one in answer.reports if one.architecture == architecture), answer.reports[0])
        return View(
            image=order.image,
            architecture=report.architecture,
            source=answer.source,
            made=True,
            closed=True,
            digest=answer.digest,
            lock=answer.lock,
            layers=tuple(
                LayerView(
                    name=layer.name,
                    packages=layer.packages,
                    size=layer.size,
                    exact=True,
                    held=True,
                    digest=layer.digest,
                )
                for layer in report.layers
            ),
        )

    def _foresee(self, order: Order, architecture: str) -> View:
        way = self._plan(order, SILENT)
        request, pinned = self._resolved(order, way, architecture)
        how = Preparation(pinned.facts(), architecture, closures.choice(request))
        terms = layers.Terms(how, compress.parse(request.compression))
        closed = self._closed(request, pinned, architecture, how, way, order.jobs)
        packages = closed.packages if closed else pinned.resolution(architecture).packages
        hidden = closed.hidden() if closed else {}
        found = []
        for group in _groups(request, packages):
            made = layers.find(group, terms, hidden, self.store)
            found.append(
                LayerView(
                    name=group.name,
                    packages=tuple(f"{package.name}={package.version}" for package in group.packages),
                    size=made.descriptor.size if made else _foreseen(group),
                    unpacked=sum(package.installed_size for package in group.packages),
                    exact=made is not None,
                    held=made is not None,
                    digest=made.descriptor.digest if made else "",
                )
            )
        return View(
            image=order.image,
            architecture=architecture,
            source=way.request.source,
            made=False,
            closed=closed is not None,
            layers=tuple(found),
        )

    def _closed(
        self,
        request: ImageRequest,
        pinned: LockedClosure,
        architecture: str,
        how: Preparation,
        way: _Way,
        jobs: int,
    ) -> Closed | None:
        """Which packages the image will hold, when all of them were examined before."""
        resolution = pinned.resolution(architecture)
        by_evidence = request.closure != "depends"
        if any(recall(p, how, self.store, evidence=by_evidence) is None for p in resolution.packages):
            return None
        bench = Bench(way.source or self.source(request), self.store, SILENT, jobs)
        return closures.close(resolution, request, how, bench)

    def _resolved(self, order: Order, way: _Way, architecture: str) -> tuple[ImageRequest, LockedClosure]:
        request = replace(way.request, architectures=(architecture,))
        locked = way.locked
        if locked is None:
            # following evidence would fetch packages, which nobody asked for yet
            look = replace(request, closure="depends")
            locked = compose.resolve(look, store=self.store, progress=SILENT, source=way.source)
        pinned = locked.architectures[architecture]
        _within(order, architecture, pinned)
        return request, pinned

    def graph(self, order: Order, architecture: str) -> str:
        """Who needs whom, as SVG: the evidence when the image was made, else what dependencies declare."""
        try:
            answer = self.make(order, SILENT, build=False)
        except NotMadeError:
            return self._declared(order, architecture)
        report = next((one for one in answer.reports if one.architecture == architecture), answer.reports[0])
        image = Image(report.manifest, self.store, order.image, report.artifacts)
        return explain.graph(explain.of(image), "svg")

    def _declared(self, order: Order, architecture: str) -> str:
        way = self._plan(order, SILENT)
        request, pinned = self._resolved(order, way, architecture)
        resolution = pinned.resolution(architecture)
        asked = {bare_name(name) for name in request.packages}
        kept = []
        edges = []
        for package in resolution.packages:
            reason = resolution.reasons.get(package.name)
            because = None
            if package.name not in asked and reason is not None and reason.by:
                because = Step(reason.by, "", Kind.META, reason.relation, package.name, "")
            said = "asked for" if package.name in asked else "in every image"
            kept.append(KeptPackage(package.name, package.installed_size, because, "" if because else said))
            for needed in resolution.edges.get(package.name, ()):
                edges.append(Step(package.name, "", Kind.META, needed, needed, ""))
        return why.svg(explain.titled(Followed("depends", kept=tuple(kept), edges=tuple(edges))))


def _groups(request: ImageRequest, packages: Sequence[Package]) -> tuple[plan.Group, ...]:
    """The groups that `compose` will lay out, but for the few layers of the image's own."""
    own = 4
    return plan.groups(
        packages,
        foundation=essentials.packages(frozenset(request.leave_out)),
        limit=max(request.layers - own, 1),
    )


def _foreseen(group: plan.Group) -> int:
    """Bytes that a layer may have."""
    nars = sum(package.size for package in group.packages if package.kind == "nix")
    return int(nars * GZIP_OF_NAR + (group.size - nars) * GZIP_OVER_XZ)


def _within(order: Order, architecture: str, pinned: LockedClosure) -> None:
    count = len(pinned.packages)
    if count > order.packages:
        raise LimitError(
            f"{order.image} may hold {count} packages, and this registry makes images of {order.packages}",
            hint="`ramekin build` has no such limit",
        )
    size = sum(package.installed_size for package in pinned.packages)
    if size > order.size:
        raise LimitError(
            f"{order.image} for {architecture} may hold {size / 1e6:.0f} MB, "
            f"and this registry makes images of {order.size / 1e6:.0f} MB",
            hint="`ramekin build` has no such limit",
        )


def _fixed_name(order: Order) -> Key:
    if order.lock:
        return _locked_name(order.image, order.lock, order.request.architectures)
    return key("image of a tag that never moves", order.key)


def _locked_name(image: str, lock: str, architectures: Sequence[str]) -> Key:
    return key("image of a lock", image, lock, *architectures)


def _lock_name(digest: str) -> Key:
    return key("lock on demand", digest)


def _tags_name(image: str) -> Key:
    return key("tags on demand", image)
