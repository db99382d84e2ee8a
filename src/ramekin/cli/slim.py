"""`ramekin slim`: keep what a running image uses."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from ramekin.build import fields
from ramekin.cli import options, terminal
from ramekin.cli.options import JobsOption, JsonOption, PlainHttpOption, StoreOption
from ramekin.errors import UsageError

if TYPE_CHECKING:
    from ramekin.image.reference import Reference
    from ramekin.slim.settings import Settings
    from ramekin.slim.slimmed import SlimRequest
    from ramekin.store.store import Store

_ASKED = Group("What it is asked", sort_key=1)
_STAYS = Group("What stays", sort_key=2)
_RUNS = Group("How it is run", sort_key=3)
_RESULT = Group("What comes of it", sort_key=4)


def slim(
    image: Annotated[
        str | None,
        Parameter(help="The image, as in oci:./web or docker://HOST/REPO:TAG, or a spec with `slim:`."),
    ] = None,
    /,
    *names: Annotated[str, Parameter(help="Names under `slim:` of the spec. Default: all.")],
    output: Annotated[
        str | None,
        Parameter(
            name=["--output", "-o"],
            group=_RESULT,
            help="Where the slim image goes, as in oci:./web-slim or docker://HOST/REPO:TAG.",
            metavar="TARGET",
        ),
    ] = None,
    probe: Annotated[
        list[str] | None,
        Parameter(
            name="--probe",
            group=_ASKED,
            help="A file of probes, or a request: http://localhost:8000/path, :8000/path or /path.",
            metavar="FILE|URL",
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        Parameter(name="--run", group=_ASKED, help="A command to run inside the container.", metavar="CMD"),
    ] = None,
    probe_cmd: Annotated[
        list[str] | None,
        Parameter(
            name="--probe-cmd",
            group=_ASKED,
            help="A command of this machine's shell, such as a test suite; RAMEKIN_URL is the address.",
            metavar="CMD",
        ),
    ] = None,
    crawl: Annotated[
        bool | None,
        Parameter(name="--crawl", group=_ASKED, help="Follow links, assets and GET forms.", negative=()),
    ] = None,
    replay: Annotated[
        list[str] | None,
        Parameter(
            name="--replay",
            group=_ASKED,
            help="An access log whose reading requests are sent.",
            metavar="ACCESSLOG",
        ),
    ] = None,
    ready: Annotated[
        str | None,
        Parameter(
            name="--ready",
            group=_RUNS,
            help="When the program is ready: a port, unix:/PATH, or a command inside that ends with 0. "
            "Default: as soon as the exposed port takes connections.",
            metavar="PORT|CMD",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        Parameter(
            name=["--env", "-e"],
            group=_RUNS,
            help="An environment variable for the image's program.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    cmd: Annotated[
        str | None,
        Parameter(
            name="--cmd", group=_RUNS, help="Arguments in place of the image's own.", metavar="ARGUMENTS"
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        Parameter(
            name="--keep",
            group=_STAYS,
            help="What stays in any case: a glob of absolute paths, or a unit such as python:Django.",
            metavar="GLOB|UNIT",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        Parameter(name="--drop", group=_STAYS, help="What goes in any case.", metavar="GLOB|UNIT"),
    ] = None,
    level: Annotated[
        str | None,
        Parameter(
            name="--level",
            group=_STAYS,
            help="Whole units around what was used, or only files that were used or that evidence leads to. "
            "Default: units.",
            metavar="units|files",
        ),
    ] = None,
    locales: Annotated[
        list[str] | None,
        Parameter(
            name="--locales",
            group=_STAYS,
            help="Languages that stay, as in en,fr. Default: all of what stays.",
            metavar="LIST",
        ),
    ] = None,
    bytecode: Annotated[
        str | None,
        Parameter(
            name="--bytecode",
            group=_STAYS,
            help="What becomes of compiled Python whose source stays. Default: keep; at level files drop.",
            metavar="keep|drop",
        ),
    ] = None,
    symbols: Annotated[
        str | None,
        Parameter(
            name="--symbols",
            group=_STAYS,
            help="Where symbol tables and debugging information of programs are left out: nowhere, in "
            "packages and runtimes, or in the author's files too. Default: packages.",
            metavar="keep|packages|drop",
        ),
    ] = None,
    layers: Annotated[
        str | None,
        Parameter(
            name="--layers",
            group=_RESULT,
            help="The original's layers, of which whole ones stay shared; one; or one a unit. Default: keep.",
            metavar="keep|one|units",
        ),
    ] = None,
    trace: Annotated[
        str | None,
        Parameter(
            name="--trace",
            group=_RUNS,
            help="What is watched: files that are opened, or also those that are only tested for (slower). "
            "Default: opens.",
            metavar="opens|stat",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        Parameter(
            name="--runtime",
            group=_RUNS,
            help="What makes the sandbox. Default: runc for root if it is installed, else bwrap.",
            metavar="runc|bwrap",
        ),
    ] = None,
    heal: Annotated[
        bool | None,
        Parameter(
            name="--heal",
            group=_STAYS,
            help="Put back what was missed while the slim image was verified, and verify again. The default.",
            negative="--no-heal",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        Parameter(name="--rounds", group=_STAYS, help="Verifications at most. Default: 5.", metavar="N"),
    ] = None,
    observation: Annotated[
        Path | None,
        Parameter(
            name="--observation",
            group=_RUNS,
            help="The file of what was observed. When it is there, it is used and nothing is observed; else "
            "it is written. Default: beside the output, written only.",
            metavar="FILE",
        ),
    ] = None,
    shadow: Annotated[
        list[str] | None,
        Parameter(
            name="--shadow",
            group=_RESULT,
            help="Run the slim image for your own workload, for a TIME or until interrupted, and record in "
            "DIR what it misses.",
            metavar="DIR|TIME",
        ),
    ] = None,
    seccomp: Annotated[
        Path | None,
        Parameter(
            name="--seccomp",
            group=_RESULT,
            help="Write a seccomp profile for the system calls that were seen.",
            metavar="FILE",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        Parameter(
            name="--report",
            group=_RESULT,
            help="Write a page for browsers to this file.",
            metavar="FILE.html",
        ),
    ] = None,
    arch: Annotated[
        str | None,
        Parameter(
            name=["--arch", "-a"],
            group=_RUNS,
            help="Of an index, the image of this architecture.",
            metavar="ARCH",
        ),
    ] = None,
    store: StoreOption = None,
    jobs: JobsOption = None,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Slim images; exit with 1 when a slim image answers otherwise than its original."""
    from ramekin.slim import settings as said
    from ramekin.slim.probes import words

    own = said.Settings(
        image=None,
        output=output,
        plan=words.plan(
            probe=probe or (),
            run=run or (),
            host=probe_cmd or (),
            crawl=bool(crawl),
            replay=replay or (),
            ready=ready,
            env=[fields.variable(*fields.pair(text, where="--env"), where="--env") for text in env or ()],
            arguments=fields.words(cmd, where="--cmd") if cmd is not None else (),
        ),
        keep=tuple(keep or ()),
        drop=tuple(drop or ()),
        level=None if level is None else said.one_of(level, said.LEVELS, where="--level"),
        locales=None if locales is None else said.locales(locales, where="--locales"),
        bytecode=None if bytecode is None else said.one_of(bytecode, said.BYTECODE, where="--bytecode"),
        symbols=None if symbols is None else said.one_of(symbols, said.SYMBOLS, where="--symbols"),
        layers=None if layers is None else said.one_of(layers, said.LAYERS, where="--layers"),
        trace=None if trace is None else said.one_of(trace, said.TRACES, where="--trace"),
        runtime=None if runtime is None else said.one_of(runtime, said.RUNTIMES, where="--runtime"),
        heal=heal,
        rounds=None if rounds is None else said.rounds(rounds, where="--rounds"),
        observation=observation,
        seccomp=seccomp,
        report=report,
        arch=arch,
        shadow=said.shadow(shadow or (), where="--shadow"),
    )
    chosen = _chosen(image, names, own)
    opened = options.open_store(store)
    results = []
    for one in chosen:
        if len(chosen) > 1 and not json:
            terminal.say(f"{one.image}:")
        results.append(_one(one, opened, options.jobs(jobs), bool(plain_http), json))
    if json:
        data = [data for _, data in results]
        terminal.write_json(data[0] if len(data) == 1 else data)
    return max(code for code, _ in results)


