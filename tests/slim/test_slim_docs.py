"""The manual of slimming speaks of everything, and what it shows is right."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from ramekin import yaml_source
from ramekin.build import schema, spec
from ramekin.slim.probes import form

DOCS = Path(__file__).parents[2] / "docs"
MANUAL = (DOCS / "slim.md").read_text()


def test_the_published_schema_of_probes_is_the_one_of_the_models() -> None:
    assert (DOCS / "probes.schema.json").read_text() == schema.text("probes"), (
        "run `ramekin schema probes > docs/probes.schema.json`"
    )


def test_every_key_of_a_probe_is_in_the_manual() -> None:
    models: tuple[type[BaseModel], ...] = (
        form.ProbeFile,
        form.HttpSpec,
        form.RunSpec,
        form.HostSpec,
        form.CrawlSpec,
        form.ReplaySpec,
        form.TakeSpec,
        form.ReadySpec,
    )
    words = set(re.findall(r"[a-z][a-z-]*", MANUAL))
    for model in models:
        for name, info in model.model_fields.items():
            assert (info.alias or name) in words


def test_every_option_of_the_command_is_in_the_manual_or_is_every_commands() -> None:
    for name, info in spec.SlimSpec.model_fields.items():
        assert (info.alias or name) in MANUAL


def test_the_probes_and_the_spec_of_the_manual_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text("GET /\n")
    blocks = re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)
    assert len(blocks) == 2
    plan = form.of(yaml_source.parse(blocks[0].encode(), tmp_path / "probes.yaml"))
    assert len(plan.probes) == 12
    (tmp_path / "probes.yaml").write_text(blocks[0])
    (tmp_path / "ramekin.yaml").write_text(blocks[1])
    (settings,) = spec.slims(tmp_path / "ramekin.yaml").values()
    assert settings.observation == tmp_path / "web.observation.json"
    assert len(settings.plan.probes) == 14
