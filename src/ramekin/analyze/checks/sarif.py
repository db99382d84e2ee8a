"""Findings in the Static Analysis Results Interchange Format, version 2.1.0 (OASIS)."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from ramekin import __version__
from ramekin.analyze.checks.model import Finding, Report
from ramekin.analyze.checks.table import RULES

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def document(report: Report) -> dict[str, Any]:
    """The log as plain data: one run, all rules, a result for each finding."""
    places = {rule.code: number for number, rule in enumerate(RULES)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "Ramekin",
                        "version": __version__,
                        "rules": [
                            {
                                "id": rule.code,
                                "name": "".join(part.capitalize() for part in rule.name.split("-")),
                                "shortDescription": {"text": rule.title},
                                "fullDescription": {"text": rule.why},
                                "help": {"text": rule.do},
                                "defaultConfiguration": {"level": str(rule.severity)},
                            }
                            for rule in RULES
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, places[finding.code]) for finding in report.findings],
            }
        ],
    }


def _result(finding: Finding, place: int) -> dict[str, Any]:
    address = (
        quote(finding.path.encode("utf-8", "surrogateescape"))
        if finding.path
        else quote(finding.image, safe=":/@")
    )
    name = f"{finding.code}\0{finding.image}\0{finding.path}".encode("utf-8", "surrogateescape")
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": place,
        "level": str(finding.severity),
        "message": {"text": _printable(finding.message)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": address}},
                "logicalLocations": [{"fullyQualifiedName": finding.image, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"ramekin/v1": hashlib.sha256(name).hexdigest()[:32]},
        "properties": {"image": finding.image, "bytes": finding.size},
    }
    if finding.ignored:
        result["suppressions"] = [{"kind": "external", "justification": finding.ignored}]
    return result


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
