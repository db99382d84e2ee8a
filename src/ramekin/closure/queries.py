"""Commands of maintainer scripts that change nothing: tests, messages and queries, answered as far as known.

Answers are those of a fresh image on which the package and what it depends on is being installed: no accounts
but the base ones, no overrides, nobody to ask, nothing running.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ramekin.closure import accounts
from ramekin.closure.multiarch import MULTIARCH
from ramekin.closure.shell import Simple
from ramekin.image.tree import Kind

if TYPE_CHECKING:
    from ramekin.closure.scripts import Walk


Words = Sequence["str | None"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


QUIET = _names(
    """
    [ test : true false echo printf shift export unset local read set trap umask cd pushd popd wait sleep
    ulimit readonly hash times getopts jobs
    """
)


QUERIES = _names(
    """
    awk mawk gawk basename cat cmp comm cut date df diff dirname dpkg-architecture dpkg-query
    dpkg-parsechangelog dpkg-vendor egrep expr fgrep file find free gawk getcap getconf getfacl grep head
    hexdump hostname id locale ls lsb_release lsof md5sum mktemp mountpoint nproc od paste pgrep pidof ps
    pwd readlink realpath runlevel sed seq sha1sum sha256sum sha512sum sort ss stat strings
    systemd-detect-virt tac tail tempfile tr tty type uname uniq wc which whoami who xargs yes zcat zgrep
    command ischroot getent dpkg ucfq deb-systemd-query netstat rev debconf-show iconv getopt b2sum cksum
    sum join fold nl lscpu base64 clear
    """
)


_FRESH = (
    "boot",
    "dev",
    "etc",
    "home",
    "lib/init",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/local",
    "var",
)


_DPKG_TOOLS = _names(
    """
    dpkg dpkg-divert dpkg-query dpkg-statoverride dpkg-trigger update-alternatives sh bash dash sed grep
    awk perl setcap cat cp mv rm ln mkdir chmod chown sort tr head tail update-rc.d invoke-rc.d
    deb-systemd-helper
    """
)


def quiet(walk: Walk, node: Simple, words: Words) -> tuple[bool | None, bytes | None]:
    name, rest = words[0], list(words[1:])
    match name:
        case "true" | ":":
            return True, b""
        case "false":
            return False, b""
        case "[" | "test":
            if name == "[" and rest and rest[-1] == "]":
                rest.pop()
            return _test(walk, rest), b""
        case "echo":
            if None in rest:
                return True, None
            line = " ".join(str(word) for word in rest)
            if rest and rest[0] in ("-n", "-e", "-en", "-ne"):
                return True, line.partition(" ")[2].encode("utf-8", "surrogateescape") if rest[
                    0
                ] == "-n" else None
            return True, None if "\\" in line else (line + "\n").encode("utf-8", "surrogateescape")
        case "printf":
            form = rest[0] if rest else None
            plain = len(rest) == 1 and form is not None and "%" not in form
            return True, form.replace("\\n", "\n").encode() if plain and form is not None else None
        case "shift":
            count = int(rest[0]) if rest and rest[0] and rest[0].isdigit() else 1
            del walk.parameters[1 : 1 + count]
        case "set":
            if rest and rest[0] == "--":
                walk.parameters[1:] = rest[1:]
            elif rest and rest[0] is not None and not rest[0].startswith(("-", "+")):
                walk.parameters[1:] = rest
        case "read":
            for variable in rest:
                if variable is not None and not variable.startswith("-"):
                    walk.variables[variable] = None
            return None, b""
        case "export" | "local" | "readonly":
            for word in rest:
                if word is None:
                    continue
                variable, equals, value = word.partition("=")
                if equals:
                    walk.variables[variable] = value
            if None in rest:
                for unexpanded in node.words[1:]:
                    variable = unexpanded.source.partition("=")[0]
                    walk.variables[variable] = None
        case "unset":
            for word in rest:
                if word is not None:
                    walk.variables.pop(word, None)
    return True, b""


def query(walk: Walk, node: Simple, words: Words) -> tuple[bool | None, bytes | None]:
    name, rest = words[0], list(words[1:])
    match name:
        case "cat":
            here = next((r.here for r in node.redirects if r.here is not None), None)
            if here is not None and not rest:
                text = walk.text(here.text) if here.text is not None else ""
                return True, None if text is None else text.encode("utf-8", "surrogateescape")
        case "sed" | "perl":
            if any(word is not None and re.match(r"-[a-zA-Z]*i|--in-place", word) for word in rest):
                walk.report(node.line, node.text)
        case "find":
            if any(word in ("-delete", "-exec", "-execdir", "-ok", "-fprint") for word in rest):
                walk.report(node.line, node.text)
        case "xargs":
            inner = [word for word in rest if word is not None and not word.startswith("-")]
            if inner and inner[0] not in QUERIES | QUIET:
                walk.report(node.line, node.text)
        case "command" if rest[:1] not in (["-v"], ["-V"]):
            from ramekin.closure import commands

            return commands.run(walk, node, rest) if rest else True, None
        case "which" | "command" | "type":
            return have(walk, next((w for w in rest if w is not None and not w.startswith("-")), None)), None
        case "ischroot":
            return True, b""
        case "pidof" | "pgrep":
            return False, b""
        case "mktemp" | "tempfile":
            return True, None
        case "getent":
            return _account_known(walk, rest), None
        case "id":
            named = [word for word in rest if word is not None and not word.startswith("-")]
            return (_account_known(walk, ["passwd", named[0]]) if named else True), None
        case "dpkg":
            return _dpkg(walk, node, rest), None
    return None, None


def _dpkg(walk: Walk, node: Simple, rest: Words) -> bool | None:
    """Queries of dpkg(1); the version that was configured before is the empty one, earlier than all."""
    if rest[:1] == ["--compare-versions"] and len(rest) == 4:
        before, operator, after = rest[1:]
        if before is None or after is None or operator is None:
            return None
        if before == after:
            return operator.removesuffix("-nl") in ("eq", "le", "ge", "=", "<=", ">=")
        if before == "":
            return operator in ("lt", "le", "ne", "gt-nl", "ge-nl", "<<", "<=", "<")
        return None
    if any(word in ("-i", "--install", "-r", "--remove", "-P", "--purge", "--configure") for word in rest):
        walk.report(node.line, node.text)
    return None


def have(walk: Walk, name: str | None) -> bool | None:
    """Whether a program is there when the script runs: its own, or what dpkg itself needs."""
    if name is None:
        return None
    if name in _DPKG_TOOLS or name in walk.functions:
        return True
    places = [name] if name.startswith("/") else [f"/usr/bin/{name}", f"/usr/sbin/{name}"]
    return True if any(walk.files.resolve(place) is not None for place in places) else None


def _account_known(walk: Walk, rest: Words) -> bool | None:
    if len(rest) < 2 or rest[1] is None:
        return None
    name = rest[1]
    table = accounts.table()
    if rest[0] == "passwd":
        return name in walk.outcome.users or any(user.name == name for user in table.base_users)
    if rest[0] == "group":
        return name in walk.outcome.groups or any(group.name == name for group in table.base_groups)
    return None


def _test(walk: Walk, words: list[str | None]) -> bool | None:
    """test(1) in three values."""
    position = 0

    def disjunction() -> bool | None:
        nonlocal position
        value = conjunction()
        while position < len(words) and words[position] == "-o":
            position += 1
            value = _or(value, conjunction())
        return value

    def conjunction() -> bool | None:
        nonlocal position
        value = primary()
        while position < len(words) and words[position] == "-a":
            position += 1
            value = _and(value, primary())
        return value

    def primary() -> bool | None:
        nonlocal position
        left = len(words) - position
        if left <= 0:
            return False
        word = words[position]
        if left >= 3 and words[position + 1] in _BINARY:
            position += 3
            return _binary(words[position - 3], str(words[position - 2]), words[position - 1])
        if word == "!" and left > 1:
            position += 1
            value = primary()
            return None if value is None else not value
        if word == "(" and left > 2:
            position += 1
            value = disjunction()
            position += 1
            return value
        if word is not None and re.fullmatch(r"-[a-zA-Z]", word) and left > 1:
            position += 2
            return _unary(walk, word, words[position - 1])
        position += 1
        return None if word is None else word != ""

    return disjunction()


_BINARY = frozenset(("=", "==", "!=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef"))


def _or(a: bool | None, b: bool | None) -> bool | None:
    return True if a is True or b is True else (None if a is None or b is None else False)


def _and(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else (None if a is None or b is None else True)


def _binary(a: str | None, operator: str, b: str | None) -> bool | None:
    if a is None or b is None:
        return None
    if operator in ("=", "=="):
        return a == b
    if operator == "!=":
        return a != b
    if re.fullmatch(r"-?\d{1,18}", a) and re.fullmatch(r"-?\d{1,18}", b):
        x, y = int(a), int(b)
        return {"-eq": x == y, "-ne": x != y, "-lt": x < y, "-le": x <= y, "-gt": x > y, "-ge": x >= y}.get(
            operator
        )
    return None


def _unary(walk: Walk, operator: str, value: str | None) -> bool | None:
    from ramekin.closure.scripts import needless

    if value is None:
        return None
    if operator in ("-z", "-n"):
        return (value == "") is (operator == "-z")
    if operator in ("-t", "-p", "-S", "-b", "-c"):
        return False
    if value in needless().present:
        return True
    if not value.startswith("/"):
        return False if value == "" else None
    if operator in ("-L", "-h"):
        entry = walk.files.get(value)
        return entry.kind is Kind.SYMLINK if entry is not None else elsewhere(walk, value)
    if walk.files.is_folder(value):
        return operator in ("-d", "-e", "-x", "-r", "-w")
    entry = walk.files.resolve(value)
    if entry is None:
        return elsewhere(walk, value)
    match operator:
        case "-d":
            return False
        case "-x":
            return bool(entry.mode & 0o111)
        case "-s":
            return entry.size > 0
        case "-e" | "-f" | "-r" | "-w":
            return True
    return None


def elsewhere(walk: Walk, path: str) -> bool | None:
    """Whether something is there that is not this package's: on a fresh image, only programs of others."""
    place = walk.files.place(path)
    if place in walk.files.removed:
        return False
    return False if any(place == top or place.startswith(top + "/") for top in _FRESH) else None


def debconf(walk: Walk, words: Words) -> bool | None:
    """debconf-devel(7): nobody is asked, so every answer is its default."""
    if words[0] == "db_get" and len(words) > 1:
        walk.variables["RET"] = walk.defaults.get(words[1]) if words[1] is not None else None
    elif words[0] in ("db_input", "db_metaget", "db_fget"):
        walk.variables["RET"] = None
    return True


# --- answers of $(…)


def _which(walk: Walk, words: Words) -> str | None:
    name = next((word for word in words[1:] if word is not None and not word.startswith("-")), None)
    if name is None or not have(walk, name):
        return None
    for place in (f"/usr/bin/{name}", f"/usr/sbin/{name}"):
        if walk.files.resolve(place) is not None:
            return place
    return f"/usr/bin/{name}"


def _dpkg_answer(walk: Walk, words: Words) -> str | None:
    if "--print-architecture" in words or "--print-foreign-architectures" in words:
        return walk.architecture if "--print-architecture" in words else ""
    return None


def _architecture(walk: Walk, words: Words) -> str | None:
    asked = next(
        (word.removeprefix("-q") for word in words[1:] if word is not None and word.startswith("-qDEB")), ""
    )
    if asked.endswith("_MULTIARCH"):
        return MULTIARCH.get(walk.architecture)
    return walk.architecture if asked.endswith("_ARCH") else None


def plain_echo(walk: Walk, words: Words) -> str | None:
    known = [word for word in words[1:] if word is not None]
    return " ".join(known) if len(known) == len(words) - 1 and "\\" not in "".join(known) else None


def _uname(walk: Walk, words: Words) -> str | None:
    return "Linux" if list(words[1:]) in ([], ["-s"]) else None


def _name_part(part: Callable[[str], str]) -> Callable[[Walk, Words], str | None]:
    def answer(walk: Walk, words: Words) -> str | None:
        if len(words) == 2 and words[1] is not None:
            return part(words[1].rstrip("/"))
        if part is posixpath.basename and len(words) == 3 and words[1] is not None and words[2] is not None:
            return part(words[1].rstrip("/")).removesuffix(words[2])
        return None

    return answer


def _nothing(walk: Walk, words: Words) -> str | None:
    return ""


def _listed(walk: Walk, words: Words) -> str | None:
    if "--truename" in words:
        return words[-1]
    return "" if "--list" in words or "--listpackage" in words else None


def _stat(walk: Walk, words: Words) -> str | None:
    """`stat -c %a FILE` of a file of the package."""
    form = " ".join("" if word is None else word for word in words[1:-1]).replace(" ", "")
    entry = walk.files.resolve(words[-1]) if words[-1] else None
    return f"{entry.mode:o}" if form in ("-c%a", "-L-c%a") and entry is not None else None


def piped_answer(walk: Walk, commands: Sequence[Sequence[str | None]]) -> str | None:
    """What `echo TEXT | cut -dX -fN` prints."""
    if len(commands) != 2 or not commands[0] or commands[0][0] != "echo":
        return None
    text = plain_echo(walk, commands[0])
    cut = [word for word in commands[1] if word is not None]
    match = re.fullmatch(r"cut -d ?(.) -f ?(\d)", " ".join(cut))
    if text is None or match is None:
        return None
    fields = text.split(match.group(1))
    index = int(match.group(2)) - 1
    return (fields[index] if index < len(fields) else "") if len(fields) > 1 else text


ANSWERS: dict[str | None, Callable[[Walk, Words], str | None]] = {
    "which": _which,
    "command": _which,
    "dpkg": _dpkg_answer,
    "dpkg-architecture": _architecture,
    "echo": plain_echo,
    "uname": _uname,
    "basename": _name_part(posixpath.basename),
    "dirname": _name_part(posixpath.dirname),
    "pidof": _nothing,
    "pgrep": _nothing,
    "dpkg-divert": _listed,
    "dpkg-statoverride": _listed,
    "stat": _stat,
}
