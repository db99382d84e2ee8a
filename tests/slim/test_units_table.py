"""The table of rules: whole, used, and printed in the manual."""

from __future__ import annotations

import re
from pathlib import Path

from ramekin.slim.units.table import markdown, rules

ROOT = Path(__file__).parents[2]


def test_the_manual_prints_the_table() -> None:
    manual = (ROOT / "docs/slim.md").read_text()
    found = re.search(r"<!-- the rules: [^>]*-->\n(.*)<!-- the end of the rules -->", manual, re.DOTALL)
    assert found is not None
    assert found[1] == markdown(), "put the text of `ramekin.slim.units.table.markdown()` between the marks"


def test_every_rule_has_a_use_and_a_reason() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src/ramekin/slim").rglob("*.py"))
    for name, rule in rules().items():
        assert f'"{name}"' in source or name == "database", f"no code speaks of the rule {name}"
        assert rule.reason
        assert rule.what
        assert not rule.reason.endswith(".")


def test_rules_that_code_names_are_in_the_table() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src/ramekin/slim/units").glob("*.py"))
    named = {*re.findall(r'rule\("([a-z-]+)"\)', source), *re.findall(r'Reason\("([a-z-]+)"', source)}
    assert named <= rules().keys()


def test_globs_match_whole_paths() -> None:
    certificates = rules()["certificates"]
    assert certificates.matches("etc/ssl/certs/ca.pem")
    assert not certificates.matches("srv/etc/ssl/certs/ca.pem")
