"""How packages are spelled in repository names, and what tags mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.errors import UsageError
from ramekin.registry.ondemand import names
from ramekin.registry.ondemand.names import Day, Locked, Moving, Named

COMPONENT = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", re.ASCII)


@pytest.mark.parametrize(
    ("package", "spelled"),
    [
        ("redis-server", "redis-server"),
        ("python3.11", "python3.11"),
        ("libstdc++6", "libstdc_p_p6"),
        ("libstdc++-12-dev", "libstdc_p_p-12-dev"),
        ("g++", "g_p_p"),
        ("a--b", "a--b"),
        ("a-+b", "a_h_pb"),
        ("a..b", "a_d_db"),
        ("GConf", "x_x_ug_uconf"),
        ("redis-server=5:7.0.15-1~deb12u1", "redis-server_e5_c7.0.15-1_tdeb12u1"),
    ],
)
def test_each_package_has_one_spelling(package: str, spelled: str) -> None:
    assert names.spell(package) == spelled
    assert names.unspell(spelled) == package


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abz019ABZ+-.=:~", min_size=1, max_size=12))
def test_spelling_is_valid_and_reversible(package: str) -> None:
    spelled = names.spell(package)
    assert COMPONENT.fullmatch(spelled)
    assert names.unspell(spelled) == package


@settings(max_examples=300, deadline=None)
@given(st.from_regex(COMPONENT, fullmatch=True).filter(lambda text: len(text) < 40))
def test_every_component_is_a_package_or_refused(component: str) -> None:
    try:
        package = names.unspell(component)
    except UsageError:
        return
    assert names.spell(package) == component


def test_another_spelling_is_refused_with_the_right_one() -> None:
    with pytest.raises(UsageError) as caught:
        names.unspell("python3_d11")
    assert caught.value.hint == "write python3.11"


def test_the_order_of_packages_does_not_matter() -> None:
    assert names.parse("curl/redis-server/curl") == names.parse("redis-server/curl")
    assert names.parse("shell/redis-server/curl").image == "shell/curl/redis-server"


def test_a_name_may_begin_with_an_architecture_and_a_shell() -> None:
    assert names.parse("arm64/shell/redis") == Named("arm64", True, ("redis",))
    assert names.parse("amd64/redis").repository == "amd64/redis"
    assert names.parse("shell") == Named("", True, ())


@pytest.mark.parametrize("name", ["redis/shell", "shell/arm64/redis", "a__b", "a_q", "a_u1"])
def test_names_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        names.parse(name)


def test_tags_are_latest_a_suite_a_day_or_a_lock() -> None:
    assert names.parse_tag("latest") == Moving()
    assert names.parse_tag("trixie") == Moving("trixie")
    assert names.parse_tag("bookworm-backports") == Moving("bookworm-backports")
    assert names.parse_tag("20261101") == Day("20261101")
    assert names.parse_tag("trixie-20261101") == Day("20261101", "trixie")
    assert names.parse_tag("lock-" + "0a" * 32) == Locked("0a" * 32)


@pytest.mark.parametrize("tag", ["v1.0", "7", "20261301", "lock-12.", "Latest"])
def test_other_tags_are_refused(tag: str) -> None:
    with pytest.raises(UsageError):
        names.parse_tag(tag)
