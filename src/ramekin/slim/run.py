"""The whole road of `ramekin slim`.

    read ─▶ try the original, watched ─▶ again, unwatched ─▶ complete ─▶ rebuild ─▶ verify ─┬▶ the slim image
                     │                         │                ▲                           │
                     └▶ observation            └▶ masks         └──── what was missed ◀─────┘

Probes that fail on the original end the road before anything is slimmed. With an observation that was kept,
the original is only run when there are probes, and only to know what it answers. Without a way to run it
(another architecture), what the image's configuration starts is all that is known, which is said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ramekin import workers
from ramekin.analyze import reading
from ramekin.errors import RamekinError, UsageError
from ramekin.image import layer
from ramekin.image.image import Image
from ramekin.image.oci import Platform, Runtime
from ramekin.image.transports import platforms
from ramekin.progress import SILENT, Progress
from ramekin.slim import observation as observations
from ramekin.slim import verify
from ramekin.slim.contents import Contents
from ramekin.slim.observation import Observation
from ramekin.slim.probes import compare, health
from ramekin.slim.probes.answer import START
from ramekin.slim.probes.compare import Expected
from ramekin.slim.probes.model import Plan
from ramekin.slim.rebuild import Rebuilt, rebuild
from ramekin.slim.sandbox import reasons
from ramekin.slim.sandbox.log import tail
from ramekin.slim.sandbox.plan import Watch, Watching
from ramekin.slim.sandbox.rootfs import Rootfs, unpacked
from ramekin.slim.slimmed import Slimmed, SlimRequest
from ramekin.slim.spool import spooled
from ramekin.slim.trial import Findings, Trial, attempt, exposed_ports, failures
from ramekin.slim.units import Selection, complete, wanted
from ramekin.slim.units.catalog import catalog
from ramekin.slim.units.evidence import Evidence
from ramekin.slim.verify import HARMLESS, Round
from ramekin.store.store import Store

SHOWN = 12
"""Failures that an error lists."""
_ORIGINALS = 4
"""Times that the original is asked at most."""


class ProbesFailError(RamekinError):
    """Probes fail on the original; nothing was slimmed."""


class Clock:
    """Seconds by the names of steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun


@contextmanager
def slim(
    image: Image, request: SlimRequest, store: Store, *, progress: Progress = SILENT
) -> Iterator[Slimmed]:
    """Slim an image; what came of it, usable for as long as the context lasts.

    `ProbesFailError` when probes fail on the original, `RamekinError` when it cannot be read or run.
    """
    clock = Clock()
    told = reading.outline(image, name=request.name, platform=request.platform)
    _check_platform(request, told.platform)
    with ExitStack() as stack:
        with clock.step("read"):
            contents, folder = stack.enter_context(spooled(image, request, store, told.stored, progress))
        yield _Road(contents, request, store, folder, clock, progress).go()


def _check_platform(request: SlimRequest, found: Platform | None) -> None:
    wanted = request.platform
    if wanted is not None and found is not None and found.architecture != wanted.architecture:
        raise UsageError(
            f"{request.name} is an image for {found.architecture}, not for {wanted.architecture}"
        )


