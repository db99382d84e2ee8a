"""The rules in data/policy.yaml."""

from __future__ import annotations

import pytest

from ramekin.closure import policy
from ramekin.closure.evidence.model import Kind
from ramekin.closure.policy import Weight


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("usr/bin/redis-cli", "program"),
        ("usr/share/doc/demo/examples/x.sh", "documentation"),
        ("etc/cron.daily/demo", "hook"),
        ("etc/nginx/nginx.conf", "settings"),
        ("usr/lib/python3/dist-packages/x.py", "python"),
        ("usr/share/perl5/A/B.pm", "perl"),
        ("usr/share/memcached/scripts/start", "helper"),
        ("usr/lib/git-core/git-submodule", "library"),
        ("usr/bin/xml2-config", "build"),
        ("usr/lib/erlang/lib/crypto-5.1/ebin/crypto.app", "erlang"),
        ("boot/vmlinuz", "other"),
    ],
)
def test_a_path_has_the_place_that_a_reader_expects(path: str, place: str) -> None:
    assert policy.place_of(path) == place


def test_every_rule_has_a_reason() -> None:
    rules = policy.load()
    assert all(place.reason for place in rules.places)
    assert all(correction.reason for correction in rules.corrections)
    assert all(reason for _, reason in rules.parts)


def test_libraries_are_followed_everywhere_and_scripts_by_their_place() -> None:
    rules = policy.load()
    for place in rules.places:
        assert rules.follows(Kind.NEEDED, place.name, asked=False, reached=False)
    assert not rules.follows(Kind.INTERPRETER, "helper", asked=True, reached=False)
    assert rules.follows(Kind.INTERPRETER, "helper", asked=False, reached=True)
    assert not rules.follows(Kind.INTERPRETER, "hook", asked=True, reached=True)
    assert rules.follows(Kind.INTERPRETER, "program", asked=True, reached=False)
    assert not rules.follows(Kind.INTERPRETER, "program", asked=False, reached=False)
    assert rules.weight("documentation") is Weight.WEAK


def test_a_correction_s_package_may_stand_for_versions() -> None:
    rules = policy.load()
    assert rules.correction("openjdk-17-jre-headless") is not None
    assert rules.correction("openjdk-21-jre-headless") is not None
    assert rules.correction("openjdk-jre-headless") is None


def test_corrections_are_few() -> None:
    assert len(policy.load().corrections) <= 20
