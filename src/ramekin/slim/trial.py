"""One trial of an image: its program is started, asked everything, and ended, under a watch.

    start ─┬─ it listens, or is ready by its command ─▶ probes in their order ─▶ stop
           ├─ it comes to its end by itself ─▶ each `run` in a container of its own
           └─ neither, for a while ─▶ it is taken for a program that works in silence: probes ─▶ stop

The first trial of the original decides which of the three a program is, and what crawls ask for; all later
ones follow it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ramekin.errors import RamekinError
from ramekin.image.oci import Runtime
from ramekin.image.running.container import NoProgramError, Wishes
from ramekin.slim import observation as observations
from ramekin.slim.observation import Observation
from ramekin.slim.probes import asking, commands
from ramekin.slim.probes.answer import START, Answer
from ramekin.slim.probes.model import Crawl, Health, Host, Http, Plan, Probe, Replay, Run
from ramekin.slim.sandbox import lookups
from ramekin.slim.sandbox.plan import Limits, Miss, Readiness, State, Watch, Watching
from ramekin.slim.sandbox.rootfs import Rootfs
from ramekin.slim.sandbox.running import Running, sandbox

Course = Literal["listens", "ends", "silent"]
"""What a program does after its start."""

SILENCE = 10.0
"""Seconds after which a program that neither listens nor ends is taken for one that works in silence."""
_AWAY = 0.5
"""Seconds in which a program of which only others listen shows that it goes to the background."""
_PAUSE = 0.02
_HTTP_TIME = 5.0
_LAST_PORT = 65535


@dataclass(slots=True)
class Findings:
    """What the first trial found out that all later ones follow. `port` is where requests go."""

    course: Course | None = None
    port: int | str | None = None
    ports: tuple[int, ...] = ()
    memory: asking.Memory = field(default_factory=asking.Memory)
    probes: tuple[Probe, ...] | None = None


class Trial(msgspec.Struct, frozen=True):
    """What came of one trial. `seconds` is all its time, `ready` the part of it until the program was ready.

    `misses` and `listings` are look-ups of paths that are gone, and folders that were listed of whose entries
    some are gone.
    """

    answers: tuple[Answer, ...]
    observation: Observation
    misses: tuple[Miss, ...]
    listings: tuple[Miss, ...]
    log: str
    seconds: float
    ready: float

    @property
    def complaints(self) -> tuple[tuple[str, str], ...]:
        """All that probes expected and did not get: the probe's name and a sentence."""
        return tuple((answer.probe, text) for answer in self.answers for text in answer.complaints)


