"""Commands of maintainer scripts that change files, performed on the package's tree.

A command in doubt is reported, except where doing it twice or in vain does no harm (an empty folder or file).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ramekin.closure import accounts
from ramekin.closure.queries import Words, elsewhere
from ramekin.closure.shell import Simple
from ramekin.image.tree import Kind

if TYPE_CHECKING:
    from ramekin.closure.scripts import Walk


Handler = Callable[["Walk", Simple, Words], "bool | None"]

_CAPABILITY_TEXT = """
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot
    sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease
    audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read
    perfmon bpf checkpoint_restore
"""


_CAPABILITIES = tuple(_CAPABILITY_TEXT.split())


def options_of(words: Words, with_value: str = "") -> tuple[dict[str, str | None], list[str | None]] | None:
    """Options (a long one with `=`, a short one in a cluster) and operands; None when a word is unknown.

    `with_value` names options whose value is the next word.
    """
    valued = with_value.split()
    options: dict[str, str | None] = {}
    operands: list[str | None] = []
    rest = iter(words)
    for word in rest:
        if word is None:
            operands.append(None)
        elif word == "--":
            operands.extend(rest)
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            options[name] = value if equals else (next(rest, None) if name in valued else "")
        elif word.startswith("-") and len(word) > 1:
            for index, letter in enumerate(word[1:], 1):
                if f"-{letter}" in valued:
                    options[f"-{letter}"] = word[index + 1 :] or next(rest, None)
                    break
                options[f"-{letter}"] = ""
        else:
            operands.append(word)
    return options, operands


def parsed_words(
    walk: Walk, node: Simple, words: Words, with_value: str = "", *, harmless: bool = False
) -> tuple[dict[str, str | None], list[str]] | None:
    """Options and operands of a command that may be performed; None after reporting it."""
    parsed = options_of(words[1:], with_value)
    if parsed is None or None in parsed[1] or None in parsed[0].values() or (walk.doubt and not harmless):
        walk.report(node.line, node.text)
        return None
    return parsed[0], [operand for operand in parsed[1] if operand is not None]


def mode_of(text: str | None, before: int, *, folder: bool = False) -> int | None:
    """The mode that chmod(1)'s `text` makes of `before`; None when it is not understood."""
    if text is None:
        return None
    if re.fullmatch(r"0*[0-7]{1,4}", text):
        return int(text, 8)
    mode = before
    for clause in text.split(","):
        match = re.fullmatch(r"([ugoa]*)([+=-])([rwxXst]*)", clause)
        if match is None:
            return None
        who, operator, letters = match.groups()
        who = "ugo" if not who or "a" in who else who
        bits = mask = 0
        for letter in who:
            shift = {"u": 6, "g": 3, "o": 0}[letter]
            mask |= 7 << shift | {"u": 0o4000, "g": 0o2000, "o": 0}[letter]
            for bit in letters:
                if bit in "rwx":
                    bits |= {"r": 4, "w": 2, "x": 1}[bit] << shift
                elif bit == "X" and (folder or before & 0o111):
                    bits |= 1 << shift
                elif bit == "s":
                    bits |= {"u": 0o4000, "g": 0o2000, "o": 0}[letter]
        if "t" in letters:
            bits |= 0o1000
            mask |= 0o1000
        mode = mode | bits if operator == "+" else mode & ~bits if operator == "-" else mode & ~mask | bits
    return mode


def _owner(walk: Walk, text: str) -> tuple[int | None, int | None] | None:
    """uid and gid of chown(1)'s operand; None when a name is no account known here."""
    user, separator, group = text.replace(".", ":", 1).partition(":")
    uid = uid_of(walk, user) if user else None
    gid = gid_of(walk, group) if group else None
    if (user and uid is None) or (group and gid is None):
        return None
    if separator and user and not group:
        gid = uid
    return uid, gid


def uid_of(walk: Walk, name: str) -> int | None:
    if name.isdigit():
        return int(name)
    if name in walk.outcome.users:
        return walk.outcome.users[name].uid
    known = accounts.table().users.get(name)
    return known.uid if known else None


