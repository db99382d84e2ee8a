"""Whether one image answers as another one does.

The original is asked twice or more. What its own answers have in common is what the slim image's must have
too; where they differ is masked (`masks`). A part that is there
only sometimes, such as a header, is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ramekin.slim.probes import masks
from ramekin.slim.probes.answer import Answer
from ramekin.slim.probes.masks import Template


class Difference(msgspec.Struct, frozen=True):
    """A part of an answer in which an image differs from the original.

    `field` is the part, `line` where in it, `expected` and `found` what the two have there.
    """

    probe: str
    kind: str
    field: str
    expected: str
    found: str
    line: int = 0

    def __str__(self) -> str:
        place = f", line {self.line}" if self.line > 1 else ""
        if self.field in ("error", "answer"):
            return f"{self.probe}: {self.found or 'no answer'}"
        found, expected = self.found or "nothing", self.expected or "nothing"
        return f"{self.probe}: {self.field}{place}: {found!r}, not {expected!r}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of the answer to one probe: the template of each part."""

    kind: str
    fields: Mapping[str, Template]

    @property
    def masked(self) -> tuple[str, ...]:
        """The parts that differ from run to run."""
        return tuple(name for name, template in self.fields.items() if not template.exact)


def learn(runs: Sequence[Sequence[Answer]]) -> dict[str, Expected]:
    """What several runs of the original have in common, by probe; probes that some run lacks are left out."""
    answers = [{answer.probe: answer for answer in run} for run in runs]
    return {
        probe: _expect([run[probe] for run in answers])
        for probe in answers[0]
        if all(probe in run for run in answers)
    }


def _expect(samples: Sequence[Answer]) -> Expected:
    first = samples[0]
    return Expected(
        first.kind,
        {
            name: masks.learn([sample.fields[name] for sample in samples])
            for name in first.fields
            if all(name in sample.fields for sample in samples)
        },
    )


def compare(expected: Mapping[str, Expected], answers: Sequence[Answer]) -> list[Difference]:
    """All differences, in the order of the probes; an answer that is not there is one.

    Of an answer that is an error, or has another status, that is said and nothing else.
    """
    given = {answer.probe: answer for answer in answers}
    differences = []
    for probe, wanted in expected.items():
        answer = given.get(probe)
        if answer is None:
            differences.append(Difference(probe, wanted.kind, "answer", "an answer", ""))
            continue
        found = list(_differences(probe, wanted, answer))
        decisive = [one for one in found if one.field in ("error", "status", "exit")]
        differences += decisive or found
    return differences


def _differences(probe: str, wanted: Expected, answer: Answer) -> list[Difference]:
    found = []
    if "error" in answer.fields and "error" not in wanted.fields:
        return [Difference(probe, wanted.kind, "error", "", answer.fields["error"])]
    for name, template in wanted.fields.items():
        text = answer.fields.get(name)
        if text is None:
            found.append(Difference(probe, wanted.kind, name, "…".join(template.literals)[:200], ""))
        elif (leaves := masks.mismatch(template, text)) is not None:
            found.append(Difference(probe, wanted.kind, name, leaves.expected, leaves.found, leaves.line))
    return found