def _chosen(image: str | None, names: tuple[str, ...], own: Settings) -> list[Settings]:
    """The settings of each image that is meant."""
    from dataclasses import replace

    from ramekin.build import selection

    if image is not None and not selection.is_spec(image):
        if names:
            raise UsageError(
                f"slim: {names[0]!r} is one image too many",
                hint="several images stand under `slim:` of a spec",
            )
        if own.output is None and own.shadow is None:
            raise UsageError(
                "slim: where does the slim image go?", hint="add -o TARGET, as in -o oci:./web-slim"
            )
        return [replace(own, image=image)]
    from ramekin.build import spec

    path = Path(image if image is not None else "ramekin.yaml")
    if image is None and not path.exists():
        raise UsageError(
            "slim: which image?", hint="name one, as in `ramekin slim docker://HOST/REPO -o oci:./slim`"
        )
    known = spec.slims(path)
    for name in names:
        if name not in known:
            raise UsageError(
                f"{path} has nothing called {name!r} under `slim:`", hint=fields.near(name, known, "it has ")
            )
    wanted = [own.over(known[name]) for name in names or known]
    if len(wanted) > 1 and own.output is not None:
        raise UsageError(
            "--output: several images have one place each", hint="give each its `output:` in the spec"
        )
    return wanted


