"""The rules that judge evidence: data/policy.yaml, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of data/policy.yaml."""

    digest: str = ""


@cache
def load() -> Policy:
    """The policy that comes with Ramekin."""
    return Policy()
