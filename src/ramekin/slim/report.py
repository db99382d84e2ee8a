"""What came of slimming, for people and programs: lines, data and a page, all views of one `Slimmed`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ramekin.analyze.inspect import plain
from ramekin.analyze.page.model import Bar, Bars, Colouring, Column, Figure, Map, Page, Part, Table
from ramekin.analyze.page.numbers import size
from ramekin.analyze.treemap import treemap
from ramekin.slim.contents import Contents
from ramekin.slim.probes.answer import START, Answer
from ramekin.slim.slimmed import Slimmed
from ramekin.slim.units import Reason, Selection, Unit
from ramekin.slim.units.table import rules
from ramekin.slim.verify import GIVEN_UP, HARMLESS, LISTING, OPENED, SPARE, TESTED, Lookup

MOST = 10_000
"""Rows that a table of a page has at most."""
SHOWN = 8
"""Look-ups or notes of one kind that a summary names."""

_HOW = {
    GIVEN_UP: "given up on purpose, looked for",
    SPARE: "byte code whose source stays, looked for",
    OPENED: "to be opened",
    TESTED: "asked about",
    LISTING: "in a folder that was listed",
}
_SIZE, _FILES, _PATH = Column("Size", "size"), Column("Files", "count"), Column("Path", "path")


def summary(slimmed: Slimmed) -> Iterator[str]:
    """A few lines: sizes, probes, what was put back, and what the user gave up and the program asked for."""
    selection, after = slimmed.selection, slimmed.rebuilt.size
    share = after / selection.size if selection.size else 1.0
    files = f"{len(selection.kept):,} of {len(selection.kept) + len(selection.dropped):,} files"
    yield f"{size(selection.size)} → {size(after)} ({share:.0%}), {files}"
    if saved := slimmed.rebuilt.leaner:
        yield f"of these, {len(saved):,} without symbols: {size(sum(saved.values()))} less"
    if slimmed.rounds:
        answers = [one for one in slimmed.rounds[-1].trial.answers if one.probe != START]
        wrong = {one.probe for one in slimmed.differences}
        same, asked = tally(slimmed)
        rounds = len(slimmed.rounds)
        again = f" after {rounds} rounds" if rounds > 1 else ""
        if answers or wrong:
            yield f"{same} of {asked} answers are those of the original{again}"
        else:
            yield f"the program starts as the original does{again}; add probes for more"
    else:
        yield "not verified: nothing was run"
    if healed := slimmed.healed:
        paths = [f"/{one.path}" for one in healed]
        yield f"put back: {_few(paths)}"
    if slimmed.missed and slimmed.passed:
        yield f"missed, though nothing differs: {_few([f'/{one.path}' for one in slimmed.missed])}"
    if slimmed.rounds:
        given = [f"/{one.path}" for one in slimmed.rounds[-1].lookups if one.judgement == GIVEN_UP]
        code = [path for path in given if path.endswith((".pyc", "/__pycache__"))]
        rest = [path for path in given if path not in set(code)]
        if rest:
            yield f"looked for, and given up on purpose: {_few(rest)}"
        if code:
            yield f"looked for {len(code)} times: byte code, which was given up on purpose"


def tally(slimmed: Slimmed) -> tuple[int, int]:
    """How many probes the slim image answers as the original, and how many there are; its start is none."""
    wrong = {one.probe for one in slimmed.differences} - {START}
    asked = len(slimmed.expected) - (START in slimmed.expected)
    return asked - len(wrong), asked


def missing(slimmed: Slimmed) -> list[str]:
    """What a slim image that answers otherwise missed, the likeliest first."""
    if not slimmed.rounds:
        return []
    order = {OPENED: 0, TESTED: 1, GIVEN_UP: 2, LISTING: 3, SPARE: 4}
    found = sorted(slimmed.rounds[-1].lookups, key=lambda one: (order[one.judgement], one.path))
    return [_lookup(one) for one in found]


def advice(slimmed: Slimmed, *, healed: bool) -> str:
    """The way out for a slim image that answers otherwise."""
    last = slimmed.rounds[-1].lookups
    grave = [one for one in last if one.judgement not in HARMLESS]
    if grave:
        unit = next((one.unit for one in grave if one.unit), f"/{grave[0].path}")
        return f"--keep {unit} keeps it" + ("" if healed else ", or leave out --no-heal")
    if any(one.judgement == GIVEN_UP for one in last):
        return "what was given up by --drop, --locales or --bytecode is needed; keep it"
    return (
        "no look-up of anything that was taken away explains it; where the answer varies by itself, "
        "`compare: status` compares less of it, and --level units keeps more"
    )


def data(slimmed: Slimmed) -> dict[str, Any]:
    """All of it as plain data."""
    selection = slimmed.selection
    last = slimmed.rounds[-1] if slimmed.rounds else None
    return {
        "digest": slimmed.image.root.digest,
        "size_before": selection.size,
        "size_after": slimmed.rebuilt.size,
        "files_before": len(selection.kept) + len(selection.dropped),
        "files_after": len(selection.kept),
        "layers_shared": list(slimmed.rebuilt.shared),
        "without_symbols": {plain(f"/{path}"): saved for path, saved in slimmed.rebuilt.leaner.items()},
        "verified": slimmed.verified,
        "passed": slimmed.passed,
        "probes": list(_verdicts(slimmed)),
        "rounds": [
            {
                "size": one.size,
                "differences": len(one.differences),
                "differing": [plain(str(difference)) for difference in one.differences],
                "lookups": [_as_data(lookup) for lookup in one.lookups],
                "put_back": [plain(path) for path in one.healed],
            }
            for one in slimmed.rounds
        ],
        "differences": [
            {
                "probe": one.probe,
                "field": one.field,
                "line": one.line,
                "expected": one.expected,
                "found": one.found,
            }
            for one in (last.differences if last else ())
        ],
        "kept_by_rule": _kept(slimmed),
        "dropped_by_rule": _dropped(slimmed),
        "notes": list(slimmed.notes),
        "seconds": {name: round(seconds, 3) for name, seconds in slimmed.seconds.items()},
    }


def page(slimmed: Slimmed) -> Page:
    """All of it for browsers."""
    selection = slimmed.selection
    before, after = selection.size, slimmed.rebuilt.size
    files = len(selection.kept) + len(selection.dropped)
    contents = slimmed.contents
    rows = list(_rows(contents, selection, slimmed.rebuilt.leaner))
    return Page(
        title=f"{slimmed.name}, slimmed",
        subtitle="  ".join(
            filter(
                None,
                (
                    str(contents.outline.platform or ""),
                    f"{contents.outline.root.digest} → {slimmed.image.root.digest}",
                ),
            )
        ),
        figures=(
            Figure(
                "Content",
                f"{size(before)} → {size(after)}",
                f"{after / before if before else 1:.0%} of it, each content counted once",
            ),
            Figure("Files", f"{files:,} → {len(selection.kept):,}", _units(selection)),
            Figure("Answers", *_answers(slimmed)),
            Figure("Put back", f"{len(slimmed.healed):,}", _rounds(slimmed)),
        ),
        bars=(
            _rules(
                "What stays, by the rule that keeps it",
                "A file stays by the first rule that reaches it.",
                _kept(slimmed),
                "kept",
            ),
            _rules("What goes, by rule", "", _dropped(slimmed), "lost"),
        ),
        map_title="Before and after",
        map_choice="Shown",
        maps=(
            Map("Before", treemap((path, count, kind, went) for path, count, kind, went, _ in rows)),
            Map("After", treemap((path, count, kind, "") for path, count, kind, went, _ in rows if not went)),
            Map(
                "What went, by unit",
                treemap(
                    ([kind, unit, "/".join(path)], count, kind, went)
                    for path, count, kind, went, unit in rows
                    if went
                ),
            ),
        ),
        colourings=(
            Colouring("Stays or goes", "waste", low="stays", high="goes"),
            Colouring("Kind of unit", "systems"),
        ),
        tables=tuple(_tables(slimmed)),
        notes=tuple(_notes(slimmed)),
    )


def _few(texts: Sequence[str]) -> str:
    shown = ", ".join(plain(text) for text in texts[:SHOWN])
    return shown + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _lookup(one: Lookup) -> str:
    unit = f" of {one.unit}" if one.unit else ""
    return plain(
        f"/{one.path}{unit}, {_HOW[one.judgement]} by {one.program or 'the sandbox'} ({one.syscall})"
    )


def _as_data(one: Lookup) -> dict[str, str]:
    return {
        "path": plain(f"/{one.path}"),
        "unit": one.unit,
        "judgement": one.judgement,
        "syscall": one.syscall,
        "program": plain(one.program),
    }


def _sizes(contents: Contents) -> Mapping[str, int]:
    """Bytes of each path, those of a content at its first name only."""
    seen: set[int] = set()
    found: dict[str, int] = {}
    for path in contents.paths:
        inode = contents.files[path].inode
        found[path] = 0
        if inode is not None and id(inode) not in seen:
            seen.add(id(inode))
            found[path] = inode.file.size
    return found


def _kept(slimmed: Slimmed) -> dict[str, dict[str, int]]:
    """Files that stay and their bytes, symbols aside that they lost, by rule."""
    known, saved = _sizes(slimmed.contents), slimmed.rebuilt.leaner
    kept = slimmed.selection.kept.items()
    return _tally((one.rule, max(0, known.get(path, 0) - saved.get(path, 0))) for path, one in kept)


def _dropped(slimmed: Slimmed) -> dict[str, dict[str, int]]:
    """Files that go and their bytes by rule; symbols are told of the files that lost them."""
    known, saved = _sizes(slimmed.contents), slimmed.rebuilt.leaner
    gone = ((one.rule, known.get(path, 0)) for path, one in slimmed.selection.dropped.items())
    return _tally((*gone, *(("symbols", count) for count in saved.values())))


def _tally(rows: Iterable[tuple[str, int]]) -> dict[str, dict[str, int]]:
    """Files and bytes by rule, the most bytes first."""
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name, count in rows:
        files[name] += 1
        sizes[name] += count
    order = sorted(files, key=lambda rule: (-sizes[rule], rule))
    return {rule: {"files": files[rule], "size": sizes[rule]} for rule in order}


def _rows(
    contents: Contents, selection: Selection, leaner: Mapping[str, int]
) -> Iterator[tuple[list[str], int, str, str, str]]:
    """Of each file with bytes: path, bytes, kind of its unit, the rule by which it goes or nothing, unit.

    Symbols that a file loses are told as a file beside it.
    """
    sizes = _sizes(contents)
    for path, count in sizes.items():
        if not count:
            continue
        gone = selection.dropped.get(path)
        unit = selection.by_name.get(selection.of.get(path, ""))
        kind = _kind(unit) if unit is not None else "nobody"
        name = unit.name if unit is not None else ""
        saved = leaner.get(path, 0)
        yield plain(path).split("/"), count - saved, kind, gone.rule if gone is not None else "", name
        if saved:
            yield f"{plain(path)} (symbols)".split("/"), saved, kind, "symbols", name


def _kind(unit: Unit) -> str:
    """What a page colours a unit by: its packaging system, where it has one."""
    system = unit.name.partition(":")[0]
    return system if system in ("dpkg", "apk", "rpm") else unit.kind


def _units(selection: Selection) -> str:
    states = Counter(str(unit.state) for unit in selection.units)
    return (
        f"{len(selection.units):,} units: {states['whole']:,} stay whole, {states['part']:,} in part,"
        f" {states['dropped']:,} go"
    )


def _answers(slimmed: Slimmed) -> tuple[str, str]:
    if not slimmed.rounds:
        return "not verified", "nothing was run"
    masked = sum(1 for one in slimmed.expected.values() if one.masked)
    same, whole = tally(slimmed)
    note = (
        f"{masked} of them with parts that differ from run to run"
        if masked
        else "compared in all their parts"
    )
    if not whole:
        return ("starts the same" if not slimmed.differences else "starts otherwise"), "no probe was asked"
    return f"{same} of {whole} same", note


def _rounds(slimmed: Slimmed) -> str:
    count = len(slimmed.rounds)
    if not count:
        return "not verified"
    return f"{count} verification{'s' if count > 1 else ''}; the last missed {len(slimmed.missed)}"


def _rules(title: str, note: str, tallies: Mapping[str, Mapping[str, int]], colour: str) -> Bars:
    known = rules()
    bars = []
    for name, tally in tallies.items():
        rule = known.get(name)
        bars.append(
            Bar(
                label=name,
                text=size(tally["size"]),
                detail=f"{tally['files']:,} files" + (f": {rule.reason}" if rule is not None else ""),
                parts=(Part(tally["size"], colour),),
            )
        )
    return Bars(title, note, (), tuple(bars))


def _verdicts(slimmed: Slimmed) -> Iterator[dict[str, Any]]:
    """Each probe with its answers and what came of comparing them."""
    if not slimmed.originals:
        return
    slim = {one.probe: one for one in slimmed.rounds[-1].trial.answers} if slimmed.rounds else {}
    wrong: dict[str, list[str]] = {}
    for difference in slimmed.differences:
        wrong.setdefault(difference.probe, []).append(difference.field)
    for answer in slimmed.originals[0].answers:
        found = slim.get(answer.probe)
        expected = slimmed.expected.get(answer.probe)
        yield {
            "name": answer.probe,
            "kind": answer.kind,
            "original": _brief(answer),
            "slim": _brief(found) if found is not None else "",
            "same": answer.probe not in wrong if slimmed.rounds else None,
            "masked": list(expected.masked) if expected is not None else [],
            "differs": wrong.get(answer.probe, []),
        }


def _brief(answer: Answer) -> str:
    if answer.kind == START and "state" in answer.fields and "error" not in answer.fields:
        return answer.fields["state"]
    return answer.brief


def _tables(slimmed: Slimmed) -> Iterator[Table]:
    selection, contents = slimmed.selection, slimmed.contents
    yield Table(
        "Probes",
        (
            Column("Probe"),
            Column("Kind"),
            Column("Original"),
            Column("Slim image"),
            Column("Compared"),
            Column("Masked"),
        ),
        tuple(
            (
                plain(one["name"]),
                one["kind"],
                one["original"],
                one["slim"],
                "not compared"
                if one["same"] is None
                else "same"
                if one["same"]
                else "differs: " + ", ".join(one["differs"]),
                ", ".join(one["masked"]),
            )
            for one in _verdicts(slimmed)
        ),
        "Masked is what differs between two runs of the original: dates, ids, tokens.",
    )
    yield Table(
        "Differences",
        (Column("Probe"), Column("Part"), Column("Line", "count"), Column("Original"), Column("Slim image")),
        tuple(
            (plain(d.probe), d.field, d.line, plain(d.expected), plain(d.found)) for d in slimmed.differences
        ),
    )
    yield Table(
        "Look-ups of what went",
        (
            _PATH,
            Column("How"),
            Column("Call"),
            Column("Program", "path"),
            Column("Unit"),
            Column("Round", "count"),
            Column("Then"),
        ),
        tuple(
            (
                plain(one.path),
                _HOW[one.judgement],
                one.syscall,
                plain(one.program),
                one.unit,
                step.number,
                "put back" if one.path in step.healed else "",
            )
            for step in slimmed.rounds
            for one in step.lookups
        ),
    )
    yield Table(
        "Units",
        (
            Column("Unit"),
            Column("Kind"),
            Column("Version"),
            Column("State"),
            _FILES,
            Column("Kept", "count"),
            Column("Before", "size"),
            Column("After", "size"),
        ),
        tuple(
            (
                plain(unit.name),
                unit.kind,
                unit.version,
                str(unit.state),
                len(unit.paths),
                unit.kept,
                unit.size,
                unit.kept_size,
            )
            for unit in sorted(selection.units, key=lambda unit: (-unit.size, unit.name))[:MOST]
        ),
    )
    yield from (
        _files("Files that stay", selection.kept, contents),
        _files("Files that go", selection.dropped, contents),
    )
    yield _observed(slimmed)


def _files(name: str, reasons: Mapping[str, Reason], contents: Contents) -> Table:
    sizes = _sizes(contents)
    order = sorted(reasons, key=lambda path: (-sizes.get(path, 0), path))
    return Table(
        name,
        (_PATH, _SIZE, Column("Rule"), Column("Unit"), Column("As")),
        tuple(
            (
                plain(path),
                sizes.get(path, 0),
                reasons[path].rule,
                plain(reasons[path].unit),
                plain(reasons[path].because),
            )
            for path in order[:MOST]
        ),
        f"The {MOST:,} largest of {len(order):,}." if len(order) > MOST else "",
        len(order),
    )


def _observed(slimmed: Slimmed) -> Table:
    seen = slimmed.observation
    rows: dict[str, list[str]] = {}
    for how, paths in (
        ("executed", seen.executed if seen else ()),
        ("opened", seen.opened if seen else ()),
        ("tested", seen.tested if seen else ()),
        ("written", seen.written if seen else ()),
    ):
        for path in paths:
            rows.setdefault(path, []).append(how)
    of = slimmed.selection.of
    return Table(
        "Observed",
        (_PATH, Column("How"), _SIZE, Column("Unit")),
        tuple(
            (plain(path), ", ".join(how), slimmed.contents.size(path), plain(of.get(path, "")))
            for path, how in sorted(rows.items())[:MOST]
        ),
        f"The first {MOST:,} of {len(rows):,}." if len(rows) > MOST else "",
        len(rows),
    )


def _notes(slimmed: Slimmed) -> Iterator[str]:
    seen = slimmed.observation
    if seen is None:
        yield "Nothing was observed: what stays follows from the image's configuration and static evidence."
    else:
        by = {"fanotify": "fanotify", "seccomp": "seccomp notification"}.get(seen.exposure)
        watched = f"Watched by {by}" if by else "As an observation that was kept has it"
        yield (
            f"{watched}: {len(seen.opened):,} files were opened, {len(seen.executed):,} executed; the program"
            f" listened on {', '.join(seen.listening) or 'nothing'}."
        )
        if seen.capabilities:
            yield f"Capabilities that were used: {', '.join(seen.capabilities)}."
    choice = slimmed.selection.choice
    locales = (
        "all languages" if choice.locales is None else f"languages {', '.join(choice.locales) or 'none'}"
    )
    yield f"Level {choice.level}, {locales}, byte code: {choice.bytecode}, symbols: {choice.symbols}."
    yield from _once(slimmed.notes)
    yield (
        "The maps show files that have bytes, each content once: empty files, links and further names of a"
        " file are in the tables alone."
    )
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in slimmed.seconds.items())
    if steps:
        yield f"It took: {steps}."


def _once(texts: Iterable[str]) -> Iterator[str]:
    yield from dict.fromkeys(plain(text) for text in texts)
