"""Users of an image are written as numbers; which package starts an image."""

from __future__ import annotations

import pytest

from ramekin.build.configure import Accounts, stands_for
from ramekin.closure.model import Hints, PackageFacts
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


def facts(name: str, *paths: str, start: str = "") -> PackageFacts:
    claims = "".join(f"identity {path}\n" for path in paths)
    return PackageFacts(
        name, "1", "amd64", claims=claims, hints=Hints(entrypoint=(start,)) if start else Hints()
    )


SOUPS = (
    facts("soup", "usr/share/doc/soup/copyright"),
    facts("soup-server", "usr/bin/soup-server", start="soup-server"),
    facts("soup-tools", "usr/bin/soup-tool"),
    facts("stew"),
    facts("stew-2", "usr/bin/stew"),
    facts("pot"),
    facts("pan"),
    facts("leek", "usr/bin/leek"),
)
NEEDS = {
    "soup": ("soup-server", "soup-tools"),
    "stew": ("leek", "stew-2"),
    "pot": ("pan",),
    "pan": ("pot",),
    "leek": ("soup-server",),
}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("soup", "soup-server"),
        ("stew", "stew-2"),
        ("leek", "leek"),
        # a circle, and what is not there
        ("pot", "pan"),
        ("nothing", "nothing"),
    ],
)
def test_a_metapackage_starts_as_what_it_stands_for(name: str, found: str) -> None:
    origins = {"stew": "stew", "stew-2": "stew", "leek": "leek"}
    assert stands_for(name, SOUPS, NEEDS, origins) == found


def test_a_metapackage_of_many_things_stands_for_none() -> None:
    assert stands_for("stew", SOUPS, NEEDS) == "stew"
