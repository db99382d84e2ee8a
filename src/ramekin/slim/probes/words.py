"""The probes of a command line: `--probe`, `--run`, `--probe-cmd`, `--crawl`, `--replay` and `--ready`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ramekin.errors import NotFoundError, UsageError
from ramekin.slim.probes import model
from ramekin.slim.probes.model import Plan, Probe

_PORT = re.compile(r"[0-9]{1,5}")
_AT_PORT = re.compile(r":([0-9]{1,5})(/\S*)?")


def plan(
    *,
    probe: Sequence[str] = (),
    run: Sequence[str] = (),
    host: Sequence[str] = (),
    crawl: bool = False,
    replay: Sequence[str] = (),
    ready: str | None = None,
    env: Sequence[tuple[str, str]] = (),
    arguments: Sequence[str] = (),
    folder: Path = Path(),
    more: Sequence[Probe] = (),
) -> Plan:
    """All that the options say, after `more`: requests first; files are relative to `folder`.

    `UsageError` names the option, or file, line and key at fault, `NotFoundError` a file that is not there.
    """
    plans: list[Plan] = []
    own: list[Probe] = []
    for text in probe:
        if is_address(text):
            own.append(address(text))
        else:
            from ramekin.slim.probes import form

            if not (folder / text).exists():
                raise NotFoundError(
                    f"--probe: there is no file {folder / text}",
                    hint="a request is a path (/health), :PORT/PATH, or a URL with http:// or https://",
                )
            plans.append(form.read(folder / text))
    for text in replay:
        own.append(_replay(folder / text))
    if crawl:
        own.append(_crawl(own))
    own += [_run(text) for text in run]
    own += [
        model.Host(name=f"host {text}", command=text, folder=str(folder) if folder != Path() else "")
        for text in host
    ]
    start = Plan(
        probes=tuple(own),
        ready=_ready(ready),
        env=tuple(env),
        arguments=tuple(arguments),
    )
    return model.united([Plan(probes=tuple(more)), *plans, start])


def is_address(text: str) -> bool:
    """Whether the word of a `--probe` is an address; everything else is a file."""
    if text.startswith(("http://", "https://")) or _AT_PORT.fullmatch(text):
        return True
    return text.startswith("/") and not Path(text).is_file() and not text.endswith((".yaml", ".yml"))


def address(text: str) -> model.Http:
    """The request of a `--probe URL`, `:PORT/PATH` or `/PATH`; `UsageError` when it is none of these."""
    found = _AT_PORT.fullmatch(text)
    try:
        place = model.Place(found[2] or "/", port(found[1], where="--probe")) if found else model.place(text)
    except ValueError as error:
        raise UsageError(f"--probe: {text}: {error}", hint="as in http://localhost:8000/ or /path") from None
    return model.Http(name=f"GET {text}", path=place.path, port=place.port, tls=place.tls, host=place.host)


def port(text: str, *, where: str) -> int:
    """A port's number."""
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise UsageError(f"{where}: {text!r} is not a port", hint="a port is 1 to 65535")
    return int(text)


def _words(text: str, where: str) -> tuple[str, ...]:
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageError(f"{where}: {text!r} is not UTF-8")
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        raise UsageError(f"{where}: {text!r} has a quotation that is not closed") from None
    if not words:
        raise UsageError(f"{where}: there is no command")
    return words


def _run(text: str) -> model.Run:
    return model.Run(name=f"run {text}", command=_words(text, "--run"))


def _ready(text: str | None) -> model.Ready:
    if text is None:
        return model.Ready()
    if text.startswith("unix:/"):
        return model.Ready(port=text)
    if text.isdecimal():
        return model.Ready(port=port(text, where="--ready"))
    return model.Ready(command=_words(text, "--ready"))


def _replay(path: Path) -> model.Replay:
    from ramekin.slim.probes import accesslog

    requests, left_out = accesslog.read(path, model.REPLAYED)
    return model.Replay(name=f"replay {path.name}", requests=requests, left_out=left_out)


def _crawl(probes: Sequence[Probe]) -> model.Crawl:
    """A crawl from the first address that was named, else from `/`."""
    first = next((probe for probe in probes if isinstance(probe, model.Http)), None)
    if first is None:
        return model.Crawl(name="crawl /")
    return model.Crawl(
        name=f"crawl {first.path}", start=(first.path,), port=first.port, tls=first.tls, host=first.host
    )
