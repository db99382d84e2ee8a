"""adduser(8), useradd(8) and their kin: accounts with fixed ids. Adding one in doubt does no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ramekin.closure import accounts
from ramekin.closure.effects import Handler, gid_of, parsed_words
from ramekin.closure.model import User
from ramekin.closure.queries import Words
from ramekin.closure.shell import Simple

if TYPE_CHECKING:
    from ramekin.closure.scripts import Walk


def _add_group(walk: Walk, name: str, gid: int | None = None) -> int:
    number = gid if gid is not None else accounts.group_id(name)
    return walk.outcome.groups.setdefault(name, number)


def _adduser(walk: Walk, node: Simple, words: Words) -> bool | None:
    """adduser(8) and addgroup(8)."""
    # an account that may be there already is one that a fresh image has not
    parsed = parsed_words(
        walk, node, words, "--home --shell --gecos --comment --uid --gid --ingroup --conf", harmless=True
    )
    if parsed is None:
        return None
    options, operands = parsed
    if not operands:
        walk.report(node.line, node.text)
        return None
    if len(operands) == 2:
        if not _base_group(operands[1]):
            _add_group(walk, operands[1])
        walk.outcome.members.append((operands[0], operands[1]))
        return True
    name = operands[0]
    fixed = options.get("--gid")
    gid = int(fixed) if fixed and fixed.isdigit() else None
    if str(words[0]).endswith("addgroup") or ("--group" in options and "--system" not in options):
        if _base_group(name) is False:
            _add_group(walk, name, gid)
        return True
    if "--system" not in options:
        walk.report(node.line, node.text)
        return None
    group = options.get("--ingroup")
    if group:
        number = gid_of(walk, group)
        if number is None:
            number = _add_group(walk, group)
    elif "--group" in options:
        number = _add_group(walk, name, gid)
    else:
        number = gid if gid is not None else accounts.NOGROUP
    home = options.get("--home") or "/nonexistent"
    uid = options.get("--uid")
    comment = options.get("--gecos", options.get("--comment")) or ""
    _add_user(
        walk, name, int(uid) if uid and uid.isdigit() else None, number, comment, home, options.get("--shell")
    )
    if home.startswith("/") and home != "/nonexistent" and "--no-create-home" not in options:
        _make_home(walk, name, home)
    return True


def _base_group(name: str) -> bool:
    return any(group.name == name for group in accounts.table().base_groups)


def _add_user(
    walk: Walk, name: str, uid: int | None, gid: int, comment: str, home: str, shell: str | None
) -> None:
    if name in walk.outcome.users or any(user.name == name for user in accounts.table().base_users):
        return
    number = uid if uid is not None else accounts.user_id(name)
    walk.outcome.users[name] = User(name, number, gid, comment, home, shell or "/usr/sbin/nologin")


def _make_home(walk: Walk, name: str, home: str) -> None:
    user = walk.outcome.users.get(name)
    # adduser leaves a home alone that is there, such as one that the package ships
    if user is not None and not walk.files.exists(home):
        walk.files.make_folder(home, 0o755, user.uid, user.gid)


def _useradd(walk: Walk, node: Simple, words: Words) -> bool | None:
    """useradd(8) and groupadd(8)."""
    valued = (
        "-c --comment -d --home-dir -g --gid -G --groups -s --shell -u --uid -b -k -K -e -f -p --base-dir"
    )
    parsed = parsed_words(walk, node, words, valued, harmless=True)
    if parsed is None:
        return None
    options, operands = parsed

    def option(*names: str) -> str:
        return next((value for name in names if (value := options.get(name))), "")

    if not operands:
        walk.report(node.line, node.text)
        return None
    name = operands[0]
    if words[0] == "groupadd":
        number = option("-g", "--gid")
        if not _base_group(name):
            _add_group(walk, name, int(number) if number.isdigit() else None)
        return True
    group = option("-g", "--gid")
    gid = (gid_of(walk, group) if group else None) or _add_group(walk, group or name)
    number = option("-u", "--uid")
    home = option("-d", "--home-dir") or f"/home/{name}"
    _add_user(
        walk,
        name,
        int(number) if number.isdigit() else None,
        gid,
        option("-c", "--comment"),
        home,
        option("-s", "--shell"),
    )
    for other in filter(None, option("-G", "--groups").split(",")):
        if not _base_group(other):
            _add_group(walk, other)
        walk.outcome.members.append((name, other))
    if {"-m", "--create-home"} & set(options):
        _make_home(walk, name, home)
    return True


def _usermod(walk: Walk, node: Simple, words: Words) -> bool | None:
    """usermod(8) on an account that the same scripts made, and on anybody's groups."""
    valued = "-G --groups -g --gid -d --home -s --shell -c --comment -u --uid -l --login"
    parsed = parsed_words(walk, node, words, valued)
    if parsed is None:
        return None
    options, operands = parsed

    def option(*names: str) -> str | None:
        return next((value for name in names if (value := options.get(name)) is not None), None)

    user = walk.outcome.users.get(operands[0]) if operands else None
    changes: dict[str, Any] = {
        field: value
        for field, value in (
            ("comment", option("-c", "--comment")),
            ("home", option("-d", "--home")),
            ("shell", option("-s", "--shell")),
        )
        if value is not None
    }
    if (group := option("-g", "--gid")) is not None:
        changes["gid"] = _add_group(walk, group) if (known := gid_of(walk, group)) is None else known
    groups = option("-G", "--groups")
    locks = {"-L", "--lock"} & set(options)
    if not operands or {"-u", "--uid", "-l", "--login"} & set(options) or not (changes or groups or locks):
        walk.report(node.line, node.text)
        return None
    if changes and user is None:
        walk.report(node.line, node.text)
        return None
    if changes and user is not None:
        walk.outcome.users[user.name] = msgspec.structs.replace(user, **changes)
    for other in filter(None, (groups or "").split(",")):
        if not _base_group(other):
            _add_group(walk, other)
        walk.outcome.members.append((operands[0], other))
    return True


HANDLERS: dict[str, Handler] = {
    "adduser": _adduser,
    "addgroup": _adduser,
    "useradd": _useradd,
    "groupadd": _useradd,
    "usermod": _usermod,
}
