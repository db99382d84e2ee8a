"""Users of an image are written as numbers."""

from __future__ import annotations

import pytest

from ramekin.build.configure import Accounts
from ramekin.errors import UsageError

ACCOUNTS = Accounts(
    "root:x:0:0:root:/root:/bin/sh\nredis:x:101:102::/:/bin/false\n", "root:x:0:\nssl:x:103:\n"
)


@pytest.mark.parametrize(
    ("user", "numbers"),
    [
        ("redis", "101:102"),
        ("redis:ssl", "101:103"),
        ("redis:7", "101:7"),
        ("1000", "1000"),
        ("1000:ssl", "1000:103"),
        ("0:0", "0:0"),
    ],
)
def test_names_become_numbers(user: str, numbers: str) -> None:
    assert ACCOUNTS.numbers(user) == numbers


@pytest.mark.parametrize(("user", "what"), [("radis", "user 'radis'"), ("redis:sll", "group 'sll'")])
def test_an_unknown_name_is_said_with_near_ones(user: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"no {what}") as caught:
        ACCOUNTS.numbers(user)
    assert "did you mean" in str(caught.value.hint)
