"""What packages declare instead of doing it in scripts: tmpfiles.d(5) and sysusers.d(5)."""

from __future__ import annotations

import re
import shlex

from ramekin.closure import accounts
from ramekin.closure.files import Files
from ramekin.closure.model import User
from ramekin.closure.scripts import Outcome
from ramekin.image.tree import Entry, Kind


def make_accounts(files: Files, outcome: Outcome) -> None:
    """The users and groups of `usr/lib/sysusers.d`; ids are the table's, or the declared fixed ones."""
    for entry in _files(files, "usr/lib/sysusers.d/"):
        for fields in _lines(entry):
            kind, name = fields[0].rstrip("!-"), fields[1] if len(fields) > 1 else ""
            number = fields[2] if len(fields) > 2 else "-"
            if kind == "g":
                _group(outcome, name, number)
            elif kind == "m":
                _group(outcome, number, "-")
                outcome.members.append((name, number))
            elif kind == "u":
                _user(outcome, name, number, fields)
        outcome.say(f"{entry.path}: accounts made")


def _known_group(name: str) -> bool:
    return any(group.name == name for group in accounts.table().base_groups)


def _group(outcome: Outcome, name: str, number: str) -> int:
    gid = int(number) if number.isdigit() else accounts.group_id(name)
    if _known_group(name):
        return accounts.group_id(name)
    return outcome.groups.setdefault(name, gid)


def _user(outcome: Outcome, name: str, number: str, fields: list[str]) -> None:
    if any(user.name == name for user in accounts.table().base_users):
        return
    uid, _, group = number.partition(":")
    if group:
        gid = int(group) if group.isdigit() else _group(outcome, group, "-")
    else:
        gid = _group(outcome, name, uid)
    comment = fields[3] if len(fields) > 3 and fields[3] != "-" else ""
    home = fields[4] if len(fields) > 4 and fields[4] != "-" else "/"
    shell = fields[5] if len(fields) > 5 and fields[5] != "-" else "/usr/sbin/nologin"
    user = User(name, int(uid) if uid.isdigit() else accounts.user_id(name), gid, comment, home, shell)
    outcome.users.setdefault(name, user)


def make_folders(files: Files, outcome: Outcome) -> None:
    """Folders, files and links of `usr/lib/tmpfiles.d`; what cleans up or needs a booted system is left."""
    for entry in _files(files, "usr/lib/tmpfiles.d/"):
        for fields in _lines(entry):
            fields += ["-"] * (7 - len(fields))
            kind, path, mode, user, group, _, argument = fields[:7]
            # + - ! = ~ ^ change when and how a line applies, not what it makes
            kind = kind[:1] + ("+" if "+" in kind else "")
            if "%" in path or path == "/" or path.startswith(("/tmp", "/dev", "/proc", "/sys", "/var/tmp")):
                continue
            number = int(mode.lstrip("~:"), 8) if re.fullmatch(r"[~:]?[0-7]{3,4}", mode) else None
            uid = _id(user, outcome.users, accounts.table().users)
            gid = _gid(group, outcome)
            match kind.rstrip("+"):
                case "d" | "D" | "v" | "q" | "Q":
                    files.make_folder(path, number, uid, gid)
                case "f" | "F" if files.get(path) is None:
                    text = "" if argument == "-" else argument
                    files.write(path, text.encode(), number if number is not None else 0o644)
                    files.change(path, uid=uid, gid=gid)
                case "L" if files.get(path) is None and argument != "-":
                    files.link(path, argument)
                case "z" | "m":
                    files.change(path, mode=number, uid=uid, gid=gid)
                case _:
                    continue
        outcome.say(f"{entry.path}: folders made")


def _id(name: str, users: dict[str, User], table: dict[str, User]) -> int | None:
    if name.isdigit():
        return int(name)
    user = users.get(name) or table.get(name)
    return user.uid if user else None


def _gid(name: str, outcome: Outcome) -> int | None:
    if name.isdigit():
        return int(name)
    if name in outcome.groups:
        return outcome.groups[name]
    group = accounts.table().groups.get(name)
    return group.gid if group else None


def _files(files: Files, folder: str) -> list[Entry]:
    return [
        entry
        for path, entry in sorted(files.entries.items())
        if path.startswith(folder)
        and path.endswith(".conf")
        and entry.kind is Kind.FILE
        and entry.size < 1 << 20
    ]


def _lines(entry: Entry) -> list[list[str]]:
    found: list[list[str]] = []
    for line in entry.read().decode("utf-8", "replace").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            try:
                found.append(shlex.split(line))
            except ValueError:
                found.append(line.split())
    return [fields for fields in found if len(fields) > 1]
