"""`ramekin why`: the chain of evidence from a request to a package or file, or why it is not there."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ramekin.cli import options, terminal
from ramekin.cli.options import JobsOption, JsonOption, PlainHttpOption, StoreOption

if TYPE_CHECKING:
    from ramekin.build.request import Choices
    from ramekin.image.image import Image
    from ramekin.progress import Progress


def why(
    image: Annotated[
        str, Parameter(help="An image (oci:./web), a spec's image (web, fleet.yaml:web), or a package.")
    ],
    target: Annotated[
        str | None, Parameter(help="A package, or a file by its absolute path; of a slim image also a unit.")
    ] = None,
    /,
    *,
    dropped: Annotated[
        bool, Parameter(name="--dropped", help="List all that was left out, with sizes and reasons.")
    ] = False,
    graph: Annotated[
        str | None,
        Parameter(name="--graph", help="Write the graph of packages to FILE.svg or FILE.dot.", negative=()),
    ] = None,
    closure: Annotated[
        str | None, Parameter(name="--closure", help="The closure, where the image is to be made first.")
    ] = None,
    arch: Annotated[str | None, Parameter(name=["--arch", "-a"], help="Which image of an index.")] = None,
    source: options.SourceOption = None,
    nix_cache: options.NixCacheOption = (),  # type: ignore[assignment]
    nix_key: options.NixKeyOption = (),  # type: ignore[assignment]
    nix_channel: options.NixChannelOption = None,
    jobs: JobsOption = None,
    store: StoreOption = None,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Explain an image; exit with 1 when the image never had to do with the target."""
    from ramekin.build import configure, explain, fields, request
    from ramekin.errors import UsageError
    from ramekin.image import reference, transports
    from ramekin.slim import explanation as slimming

    if target is None and not dropped and graph is None:
        raise UsageError(
            "why: what shall be explained?", hint="name a package or a file, or add --dropped or --graph FILE"
        )
    form = _form(graph) if graph is not None else ""
    architecture = request.architecture(arch) if arch else request.host_architecture()
    with terminal.progress() as progress, ExitStack() as held:
        if _is_reference(image):
            place = reference.parse(image)
            opened = held.enter_context(
                transports.read(place, plain_http=bool(plain_http), progress=progress)
            ).choose(configure.platform(architecture))
        else:
            choices = request.Choices(
                architectures=(architecture,),
                source=options.source(source) if source else None,
                nix=options.nix_choices(nix_cache, nix_key, nix_channel),
                closure=fields.closure(closure, where="--closure") if closure else None,
            )
            opened = _made(image, choices, jobs, store, progress)
        if slimming.is_slim(opened):
            lines, gone = _of_slim(opened, target, dropped, graph)
        else:
            explanation = explain.of(opened)
            spool = Path(held.enter_context(TemporaryDirectory(prefix="ramekin-")))
            lines = explain.answer(explanation, target, opened, spool=spool) if target is not None else ()
            if graph is not None:
                _write(Path(graph), explain.graph(explanation, form))
            gone = explain.dropped(explanation) if dropped else ()
    if json:
        data = [{"name": name, "size": size, "reason": reason} for name, size, reason in gone]
        terminal.write_json({"image": image, "target": target, "chain": lines, "dropped": data})
        return 0
    for line in lines:
        terminal.write(line)
    if dropped:
        rows = [(name, terminal.size(size), reason) for name, size, reason in gone]
        terminal.write_table(("left out", "size", "why"), rows, numbers=(1,))
    return 0


def _of_slim(
    image: Image, target: str | None, dropped: bool, graph: str | None
) -> tuple[tuple[str, ...], tuple[tuple[str, int, str], ...]]:
    """The answer for an image that `ramekin slim` made, and all that went if that is wanted."""
    from ramekin.errors import UsageError
    from ramekin.slim import explanation as slimming

    if graph is not None:
        raise UsageError("--graph: a slim image has no graph of packages", hint="--dropped lists what went")
    explanation = slimming.of(image)
    lines = slimming.answer(explanation, target) if target is not None else ()
    return lines, slimming.left_out(explanation) if dropped else ()


def _is_reference(word: str) -> bool:
    from ramekin.image import reference

    return word.partition(":")[0] in reference.TRANSPORTS


def _form(graph: str) -> str:
    from ramekin.errors import UsageError

    form = Path(graph).suffix.removeprefix(".")
    if form not in ("svg", "dot"):
        raise UsageError(f"--graph: {graph} does not say a format", hint="end its name in .svg or .dot")
    return form


def _made(
    image: str,
    choices: Choices,
    jobs: int | None,
    store: str | None,
    progress: Progress,
) -> Image:
    """What `ramekin build` makes of a word."""
    from ramekin.build import compose, selection
    from ramekin.errors import UsageError

    spec, colon, name = image.rpartition(":")
    words = [spec, name] if colon and selection.is_spec(spec) else image.split(",")
    chosen = selection.select(words, choices)
    if len(chosen.requests) != 1:
        names = ", ".join(request.name for request in chosen.requests)
        raise UsageError(f"{image} has several images: {names}", hint=f"name one, as in {image}:NAME")
    (request,) = chosen.requests
    built = compose.build(
        request,
        store=options.open_store(store, chosen.store),
        progress=progress,
        jobs=options.jobs(jobs, chosen.jobs),
        locked=chosen.locked(request),
    )
    return built.image


def _write(path: Path, text: str) -> None:
    from ramekin.errors import RamekinError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RamekinError(f"{path} cannot be written: {error.strerror}") from None
    terminal.say(f"wrote {path}")
