"""Rules run over images, and what is ignored of what they find."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ramekin.analyze.checks.model import Finding, Found, Ignore, Report, Rule, Subject
from ramekin.analyze.checks.table import RULES


def judge(
    subjects: Sequence[Subject], ignores: Sequence[Ignore] = (), *, rules: Sequence[Rule] = RULES
) -> Report:
    """All findings of all rules in all images, worst first."""
    found: list[tuple[Rule, Subject, Found]] = []
    for rule in rules:
        if rule.find is not None:
            found += [(rule, subject, one) for subject in subjects for one in rule.find(subject)]
        if rule.compare is not None and len(subjects) > 1:
            found += [(rule, subject, one) for subject, one in rule.compare(subjects)]
    used: set[int] = set()
    findings = []
    for rule, subject, one in found:
        reason = ""
        for number, ignore in enumerate(ignores):
            if _matches(ignore, rule, subject, one):
                used.add(number)
                reason = reason or ignore.reason
        severity = one.severity or rule.severity
        findings.append(
            Finding(rule.code, rule.name, severity, subject.name, one.path, one.size, one.message, reason)
        )
    findings.sort(
        key=lambda f: (bool(f.ignored), -f.severity.rank, f.code, f.image, -f.size, f.path, f.message)
    )
    return Report(
        images=tuple(subject.name for subject in subjects),
        findings=tuple(findings),
        unused=tuple(ignore for number, ignore in enumerate(ignores) if number not in used),
    )


def _matches(ignore: Ignore, rule: Rule, subject: Subject, found: Found) -> bool:
    return (
        ignore.rule in (rule.code, rule.name)
        and fnmatchcase("/" + found.path, "/" + ignore.path.removeprefix("/"))
        and fnmatchcase(subject.name, ignore.image)
    )
