"""The POSIX shell's language read into values (POSIX.1-2017, volume XCU, chapter 2), for maintainer scripts.

Only reading: what a script would do is worked out in `scripts`. The reader takes what dash takes, without
aliases; a script that it cannot read is a `ShellSyntaxError`, never a guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ramekin.errors import FormatError


class ShellSyntaxError(FormatError):
    """A script is not in the shell's language as far as this reader knows it."""


@dataclass(frozen=True, slots=True)
class Text:
    """Literal characters; unquoted ones may be patterns and are split into fields."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name` or `${name OPERATOR argument}`; `operator` is "" for the plain forms."""

    name: str
    operator: str
    argument: Word | None
    quoted: bool


@dataclass(frozen=True, slots=True)
class Substitution:
    """`$(…)` or back quotes; `body` is None for arithmetic, `$((…))`."""

    body: Sequence | None
    quoted: bool


Part = Text | Variable | Substitution


@dataclass(frozen=True, slots=True)
class Word:
    """One word before expansion; `source` is its text in the script."""

    parts: tuple[Part, ...]
    source: str

    @property
    def literal(self) -> str | None:
        """The word's value when it holds no expansion."""
        if all(isinstance(part, Text) for part in self.parts):
            return "".join(part.text for part in self.parts if isinstance(part, Text))
        return None


@dataclass(slots=True)
class HereDocument:
    """Announced by `<<`, and filled when the line below is reached."""

    delimiter: str
    quoted: bool
    strip: bool
    text: Word | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """`operator` is one of > >> >| < << <<- <& >& <>."""

    descriptor: int
    operator: str
    target: Word
    here: HereDocument | None = None


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments, words and redirections; `text` is the source of the command on one line."""

    line: int
    text: str
    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    commands: tuple[Node, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class AndOr:
    """`first`, then each node if the operator before it, `&&` or `||`, says so."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class If:
    branches: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence | None


@dataclass(frozen=True, slots=True)
class For:
    """`words` is None for the positional parameters."""

    name: str
    words: tuple[Word, ...] | None
    body: Sequence


@dataclass(frozen=True, slots=True)
class While:
    condition: Sequence
    body: Sequence


@dataclass(frozen=True, slots=True)
class Case:
    word: Word
    items: tuple[tuple[tuple[Word, ...], Sequence], ...]


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    body: Node


@dataclass(frozen=True, slots=True)
class Group:
    """`{ … }` or `( … )`, or any compound command with redirections."""

    body: Node
    subshell: bool
    redirects: tuple[Redirect, ...]
    line: int = 0
    text: str = ""


Node = Simple | Pipeline | AndOr | Sequence | If | For | While | Case | Function | Group

_OPERATOR = re.compile(r"&&|\|\||;;|<<-|<<|>>|>\||>&|<&|<>|[;&|<>()\n]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#?$!-]")
_BRACED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_BRACE_OPERATOR = re.compile(r":?[-=?+]|%%?|##?|//?|\^\^?|,,?|:")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_RESERVED = frozenset(
    ("if", "then", "elif", "else", "fi", "for", "in", "do", "done", "while", "until", "case")
)
_RESERVED |= {"esac", "{", "}", "!"}
_DEPTH = 80


@dataclass(slots=True)
class _Token:
    """An operator (`word` is None), a word, or the end (`text` is "")."""

    text: str
    word: Word | None
    line: int
    start: int
    end: int


