"""What two answers of one program to one question have in common.

Dates, ids, tokens and durations are no patterns that anybody lists here: what differs between two runs of the
original is masked, and nothing else.

    first run    <p>Made at 20:41:07 by worker 7f3a</p>
    second run   <p>Made at 20:41:09 by worker 91cc</p>
    template     <p>Made at [gap] by worker [gap]</p>

1. Lines are aligned, then the words of those that differ; a word ends at white space, quotes, brackets and
   the delimiters of addresses, so that a time or a token is one.
2. Each place that differs becomes a gap, and two of them with a character or two between become one. A gap
   takes only what the samples had there: digits for digits, one word for a word, no line break where there
   was none, and not much more than the longest of them.
3. Another text has the same form when the template's literal parts stand in it in their order, from beginning
   to end, with nothing but gaps between them. That takes time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

EXACT = 2000
"""Lines or words that are aligned exactly; of more, frequent ones are left out of account."""
WORDS = 20_000
"""Words in one place that are aligned at all; more of them become one gap."""
BETWEEN = 2
"""Characters between two gaps that make no boundary."""
SHOWN = 160
"""Characters of a line that are shown around a difference."""

_DELIMITERS = r"\s<>\"'=&;,(){}\[\]?#"
_WORD = re.compile(rf"[^{_DELIMITERS}]+|[^\S\n]+|[{_DELIMITERS}]")
_TAKES = {
    "digits": re.compile(r"[0-9]*"),
    "word": re.compile(rf"[^{_DELIMITERS}]*"),
}

Kind = Literal["digits", "word", "line", "any"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A place that differs from run to run; `most` is how many characters it may have."""

    kind: Kind
    most: int


@dataclass(frozen=True, slots=True)
class Template:
    """Literal texts and gaps, in turn, beginning and ending with a literal, which may be empty."""

    literals: tuple[str, ...]
    gaps: tuple[Gap, ...] = ()

    @property
    def exact(self) -> bool:
        return not self.gaps


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where a text leaves its template: the line of the template, and that of the text."""

    line: int
    expected: str
    found: str


def learn(samples: Sequence[str]) -> Template:
    """The template of texts that are all right; one sample, or equal ones, have no gaps."""
    first = samples[0]
    others = [sample for sample in dict.fromkeys(samples[1:]) if sample != first]
    if not others:
        return Template((first,))
    words = _WORD.findall(first)
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word))
    alignments = [_Alignment(first, words, starts, other) for other in others]
    places = _union(place for one in alignments for place in one.differing())
    while True:
        places = _joined(places, first, starts)
        literals, gaps, done = [], [], 0
        for begin, end in places:
            parts = [first[starts[begin] : starts[end]], *(one.text(begin, end) for one in alignments)]
            literals.append(first[done : starts[begin]])
            gaps.append(_gap(parts))
            done = starts[end]
        template = Template((*literals, first[done:]), tuple(gaps))
        failed = [number for one in (first, *others) if (number := _leaves(template, one)[0]) is not None]
        if not failed:
            return template
        # a gap had in it what follows it: coarser gaps take that in
        if len(places) == 1:
            return Template(("", ""), (_gap([first, *others]),))
        number = min(max(failed[0], 1), len(places) - 1)
        places[number - 1 : number + 1] = [(places[number - 1][0], places[number][1])]


def _joined(places: list[tuple[int, int]], text: str, starts: Sequence[int]) -> list[tuple[int, int]]:
    """Gaps with next to nothing between them as one: in `12.1 s (3 %)` the parts are hard to tell apart."""
    joined: list[tuple[int, int]] = []
    for begin, end in places:
        between = text[starts[joined[-1][1]] : starts[begin]] if joined else "\n"
        if len(between) <= BETWEEN and "\n" not in between:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def mismatch(template: Template, text: str) -> Mismatch | None:
    """Where `text` has not the template's form, or None when it has."""
    number, here = _leaves(template, text)
    return None if number is None else _at(template, text, number, here)


def _leaves(template: Template, text: str) -> tuple[int | None, int]:
    """The first literal of the template that is not where it should be, and where that is; None for none."""
    here = 0
    last = len(template.literals) - 1
    for number, literal in enumerate(template.literals):
        if number == 0:
            if not text.startswith(literal):
                return 0, 0
            here = len(literal)
            continue
        gap = template.gaps[number - 1]
        there = _skip(gap, literal, text, here, last=number == last)
        if there is None:
            return number, here
        here = there
    return (None, here) if here == len(text) else (last, here)


def _skip(gap: Gap, literal: str, text: str, here: int, *, last: bool) -> int | None:
    """The place after a gap and the literal that follows it, or None when they are not there."""
    taking = _TAKES.get(gap.kind)
    if taking is not None:
        found = taking.match(text, here)
        after = found.end() if found else here
        if after - here > gap.most or not text.startswith(literal, after):
            return None
    elif last:
        # what is left is the gap and the end
        after = len(text) - len(literal)
        if after < here or after - here > gap.most or not text.endswith(literal):
            return None
    else:
        after = text.find(literal, here, here + gap.most + len(literal))
        if after < 0:
            return None
    if gap.kind == "line" and "\n" in text[here:after]:
        return None
    return after + len(literal)


