"""What single commands of maintainer scripts mean for an image: no effect, performed, needless or unknown.

Each handler takes the walk, the command and its expanded words, and gives the command's status. A handler
that would change something while the walk is in doubt reports the command instead, except where doing it
twice or in vain does no harm (an empty folder, an empty file).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ramekin.closure import accounts
from ramekin.closure.model import Alternative, DeferredLink, Diversion, Slave, User
from ramekin.closure.shell import Redirect, Simple, parse
from ramekin.image.tree import Kind

if TYPE_CHECKING:
    from ramekin.closure.scripts import Walk

Words = Sequence["str | None"]
Handler = Callable[["Walk", Simple, Words], "bool | None"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_QUIET = _names(
    """
    [ test : true false echo printf shift export unset local read set trap umask cd pushd popd wait sleep
    ulimit readonly hash times getopts jobs
    """
)
_QUERIES = _names(
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
    awk perl cat cp mv rm ln mkdir chmod chown sort tr head tail update-rc.d invoke-rc.d
    deb-systemd-helper
    """
)
_CAPABILITY_TEXT = """
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot
    sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease
    audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read
    perfmon bpf checkpoint_restore
"""
_CAPABILITIES = tuple(_CAPABILITY_TEXT.split())
MULTIARCH = {
    "amd64": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "armel": "arm-linux-gnueabi",
    "armhf": "arm-linux-gnueabihf",
    "i386": "i386-linux-gnu",
    "loong64": "loongarch64-linux-gnu",
    "mips64el": "mips64el-linux-gnuabi64",
    "mipsel": "mipsel-linux-gnu",
    "ppc64el": "powerpc64le-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
}


def run(walk: Walk, node: Simple, words: Words, *, piped: bool = False) -> bool | None:
    """Walk one command whose words are expanded."""
    from ramekin.closure.scripts import Leave, needless

    name = words[0]
    if name is None:
        walk.report(node.line, node.text)
        return None
    short = posixpath.basename(name)
    status: bool | None = None
    text: bytes | None = None
    if short in ("exit", "return", "break", "continue"):
        code = words[1] if len(words) > 1 else "0"
        raise Leave(short, None if code is None else code == "0")
    handler = _HANDLERS.get(short)
    if handler is not None:
        status = handler(walk, node, words)
    elif short.startswith("db_"):
        status = _debconf(walk, words)
    elif short in _QUIET:
        status, text = _quiet(walk, node, words)
    elif short in _QUERIES:
        status, text = _query(walk, node, words)
    elif short in needless().commands:
        walk.outcome.say(f"{walk.script}: {short}: {needless().commands[short]}")
    else:
        walk.report(node.line, node.text)
    for redirect in node.redirects:
        if redirect.operator in (">", ">>", ">|"):
            written(walk, node, redirect, None if piped else text)
    return status


def written(walk: Walk, node: Simple, redirect: Redirect, text: bytes | None) -> bool | None:
    """Output that goes to a file: performed when both are known, and reported otherwise."""
    path = walk.text(redirect.target)
    if path is not None and (path.startswith("/dev/") or not path):
        return True
    if path is None or text is None or not path.startswith("/") or (walk.doubt and text):
        walk.report(node.line, node.text, f"> {path or redirect.target.source}")
        return None
    if redirect.operator == ">>":
        before = walk.files.resolve(path)
        text = (before.read() if before is not None and before.size < 1 << 20 else b"") + text
    walk.files.write(path, text)
    walk.outcome.say(f"{walk.script}: wrote {path}")
    return True


# --- without effect


def _quiet(walk: Walk, node: Simple, words: Words) -> tuple[bool | None, bytes | None]:
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


def _query(walk: Walk, node: Simple, words: Words) -> tuple[bool | None, bytes | None]:
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
            if inner and inner[0] not in _QUERIES | _QUIET:
                walk.report(node.line, node.text)
        case "command" if rest[:1] not in (["-v"], ["-V"]):
            return run(walk, node, rest) if rest else True, None
        case "which" | "command" | "type":
            return _have(walk, next((w for w in rest if w is not None and not w.startswith("-")), None)), None
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


def _have(walk: Walk, name: str | None) -> bool | None:
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
        return entry.kind is Kind.SYMLINK if entry is not None else _elsewhere(walk, value)
    if walk.files.is_folder(value):
        return operator in ("-d", "-e", "-x", "-r", "-w")
    entry = walk.files.resolve(value)
    if entry is None:
        return _elsewhere(walk, value)
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


def _elsewhere(walk: Walk, path: str) -> bool | None:
    """Whether something is there that is not this package's: on a fresh image, only programs of others."""
    place = walk.files.place(path)
    return False if any(place == top or place.startswith(top + "/") for top in _FRESH) else None


