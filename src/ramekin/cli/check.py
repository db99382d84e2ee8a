"""`ramekin check`: findings about images, with what each costs, why it matters and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ramekin.cli import terminal, working
from ramekin.cli.working import JobsOption, JsonOption, PlainHttpOption, StoreOption

if TYPE_CHECKING:
    from ramekin.analyze.checks.model import Finding, Ignore, Report, Subject
    from ramekin.image.oci import Platform
    from ramekin.progress import Progress

_MARKS = {"error": "1;31", "warning": "1;33", "note": "36"}


def check(
    *images: Annotated[
        str, Parameter(name="IMAGE", help="Images, as in oci:./web or docker://HOST/REPO:TAG.")
    ],
    form: Annotated[
        Literal["text", "json", "sarif"], Parameter(name="--format", help="How findings are written.")
    ] = "text",
    fail_on: Annotated[
        Literal["note", "warning", "error", "never"],
        Parameter(name="--fail-on", help="Exit with 1 for findings that are as bad as this."),
    ] = "error",
    config: Annotated[
        str | None,
        Parameter(name="--config", help="The spec file with `check: ignore:`. Default: ./ramekin.yaml."),
    ] = None,
    show_ignored: Annotated[
        bool, Parameter(name="--show-ignored", help="Show findings that are ignored, with the reasons.")
    ] = False,
    arch: Annotated[str | None, Parameter(name=["--arch", "-a"], help="Which image of an index.")] = None,
    jobs: JobsOption = None,
    store: StoreOption = None,
    plain_http: PlainHttpOption = None,
    json: JsonOption = False,
) -> int:
    """Judge images; exit with 1 when a finding is as bad as `--fail-on` says."""
    from ramekin.analyze.checks import sarif
    from ramekin.analyze.checks.judge import judge
    from ramekin.analyze.checks.model import Severity
    from ramekin.build import configure, request
    from ramekin.errors import UsageError

    if not images:
        raise UsageError("check: which images?", hint="name one, as in oci:./web")
    ignores = _ignores(config)
    platform = configure.platform(request.architecture(arch)) if arch else None
    with terminal.progress() as progress:
        subjects = _subjects(tuple(dict.fromkeys(images)), platform, jobs, store, bool(plain_http), progress)
        report = judge(subjects, ignores)
    for unused in report.unused:
        terminal.say(
            f"nothing is found any more that {unused.rule} ({unused.reason}) ignores", mark="note", style="36"
        )
    if form == "sarif":
        terminal.write_json(sarif.document(report))
    elif form == "json" or json:
        terminal.write_json(_plain(report))
    else:
        _show(report, show_ignored=show_ignored)
    return 1 if fail_on != "never" and report.fails(Severity(fail_on)) else 0


def _subjects(
    names: tuple[str, ...],
    platform: Platform | None,
    jobs: int | None,
    store: str | None,
    plain_http: bool,
    progress: Progress,
) -> list[Subject]:
    from ramekin.analyze import reading
    from ramekin.analyze.checks.model import Subject
    from ramekin.image import reference

    opened = working.open_store(store, None)
    return [
        Subject.of(
            reading.open_image(
                place,
                opened,
                platform=platform,
                jobs=working.jobs(jobs, None),
                plain_http=plain_http,
                progress=progress,
            )
        )
        for place in [reference.parse(name) for name in names]
    ]


def _ignores(config: str | None) -> tuple[Ignore, ...]:
    """What the spec file says; no file is no matter unless one was named."""
    from ramekin.analyze.checks import table
    from ramekin.analyze.checks.model import Ignore
    from ramekin.build import fields, selection
    from ramekin.errors import UsageError

    path = Path(config) if config else Path(selection.SPEC)
    if not config and not path.exists():
        return ()
    from ramekin.build import spec

    found = []
    for one in spec.check(path).ignore:
        if one.rule not in table.BY_CODE and one.rule not in table.BY_NAME:
            names = [*table.BY_NAME, *table.BY_CODE]
            raise UsageError(
                f"{path}: check.ignore: there is no rule {one.rule!r}",
                hint=fields.near(one.rule, names) or None,
            )
        found.append(Ignore(one.rule, one.reason, one.path, one.image))
    return tuple(found)


def _plain(report: Report) -> dict[str, object]:
    """The report for machines, with why and what to do of each rule that found something."""
    import msgspec

    from ramekin.analyze.checks.table import BY_CODE

    codes = sorted({finding.code for finding in report.findings})
    return {
        "images": report.images,
        "findings": [
            {**msgspec.to_builtins(finding), "path": terminal.printable(finding.path)}
            for finding in report.findings
        ],
        "rules": {
            code: {"title": BY_CODE[code].title, "why": BY_CODE[code].why, "do": BY_CODE[code].do}
            for code in codes
        },
    }


def _show(report: Report, *, show_ignored: bool) -> None:
    from ramekin.analyze.checks.table import BY_CODE

    shown = report.findings if show_ignored else report.open
    explained: set[str] = set()
    for image in report.images:
        mine = [finding for finding in shown if finding.image == image]
        if not mine:
            continue
        if len(report.images) > 1:
            terminal.write(f"{image}")
        for finding in mine:
            terminal.write(_line(finding))
            if finding.code not in explained:
                explained.add(finding.code)
                rule = BY_CODE[finding.code]
                terminal.write(f"        why: {rule.why}")
                terminal.write(f"         do: {rule.do}")
    counts = [
        terminal.plural(sum(finding.severity == level for finding in report.open), level)
        for level in ("error", "warning", "note")
    ]
    ignored = len(report.findings) - len(report.open)
    more = f"; {ignored} ignored" if ignored else ""
    terminal.say(f"{terminal.plural(len(report.images), 'image')}: {', '.join(counts)}{more}")


def _line(finding: Finding) -> str:
    import sys

    size = f" ({terminal.size(finding.size)})" if finding.size else ""
    mark = str(finding.severity)
    if terminal.is_live(sys.stdout):
        mark = f"\033[{_MARKS[mark]}m{mark}\033[0m"
    ignored = f"; ignored: {finding.ignored}" if finding.ignored else ""
    return f"{mark} {finding.code} {finding.name}: {finding.message}{size}{ignored}"
