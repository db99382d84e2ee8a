"""What a package's maintainer scripts would do on a fresh image, worked out from their text.

Nothing is run. The script is walked with the arguments of a first installation (`preinst install`,
`postinst configure ""`; Debian Policy, chapter 6) and values are followed as far as they are known:

    word          known text, or None (a value that only a running system has)
    status        True, False, or None

A branch whose condition is known to be false is not looked at: upgrades, aborts, questions nobody answered.
Of a condition that is None both sides are walked "in doubt", and what they assign is forgotten after. A
command is then one of these (`commands`):

    no effect     tests, queries, messages
    performed     folders, owners, modes, links, copies, accounts, alternatives, diversions: done to the tree
    needless      its effect means nothing in an image (starting services, byte code, caches)
    covered       a recipe says by pattern why it need not run, and does what it must
    unknown       all else, and what would be performed but stands in doubt: reported with its line
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from ramekin.closure import accounts, data, queries, shell
from ramekin.closure.files import Files
from ramekin.closure.model import Alternative, DeferredLink, Diversion, Group, Unknown, User
from ramekin.closure.shell import Node, Simple, Word

ARGUMENTS = {"preinst": ("install",), "postinst": ("configure", "")}
_SECTION = re.compile(r"^# Automatically added by ([a-z0-9_]+)(?:/\S*)?\s*$")
_SECTION_END = re.compile(r"^# End automatically added section\s*$")
_STEPS = 20_000
_LONGEST = 1 << 16


@dataclass(slots=True)
class Outcome:
    """What the scripts of one package came to, besides changes of its files."""

    users: dict[str, User] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    members: list[tuple[str, str]] = field(default_factory=list)
    alternatives: list[Alternative] = field(default_factory=list)
    diversions: list[Diversion] = field(default_factory=list)
    deferred: list[DeferredLink] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    handled: list[str] = field(default_factory=list)

    def group_list(self) -> tuple[Group, ...]:
        """The groups that were made with their members, and those of every image that were joined."""
        joined = {group for _, group in self.members}
        base = {group.name: group.gid for group in accounts.table().base_groups if group.name in joined}
        names = {**base, **self.groups}
        return tuple(
            Group(name, names[name], tuple(sorted({user for user, group in self.members if group == name})))
            for name in sorted(names)
        )

    def say(self, text: str) -> None:
        if text not in self.handled:
            self.handled.append(text)


class Leave(Exception):  # noqa: N818 - control flow of the script, not an error of ours
    """`exit`, `return`, `break` or `continue`; caught where the script's own flow would."""

    def __init__(self, kind: str, status: bool | None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status = status


@dataclass(slots=True)
class Walk:
    """One script being walked."""

    script: str
    package: str
    architecture: str
    files: Files
    outcome: Outcome
    covers: Sequence[tuple[str, str]]
    defaults: Mapping[str, str]
    parameters: list[str | None]
    variables: dict[str, str | None]
    functions: dict[str, Node] = field(default_factory=dict)
    doubt: int = 0
    depth: int = 0
    steps: int = 0
    queries: set[str] = field(default_factory=set)

    # --- nodes

    def run(self, node: Node) -> bool | None:
        """Walk a node and give its status."""
        self.steps += 1
        if self.steps > _STEPS:
            raise shell.ShellSyntaxError(f"{self.package}'s {self.script} takes too many steps to work out")
        match node:
            case shell.Sequence():
                status: bool | None = True
                for inner in node.nodes:
                    status = self.run(inner)
                return status
            case Simple():
                return self.simple(node)
            case shell.AndOr():
                return self._and_or(node)
            case shell.Pipeline():
                return self._pipeline(node)
            case shell.If():
                return self._if(node)
            case shell.Case():
                return self._case(node)
            case shell.For():
                return self._for(node)
            case shell.While():
                self._loop(node)
                return None
            case shell.Function():
                self.functions[node.name] = node.body
                return True
            case shell.Group():
                return self._group(node)

    def maybe(self, node: Node) -> dict[str, str | None]:
        """Walk a node that may or may not run; the variables as it would leave them."""
        before = dict(self.variables)
        self.doubt += 1
        try:
            self.run(node)
        except Leave:
            pass
        finally:
            self.doubt -= 1
            after, self.variables = self.variables, before
        return after

    def join(self, outcomes: Iterable[dict[str, str | None]]) -> None:
        """Keep of the variables what all outcomes agree on."""
        for after in outcomes:
            for name in {*after, *self.variables}:
                if after.get(name, "") != self.variables.get(name, ""):
                    self.variables[name] = None

    def _and_or(self, node: shell.AndOr) -> bool | None:
        status = self.run(node.first)
        for operator, inner in node.rest:
            wanted = operator == "&&"
            if status is None:
                self.join([self.maybe(inner)])
            elif status is wanted:
                status = self.run(inner)
        return status

    def _pipeline(self, node: shell.Pipeline) -> bool | None:
        if len(node.commands) == 1:
            status = self.run(node.commands[0])
            return None if status is None else (not status if node.negated else status)
        for command in node.commands:
            # each runs in its own shell and on input that is not known
            if isinstance(command, Simple):
                self.simple(command, piped=True)
            else:
                self.maybe(command)
        return None

    def _if(self, node: shell.If) -> bool | None:
        outcomes: list[dict[str, str | None]] = []
        for condition, body in node.branches:
            status = self.run(condition)
            if status is True:
                if not outcomes:
                    return self.run(body)
                outcomes.append(self.maybe(body))
                self.join(outcomes)
                return None
            if status is None:
                outcomes.append(self.maybe(body))
        if node.otherwise is not None:
            if not outcomes:
                return self.run(node.otherwise)
            outcomes.append(self.maybe(node.otherwise))
        self.join(outcomes)
        return None if outcomes else True

    def _case(self, node: shell.Case) -> bool | None:
        subject = self.text(node.word)
        outcomes: list[dict[str, str | None]] = []
        for patterns, body in node.items:
            hits = [self._matches(subject, pattern) for pattern in patterns]
            if True in hits:
                if not outcomes:
                    return self.run(body)
                outcomes.append(self.maybe(body))
                break
            if None in hits:
                outcomes.append(self.maybe(body))
        self.join(outcomes)
        return None if outcomes else True

    def _matches(self, subject: str | None, pattern: Word) -> bool | None:
        expression = ""
        for part in pattern.parts:
            if isinstance(part, shell.Text):
                expression += re.sub(r"([*?\[])", r"[\1]", part.text) if part.quoted else part.text
            else:
                inner = self.text(Word((part,), ""))
                if inner is None:
                    return None
                expression += inner
        if expression == "*":
            return True
        return None if subject is None else fnmatch.fnmatchcase(subject, expression)

    def _for(self, node: shell.For) -> bool | None:
        values = list(self.parameters[1:]) if node.words is None else self.fields(node.words)
        if len(values) > 500:
            values = [None]
        for value in values:
            self.variables[node.name] = value
            try:
                if value is None:
                    self.join([self.maybe(node.body)])
                else:
                    self.run(node.body)
            except Leave as leave:
                if leave.kind == "break":
                    break
                if leave.kind != "continue":
                    raise
        return True

    def _loop(self, node: shell.While) -> None:
        # what the body assigns is unknown from the first turn on
        for name in _assigned(node):
            self.variables[name] = None
        self.maybe(shell.Sequence((node.condition, node.body)))

    def _group(self, node: shell.Group) -> bool | None:
        for redirect in node.redirects:
            self._redirect_unknown(redirect, node.line, node.text)
        if not node.subshell:
            return self.run(node.body)
        before = dict(self.variables)
        try:
            return self.run(node.body)
        except Leave as leave:
            return leave.status
        finally:
            self.variables = before

    def _redirect_unknown(self, redirect: shell.Redirect, line: int, text: str) -> None:
        if redirect.operator not in (">", ">>", ">|"):
            return
        target = self.text(redirect.target)
        if target is None or not target.startswith("/dev/"):
            self.report(line, text, f"> {target or redirect.target.source}")

    # --- words

    def text(self, word: Word) -> str | None:
        """The value of a word that is not split into fields."""
        out: list[str] = []
        for part in word.parts:
            value = self._part(part)
            if value is None:
                return None
            out.append(value)
        whole = "".join(out)
        return whole if len(whole) <= _LONGEST else None

    def fields(self, words: Iterable[Word]) -> list[str | None]:
        """The fields of words after splitting and path patterns (XCU 2.6); None for an unknown one."""
        found: list[str | None] = []
        for word in words:
            found.extend(self._fields(word))
        return found

    def _fields(self, word: Word) -> list[str | None]:
        if len(word.parts) == 1 and isinstance(word.parts[0], shell.Variable) and word.parts[0].name in "@*":
            return list(self.parameters[1:])
        fields: list[str] = []
        current: list[str] = []
        open_field = False
        pattern = False
        for part in word.parts:
            value = self._part(part)
            if value is None or len(value) > _LONGEST:
                return [None]
            if isinstance(part, shell.Text) or part.quoted:
                current.append(value)
                open_field = True
                pattern |= isinstance(part, shell.Text) and not part.quoted and bool(set("*?[") & set(value))
                continue
            pieces = value.split()
            if pieces and value[:1].isspace() and open_field:
                fields.append("".join(current))
                current, open_field = [], False
            for number, piece in enumerate(pieces):
                if number:
                    fields.append("".join(current))
                    current = []
                current.append(piece)
                open_field = True
        if open_field:
            fields.append("".join(current))
        if pattern and len(fields) == 1 and fields[0].startswith("/"):
            return list(self.files.matching(fields[0]))
        return list(fields)

    def _part(self, part: shell.Part) -> str | None:
        if isinstance(part, shell.Text):
            return part.text
        if isinstance(part, shell.Substitution):
            return self._substitution(part)
        return self._variable(part)

    def _variable(self, part: shell.Variable) -> str | None:
        name = part.name
        given = True
        if name.isdigit():
            index = int(name)
            given = index < len(self.parameters)
            value = self.parameters[index] if given else ""
        elif name in "@*":
            known = [one for one in self.parameters[1:] if one is not None]
            value = " ".join(known) if len(known) == len(self.parameters) - 1 else None
        elif name == "#":
            value = str(len(self.parameters) - 1)
        elif name in "?$!-":
            value = None
        else:
            given = name in self.variables
            value = self.variables.get(name, "")
        return self._operated(part, value, given)

    def _operated(self, part: shell.Variable, value: str | None, given: bool) -> str | None:
        operator = part.operator
        if not operator:
            return value
        if operator == "length":
            return None if value is None else str(len(value))
        argument = self.text(part.argument) if part.argument else ""
        empty = not value if operator.startswith(":") else not given
        match operator.lstrip(":"):
            case "-" | "=":
                if value is None:
                    return None
                result = argument if empty else value
                if operator.endswith("=") and empty:
                    self.variables[part.name] = result
                return result
            case "+":
                return None if value is None else ("" if empty else argument)
            case "?":
                return value
        if value is None or argument is None:
            return None
        if operator in ("#", "##"):
            cuts = range(len(value) + 1) if operator == "#" else range(len(value), -1, -1)
            return next((value[cut:] for cut in cuts if fnmatch.fnmatchcase(value[:cut], argument)), value)
        if operator in ("%", "%%"):
            cuts = range(len(value), -1, -1) if operator == "%" else range(len(value) + 1)
            return next((value[:cut] for cut in cuts if fnmatch.fnmatchcase(value[cut:], argument)), value)
        return None

    def _substitution(self, part: shell.Substitution) -> str | None:
        if part.body is None:
            return None
        if len(part.body.nodes) == 1 and isinstance(part.body.nodes[0], Simple):
            command = part.body.nodes[0]
            words = self.fields(command.words)
            if words and words[0] in queries.ANSWERS:
                return queries.ANSWERS[words[0]](self, words)
        if len(part.body.nodes) == 1 and isinstance(part.body.nodes[0], shell.Pipeline):
            simple = [one for one in part.body.nodes[0].commands if isinstance(one, Simple)]
            if len(simple) == len(part.body.nodes[0].commands):
                answer = queries.piped_answer(self, [self.fields(one.words) for one in simple])
                if answer is not None:
                    return answer
        self.depth += 1
        try:
            if self.depth < 40:
                self.maybe(part.body)
        finally:
            self.depth -= 1
        return None

    # --- commands

    def simple(self, node: Simple, *, piped: bool = False) -> bool | None:
        """Walk one command and say what it means."""
        from ramekin.closure import commands

        if not node.words:
            for name, word in node.assignments:
                self.variables[name] = self.text(word)
            for redirect in node.redirects:
                if redirect.operator in (">", ">>", ">|"):
                    return commands.written(self, node, redirect, b"")
            return None if any(self.variables[name] is None for name, _ in node.assignments) else True
        words = self.fields(node.words)
        if not words:
            return True
        command = words[0]
        if self.covered(node, words):
            return None
        if command is not None and command in self.functions:
            return self._call(self.functions[command], words)
        return commands.run(self, node, words, piped=piped)

    def _call(self, body: Node, words: list[str | None]) -> bool | None:
        if self.depth > 40:
            return None
        outer = self.parameters
        self.parameters = [outer[0], *words[1:]]
        self.depth += 1
        try:
            return self.run(body)
        except Leave as leave:
            if leave.kind != "return":
                raise
            return leave.status
        finally:
            self.parameters = outer
            self.depth -= 1

    def covered(self, node: Simple, words: Sequence[str | None]) -> bool:
        """True when a recipe's pattern names the command, as it is written or as it would run."""
        expanded = " ".join("?" if word is None else word for word in words)
        for pattern, reason in self.covers:
            if fnmatch.fnmatchcase(node.text, pattern) or fnmatch.fnmatchcase(expanded, pattern):
                self.outcome.say(f"{self.script}: {pattern}: {reason}")
                return True
        return False

    def report(self, line: int, text: str, note: str = "") -> None:
        """Say that nothing covers a command, once a line."""
        for pattern, reason in self.covers:
            if fnmatch.fnmatchcase(text, pattern) or (note and fnmatch.fnmatchcase(note, pattern)):
                self.outcome.say(f"{self.script}: {pattern}: {reason}")
                return
        unknown = Unknown(self.script, line, text if len(text) <= 200 else text[:197] + "…")
        if unknown not in self.outcome.unknown:
            self.outcome.unknown.append(unknown)


def _assigned(node: object) -> set[str]:
    """Names of variables that a node may assign."""
    if isinstance(node, Simple):
        names = {name for name, _ in node.assignments}
        if node.words and node.words[0].literal in ("read", "export", "local"):
            names |= {re.split("[+=]", word.source)[0] for word in node.words[1:]}
        return names
    if isinstance(node, tuple):
        return {name for inner in node for name in _assigned(inner)}
    if isinstance(node, shell.For):
        return {node.name} | _assigned(node.body)
    slots = getattr(node, "__slots__", ())
    if isinstance(node, str | Word) or not slots:
        return set()
    return {name for slot in slots for name in _assigned(getattr(node, slot))}


@cache
def needless() -> data.Needless:
    """needless.yaml, read once."""
    return data.load("needless.yaml", data.Needless)


def without_sections(script: str) -> tuple[str, list[str]]:
    """`script` with the needless sections that debhelper added made empty, and their names."""
    known = needless().sections
    lines = script.split("\n")
    found: list[str] = []
    inside = False
    for number, line in enumerate(lines):
        if not inside and (start := _SECTION.match(line)) and start.group(1) in known:
            inside = True
            found.append(start.group(1))
        if inside:
            ended = _SECTION_END.match(line)
            lines[number] = ""
            inside = not ended
    return "\n".join(lines), found


def walk(
    script: str,
    text: bytes,
    *,
    package: str,
    architecture: str,
    files: Files,
    outcome: Outcome,
    covers: Sequence[tuple[str, str]] = (),
    templates: bytes = b"",
) -> None:
    """Work out one maintainer script; `files` and `outcome` change. Never raises for what a script holds."""
    import hashlib

    digest = hashlib.sha256(text).hexdigest()
    for known in needless().scripts:
        if known.sha256 == digest:
            outcome.say(f"{script}: {known.reason}")
            return
    source = text.decode("utf-8", "surrogateescape")
    first = source.partition("\n")[0]
    if not re.match(r"#!\s*(/usr)?/bin/(ba|da)?sh\b", first):
        outcome.unknown.append(Unknown(script, 1, f"is not a shell script ({first[:60]})"))
        return
    source, sections = without_sections(source)
    for section in sections:
        outcome.say(f"{script}: {section}: {needless().sections[section]}")
    state = Walk(
        script=script,
        package=package,
        architecture=architecture,
        files=files,
        outcome=outcome,
        covers=[
            *covers,
            *((pattern, reason) for pattern, reason in needless().commands.items() if " " in pattern),
        ],
        defaults=debconf_defaults(templates),
        parameters=[script, *ARGUMENTS[script]],
        variables={
            "DPKG_ROOT": "",
            "DPKG_ADMINDIR": "/var/lib/dpkg",
            "DPKG_MAINTSCRIPT_PACKAGE": package,
            "DPKG_MAINTSCRIPT_NAME": script,
            "DPKG_MAINTSCRIPT_ARCH": architecture,
            "DEBIAN_FRONTEND": "noninteractive",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        },
    )
    try:
        state.run(shell.parse(source, where=f"{package}'s {script}"))
    except Leave:
        pass
    except shell.ShellSyntaxError as error:
        outcome.unknown.append(Unknown(script, 1, error.message))
    except RecursionError:
        outcome.unknown.append(Unknown(script, 1, "is nested too deeply to be worked out"))


def debconf_defaults(templates: bytes) -> dict[str, str]:
    """The answers that nobody gave: `Default` of each question of a templates file (debconf-devel(7))."""
    defaults: dict[str, str] = {}
    name = ""
    for line in templates.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key == "Template":
            name = value.strip()
            defaults[name] = ""
        elif key in ("Default", "Default-C") and name:
            defaults[name] = value.strip()
    return defaults
