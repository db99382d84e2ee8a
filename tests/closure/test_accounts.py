"""The published table of accounts."""

from __future__ import annotations

from collections import Counter

import pytest

from ramekin.closure import accounts
from ramekin.closure.model import Group, User

GOLDEN = {
    "root": 0,
    "www-data": 33,
    "redis": 101,
    "memcache": 102,
    "postgres": 103,
    "messagebus": 104,
    "nonroot": 65532,
}


def test_no_id_is_given_twice() -> None:
    table = accounts.table()
    assert [
        uid for uid, times in Counter(user.uid for user in table.users.values()).items() if times > 1
    ] == []
    assert [
        gid for gid, times in Counter(group.gid for group in table.groups.values()).items() if times > 1
    ] == []


def test_published_ids_never_change() -> None:
    assert {name: accounts.user_id(name) for name in GOLDEN} == GOLDEN
    assert accounts.group_id("ssl-cert") == 301


def test_ids_of_the_table_are_below_those_from_names() -> None:
    table = accounts.table()
    ids = [user.uid for user in table.users.values() if user not in table.base_users]
    ids += [group.gid for group in table.groups.values() if group not in table.base_groups]
    assert all(100 < number < 500 or number == accounts.NOGROUP for number in ids)


def test_every_user_of_the_table_has_a_group() -> None:
    table = accounts.table()
    gids = {group.gid for group in table.groups.values()}
    assert [user.name for user in table.users.values() if user.gid not in gids] == []


def test_passwd_and_group_hold_base_accounts_and_those_of_packages() -> None:
    user = User("redis", 101, 101, "", "/var/lib/redis", "/usr/sbin/nologin")
    lines = accounts.passwd([user, user]).decode().splitlines()
    assert lines[0] == "root:x:0:0:root:/root:/bin/sh"
    assert lines.count("redis:x:101:101::/var/lib/redis:/usr/sbin/nologin") == 1
    assert "nonroot:x:65532:65532:nonroot:/home/nonroot:/usr/sbin/nologin" in lines
    groups = accounts.group([Group("adm", 4, ("redis",)), Group("adm", 4, ("a",))]).decode().splitlines()
    assert "adm:x:4:a,redis" in groups


def test_two_accounts_with_one_id_are_an_error_by_name() -> None:
    with pytest.raises(accounts.AccountError, match="a and b"):
        accounts.passwd([User("a", 700, 700, "", "/", "/x"), User("b", 700, 701, "", "/", "/x")])
