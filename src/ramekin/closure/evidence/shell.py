"""Commands that a shell script calls (POSIX, Shell Command Language, 2.3 and 2.10, as far as names go)."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      (?P<comment>(?:(?<=\s)|^)\#[^\n]*)
    | (?P<heredoc><<-?\s*(?P<q>['"\\]?)(?P<tag>\w+)['"]?)
    | (?P<single>'[^']*')
    | (?P<double>"(?:[^"\\$`]|\\.|\$(?!\()|`[^`]*`|\$\([^()]*(?:\([^()]*\)[^()]*)*\))*")
    | (?P<case>(?<=\s)in(?=\s))
    | (?P<join>\\\n)
    | (?P<break>\n|;;&?|;&?|&&?|\|\|?|\$\(\(?|`|\(|\)|<\(|>\()
    | (?P<redirect>[0-9]*(?:>>|>\||>&|<&|<>|<<<|>|<)\s*(?:[^\s;&|<>()"'`]+)?)
    | (?P<assign>[A-Za-z_]\w*(?:\[[^\]]*\])?\+?=(?:[^\s;&|()<>"'`$]|\$(?!\()|"(?:[^"\\]|\\.)*"|'[^']*')*)
    | (?P<word>(?:[^\s;&|()<>"'`\\$]|\\.|\$(?!\()|\$\{[^}]*\})+)
    | (?P<space>[ \t\r\f\v]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_INNER = re.compile(r"\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)|`([^`]*)`")
_DEFINED = re.compile(
    r"^\s*(?:function\s+)?([A-Za-z_][\w.-]*)\s*\(\s*\)|^\s*function\s+([A-Za-z_][\w.-]*)", re.MULTILINE
)
_COMMAND = re.compile(r"/?[A-Za-z0-9_][A-Za-z0-9_./+-]*\Z|\[\Z")

KEEPS_POSITION = frozenset(
    [
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
        "env",
        "sudo",
        "eval",
        "builtin",
    ]
)
"""Words after which a command follows."""

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
    """Names and absolute paths at the place of a command in `text`, without builtins and its own functions."""
    own = {a or b for a, b in _DEFINED.findall(text)}
    found: set[str] = set()
    first, skip_to, cases = True, 0, 0
    pattern = False
    place, end = 0, len(text)
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:  # pragma: no cover - `other` takes any character
            break
        kind, word, place = match.lastgroup, match[0], match.end()
        if kind in ("heredoc", "q", "tag"):
            done = re.compile(r"^\t*" + re.escape(match["tag"]) + r"\s*$", re.MULTILINE).search(text, place)
            line_end = text.find("\n", place)
            rest = text[place:line_end] if line_end >= 0 else ""
            if depth < 3 and rest.strip():
                found |= commands(rest if first else ": " + rest, depth + 1)
            place = done.end() if done else end
            first = True
        elif kind == "break":
            if pattern and word == ")":
                pattern, first = False, True
            elif word.startswith(";;"):
                pattern, first = cases > 0, True
            else:
                first = word != "$((" and word != ")"
        elif kind == "case":
            pattern, cases = cases > 0 and not first, cases
        elif kind in ("single", "double"):
            if kind == "double" and depth < 3:
                for a, b in _INNER.findall(word):
                    found |= commands(a or b, depth + 1)
            if first and not pattern and _COMMAND.match(word[1:-1]):
                found.add(word[1:-1])
            first = False
        elif kind == "word" and first and not pattern:
            if word == "case":
                cases += 1
                first = False
            elif word == "esac":
                cases = max(cases - 1, 0)
            elif word in KEEPS_POSITION:
                pass
            elif word in ("for", "select", "function"):
                first = False
            else:
                first = word.startswith("-")
                if not first and _COMMAND.match(word):
                    found.add(word)
        elif kind == "word" and pattern and word == "esac":
            cases, pattern, first = max(cases - 1, 0), False, False
    del skip_to
    return {name for name in found if name not in BUILTINS and name not in own and "=" not in name}
