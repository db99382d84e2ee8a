"""The same packages make the same image: on any machine, day, locale, and however the work is spread.

The digests of the tiny archive's images are kept in golden.json. They change only when the bytes that
Ramekin makes change, which a changelog entry must say. Then run this file with RAMEKIN_GOLDEN=write, and
commit the new file with the change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.archive import SigningKey
from support.containers import Layout, ramekin
from support.kitchen import SUITE, Kitchen

GOLDEN = Path(__file__).parent / "golden.json"

CONDITIONS: dict[str, dict[str, Any]] = {
    "one worker": {"options": ["--jobs", "1"]},
    "eight workers": {"options": ["--jobs", "8"]},
    "another time zone": {"env": {"TZ": "Pacific/Kiritimati"}},
    "another language": {"env": {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"}},
    "no language": {"env": {"LANG": "", "LC_ALL": "POSIX"}},
    "a closed umask": {"umask": 0o077},
    "an open umask": {"umask": 0},
    "another hash seed": {"env": {"PYTHONHASHSEED": "0"}},
    "yet another hash seed": {"env": {"PYTHONHASHSEED": "4242"}},
}


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    return Kitchen.open(tmp_path_factory.mktemp("kitchen"), SigningKey.generate())


def build(
    *words: str | Path,
    target: Path,
    store: Path,
    env: dict[str, str],
    umask: int = -1,
    cwd: Path | None = None,
) -> str:
    """Build, and give the digest of what index.json names."""
    clean = {"SOURCE_DATE_EPOCH": "", **env}
    ramekin("build", *words, "-o", f"oci:{target}", "--store", store, env=clean, umask=umask, cwd=cwd)
    return Layout(target).digest


GRATIN = ["gratin", "--source", f"debian:{SUITE}", "--arch", "amd64"]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "zstd:19", "none"])
def test_the_digest_is_the_golden_one(kitchen: Kitchen, tmp_path: Path, compression: str) -> None:
    digest = build(
        *(*GRATIN, "--compress", compression),
        target=tmp_path / "image",
        store=tmp_path / "store",
        env=kitchen.env(),
    )
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("RAMEKIN_GOLDEN") == "write":
        golden[compression] = digest
        GOLDEN.write_text(json.dumps(golden, indent=2, sort_keys=True) + "\n")
    assert digest == golden[compression]


@pytest.fixture(scope="module")
def expected(kitchen: Kitchen, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the tiny archive's image under no special condition."""
    folder = tmp_path_factory.mktemp("expected")
    return build(*GRATIN, target=folder / "image", store=folder / "store", env=kitchen.env())


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_of_a_cold_build_do_not_show(
    kitchen: Kitchen, expected: str, tmp_path: Path, condition: str
) -> None:
    how = CONDITIONS[condition]
    home = tmp_path / "another home"
    home.mkdir()
    digest = build(
        *(*GRATIN, *how.get("options", [])),
        target=tmp_path / "image",
        store=tmp_path / "store",
        env={**kitchen.env(), "HOME": str(home), **how.get("env", {})},
        umask=how.get("umask", -1),
        cwd=home,
    )
    assert digest == expected


def test_a_store_that_has_made_it_or_other_images_before_does_not_show(
    kitchen: Kitchen, expected: str, tmp_path: Path
) -> None:
    store, env = tmp_path / "store", kitchen.env()
    build("leek", "cream", *GRATIN[1:], target=tmp_path / "other", store=store, env=env)
    assert build(*GRATIN, target=tmp_path / "first", store=store, env=env) == expected
    assert build(*GRATIN, target=tmp_path / "second", store=store, env=env) == expected


def test_another_archive_with_the_same_packages_does_not_show(expected: str, tmp_path: Path) -> None:
    other = Kitchen.open(tmp_path, SigningKey.generate())
    assert build(*GRATIN, target=tmp_path / "image", store=tmp_path / "store", env=other.env()) == expected


def test_source_date_epoch_decides_every_time(kitchen: Kitchen, expected: str, tmp_path: Path) -> None:
    env = {**kitchen.env(), "SOURCE_DATE_EPOCH": "86400"}
    digests = [
        build(*GRATIN, target=tmp_path / name, store=tmp_path / f"store-{name}", env=env)
        for name in ("a", "b")
    ]
    assert digests[0] == digests[1] != expected
    assert Layout(tmp_path / "a").config["created"] == "1970-01-02T00:00:00Z"


@pytest.fixture(scope="module")
def redis(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A lock for redis-server and the digest of its image."""
    folder = tmp_path_factory.mktemp("redis")
    lock = folder / "lock.json"
    yield lock, build("redis-server", "--lock", lock, target=folder / "image", store=store, env={})


@pytest.mark.archive
@pytest.mark.parametrize("condition", ["one worker", "eight workers", "another language", "a closed umask"])
def test_redis_is_the_same_image_under_all_conditions(
    redis: tuple[Path, str], store: Path, tmp_path: Path, condition: str
) -> None:
    lock, expected = redis
    how = CONDITIONS[condition]
    cold = tmp_path / "store"
    without_results(store, cold, lock)
    digest = build(
        *("redis-server", "--lock", lock, *how.get("options", [])),
        target=tmp_path / "image",
        store=cold,
        env={"TZ": "Asia/Kathmandu", "HOME": str(tmp_path), **how.get("env", {})},
        umask=how.get("umask", -1),
    )
    assert digest == expected


def without_results(store: Path, cold: Path, lock: Path) -> None:
    """A store that holds the packages of a lock, and nothing that was made of them."""
    text = lock.read_text()
    for blob in (store / "blobs").rglob("*"):
        if blob.is_file() and blob.name in text:
            copy = cold / blob.relative_to(store)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(blob, copy)