def _debconf(walk: Walk, words: Words) -> bool | None:
    """debconf-devel(7): nobody is asked, so every answer is its default."""
    if words[0] == "db_get" and len(words) > 1:
        walk.variables["RET"] = walk.defaults.get(words[1]) if words[1] is not None else None
    elif words[0] in ("db_input", "db_metaget", "db_fget"):
        walk.variables["RET"] = None
    return True


# --- answers of $(…)


def _which(walk: Walk, words: Words) -> str | None:
    name = next((word for word in words[1:] if word is not None and not word.startswith("-")), None)
    if name is None or not _have(walk, name):
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


def _plain_echo(walk: Walk, words: Words) -> str | None:
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
    return "" if "--list" in words else None


ANSWERS: dict[str | None, Callable[[Walk, Words], str | None]] = {
    "which": _which,
    "command": _which,
    "dpkg": _dpkg_answer,
    "dpkg-architecture": _architecture,
    "echo": _plain_echo,
    "uname": _uname,
    "basename": _name_part(posixpath.basename),
    "dirname": _name_part(posixpath.dirname),
    "pidof": _nothing,
    "pgrep": _nothing,
    "dpkg-divert": _listed,
    "dpkg-statoverride": _listed,
}


# --- performed


def _options(words: Words, with_value: str = "") -> tuple[dict[str, str | None], list[str | None]] | None:
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


def _parsed(
    walk: Walk, node: Simple, words: Words, with_value: str = "", *, harmless: bool = False
) -> tuple[dict[str, str | None], list[str]] | None:
    """Options and operands of a command that may be performed; None after reporting it."""
    parsed = _options(words[1:], with_value)
    if parsed is None or None in parsed[1] or None in parsed[0].values() or (walk.doubt and not harmless):
        walk.report(node.line, node.text)
        return None
    return parsed[0], [operand for operand in parsed[1] if operand is not None]


def _mode(text: str | None, before: int, *, folder: bool = False) -> int | None:
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
    uid = _uid(walk, user) if user else None
    gid = _gid(walk, group) if group else None
    if (user and uid is None) or (group and gid is None):
        return None
    if separator and user and not group:
        gid = uid
    return uid, gid


def _uid(walk: Walk, name: str) -> int | None:
    if name.isdigit():
        return int(name)
    if name in walk.outcome.users:
        return walk.outcome.users[name].uid
    known = accounts.table().users.get(name)
    return known.uid if known else None


def _gid(walk: Walk, name: str) -> int | None:
    if name.isdigit():
        return int(name)
    if name in walk.outcome.groups:
        return walk.outcome.groups[name]
    known = accounts.table().groups.get(name)
    return known.gid if known else None


