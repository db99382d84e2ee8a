"""Room is made without anything visible being wrong, and damage is found and taken out of use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.store import cleaning
from ramekin.store import digest as digests
from ramekin.store.action import key
from ramekin.store.store import Store, blob_name, result_name

DAY = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def last_used(store: Store, name: str, ago: float) -> None:
    assert store.root is not None
    moment = time.time() - ago
    os.utime(store.root / name, (moment, moment))


def damage(store: Store, name: str, data: bytes) -> None:
    assert store.root is not None
    path = store.root / name
    path.chmod(0o644)
    path.write_bytes(data)


def test_usage_counts_everything(store: Store) -> None:
    digest = store.put(b"hello")
    store.record(key("a"), b"{}", blobs=[digest])
    found = cleaning.usage(store)
    assert found.blobs == cleaning.Count(1, 5)
    assert found.results.number == 1
    assert found.size == 5 + found.results.size


def test_an_empty_store_uses_nothing(store: Store) -> None:
    assert cleaning.usage(store).size == 0
    assert cleaning.collect(store).size == 0
    assert cleaning.verify(store).damage == ()


def test_a_sound_store_has_no_damage(store: Store) -> None:
    store.record(key("a"), b"{}", blobs=[store.put(b"hello")])
    found = cleaning.verify(store)
    assert (found.blobs.number, found.results.number, found.damage) == (1, 1, ())


def test_damage_is_taken_out_of_use_and_can_be_made_again(store: Store) -> None:
    bad, good = store.put(b"hello"), store.put(b"sound")
    store.record(key("a"), b"{}", blobs=[bad])
    store.record(key("b"), b"{}", blobs=[good])
    store.record(key("c"), b"{}", blobs=[good])
    damage(store, blob_name(bad), b"jello")
    damage(store, result_name(key("c")), b"\0\0\0")
    found = cleaning.verify(store)
    assert [one.name for one in found.damage] == [
        blob_name(bad),
        *sorted([result_name(key("a")), result_name(key("c"))]),
    ]
    assert found.damage[0].moved == f"bad/{digests.hex_of(bad)}"
    assert not store.has(bad)
    assert [store.result(key(name)) for name in "abc"] == [None, b"{}", None]
    assert cleaning.usage(store).bad == cleaning.Count(1, 5)
    assert store.read(store.put(b"hello")) == b"hello"
    assert cleaning.collect(store).debris == cleaning.Count(1, 5)


def test_verifying_is_no_use(store: Store) -> None:
    digest = store.put(b"hello")
    store.record(key("a"), b"{}", blobs=[digest])
    for name in (blob_name(digest), result_name(key("a"))):
        last_used(store, name, 10 * DAY)
    cleaning.verify(store)
    cleaning.collect(store, older_than=20 * DAY)
    assert cleaning.collect(store, older_than=5 * DAY).blobs.number == 1


def test_looking_a_result_up_keeps_it_and_its_blobs(store: Store) -> None:
    for name in "ab":
        digest = store.put(name.encode())
        store.record(key(name), b"{}", blobs=[digest])
        last_used(store, blob_name(digest), 10 * DAY)
        last_used(store, result_name(key(name)), 10 * DAY)
    assert store.result(key("a")) == b"{}"
    found = cleaning.collect(store, older_than=5 * DAY)
    assert (found.blobs.number, found.results.number, found.kept.number) == (1, 1, 2)
    assert store.result(key("a")) == b"{}"
    assert store.result(key("b")) is None


def test_a_blob_that_a_result_needs_is_as_fresh_as_the_result(store: Store) -> None:
    digest = store.put(b"old")
    last_used(store, blob_name(digest), 10 * DAY)
    store.record(key("a"), b"{}", blobs=[digest])
    assert cleaning.collect(store, older_than=5 * DAY).blobs.number == 0


def test_a_size_limit_removes_what_was_used_longest_ago(store: Store) -> None:
    blobs = [store.put(bytes([number]) * 1000) for number in range(10)]
    for number, digest in enumerate(blobs):
        last_used(store, blob_name(digest), (10 - number) * DAY)
    found = cleaning.collect(store, size_limit=3500)
    assert (found.blobs.number, found.kept) == (7, cleaning.Count(3, 3000))
    assert [store.has(digest) for digest in blobs] == [False] * 7 + [True] * 3


def test_a_dry_run_removes_nothing(store: Store) -> None:
    digest = store.put(b"hello")
    found = cleaning.collect(store, size_limit=0, dry_run=True)
    assert found.removed == (blob_name(digest),)
    assert store.has(digest)
    assert cleaning.collect(store, size_limit=0).removed == found.removed
    assert not store.has(digest)


def test_what_others_may_be_using_stays_for_an_hour(store: Store) -> None:
    fresh, old = store.put(b"fresh"), store.put(b"old")
    last_used(store, blob_name(old), 2 * cleaning.GRACE)
    other = Store.at(store.location)
    cleaning.collect(store, size_limit=0)
    assert (store.has(fresh), store.has(old)) == (True, False)
    del other
    cleaning.collect(store, size_limit=0)
    assert not store.has(fresh)


def test_an_object_store_is_collected_by_the_time_of_writing(tmp_path: Path) -> None:
    store = Store.at(f"memory://{tmp_path}")
    store.record(key("a"), b"{}", blobs=[store.put(b"hello")])
    assert cleaning.collect(store, size_limit=0).blobs.number == 0
    assert cleaning.collect(store, size_limit=0, grace=-1).blobs.number == 1
    assert cleaning.usage(store).size == 0


@settings(max_examples=50, deadline=None)
@given(
    blobs=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    results=st.lists(st.tuples(st.integers(0, 9), st.sets(st.integers(0, 7))), max_size=8),
    older_than=st.none() | st.integers(0, 10),
    size_limit=st.none() | st.integers(0, 3000),
)
def test_no_result_is_left_without_its_blobs(
    tmp_path_factory: pytest.TempPathFactory,
    blobs: list[int],
    results: list[tuple[int, set[int]]],
    older_than: int | None,
    size_limit: int | None,
) -> None:
    store = Store.at(tmp_path_factory.mktemp("store"))
    digests_of = [store.put(bytes([number]) * 300) for number in range(len(blobs))]
    for number, (ago, names) in enumerate(results):
        store.record(key("n", number), b"{}", blobs=[digests_of[name % len(blobs)] for name in sorted(names)])
        last_used(store, result_name(key("n", number)), (ago + 0.5) * DAY)
    for digest, ago in zip(digests_of, blobs, strict=True):
        last_used(store, blob_name(digest), (ago + 0.5) * DAY)
    found = cleaning.collect(
        store, older_than=None if older_than is None else older_than * DAY, size_limit=size_limit
    )
    left = cleaning.usage(store)
    assert cleaning.verify(store).damage == ()
    assert found.kept == cleaning.Count(
        left.blobs.number + left.results.number, left.blobs.size + left.results.size
    )
    if size_limit is not None:
        assert found.kept.size <= size_limit
    for number, (ago, _) in enumerate(results):
        if older_than is not None and ago >= older_than:
            assert store.result(key("n", number)) is None
        elif size_limit is None:
            assert store.result(key("n", number)) == b"{}"