class _Road:
    def __init__(
        self,
        contents: Contents,
        request: SlimRequest,
        store: Store,
        folder: Path,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self.contents, self.request, self.store, self.folder = contents, request, store, folder
        self.clock, self.progress = clock, progress
        self.settings = contents.config.config or Runtime()
        self.findings = Findings()
        self.notes: list[str] = []
        self.originals: list[Trial] = []
        self.plan = _with_health(request.plan, contents)
        self.catalog = catalog(contents)
        self.evidence = Evidence(contents)

    def go(self) -> Slimmed:
        observation = self.request.observation
        # a word that names nothing is said before anything is run
        wanted.check(self.request.choice, self.contents, self.catalog)
        self._check_observation(observation)
        running = self._can_run()
        if running and observation is not None and not self.request.plan.probes:
            running = False
            self._note("the observation is taken as it is; with probes, the slim image would be verified too")
        expected: dict[str, Expected] = {}
        rounds: list[Round] = []
        root: Rootfs | None = None
        if running:
            root = self._lay_out()
            watch = self._watch() if observation is None else Watch(by=Watching.NONE)
            self._require(self._try(root, watch, "observe the original"))
            self._mention_end()
            if observation is None:
                observation = self._named(self.originals[0].observation)
            selection, rebuilt = self._make_while_asking(observation, root)
            expected = compare.learn([trial.answers for trial in self.originals])
            self._mention_masks(expected)
        else:
            selection, rebuilt = self._make(observation)
        if running and root is not None:
            while True:
                done = self._verify(rebuilt, selection, expected, len(rounds) + 1, root)
                # of which there may be one more now
                expected = compare.learn([trial.answers for trial in self.originals])
                more = self._heal(done, observation, selection, len(rounds) + 1)
                if more is None:
                    rounds.append(done)
                    break
                assert observation is not None
                wider, healed = more
                rounds.append(msgspec.structs.replace(done, healed=healed))
                observation = wider
                selection, rebuilt = self._make(observation)
        return Slimmed(
            name=self.request.name,
            request=self.request,
            folder=self.folder,
            contents=self.contents,
            rebuilt=rebuilt,
            selection=selection,
            observation=observation,
            originals=tuple(self.originals),
            expected=expected,
            rounds=tuple(rounds),
            findings=self.findings,
            notes=(*self.notes, *selection.notes),
            seconds=self.clock.seconds,
        )

    # -- the original

    def _can_run(self) -> bool:
        here = platforms.this_machine()
        config = self.contents.config
        if config.architecture == here.architecture and config.os in ("", "linux"):
            return True
        self._note(
            f"the image is for {config.os}/{config.architecture} and this machine is "
            f"{here.os}/{here.architecture}: it was not run"
        )
        return False

    def _check_observation(self, observation: Observation | None) -> None:
        if observation is None:
            return
        absent = sorted(path for path in observation.used if self.contents.resolve(path) is None)
        absent = [path for path in absent if path not in self.contents.files]
        if absent:
            self._note(
                f"{len(absent)} paths of the observation are not in the image, such as /{absent[0]}"
                if len(absent) > 1
                else f"a path of the observation is not in the image: /{absent[0]}"
            )
        if not observation.image:
            return
        digest = str(self.contents.image.root.digest)
        if observation.image != digest:
            self._note(
                f"the observation is of another image, {observation.image}: what is new here was not seen"
            )

    def _lay_out(self) -> Rootfs:
        place = self.folder / "original"
        place.mkdir(mode=0o711)
        root = Rootfs(place / "rootfs", place)
        with self.clock.step("lay out"), self.progress.task("laying out files", unit=""):
            root.path.mkdir()
            layer.unpack(self.contents.tree, root.path, owners=_rooted())
        return root

    def _watch(self) -> Watch:
        by = Watching.SECCOMP if self.request.stat or not _rooted() else Watching.FANOTIFY
        return Watch(by=by)

    def _try(self, root: Rootfs, watch: Watch, label: str) -> Trial:
        with self.clock.step(label), self.progress.task(label, unit=""):
            trial = attempt(
                root,
                self.settings,
                self.plan,
                self.findings,
                watch=watch,
                runtime=self.request.runtime,
                limits=self.request.limits,
            )
        self.originals.append(trial)
        return trial

    def _require(self, trial: Trial) -> None:
        """All probes succeed on the original, or there is nothing to compare with."""
        failed = failures(trial.answers)
        if not failed:
            return
        more = [f"and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
        lines = "\n".join(f"    {line}" for line in failed[:SHOWN] + more)
        asked = [one for one in trial.answers if one.probe != START or one.complaints]
        hint = "a probe says what is right (`status:`, `exit:`, `text:`); correct it, or the image"
        start = next((one for one in trial.answers if one.probe == START and one.complaints), None)
        if start is not None:
            hint = "--env and --cmd (`env:`, `args:`) start the program so that it does its work"
            if "exit" in start.fields:
                hint = reasons.ended(int(start.fields["exit"]), trial.log.encode()) or hint
        elif self.findings.course == "ends" and len(trial.answers) > 1:
            hint = (
                "the image's program comes to its end by itself, so each command had a container of its own, "
                "where nothing else runs; `--cmd` and `--env` start the program otherwise"
            )
        printed = tail(trial.log.strip())
        told = f"\n  the program printed{printed}" if printed else ""
        raise ProbesFailError(
            f"{len(failed)} of {len(asked)} probes fail on {self.request.name} itself; nothing was "
            f"slimmed:\n{lines}{told}",
            hint=hint,
        )

    def _named(self, observation: Observation) -> Observation:
        """The observation with the names of what was observed and of what was asked."""
        names = sorted(answer.probe for answer in self.originals[0].answers if answer.kind != "start")
        return observations.ordered(
            msgspec.structs.replace(
                observation,
                image=str(self.contents.image.root.digest),
                platform=str(self.contents.outline.platform or ""),
                probes=tuple(names),
            )
        )

    def _mention_end(self) -> None:
        """A program that ends may be one that goes to the background, of which nothing is seen."""
        ports = exposed_ports(self.settings)
        if self.findings.course == "ends" and ports:
            self._note(
                f"the program comes to its end by itself, though its image exposes port {ports[0]}: if it "
                "goes to the background, say by --cmd that it stays in the foreground"
            )

    def _mention_masks(self, expected: Mapping[str, Expected]) -> None:
        decisive = sorted(probe for probe, one in expected.items() if {"status", "exit"} & set(one.masked))
        for probe in decisive:
            self._note(f"{probe}: the original itself answers with another status each time")
        fleeting = sum(1 for answer in self.originals[0].answers if answer.probe not in expected)
        if fleeting:
            self._note(f"{fleeting} answers of the original came only once, and are not compared")

    # -- the slim image

    def _make(self, observation: Observation | None) -> tuple[Selection, Rebuilt]:
        with self.clock.step("complete"), self.progress.task("choosing files", unit=""):
            selection = complete(
                self.contents,
                observation,
                self.request.choice,
                catalogued=self.catalog,
                evidence=self.evidence,
            )
        with self.clock.step("rebuild"), self.progress.task("writing layers", unit=""):
            rebuilt = rebuild(
                self.contents,
                selection,
                layers=self.request.layers,
                store=self.store,
                progress=self.progress,
            )
        return selection, rebuilt

    def _make_while_asking(self, observation: Observation, root: Rootfs) -> tuple[Selection, Rebuilt]:
        """Make the slim image while the original, which spends its time waiting, is asked again."""
        made: list[tuple[Selection, Rebuilt]] = []

        def ask() -> None:
            self._require(self._try(root, Watch(by=Watching.NONE), "ask the original again"))

        def make() -> None:
            made.append(self._make(observation))

        workers.each(lambda work, check: work(), [ask, make], jobs=self.request.jobs)
        return made[0]

    def _verify(
        self,
        rebuilt: Rebuilt,
        selection: Selection,
        expected: Mapping[str, Expected],
        number: int,
        original: Rootfs,
    ) -> Round:
        label = f"verify the slim image{f', round {number}' if number > 1 else ''}"
        with self.progress.task(label, unit=""), ExitStack() as stack:
            with self.clock.step("lay out"):
                root = stack.enter_context(unpacked(rebuilt.image, self.folder, progress=self.progress))
            gone = verify.gone(self.contents, selection, root.path)
            with self.clock.step("verify"):
                trial = attempt(
                    root,
                    self.settings,
                    self.plan,
                    self.findings,
                    watch=Watch(by=Watching.LOOKUPS, removed=gone.paths, syscalls=False),
                    runtime=self.request.runtime,
                    limits=self.request.limits,
                )
        differences = compare.compare(expected, trial.answers)
        lookups = verify.judge(trial.misses, gone)
        grave = [one for one in lookups if one.judgement not in HARMLESS]
        if differences and not grave and len(self.originals) < _ORIGINALS:
            # it may be the original that varies: a date that changed since, a page with a random order
            again = self._try(original, Watch(by=Watching.NONE), "ask the original once more")
            if not failures(again.answers):
                expected = compare.learn([one.answers for one in self.originals])
                differences = compare.compare(expected, trial.answers)
            else:
                self.originals.pop()
        if differences and grave:
            lookups = (*lookups, *verify.left_out(trial, differences, gone, expected))
        elif differences and not verify.explained(lookups):
            lookups = (*lookups, *verify.listed(trial, differences, gone, expected))
        return Round(
            number=number,
            size=rebuilt.size,
            trial=trial,
            differences=tuple(differences),
            lookups=lookups,
        )

    def _heal(
        self, done: Round, observation: Observation | None, selection: Selection, number: int
    ) -> tuple[Observation, tuple[str, ...]] | None:
        """The observation that also has what was missed, and its paths; None when this was the last round."""
        if done.clean or not self.request.heal or number >= self.request.rounds or observation is None:
            return None
        wider = verify.extended(observation, done.lookups)
        if wider == observation:
            return None
        healed = sorted({one.path for one in done.lookups if one.judgement not in HARMLESS})
        return wider, tuple(healed)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)


def _with_health(plan: Plan, contents: Contents) -> Plan:
    """The plan with the image's own health check before all else."""
    config = contents.outline.manifest.config
    if config is None:
        return plan
    data: Any = msgspec.json.decode(contents.image.document(config))
    check = health.of(data)
    if check is None or any(probe.name == check.name for probe in plan.probes):
        return plan
    return replace(plan, probes=(check, *plan.probes))


def _rooted() -> bool:
    return os.geteuid() == 0
