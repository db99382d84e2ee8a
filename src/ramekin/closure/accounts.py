"""Users and groups with ids that never change, so that layers that hold owners are reproducible.

The published table is `data/accounts.yaml`. A system account that is not in it gets an id between 500 and
998 worked out from its name; when two of one image would share one, `finish` says so by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ramekin.closure import data
from ramekin.closure.model import Group, User
from ramekin.errors import RamekinError

NOGROUP = 65534
NONROOT = 65532


class AccountError(RamekinError):
    """Two accounts of one image have one id, or one account has two."""


@dataclass(frozen=True, slots=True)
class Table:
    """The published accounts; `base` ones are in every image."""

    users: dict[str, User]
    groups: dict[str, Group]
    base_users: tuple[User, ...]
    base_groups: tuple[Group, ...]


@cache
def table() -> Table:
    """The table, read once."""
    document = data.load("accounts.yaml", data.Accounts)
    users: dict[str, User] = {}
    groups: dict[str, Group] = {}
    for part in (document.base, document.system):
        for name, (uid, gid, home, shell, comment) in part.users.items():
            users[name] = User(name, uid, gid, comment, home, shell)
        for name, number in part.groups.items():
            groups[name] = Group(name, number)
    for user in users.values():
        if user.gid == user.uid != NOGROUP:
            groups.setdefault(user.name, Group(user.name, user.gid))
    return Table(
        users,
        groups,
        tuple(users[name] for name in document.base.users),
        tuple(groups[name] for name in document.base.groups),
    )


def derived(name: str) -> int:
    """The id of an account that the table does not have."""
    return 500 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 499


def user_id(name: str) -> int:
    """The uid that a user of this name has in every image."""
    known = table().users.get(name)
    return known.uid if known else derived(name)


def group_id(name: str) -> int:
    """The gid that a group of this name has in every image."""
    known = table().groups.get(name)
    return known.gid if known else derived(name)


def passwd(users: Iterable[User]) -> bytes:
    """passwd(5) with the base accounts and `users`, by uid."""
    lines = [
        f"{u.name}:x:{u.uid}:{u.gid}:{u.comment}:{u.home}:{u.shell}\n"
        for u in _settled((*table().base_users, *users))
    ]
    return "".join(lines).encode()


def group(groups: Iterable[Group]) -> bytes:
    """group(5) with the base groups and `groups`, by gid; members of one group are joined."""
    members: dict[str, set[str]] = {}
    ids: dict[str, int] = {}
    for item in (*table().base_groups, *groups):
        if ids.setdefault(item.name, item.gid) != item.gid:
            raise AccountError(f"the group {item.name} has the ids {ids[item.name]} and {item.gid}")
        members.setdefault(item.name, set()).update(item.members)
    _distinct(ids)
    lines = [f"{name}:x:{ids[name]}:{','.join(sorted(members[name]))}\n" for name in sorted(ids, key=ids.get)]  # type: ignore[arg-type]
    return "".join(lines).encode()


def _settled(users: Iterable[User]) -> list[User]:
    """Each user once; a later definition, a package's own, replaces an earlier one of the same id."""
    by_name: dict[str, User] = {}
    for user in users:
        before = by_name.get(user.name)
        if before is not None and before.uid != user.uid:
            raise AccountError(f"the user {user.name} has the ids {before.uid} and {user.uid}")
        by_name[user.name] = user
    _distinct({user.name: user.uid for user in by_name.values()})
    return sorted(by_name.values(), key=lambda user: user.uid)


def _distinct(ids: dict[str, int]) -> None:
    names: dict[int, str] = {}
    for name, number in sorted(ids.items()):
        if number in names:
            raise AccountError(
                f"the accounts {names[number]} and {name} would both have the id {number}",
                hint="add one of them to the table of accounts",
            )
        names[number] = name
