"""What is asked for when an image is slimmed, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ramekin.image.image import Image
from ramekin.image.oci import Platform
from ramekin.slim.contents import Contents
from ramekin.slim.observation import Observation
from ramekin.slim.probes.compare import Difference, Expected
from ramekin.slim.probes.model import Plan
from ramekin.slim.rebuild import Layers, Rebuilt
from ramekin.slim.sandbox.plan import Limits
from ramekin.slim.trial import Findings, Trial
from ramekin.slim.units import Choice, Selection
from ramekin.slim.verify import HARMLESS, Lookup, Round

ROUNDS = 5
"""Verifications, when nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class SlimRequest:
    """What is asked for. `observation` is one that was made before; `stat` watches look-ups too."""

    name: str
    plan: Plan = field(default_factory=Plan)
    choice: Choice = field(default_factory=Choice)
    layers: Layers = Layers.KEEP
    observation: Observation | None = None
    stat: bool = False
    runtime: str | None = None
    platform: Platform | None = None
    heal: bool = True
    rounds: int = ROUNDS
    limits: Limits = field(default_factory=Limits)
    jobs: int = 2


@dataclass(frozen=True, kw_only=True)
class Slimmed:
    """What came of it.

    `originals` are the trials of the original, `rounds` the verifications, in their order. `observation` has
    in it what verification put back. `expected` is what the original answers. `seconds` says how long each
    step took. `folder` is for temporary files. `verified` is false where nothing was run, which one of the
    `notes` explains.
    """

    name: str
    request: SlimRequest
    folder: Path
    contents: Contents
    rebuilt: Rebuilt
    selection: Selection
    observation: Observation | None
    originals: tuple[Trial, ...] = ()
    expected: Mapping[str, Expected] = field(default_factory=dict)
    rounds: tuple[Round, ...] = ()
    findings: Findings = field(default_factory=Findings)
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def image(self) -> Image:
        return self.rebuilt.image

    @property
    def verified(self) -> bool:
        return bool(self.rounds)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What the slim image does otherwise."""
        return self.rounds[-1].differences if self.rounds else ()

    @property
    def missed(self) -> tuple[Lookup, ...]:
        """Look-ups in the slim image of what was taken away, but for what the user gave up."""
        last = self.rounds[-1].lookups if self.rounds else ()
        return tuple(one for one in last if one.judgement not in HARMLESS)

    @property
    def passed(self) -> bool:
        """Whether the slim image may be used: nothing that it was asked is otherwise."""
        return not self.differences

    @property
    def healed(self) -> tuple[Lookup, ...]:
        """What verification put back."""
        paths = {path for one in self.rounds for path in one.healed}
        return tuple(
            one
            for step in self.rounds
            for one in step.lookups
            if one.path in paths and one.path in step.healed
        )