def _one(
    settings: Settings, store: Store, jobs: int, plain_http: bool, json: bool
) -> tuple[int, dict[str, Any]]:
    """Slim one image, say what came of it, and give the exit code with the result as data."""
    from ramekin.cli import slim_outcome as outcome
    from ramekin.image import reference, transports
    from ramekin.slim import run

    assert settings.image is not None
    place = reference.parse(settings.image)
    target = _target(settings)
    request = _request(settings, jobs)
    for path in (settings.observation, settings.report, settings.seccomp):
        outcome.require_place(path)
    with ExitStack() as stack:
        progress = stack.enter_context(terminal.progress())
        opened = stack.enter_context(transports.read(place, plain_http=plain_http, progress=progress))
        if target is not None and transports.replaces(opened, place, target):
            raise UsageError(
                f"{target}: the slim image would take the place of its original",
                hint="give it a tag or a place of its own, and move it once you trust it",
            )
        slimmed = stack.enter_context(run.slim(opened, request, store, progress=progress))
        written = outcome.write_all(settings, slimmed, target, jobs, plain_http, progress)
        if not json:
            outcome.summarize(slimmed, settings, written)
            if target is not None and slimmed.passed:
                from dataclasses import replace

                terminal.write(str(replace(target, digest=slimmed.image.root.digest)))
        if settings.shadow is not None and slimmed.passed:
            written["shadow"] = str(outcome.shadow(settings, slimmed, target))
    return (0 if slimmed.passed else 1), outcome.as_data(slimmed, settings, target, written)


def _target(settings: Settings) -> Reference | None:
    from ramekin.image import reference

    return None if settings.output is None else reference.parse_target(settings.output)


def _request(settings: Settings, jobs: int) -> SlimRequest:
    from ramekin.slim import slimmed
    from ramekin.slim.rebuild import Layers
    from ramekin.slim.units import Bytecode, Choice, Level, Symbols

    platform = None
    if settings.arch is not None:
        from ramekin.build import configure, request

        platform = configure.platform(request.architecture(settings.arch))
    assert settings.image is not None
    return slimmed.SlimRequest(
        name=settings.image,
        plan=settings.plan,
        choice=Choice(
            level=Level(settings.level or "units"),
            locales=settings.locales,
            bytecode=Bytecode(settings.bytecode or ("drop" if settings.level == "files" else "keep")),
            symbols=Symbols(settings.symbols or "packages"),
            keep=settings.keep,
            drop=settings.drop,
        ),
        layers=Layers(settings.layers or "keep"),
        observation=_observation(settings.observation),
        stat=settings.trace == "stat",
        runtime=settings.runtime,
        platform=platform,
        heal=settings.heal is not False,
        rounds=settings.rounds or slimmed.ROUNDS,
        jobs=jobs,
    )


def _observation(path: Path | None) -> Any:
    from ramekin.slim import observation

    if path is None or not path.exists():
        return None
    return observation.read(path)