@dataclass(slots=True)
class _Reader:
    source: str
    where: str
    position: int = 0
    line: int = 1
    depth: int = 0
    pending: list[HereDocument] = field(default_factory=list)
    token: _Token | None = None
    taken: int = 0

    def fail(self, what: str) -> ShellSyntaxError:
        return ShellSyntaxError(
            f"{self.where} line {self.line}: {what}", hint="this shell syntax is not known"
        )

    # --- words and tokens

    def peek(self) -> _Token:
        if self.token is None:
            self.token = self._next()
        return self.token

    def take(self) -> _Token:
        token = self.peek()
        self.token = None
        self.taken = token.end
        return token

    def _next(self) -> _Token:
        source = self.source
        while self.position < len(source):
            char = source[self.position]
            if char in " \t\r":
                self.position += 1
            elif source.startswith("\\\n", self.position):
                self.position += 2
                self.line += 1
            elif char == "#":
                end = source.find("\n", self.position)
                self.position = len(source) if end < 0 else end
            else:
                break
        start, line = self.position, self.line
        if start >= len(source):
            return _Token("", None, line, start, start)
        operator = _OPERATOR.match(source, start)
        if operator:
            self.position = operator.end()
            if operator.group() == "\n":
                self.line += 1
                self._here_documents()
            return _Token(operator.group(), None, line, start, self.position)
        word = self._word(stop=" \t\r\n;&|<>()")
        return _Token(word.source, word, line, start, self.position)

    def _here_documents(self) -> None:
        for pending in self.pending:
            lines: list[str] = []
            first = self.line
            while True:
                end = self.source.find("\n", self.position)
                last = end < 0
                text = self.source[self.position :] if last else self.source[self.position : end]
                self.position = len(self.source) if last else end + 1
                self.line += 1
                if pending.strip:
                    text = text.lstrip("\t")
                if text == pending.delimiter:
                    break
                lines.append(text + "\n")
                if last:
                    break
            body = "".join(lines)
            if pending.quoted:
                pending.text = Word((Text(body, True),), body)
            else:
                inner = _Reader(body, self.where, line=first, depth=self.depth + 1)
                pending.text = Word(tuple(inner._quoted_parts("", here=True)), body)
        self.pending = []

    def _word(self, *, stop: str) -> Word:
        """Read a word up to a character of `stop`."""
        source, start = self.source, self.position
        parts: list[Part] = []
        plain: list[str] = []

        def flush() -> None:
            if plain:
                parts.append(Text("".join(plain), False))
                plain.clear()

        while self.position < len(source):
            char = source[self.position]
            if char in stop:
                break
            if char == "\\":
                following = source[self.position + 1 : self.position + 2]
                self.position += 2
                if following == "\n":
                    self.line += 1
                else:
                    flush()
                    parts.append(Text(following, True))
            elif char == "'":
                end = source.find("'", self.position + 1)
                if end < 0:
                    raise self.fail("a ' is not closed")
                flush()
                text = source[self.position + 1 : end]
                self.line += text.count("\n")
                parts.append(Text(text, True))
                self.position = end + 1
            elif char == '"':
                flush()
                self.position += 1
                inside = self._quoted_parts('"')
                parts.extend(inside or [Text("", True)])
            elif char in "$`":
                flush()
                parts.append(self._expansion(quoted=False))
            else:
                if char == "\n":
                    self.line += 1
                plain.append(char)
                self.position += 1
        flush()
        return Word(tuple(parts), source[start : self.position])

    def _quoted_parts(self, end: str, *, here: bool = False) -> list[Part]:
        source = self.source
        parts: list[Part] = []
        plain: list[str] = []
        while True:
            if self.position >= len(source):
                if end:
                    raise self.fail(f"a {end} is not closed")
                break
            char = source[self.position]
            if char == end:
                self.position += 1
                break
            if char == "\\":
                following = source[self.position + 1 : self.position + 2]
                self.position += 2
                if following == "\n":
                    self.line += 1
                elif following in ("$", "`", "\\") or (following == '"' and not here):
                    plain.append(following)
                else:
                    plain.append("\\" + following)
            elif char in "$`":
                if plain:
                    parts.append(Text("".join(plain), True))
                    plain = []
                parts.append(self._expansion(quoted=True))
            else:
                if char == "\n":
                    self.line += 1
                plain.append(char)
                self.position += 1
        if plain:
            parts.append(Text("".join(plain), True))
        return parts

    def _expansion(self, *, quoted: bool) -> Part:
        source = self.source
        self._deeper()
        try:
            if source[self.position] == "`":
                return self._back_quotes(quoted)
            if source.startswith("$((", self.position) and (end := self._arithmetic_end()) is not None:
                self.line += source.count("\n", self.position, end)
                self.position = end
                return Substitution(None, quoted)
            if source.startswith("$(", self.position):
                self.position += 2
                return Substitution(self._nested(), quoted)
            if source.startswith("${", self.position):
                return self._braced(quoted)
            name = _PARAMETER.match(source, self.position + 1)
            if name is None:
                self.position += 1
                return Text("$", quoted)
            self.position = name.end()
            return Variable(name.group(), "", None, quoted)
        finally:
            self.depth -= 1

    def _back_quotes(self, quoted: bool) -> Part:
        source, start = self.source, self.position + 1
        end = start
        while end < len(source) and source[end] != "`":
            end += 2 if source[end] == "\\" else 1
        if end >= len(source):
            raise self.fail("a ` is not closed")
        raw = source[start:end]
        text = re.sub(r'\\([$`\\"])' if quoted else r"\\([$`\\])", r"\1", raw)
        inner = _Reader(text, self.where, line=self.line, depth=self.depth)
        body = inner.program()
        self.line += raw.count("\n")
        self.position = end + 1
        return Substitution(body, quoted)

    def _nested(self) -> Sequence:
        saved_token, saved_pending = self.token, self.pending
        self.token, self.pending = None, []
        body = self.sequence({")"})
        self._expect(")")
        self.token, self.pending = saved_token, saved_pending
        return body

    def _arithmetic_end(self) -> int | None:
        depth, position = 0, self.position + 1
        while position < len(self.source):
            char = self.source[position]
            depth += (char == "(") - (char == ")")
            position += 1
            if depth == 0:
                return position if self.source[position - 2] == ")" else None
        raise self.fail("$(( is not closed")

    def _braced(self, quoted: bool) -> Part:
        source = self.source
        self.position += 2
        length = _BRACED.match(source, self.position + 1)
        if length and source[self.position] == "#" and source.startswith("}", length.end()):
            self.position = length.end() + 1
            return Variable(length.group(), "length", None, quoted)
        name = _BRACED.match(source, self.position)
        if name is None:
            raise self.fail("${ is followed by no name")
        self.position = name.end()
        operator, argument = "", None
        if source[self.position : self.position + 1] != "}":
            match = _BRACE_OPERATOR.match(source, self.position)
            if match is None:
                raise self.fail(f"${{{name.group()} is followed by something unknown")
            operator = match.group()
            self.position = match.end()
            argument = self._word(stop="}")
        if source[self.position : self.position + 1] != "}":
            raise self.fail("${ is not closed")
        self.position += 1
        return Variable(name.group(), operator, argument, quoted)

    # --- grammar

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > _DEPTH:
            raise self.fail("commands are nested too deeply")

    def _expect(self, text: str) -> _Token:
        token = self.take()
        if token.text != text:
            self.line = token.line
            raise self.fail(f"expected {text!r} and found {token.text.strip() or 'the end'!r}")
        return token

    def program(self) -> Sequence:
        body = self.sequence(set())
        if self.peek().text:
            raise self.fail(f"unexpected {self.peek().text.strip()!r}")
        return body

    def sequence(self, ends: set[str]) -> Sequence:
        nodes: list[Node] = []
        while True:
            while (self.peek().word is None) and self.peek().text in ("\n", ";", "&"):
                self.take()
            token = self.peek()
            if not token.text or token.text in ends:
                return Sequence(tuple(nodes))
            if token.word is None and token.text in (")", ";;"):
                return Sequence(tuple(nodes))
            nodes.append(self.and_or())

    def and_or(self) -> Node:
        first = self.pipeline()
        rest: list[tuple[str, Node]] = []
        while self.peek().word is None and self.peek().text in ("&&", "||"):
            operator = self.take().text
            self._newlines()
            rest.append((operator, self.pipeline()))
        return AndOr(first, tuple(rest)) if rest else first

    def pipeline(self) -> Node:
        negated = False
        while self.peek().text == "!" and self.peek().word is not None:
            self.take()
            negated = not negated
        commands = [self.command()]
        while self.peek().word is None and self.peek().text == "|":
            self.take()
            self._newlines()
            commands.append(self.command())
        if len(commands) == 1 and not negated:
            return commands[0]
        return Pipeline(tuple(commands), negated)

    def _newlines(self) -> None:
        while self.peek().word is None and self.peek().text == "\n":
            self.take()

    def command(self) -> Node:
        self._deeper()
        try:
            return self._command()
        finally:
            self.depth -= 1

    def _command(self) -> Node:
        token = self.peek()
        compound: Node | None = None
        subshell = False
        if token.word is None:
            if token.text != "(":
                if token.text[:1] in ("<", ">"):
                    return self._simple()
                raise self.fail(f"unexpected {token.text.strip() or 'the end'!r}")
            self.take()
            compound, subshell = self.sequence({")"}), True
            self._expect(")")
        elif token.text == "{":
            self.take()
            compound = self.sequence({"}"})
            self._expect("}")
        elif token.text == "if":
            compound = self._if()
        elif token.text == "for":
            compound = self._for()
        elif token.text in ("while", "until"):
            self.take()
            condition = self.sequence({"do"})
            compound = While(condition, self._do())
        elif token.text == "case":
            compound = self._case()
        elif token.text == "function":
            raise self.fail("'function' is not the shell's")
        if compound is None:
            if token.text in _RESERVED:
                raise self.fail(f"unexpected {token.text!r}")
            return self._simple()
        redirects = self._redirects()
        if redirects or subshell:
            text = " ".join(self.source[token.start : self.taken].split())
            return Group(compound, subshell, redirects, token.line, text)
        return compound

    def _if(self) -> If:
        branches: list[tuple[Sequence, Sequence]] = []
        self._expect("if")
        while True:
            condition = self.sequence({"then"})
            self._expect("then")
            body = self.sequence({"elif", "else", "fi"})
            branches.append((condition, body))
            if self.peek().text == "elif":
                self.take()
                continue
            otherwise = None
            if self.peek().text == "else":
                self.take()
                otherwise = self.sequence({"fi"})
            self._expect("fi")
            return If(tuple(branches), otherwise)

    def _for(self) -> For:
        self._expect("for")
        name = self.take().text
        self._newlines()
        words: list[Word] | None = None
        if self.peek().text == "in":
            self.take()
            words = []
            while (word := self.peek().word) is not None:
                self.take()
                words.append(word)
        while self.peek().word is None and self.peek().text in (";", "\n"):
            self.take()
        return For(name, tuple(words) if words is not None else None, self._do())

    def _do(self) -> Sequence:
        self._expect("do")
        body = self.sequence({"done"})
        self._expect("done")
        return body

    def _case(self) -> Case:
        self._expect("case")
        subject = self.take().word
        if subject is None:
            raise self.fail("case is followed by no word")
        self._newlines()
        self._expect("in")
        items: list[tuple[tuple[Word, ...], Sequence]] = []
        while True:
            self._newlines()
            if self.peek().text == "esac":
                self.take()
                return Case(subject, tuple(items))
            if self.peek().text == "(":
                self.take()
            patterns: list[Word] = []
            while True:
                pattern = self.take().word
                if pattern is None:
                    raise self.fail("case holds something that is no pattern")
                patterns.append(pattern)
                separator = self.take()
                if separator.text == ")":
                    break
                if separator.text != "|":
                    raise self.fail("a pattern of case is not closed")
            body = self.sequence({"esac"})
            items.append((tuple(patterns), body))
            if self.peek().text == ";;":
                self.take()

    def _redirects(self) -> tuple[Redirect, ...]:
        found: list[Redirect] = []
        while True:
            token = self.peek()
            descriptor = -1
            if token.word is not None:
                following = self.source[token.end : token.end + 1]
                if token.text.isdigit() and following in ("<", ">") and following:
                    self.take()
                    descriptor = int(token.text[:4])
                    token = self.peek()
                else:
                    break
            if token.text[:1] not in ("<", ">"):
                break
            found.append(self._redirect(descriptor))
        return tuple(found)

    def _redirect(self, descriptor: int) -> Redirect:
        operator = self.take().text
        if descriptor < 0:
            descriptor = 0 if operator[0] == "<" else 1
        target = self.take()
        if target.word is None:
            raise self.fail(f"{operator} is followed by no word")
        pending = None
        if operator in ("<<", "<<-"):
            delimiter = "".join(part.text for part in target.word.parts if isinstance(part, Text))
            quoted = any(isinstance(part, Text) and part.quoted for part in target.word.parts)
            pending = HereDocument(delimiter, quoted, operator == "<<-")
            self.pending.append(pending)
        return Redirect(descriptor, operator, target.word, pending)

    def _simple(self) -> Node:
        start = self.peek()
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            token = self.peek()
            if token.word is None:
                if token.text[:1] in ("<", ">") and token.text:
                    redirects.append(self._redirect(-1))
                    continue
                if token.text == "(" and len(words) == 1 and not assignments and not redirects:
                    return self._function(words[0])
                break
            following = self.source[token.end : token.end + 1]
            if token.text.isdigit() and following and following in "<>":
                self.take()
                redirects.append(self._redirect(int(token.text[:4])))
                continue
            self.take()
            match = _ASSIGNMENT.match(token.text)
            if match and not words:
                name = match.group()[:-1].rstrip("+")
                assignments.append((name, _without_prefix(token.word, match.end())))
            else:
                words.append(token.word)
        text = " ".join(self.source[start.start : self.taken].replace("\\\n", " ").split())
        return Simple(start.line, text, tuple(assignments), tuple(words), tuple(redirects))

    def _function(self, name: Word) -> Function:
        self._expect("(")
        self._expect(")")
        self._newlines()
        return Function(name.source, self.command())


def _without_prefix(word: Word, length: int) -> Word:
    first = word.parts[0]
    assert isinstance(first, Text)
    rest = first.text[length:]
    parts = ((Text(rest, first.quoted),) if rest else ()) + word.parts[1:]
    return Word(parts, word.source[length:])


def parse(script: str, *, where: str) -> Sequence:
    """Read a whole script; `ShellSyntaxError` names `where` and the line."""
    return _Reader(script, where).program()