def gid_of(walk: Walk, name: str) -> int | None:
    if name.isdigit():
        return int(name)
    if name in walk.outcome.groups:
        return walk.outcome.groups[name]
    known = accounts.table().groups.get(name)
    return known.gid if known else None


def _mkdir(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = parsed_words(walk, node, words, "-m --mode", harmless=True)
    if parsed is None:
        return None
    options, operands = parsed
    text = options.get("-m", options.get("--mode"))
    mode = mode_of(text, 0o755) if text is not None else None
    if text is not None and mode is None:
        walk.report(node.line, node.text)
        return None
    for path in operands:
        walk.files.make_folder(path, mode)
    return True


def _install(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = parsed_words(
        walk, node, words, "-m --mode -o --owner -g --group -t --target-directory", harmless="-d" in words
    )
    if parsed is None:
        return None
    options, operands = parsed
    mode = mode_of(options.get("-m", options.get("--mode")) or "0755", 0o755)
    owner, group = options.get("-o", options.get("--owner")), options.get("-g", options.get("--group"))
    uid = uid_of(walk, owner) if owner else None
    gid = gid_of(walk, group) if group else None
    if (owner and uid is None) or (group and gid is None) or mode is None:
        walk.report(node.line, node.text)
        return None
    if "-d" in options or "--directory" in options:
        for path in operands:
            walk.files.make_folder(path, mode, uid, gid)
        return True
    target = options.get("-t", options.get("--target-directory"))
    sources = operands if target else operands[:-1]
    target = target or (operands[-1] if operands else "")
    for source in sources:
        if not copied(walk, node, source, target, mode):
            return None
    place = target if len(sources) == 1 else None
    if place and (uid is not None or gid is not None):
        walk.files.change(place, uid=uid, gid=gid)
    return True


def copied(walk: Walk, node: Simple, source: str, target: str, mode: int | None) -> bool:
    entry = walk.files.resolve(source)
    if entry is None or entry.kind is not Kind.FILE or entry.content is None:
        walk.report(node.line, node.text)
        return False
    if walk.files.is_folder(target):
        target = posixpath.join(target, posixpath.basename(source))
    walk.files.write(target, entry.content, entry.mode if mode is None else mode)
    return True


def _cp(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = parsed_words(walk, node, words, "-t -S --suffix --target-directory")
    if parsed is None:
        return None
    options, operands = parsed
    if {"-r", "-R", "--recursive", "-t"} & set(options) or len(operands) < 2:
        walk.report(node.line, node.text)
        return None
    done = [copied(walk, node, source, operands[-1], None) for source in operands[:-1]]
    return all(done) or None


def _mv(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = options_of(words[1:])
    operands = parsed[1] if parsed else []
    known = [operand for operand in operands if operand is not None]
    if len(known) == len(operands) == 2 and not walk.doubt:
        source = walk.files.get(known[0])
        if source is None and elsewhere(walk, known[0]) is False:
            return False
        if source is not None and source.kind is not Kind.DIRECTORY:
            target = known[1]
            if walk.files.is_folder(target):
                target = posixpath.join(target, posixpath.basename(known[0]))
            walk.files.remove(known[0])
            walk.files.put(source.at(walk.files.place(target)))
            return True
    walk.report(node.line, node.text)
    return None


def _ln(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = parsed_words(walk, node, words)
    if parsed is None:
        return None
    options, operands = parsed
    if not ({"-s", "--symbolic"} & set(options)) or not operands:
        walk.report(node.line, node.text)
        return None
    target = operands[0]
    path = operands[1] if len(operands) > 1 else posixpath.basename(target)
    if not path.startswith("/"):
        walk.report(node.line, node.text)
        return None
    if walk.files.is_alias(path):
        return True
    if walk.files.is_folder(path) and not ({"-n", "-T", "--no-dereference"} & set(options)):
        path = posixpath.join(path, posixpath.basename(target))
    if walk.files.get(path) is not None and not ({"-f", "--force"} & set(options)):
        return False
    walk.files.link(path, target)
    return True


def _touch(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = parsed_words(walk, node, words, "-d -r -t", harmless=True)
    if parsed is None:
        return None
    for path in parsed[1]:
        if not walk.files.exists(path):
            walk.files.write(path, b"")
    return True


def _chmod(walk: Walk, node: Simple, words: Words) -> bool | None:
    # a leading "-w" is a mode and not an option
    parsed = parsed_words(walk, node, ["+" if w == "--" else w for w in words if w != "--"])
    if parsed is None:
        return None
    options, operands = parsed
    for path in operands[1:]:
        entry = walk.files.resolve(path)
        folder = walk.files.is_folder(path)
        before = entry.mode if entry is not None else 0o755
        mode = mode_of(operands[0], before, folder=folder)
        if mode is None or not walk.files.change(path, mode=mode, recursive="-R" in options):
            walk.report(node.line, node.text)
            return None
    return True


def _chown(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = parsed_words(walk, node, words, "--from --reference")
    if parsed is None:
        return None
    options, operands = parsed
    if not operands or {"--reference", "--from"} & set(options):
        walk.report(node.line, node.text)
        return None
    text = operands[0] if words[0] != "chgrp" else ":" + operands[0]
    owner = _owner(walk, text)
    for path in operands[1:]:
        recursive = "-R" in options or "--recursive" in options
        if owner is None or not walk.files.change(path, uid=owner[0], gid=owner[1], recursive=recursive):
            walk.report(node.line, node.text)
            return None
    return True


def _rm(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = options_of(words[1:])
    operands = parsed[1] if parsed else [None]
    for path in operands:
        if path is None or not path.startswith("/"):
            if path is None and not walk.doubt:
                walk.report(node.line, node.text)
            continue
        here = walk.files.get(path) is not None
        if here and walk.doubt:
            walk.report(node.line, node.text)
        elif here:
            walk.files.remove(path)
            walk.outcome.say(f"{walk.script}: removed {path}")
        elif not walk.doubt and elsewhere(walk, path) is None and not walk.files.is_folder(path):
            # what another package brings is not this one's to remove
            walk.report(node.line, node.text)
    return None if walk.doubt else True


def _rmdir(walk: Walk, node: Simple, words: Words) -> bool | None:
    # a folder that is empty or not there: keeping it does no harm
    return None


def _setcap(walk: Walk, node: Simple, words: Words) -> bool | None:
    """setcap(8): the xattr security.capability, revision 2 (linux/capability.h)."""
    from dataclasses import replace

    parsed = parsed_words(walk, node, words)
    if parsed is None:
        return None
    operands = parsed[1]
    match = re.fullmatch(r"(cap_[a-z_]+(?:,cap_[a-z_]+)*)[=+]([eip]+)", operands[0]) if operands else None
    if match is None or len(operands) != 2 or "-r" in parsed[0]:
        walk.report(node.line, node.text)
        return None
    names = [name.removeprefix("cap_") for name in match.group(1).split(",")]
    entry = walk.files.resolve(operands[1])
    if entry is None or any(name not in _CAPABILITIES for name in names):
        walk.report(node.line, node.text)
        return None
    bits = sum(1 << _CAPABILITIES.index(name) for name in set(names))
    permitted = bits if "p" in match.group(2) else 0
    inheritable = bits if "i" in match.group(2) else 0
    value = (0x02000000 | ("e" in match.group(2))).to_bytes(4, "little")
    for shift in (0, 32):
        value += (permitted >> shift & 0xFFFFFFFF).to_bytes(4, "little")
        value += (inheritable >> shift & 0xFFFFFFFF).to_bytes(4, "little")
    attributes = dict(entry.xattrs) | {"security.capability": value}
    walk.files.put(replace(entry, xattrs=tuple(sorted(attributes.items()))))
    return True


HANDLERS: dict[str, Handler] = {
    "mkdir": _mkdir,
    "install": _install,
    "cp": _cp,
    "mv": _mv,
    "ln": _ln,
    "touch": _touch,
    "chmod": _chmod,
    "chown": _chown,
    "chgrp": _chown,
    "rm": _rm,
    "rmdir": _rmdir,
    "setcap": _setcap,
}
