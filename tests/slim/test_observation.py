"""Observations: files that stay the same, go together, and are refused when they are something else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.errors import FormatError, RamekinError
from ramekin.slim import observation
from ramekin.slim.observation import Observation

SEEN = Observation(
    image="sha256:" + "1" * 64,
    platform="linux/amd64",
    exposure="fanotify",
    probes=("GET /",),
    executed=("usr/bin/redis-server",),
    opened=("usr/lib/libc.so.6", "etc/redis.conf", "usr/lib/libc.so.6"),
    listening=("tcp:6379",),
    calls_noted=True,
    syscalls=("bind",),
)

paths = st.lists(
    st.binary(min_size=1, max_size=12)
    .map(lambda raw: raw.replace(b"\0", b"x").replace(b"/", b"x").decode("utf-8", "surrogateescape"))
    .filter(lambda name: name != ".."),
    max_size=5,
).map(tuple)


def test_lists_are_sorted_and_have_nothing_twice() -> None:
    assert observation.ordered(SEEN).opened == ("etc/redis.conf", "usr/lib/libc.so.6")


def test_the_file_is_lines_that_people_can_compare() -> None:
    lines = observation.encode(SEEN).decode().splitlines()
    assert lines[:2] == ["{", ' "version": 1,']
    assert '  "usr/lib/libc.so.6"' in lines
    assert json.loads(observation.encode(SEEN))["opened"] == ["etc/redis.conf", "usr/lib/libc.so.6"]


@settings(max_examples=60, deadline=None)
@given(opened=paths, tested=paths)
def test_what_is_written_is_read_again_with_the_same_bytes(
    opened: tuple[str, ...], tested: tuple[str, ...]
) -> None:
    data = observation.encode(Observation(opened=opened, tested=tested))
    again = observation.decode(data, "a file")
    assert observation.encode(again) == data
    assert set(again.opened) == set(opened)
    assert again.used == {*opened, *tested}


@settings(max_examples=30, deadline=None)
@given(first=paths, second=paths)
def test_merging_is_union_in_any_order(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    one, other = Observation(opened=first), Observation(opened=second)
    merged = observation.merge(one, other)
    assert merged == observation.merge(other, one)
    assert set(merged.opened) == {*first, *second}
    assert observation.merge(merged, one) == merged


def test_an_observation_of_nothing_adds_nothing() -> None:
    assert observation.merge(Observation(), SEEN) == observation.ordered(SEEN)
    assert observation.merge(SEEN, Observation()) == observation.ordered(SEEN)


def test_calls_are_known_only_if_both_have_noted_them() -> None:
    unnoted = Observation(exposure="fanotify")
    assert not observation.merge(SEEN, unnoted).calls_noted
    assert not observation.merge(unnoted, SEEN).calls_noted


def test_observations_of_two_images_do_not_go_together() -> None:
    with pytest.raises(FormatError, match="different images"):
        observation.merge(SEEN, Observation(image="sha256:" + "2" * 64))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"opened": "etc"}',
        b'{"opened": [1]}',
        b'{"opened": ["/etc/passwd"]}',
        b'{"tested": ["a/../../etc"]}',
        b'{"exposure": "magic"}',
        b'{"version": 2}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_something_else_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"seen\.json"):
        observation.decode(data, "seen.json")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ('"opend": ["etc/passwd"]', "opend"),
        ('"opened": ["a"], "opened": ["b"]', "`opened` stands there twice"),
        ('"opened": ["usr//bin"]', "opened: 'usr//bin' is not how a path is written"),
        ('"tested": ["./usr"]', "tested: './usr' is not how a path is written"),
        ('"executed": [""]', "executed: '' is not how a path is written"),
        ('"missing": ["a\\u0000b"]', "missing: .* is not how a path is written"),
        ('"healed": ["\\ud800"]', "healed: .* is no path"),
        ('"image": "web"', "image: 'web' is no digest"),
        ('"platform": "amd64"', "platform: 'amd64' is no platform"),
        ('"syscalls": ["socket:x"]', "syscalls: 'socket:x' is no system call"),
        ('"capabilities": ["rm -rf"]', "capabilities: 'rm -rf' is no capability"),
        ('"probes": ["\\ud800"]', "probes: .* is no text"),
    ],
)
def test_what_nobody_would_read_of_an_edited_file_is_said(fields: str, said: str) -> None:
    with pytest.raises(FormatError, match=said) as caught:
        observation.decode(f'{{"version": 1, {fields}}}'.encode(), "seen.json")
    assert "seen.json" in caught.value.message
    assert "correct it" in (caught.value.hint or "")


def test_a_file_without_a_version_or_of_another_one_is_refused() -> None:
    with pytest.raises(FormatError, match="it has no `version`"):
        observation.decode(b'{"opened": []}', "seen.json")
    with pytest.raises(FormatError, match="version 2, and this program knows 1"):
        observation.decode(b'{"version": 2, "news": 1}', "seen.json")


def test_lists_need_not_be_in_order() -> None:
    found = observation.decode(b'{"version": 1, "opened": ["b", "a", "b"]}', "seen.json")
    assert found.opened == ("a", "b")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "nothing"):
        with pytest.raises(RamekinError, match=str(place)):
            observation.read(place)