def _mkdir(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = _parsed(walk, node, words, "-m --mode", harmless=True)
    if parsed is None:
        return None
    options, operands = parsed
    text = options.get("-m", options.get("--mode"))
    mode = _mode(text, 0o755) if text is not None else None
    if text is not None and mode is None:
        walk.report(node.line, node.text)
        return None
    for path in operands:
        walk.files.make_folder(path, mode)
    return True


def _install(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = _parsed(
        walk, node, words, "-m --mode -o --owner -g --group -t --target-directory", harmless="-d" in words
    )
    if parsed is None:
        return None
    options, operands = parsed
    mode = _mode(options.get("-m", options.get("--mode")) or "0755", 0o755)
    owner, group = options.get("-o", options.get("--owner")), options.get("-g", options.get("--group"))
    uid = _uid(walk, owner) if owner else None
    gid = _gid(walk, group) if group else None
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
        if not _copied(walk, node, source, target, mode):
            return None
    place = target if len(sources) == 1 else None
    if place and (uid is not None or gid is not None):
        walk.files.change(place, uid=uid, gid=gid)
    return True


def _copied(walk: Walk, node: Simple, source: str, target: str, mode: int | None) -> bool:
    entry = walk.files.resolve(source)
    if entry is None or entry.kind is not Kind.FILE or entry.content is None:
        walk.report(node.line, node.text)
        return False
    if walk.files.is_folder(target):
        target = posixpath.join(target, posixpath.basename(source))
    walk.files.write(target, entry.content, entry.mode if mode is None else mode)
    return True


def _cp(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = _parsed(walk, node, words, "-t -S --suffix --target-directory")
    if parsed is None:
        return None
    options, operands = parsed
    if {"-r", "-R", "--recursive", "-t"} & set(options) or len(operands) < 2:
        walk.report(node.line, node.text)
        return None
    done = [_copied(walk, node, source, operands[-1], None) for source in operands[:-1]]
    return all(done) or None


def _mv(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = _options(words[1:])
    operands = parsed[1] if parsed else []
    known = [operand for operand in operands if operand is not None]
    if len(known) == len(operands) == 2 and not walk.doubt:
        source = walk.files.get(known[0])
        if source is None and _elsewhere(walk, known[0]) is False:
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
    parsed = _parsed(walk, node, words)
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
    if walk.files.is_folder(path) and not ({"-n", "-T", "--no-dereference"} & set(options)):
        path = posixpath.join(path, posixpath.basename(target))
    if walk.files.get(path) is not None and not ({"-f", "--force"} & set(options)):
        return False
    walk.files.link(path, target)
    return True


def _touch(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = _parsed(walk, node, words, "-d -r -t", harmless=True)
    if parsed is None:
        return None
    for path in parsed[1]:
        if not walk.files.exists(path):
            walk.files.write(path, b"")
    return True


def _chmod(walk: Walk, node: Simple, words: Words) -> bool | None:
    # a leading "-w" is a mode and not an option
    parsed = _parsed(walk, node, ["+" if w == "--" else w for w in words if w != "--"])
    if parsed is None:
        return None
    options, operands = parsed
    for path in operands[1:]:
        entry = walk.files.resolve(path)
        folder = walk.files.is_folder(path)
        before = entry.mode if entry is not None else 0o755
        mode = _mode(operands[0], before, folder=folder)
        if mode is None or not walk.files.change(path, mode=mode, recursive="-R" in options):
            walk.report(node.line, node.text)
            return None
    return True


def _chown(walk: Walk, node: Simple, words: Words) -> bool | None:
    parsed = _parsed(walk, node, words, "--from --reference")
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
    parsed = _options(words[1:])
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
        elif not walk.doubt and _elsewhere(walk, path) is None and not walk.files.is_folder(path):
            # what another package brings is not this one's to remove
            walk.report(node.line, node.text)
    return None if walk.doubt else True


def _rmdir(walk: Walk, node: Simple, words: Words) -> bool | None:
    # a folder that is empty or not there: keeping it does no harm
    return None


def _alternatives(walk: Walk, node: Simple, words: Words) -> bool | None:
    """update-alternatives(1); only --install adds something to a fresh image."""
    if "--install" not in words:
        if any(word in ("--set", "--config", "--set-selections") for word in words):
            walk.report(node.line, node.text)
        return None
    rest = list(words[words.index("--install") + 1 :])
    slaves: list[Slave] = []
    known = [word for word in rest if word is not None]
    if len(known) != len(rest) or len(known) < 4 or walk.doubt or not re.fullmatch(r"-?\d{1,9}", known[3]):
        walk.report(node.line, node.text)
        return None
    position = 4
    while position < len(known):
        if known[position] != "--slave" or position + 3 >= len(known):
            break
        link, name, path = known[position + 1 : position + 4]
        slaves.append(Slave(name, link, path))
        position += 4
    link, name, path = known[:3]
    candidate = Alternative(name, link, path, int(known[3]), tuple(slaves))
    if candidate not in walk.outcome.alternatives:
        walk.outcome.alternatives.append(candidate)
    return True


def _divert(walk: Walk, node: Simple, words: Words) -> bool | None:
    """dpkg-divert(1)."""
    if any(word in ("--list", "--listpackage", "--truename") for word in words):
        return False
    if "--remove" in words:
        return None
    parsed = _parsed(walk, node, words, "--divert --package --add")
    if parsed is None:
        return None
    options, operands = parsed
    path = options.get("--add") or (operands[-1] if operands else "")
    if not path:
        walk.report(node.line, node.text)
        return None
    to = options.get("--divert") or path + ".distrib"
    walk.outcome.diversions.append(Diversion(walk.files.place(path), walk.files.place(to)))
    return True


def _override(walk: Walk, node: Simple, words: Words) -> bool | None:
    """dpkg-statoverride(1); a fresh image has none."""
    if "--list" in words:
        return False
    if "--add" not in words:
        return None
    parsed = _parsed(walk, node, words)
    if parsed is None:
        return None
    operands = parsed[1]
    if len(operands) == 4:
        uid, gid, mode = _uid(walk, operands[0]), _gid(walk, operands[1]), _mode(operands[2], 0)
        if uid is not None and gid is not None and mode is not None:
            if "--update" not in parsed[0]:
                return True
            if walk.files.change(operands[3], uid=uid, gid=gid, mode=mode):
                return True
    walk.report(node.line, node.text)
    return None


def _add_group(walk: Walk, name: str, gid: int | None = None) -> int:
    number = gid if gid is not None else accounts.group_id(name)
    return walk.outcome.groups.setdefault(name, number)


def _adduser(walk: Walk, node: Simple, words: Words) -> bool | None:
    """adduser(8) and addgroup(8)."""
    parsed = _parsed(walk, node, words, "--home --shell --gecos --comment --uid --gid --ingroup --conf")
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
        number = _gid(walk, group)
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
    parsed = _parsed(walk, node, words, valued)
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
    gid = (_gid(walk, group) if group else None) or _add_group(walk, group or name)
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
    parsed = _parsed(walk, node, words, "-G --groups -g -d -s -c -L -l -u --home --shell --comment")
    if parsed is None:
        return None
    options, operands = parsed
    groups = options.get("-G") or options.get("--groups")
    if not groups or not operands or set(options) - {"-a", "--append", "-G", "--groups"}:
        walk.report(node.line, node.text)
        return None
    for group in groups.split(","):
        if not _base_group(group):
            _add_group(walk, group)
        walk.outcome.members.append((operands[0], group))
    return True


def _ucf(walk: Walk, node: Simple, words: Words) -> bool | None:
    """ucf(1): a configuration file that is copied once."""
    if "--purge" in words or "-p" in words:
        return True
    parsed = _parsed(walk, node, words, "--debconf-template --src-dir --state-dir --sum-file -D -S")
    if parsed is None:
        return None
    operands = parsed[1]
    if len(operands) != 2 or not _copied(walk, node, operands[0], operands[1], None):
        if len(operands) != 2:
            walk.report(node.line, node.text)
        return None
    return True


def _setcap(walk: Walk, node: Simple, words: Words) -> bool | None:
    """setcap(8): the xattr security.capability, revision 2 (linux/capability.h)."""
    from dataclasses import replace

    parsed = _parsed(walk, node, words)
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


def _source(walk: Walk, node: Simple, words: Words) -> bool | None:
    """`. FILE`: a file of the package itself is walked too; functions of known others are commands here."""
    from ramekin.closure.scripts import needless

    path = words[1] if len(words) > 1 else None
    if path is not None and path in needless().present:
        return True
    entry = walk.files.resolve(path) if path is not None else None
    if path is None or entry is None or entry.size > 1 << 20:
        if path is not None and entry is None and _elsewhere(walk, path) is False:
            return False
        walk.report(node.line, node.text)
        return None
    outer = walk.script
    walk.script = f"{outer} ({path})"
    walk.depth += 1
    try:
        if walk.depth > 20:
            return None
        return walk.run(parse(entry.read().decode("utf-8", "surrogateescape"), where=path))
    finally:
        walk.script = outer
        walk.depth -= 1


def _eval(walk: Walk, node: Simple, words: Words) -> bool | None:
    if None in words:
        walk.report(node.line, node.text)
        return None
    walk.depth += 1
    try:
        if walk.depth > 20:
            return None
        return walk.run(parse(" ".join(str(word) for word in words[1:]), where="eval"))
    finally:
        walk.depth -= 1


def _exec(walk: Walk, node: Simple, words: Words) -> bool | None:
    if len(words) > 1:
        walk.report(node.line, node.text)
    return True


def _php_invoke(walk: Walk, node: Simple, words: Words) -> bool | None:
    """php-common's `php_invoke enmod VERSION SAPI MODULE`: a link for each way to run PHP in the image."""
    if list(words[1:2]) != ["enmod"] or len(words) != 5:
        walk.report(node.line, node.text)
        return None
    version, module = words[2], words[4]
    if module is None:
        walk.outcome.say(f"{walk.script}: modules link themselves")
        return None
    ini = walk.files.resolve(f"/etc/php/{version}/mods-available/{module}.ini")
    if version is None or ini is None:
        walk.report(node.line, node.text)
        return None
    priority = re.search(rb"^;\s*priority=(\d+)", ini.read(), re.MULTILINE)
    number = int(priority.group(1)) if priority else 20
    for way, package in _PHP_WAYS.items():
        place = f"etc/php/{version}/{way}/conf.d/{number:02}-{module}.ini"
        target = f"/etc/php/{version}/mods-available/{module}.ini"
        walk.outcome.deferred.append(DeferredLink(place, target, package.format(version)))
    return True


_PHP_WAYS = {
    "apache2": "libapache2-mod-php{}",
    "cgi": "php{}-cgi",
    "cli": "php{}-cli",
    "embed": "libphp{}-embed",
    "fpm": "php{}-fpm",
    "phpdbg": "php{}-phpdbg",
}

_HANDLERS: dict[str, Handler] = {
    "php_invoke": _php_invoke,
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
    "update-alternatives": _alternatives,
    "dpkg-divert": _divert,
    "dpkg-statoverride": _override,
    "adduser": _adduser,
    "addgroup": _adduser,
    "useradd": _useradd,
    "groupadd": _useradd,
    "usermod": _usermod,
    "ucf": _ucf,
    "setcap": _setcap,
    ".": _source,
    "source": _source,
    "eval": _eval,
    "exec": _exec,
}
