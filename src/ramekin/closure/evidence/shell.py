"""Commands that a shell script calls (POSIX, Shell Command Language, 2.3 and 2.10, as far as names go)."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\f\v]+)
    | (?P<comment>(?:(?<=\s)|^)\#[^\n]*)
    | (?P<heredoc><<-?\s*(?P<q>['"\\]?)(?P<tag>\w+)['"]?)
    | (?P<single>'[^']*')
    | (?P<double>"(?:[^"\\$`]|\\.|\$(?!\()|`[^`]*`|\$\([^()]*(?:\([^()]*\)[^()]*)*\))*")
    | (?P<case>(?<=\s)in(?=\s))
    | (?P<join>\\\n)
    | (?P<break>\n|;;&?|;&?|&&?|\|\|?|\$\(\(?|`|\(|\)|<\(|>\()
    | (?P<redirect>[0-9]*(?:>>|>\||>&|<&|<>|<<<|>|<)\s*(?:[^\s;&|<>()"'`]+)?)
    | (?P<assign>[A-Za-z_]\w*(?:\[[^\]]*\])?\+?=(?:[^\s;&|()<>"'`$]|\$(?!\()|"(?:[^"\\]|\\.)*"|'[^']*')*)
    | (?P<word>(?:[^\s;&|()<>"'`\\$]|\\.|\$(?!\()|\$\{[^}]*\})+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_REST = re.compile(r"[^\n;&|()`\"'$<>#\\]+")
"""What may follow a command without meaning anything here; a `#` is looked at again."""
_INNER = re.compile(r"\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)|`([^`]*)`")
_DEFINED = re.compile(
    r"^\s*(?:function\s+)?([A-Za-z_][\w.-]*)\s*\(\s*\)|^\s*function\s+([A-Za-z_][\w.-]*)", re.MULTILINE
)
_COMMAND = re.compile(r"/?[A-Za-z0-9_][A-Za-z0-9_./+-]*\Z|\[\Z")

_KEEP_PLACE = frozenset(
    (
        "if",
        "then",
        "elif",
        "else",
        "do",
        "while",
        "until",
        "!",
        "{",
        "time",
        "exec",
        "command",
        "nohup",
        "nice",
    )
) | {"env", "sudo", "eval", "builtin"}
"""Words after which a command follows."""
_PROGRAMS = frozenset(("env", "nice", "nohup"))

BUILTINS = frozenset(
    [
        ".",
        ":",
        "[",
        "[[",
        "]]",
        "alias",
        "bg",
        "bind",
        "break",
        "builtin",
        "caller",
        "case",
        "cd",
        "command",
        "compgen",
        "complete",
        "continue",
        "coproc",
        "declare",
        "dirs",
        "disown",
        "do",
        "done",
        "echo",
        "elif",
        "else",
        "enable",
        "esac",
        "eval",
        "exec",
        "exit",
        "export",
        "false",
        "fc",
        "fg",
        "fi",
        "for",
        "function",
        "getopts",
        "hash",
        "help",
        "history",
        "if",
        "in",
        "jobs",
        "kill",
        "let",
        "local",
        "logout",
        "mapfile",
        "popd",
        "printf",
        "pushd",
        "pwd",
        "read",
        "readarray",
        "readonly",
        "return",
        "select",
        "set",
        "shift",
        "shopt",
        "source",
        "suspend",
        "test",
        "then",
        "time",
        "times",
        "trap",
        "true",
        "type",
        "typeset",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "until",
        "wait",
        "while",
        "{",
        "}",
        "!",
        "fatal",
        "die",
        "usage",
    ]
)

LIMIT = 1 << 20
"""Bytes of one script that are looked at."""


def commands(text: str, depth: int = 0) -> set[str]:
    """Names and absolute paths at the place of a command in `text`, and of scripts that it reads in (`.`).

    Builtins and the script's own functions are left away.
    """
    own = {a or b for a, b in _DEFINED.findall(text)}
    found = _read(text, depth)
    return {name for name in found if name not in BUILTINS and name not in own}


def _read(text: str, depth: int) -> set[str]:
    found: set[str] = set()
    open_: list[str] = []
    documents: list[str] = []
    cases = 0
    first, pattern, reads, awaits = True, False, False, False
    place, end, before = 0, len(text), ""
    while place < end:
        if not first and not reads and not pattern and not awaits and (rest := _REST.match(text, place)):
            place = rest.end()
            before = ""
            continue
        match = _TOKEN.match(text, place)
        if match is None:  # pragma: no cover - `other` takes any character
            break
        kind, word, place = match.lastgroup or "", match[0], match.end()
        if kind in ("heredoc", "q", "tag"):
            documents.append(match["tag"])
        elif kind == "break":
            if word == "\n" and documents:
                place = _after_documents(text, place, documents)
            awaits = False
            first, pattern = _broken(word, before, open_, pattern, cases)
            reads = False
        elif kind == "case":
            pattern, awaits = cases > 0 and not first, False
        elif kind in ("single", "double"):
            if kind == "double" and depth < _DEEPEST:
                for a, b in _INNER.findall(word):
                    found |= _read(a or b, depth + 1)
            if (first or reads) and not pattern and _COMMAND.match(word[1:-1]):
                found.add(word[1:-1])
            first = reads = False
        elif kind == "word" and reads:
            if _COMMAND.match(word):
                found.add(word)
            reads = False
        elif kind == "word" and first and not pattern:
            if word == "case":
                cases, first, awaits = cases + 1, False, True
            elif word == "esac":
                cases, first = max(cases - 1, 0), False
            elif word in (".", "source"):
                first, reads = False, True
            elif word in _KEEP_PLACE:
                if word in _PROGRAMS:
                    found.add(word)
            elif word in ("for", "select", "function"):
                first = False
            else:
                first = word.startswith("-")
                if not first and _COMMAND.match(word):
                    found.add(word)
        elif kind == "word" and pattern and word == "esac":
            cases, pattern, first = max(cases - 1, 0), False, False
        if kind != "space":
            before = word
    return found


_DEEPEST = 3


def _broken(word: str, before: str, open_: list[str], pattern: bool, cases: int) -> tuple[bool, bool]:
    """Whether a command, and whether a pattern of `case`, may follow the operator `word`."""
    if pattern and word == ")":
        return True, False
    if word.startswith(";;"):
        return True, cases > 0
    if word == ")":
        opened = open_.pop() if open_ else ""
        return opened == "(" and before == "(", pattern
    if word.endswith("("):
        open_.append(word)
        return word != "$((", pattern
    if word == "`":
        if open_ and open_[-1] == "`":
            open_.pop()
            return False, pattern
        open_.append("`")
        return True, pattern
    return True, pattern


def _after_documents(text: str, place: int, tags: list[str]) -> int:
    """Where the here-documents end whose first line starts at `place`."""
    while tags:
        done = re.compile(r"^\t*" + re.escape(tags.pop(0)) + r"[ \t]*$", re.MULTILINE).search(text, place)
        place = done.end() if done else len(text)
    return place