def _gap(parts: Sequence[str]) -> Gap:
    longest = max(map(len, parts))
    if all(re.fullmatch(r"[0-9]*", part) for part in parts):
        return Gap("digits", 2 * longest + 4)
    if all(re.fullmatch(rf"[^{_DELIMITERS}]*", part) for part in parts):
        return Gap("word", 2 * longest + 16)
    return Gap("any" if any("\n" in part for part in parts) else "line", 2 * longest + 64)


class _Alignment:
    """Where the words of one text (`words`, beginning at `starts`) stand in another one."""

    def __init__(self, first: str, words: Sequence[str], starts: Sequence[int], other: str) -> None:
        self._words, self._other = words, other
        # the place of each word's equal in the other text, -1 where it has none
        self._places = [-1] * len(words)
        lines, other_lines = first.splitlines(keepends=True), other.splitlines(keepends=True)
        word = there = 0
        for same, mine, its in _blocks(lines, other_lines):
            begin, text = word, "".join(other_lines[its[0] : its[1]])
            end_of_block = starts[word] + sum(map(len, lines[mine[0] : mine[1]]))
            while word < len(words) and starts[word] < end_of_block:
                word += 1
            if same:
                self._equal(begin, word, there)
            else:
                self._align(begin, word, text, there)
            there += len(text)

    def _align(self, begin: int, end: int, text: str, there: int) -> None:
        """Find the words of a block of lines in another block, which stands at `there`."""
        its = _WORD.findall(text)
        if max(end - begin, len(its)) > WORDS:
            return
        places = [there]
        for word in its:
            places.append(places[-1] + len(word))
        for same, mine, others in _blocks(self._words[begin:end], its):
            if same:
                self._equal(begin + mine[0], begin + mine[1], places[others[0]])

    def _equal(self, begin: int, end: int, there: int) -> None:
        for place in range(begin, end):
            self._places[place] = there
            there += len(self._words[place])

    def differing(self) -> Iterator[tuple[int, int]]:
        """The runs of words that are not the same, an empty one where the other text has more."""
        expected, begin = 0, 0
        for place, there in enumerate(self._places):
            if there < 0:
                continue
            if begin < place or there != expected:
                yield begin, place
            begin, expected = place + 1, there + len(self._words[place])
        if begin < len(self._places) or expected != len(self._other):
            yield begin, len(self._places)

    def text(self, begin: int, end: int) -> str:
        """What the other text has for the words from `begin` to `end`, beside which all is equal."""
        start = self._places[begin - 1] + len(self._words[begin - 1]) if begin else 0
        stop = self._places[end] if end < len(self._places) else len(self._other)
        return self._other[start:stop]


def _blocks(
    mine: Sequence[str], its: Sequence[str]
) -> Iterator[tuple[bool, tuple[int, int], tuple[int, int]]]:
    """Both lists cut into pieces that are the same and pieces that are not, in order."""
    least = min(len(mine), len(its))
    head = next((n for n in range(least) if mine[n] != its[n]), least)
    tail = next((n for n in range(least - head) if mine[-1 - n] != its[-1 - n]), least - head)
    end, its_end = len(mine) - tail, len(its) - tail
    if head:
        yield True, (0, head), (0, head)
    between, its_between = mine[head:end], its[head:its_end]
    # aligning many equal pieces, such as blanks, takes their number squared
    exact = max(len(between), len(its_between)) <= EXACT
    if len(between) == len(its_between) and not exact:
        for n, (one, other) in enumerate(zip(between, its_between, strict=True), head):
            yield one == other, (n, n + 1), (n, n + 1)
    elif between or its_between:
        matcher = SequenceMatcher(None, between, its_between, autojunk=not exact)
        for what, a, b, c, d in matcher.get_opcodes():
            yield what == "equal", (head + a, head + b), (head + c, head + d)
    if tail:
        yield True, (end, len(mine)), (its_end, len(its))


def _union(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Intervals that overlap or touch as one."""
    united: list[tuple[int, int]] = []
    for begin, end in sorted(places):
        if united and begin <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((begin, end))
    return united


def _at(template: Template, text: str, number: int, here: int) -> Mismatch:
    """Describe where a text leaves literal `number` of its template, which should begin near `here`."""
    literal = template.literals[number]
    before = "".join(f"{one}…" for one in template.literals[:number])
    if number:
        # where the literal fits best: after what the gap may have taken
        found = text.find(literal[:16], here, here + template.gaps[number - 1].most + 16) if literal else -1
        here = found if found >= 0 else here
    same = next(
        (n for n, (one, other) in enumerate(zip(literal, text[here:], strict=False)) if one != other),
        min(len(literal), len(text) - here),
    )
    pattern = before + literal
    after = "".join(f"…{one}" for one in template.literals[number + 1 :])
    return Mismatch(
        text.count("\n", 0, here + same) + 1,
        _line(pattern + after, len(before) + same),
        _line(text, here + same),
    )


def _line(text: str, place: int) -> str:
    """The line around a place, or of a long one what is near it."""
    begin = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    end = len(text) if end < 0 else end
    if end - begin > SHOWN:
        begin = max(begin, place - SHOWN // 3)
        end = min(end, begin + SHOWN)
    return text[begin:end].strip()
