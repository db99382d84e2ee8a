"""The scripts of real packages: none of those that the documentation promises does anything unknown."""

from __future__ import annotations

from functools import cache

import pytest

from ramekin.closure import recipes
from ramekin.closure.conflicts import claims
from ramekin.closure.finish import finish
from ramekin.closure.model import PackageFacts, SliceChoice
from ramekin.closure.prepare import prepare
from ramekin.progress import SILENT
from ramekin.sources import open_source
from ramekin.sources.protocol import Source
from ramekin.store.store import Store

pytestmark = pytest.mark.archive

PROMISED = [
    "redis-server",
    "nginx",
    "memcached",
    "python3",
    "curl",
    "nodejs",
    "openjdk-17-jre-headless",
    "postgresql-15",
    "ruby",
    "php-cli",
    "sqlite3",
    "git",
    "busybox",
]
BELOW = ["bash", "base-files", "base-passwd", "coreutils", "procps", "libpam-runtime", "apache2", "php-fpm"]


@pytest.fixture(scope="module")
def bookworm(shared_store: Store) -> Source:
    source = open_source("debian:bookworm", shared_store)
    source.refresh(["amd64"], SILENT)
    return source


@cache
def _facts(source: Source, package: object) -> PackageFacts:
    suite = source.facts("amd64")
    return prepare(source.open(package), facts=suite, slices=SliceChoice(), architecture="amd64").facts  # type: ignore[arg-type]


def closure(source: Source, name: str) -> list[PackageFacts]:
    needed = recipes.needs(package.name for package in source.resolve([name], "amd64").packages)
    resolution = source.resolve([name, *needed], "amd64")
    source.fetch(resolution.packages, SILENT)
    return [_facts(source, package) for package in resolution.packages]


@pytest.mark.parametrize("name", [*PROMISED, *BELOW])
def test_no_script_of_the_closure_does_anything_unknown(bookworm: Source, name: str) -> None:
    facts = closure(bookworm, name)
    assert [f"{known.name}: {item}" for known in facts for item in known.unknown] == []


@pytest.mark.parametrize("name", PROMISED)
def test_the_closure_finishes_without_conflicts(bookworm: Source, name: str) -> None:
    facts = closure(bookworm, name)
    claims(facts, {})
    layers = dict(finish(facts, suite=bookworm.facts("amd64"), architecture="amd64"))
    assert "etc/ld.so.cache" in layers["finish"]