def attempt(
    root: Rootfs,
    settings: Runtime,
    plan: Plan,
    findings: Findings,
    *,
    watch: Watch,
    runtime: str | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Trial:
    """Try an image once.

    `RamekinError` when the sandbox cannot be made, or when the program of the first trial does not get ready;
    whatever goes wrong with a program after that is an answer.
    """
    begun = time.monotonic()
    trial = _Attempt(root, settings, plan, findings, watch, runtime, limits)
    answers = tuple(trial.answers())
    return Trial(
        answers=answers,
        observation=trial.observation,
        misses=tuple(sorted(trial.misses)),
        listings=tuple(sorted(trial.listings)),
        log=trial.log.decode("utf-8", "backslashreplace"),
        seconds=time.monotonic() - begun,
        ready=trial.ready,
    )


class _Attempt:
    def __init__(
        self,
        root: Rootfs,
        settings: Runtime,
        plan: Plan,
        findings: Findings,
        watch: Watch,
        runtime: str | None,
        limits: Limits,
    ) -> None:
        self.root, self.settings, self.plan, self.findings = root, settings, plan, findings
        self.watch, self.runtime, self.limits = watch, runtime, limits
        self.observation = Observation()
        self.misses: set[Miss] = set()
        self.listings: set[Miss] = set()
        self.log = b""
        self.ready = 0.0

    def answers(self) -> Iterator[Answer]:
        first = self.findings.course is None
        try:
            answers, course, state = self._together()
        except RamekinError as error:
            if first:
                raise
            self._note_program(error)
            yield Answer(START, "start", {"error": error.message}, (error.message,))
            return
        yield self._start_answer(course, state)
        yield from answers
        if course == "ends":
            yield from self._alone()

    def _together(self) -> tuple[list[Answer], Course, State]:
        """Start the program and, if it keeps running, put all probes to it."""
        begun = time.monotonic()
        answers: list[Answer] = []
        if self._only_commands():
            self.findings.course = "ends"
            return answers, "ends", State(started=True, ended=0, full=False, listening=())
        wishes = Wishes(arguments=self.plan.arguments, env=self.plan.env)
        with self._sandbox(wishes) as running:
            try:
                course = self._course(running)
                self.ready = time.monotonic() - begun
                if self.findings.course is None:
                    self._find_ports(running)
                    if course == "listens" and self._is_away(running):
                        course = "ends"
                    self.findings.course = course
                if course != "ends":
                    answers += self._ask(running)
                    with suppress(RamekinError):
                        running.stop()
                state = running.state()
            finally:
                self._note(running)
        # only now all that it printed has arrived
        self.log += running.log()
        return answers, course, state

    def _only_commands(self) -> bool:
        """Whether an image that names no program of its own is asked by commands alone."""
        named = self.settings.entrypoint or self.settings.cmd or self.plan.arguments
        return not named and self.plan.of_commands

    def _sandbox(self, wishes: Wishes) -> AbstractContextManager[Running]:
        return sandbox(
            self.root,
            self.settings,
            wishes=wishes,
            watch=self.watch,
            limits=self.limits,
            runtime=self.runtime,
        )

    # -- the program itself

    def _start_answer(self, course: Course, state: State) -> Answer:
        """How the program started, beside what it did the first time."""
        answer = (
            self._ended(state) if course == "ends" else Answer(START, "start", {"state": _STATES[course]})
        )
        if course == self.findings.course:
            return answer
        first = _STATES[self.findings.course or course]
        said = "; ".join(answer.complaints) or f"{_STATES[course]}, and the first time {first}"
        return Answer(START, "start", answer.fields | {"error": said}, (said,))

    def _course(self, running: Running) -> Course:
        plan, ready = self.plan, self.plan.ready
        if ready.said:
            port = ready.port if isinstance(ready.port, int) else None
            unix = ready.port.removeprefix("unix:") if isinstance(ready.port, str) else None
            running.wait_ready(
                Readiness(port=port, socket=unix, command=ready.command, patience=ready.seconds)
            )
            return "listens"
        wanted = _wanted_port(plan, self.settings)
        course = self.findings.course
        # one that will end, or that is asked nothing else than to do its work, has all the time that it takes
        silent = course == "silent" or (course != "ends" and wanted is None and plan.of_commands)
        patience = min(ready.seconds, SILENCE) if silent else ready.seconds
        end = time.monotonic() + patience
        while True:
            state = running.state()
            if state.full:
                running.check()
            if state.ended is not None:
                return "ends"
            # what ended the first time, and left something behind that listens, will end again
            there = () if course == "ends" else state.listening
            if any(_is(wanted, one) for one in there) if wanted is not None else there:
                return "listens"
            if time.monotonic() > end:
                break
            time.sleep(_PAUSE)
        if wanted is not None or plan.of_program:
            port = wanted if isinstance(wanted, int) else None
            raise running.late(Readiness(port=port, patience=patience), running.state())
        return "silent"

    def _is_away(self, running: Running) -> bool:
        """Whether a program goes to the background: what it leaves there listens, and it ends.

        A program that listens itself stays. Another one is given a moment, and a longer one where it need not
        be asked anything.
        """
        if self.plan.ready.said or running.state().own:
            return False
        end = time.monotonic() + (_PAUSE if self.plan.of_program else _AWAY)
        while (ended := running.state().ended) is None and time.monotonic() < end:
            time.sleep(_PAUSE)
        return ended == 0

    def _ended(self, state: State) -> Answer:
        code = _exit(state.ended or 0)
        text = commands.printed(self.log)
        fields = {"exit": str(code), "output": text}
        (last,) = text.strip().splitlines()[-1:] or ["it printed nothing"]
        if code and not self.plan.probes:
            said = f"the image's program ends with {code}: {last[:200]}"
        elif self.plan.of_program:
            said = f"the image's program has ended with {code} and can be asked nothing: {last[:200]}"
        else:
            return Answer(START, "start", fields)
        return Answer(START, "start", fields, (said,))

    def _find_ports(self, running: Running) -> None:
        """Where requests go, and the ports that commands of this machine are told."""
        there = running.listening()
        listening = [int(one[4:]) for one in there if one.startswith("tcp:")]
        exposed = [port for port in exposed_ports(self.settings) if port in listening]
        named = _wanted_port(self.plan, self.settings)
        sockets = [one for one in there if one.startswith("unix:/")]
        first: list[int | str] = [*exposed, *sorted(listening), *sockets]
        self.findings.port = named if named is not None else (first[0] if first else None)
        ports = {port for port in (*exposed, *listening) if port}
        if isinstance(self.findings.port, int):
            ports.add(self.findings.port)
        self.findings.ports = tuple(sorted(ports))

    # -- its probes

    def _ask(self, running: Running) -> Iterator[Answer]:
        if self.findings.probes is None:
            usual = () if _asks(self.plan) else _usual(running, self.findings)
            self.findings.probes = (*self.plan.probes, *usual)
        ended = ""
        for answer in asking.ask(
            self.findings.probes,
            running,
            self.findings.memory,
            port=self.findings.port,
            ports=self.findings.ports,
        ):
            if "error" in answer.fields and not ended:
                ended = self._why_not(running)
            yield msgspec.structs.replace(answer, note=ended) if ended else answer

    def _why_not(self, running: Running) -> str:
        """What became of the program, if it is no more."""
        try:
            running.check()
        except RamekinError as error:
            return error.message
        return ""

    def _note(self, running: Running) -> None:
        """Take down what was seen."""
        if self.watch.by is Watching.LOOKUPS:
            self.misses.update(running.misses())
            self.listings.update(running.listings())
        elif self.watch.by is not Watching.NONE:
            self.observation = observations.merge(self.observation, running.observation())

    def _note_program(self, error: RamekinError) -> None:
        """Take down that a program was gone which was to be started, so that nobody came to look for it."""
        if not isinstance(error, NoProgramError):
            return
        removed = {f"/{path}" for path in self.watch.removed}
        for path in error.tried:
            gone = lookups.walk(str(self.root.path), path, follow=True).among(removed)
            if gone is not None:
                self.misses.add(Miss(gone.strip("/"), "execve", ""))

    def _alone(self) -> Iterator[Answer]:
        """Put each command to a container of its own."""
        if self.findings.probes is None:
            self.findings.probes = self.plan.probes
        for probe in self.findings.probes:
            if not isinstance(probe, Run):
                yield commands.failed(probe.name, _kind(probe), commands.ENDED)
                continue
            wishes = Wishes(entrypoint=probe.command, env=(*self.plan.env, *probe.env))
            try:
                with self._sandbox(wishes) as running:
                    try:
                        status = self._wait(running, probe.seconds)
                    finally:
                        self._note(running)
            except RamekinError as error:
                self._note_program(error)
                yield commands.failed(probe.name, "run", error.message)
                continue
            if status is None:
                yield commands.failed(probe.name, "run", f"the command did not end in {probe.seconds:g} s")
            else:
                yield commands.ended(probe, "run", _exit(status), running.log(), b"")

    def _wait(self, running: Running, seconds: float) -> int | None:
        """The wait status of a program that comes to its end in time."""
        end = time.monotonic() + seconds
        while (state := running.state()).ended is None and time.monotonic() < end:
            if state.full:
                break
            time.sleep(_PAUSE)
        if state.full:
            # and was ended for it
            running.check()
        return state.ended


_STATES = {"listens": "ready", "ends": "the program has ended", "silent": "the program listens on nothing"}


def exposed_ports(settings: Runtime) -> tuple[int, ...]:
    """The TCP ports that an image says it listens on, in order."""
    found = []
    for text in settings.exposed_ports or ():
        number, _, protocol = text.partition("/")
        if (
            number.isascii()
            and number.isdecimal()
            and 1 <= int(number) <= _LAST_PORT
            and protocol in ("", "tcp")
        ):
            found.append(int(number))
    return tuple(sorted(found))


def _wanted_port(plan: Plan, settings: Runtime) -> int | str | None:
    """The port that requests go to, as far as it can be known before the start."""
    if plan.port is not None:
        return plan.port
    if plan.ready.port is not None:
        return plan.ready.port
    said = [probe.port for probe in plan.probes if isinstance(probe, Http | Crawl | Replay)]
    exposed = exposed_ports(settings)
    if exposed and (None in said or not said):
        # probes that name no port mean the image's, whatever the others name
        return exposed[0]
    return next((port for port in said if port is not None), None)


def _is(port: int | str | None, listening: str) -> bool:
    return listening == (f"tcp:{port}" if isinstance(port, int) else port)


def _usual(running: Running, findings: Findings) -> tuple[Probe, ...]:
    """What a program is asked of which nothing is known: `GET /`, if it speaks HTTP."""
    if findings.port is None:
        return ()
    probe = Http(name="GET /", anything=True, seconds=_HTTP_TIME)
    answers = asking.ask((probe,), running, asking.Memory(), port=findings.port, ports=())
    return (probe,) if all("error" not in answer.fields for answer in answers) else ()


def _asks(plan: Plan) -> bool:
    """Whether a plan has more than the image's own health check."""
    return any(not isinstance(probe, Health) for probe in plan.probes)


def _exit(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _kind(probe: Probe) -> str:
    return "host" if isinstance(probe, Host) else type(probe).__name__.lower()


def failures(answers: Sequence[Answer]) -> list[str]:
    """The complaints of answers as lines `PROBE: WHAT IS WRONG`."""
    return [f"{answer.probe}: {text}" for answer in answers for text in answer.complaints]
