"""`FLAKE#attr` by a Nix of this machine: evaluated there, while its store paths come from the caches.

A flake must be pinned, by a revision or a hash of its files: else the same words would mean another image
tomorrow.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from ramekin.errors import NotFoundError, RamekinError, UsageError

TIMEOUT = 900.0
"""Seconds for an evaluation: the first of nixpkgs fetches it."""

_FEATURES = ("--extra-experimental-features", "nix-command flakes")

_QUESTION = """
d: {
  outputs = builtins.listToAttrs
    (map (o: { name = o; value = builtins.unsafeDiscardStringContext d.${o}.outPath; })
      (d.outputs or [ "out" ]));
  output = d.outputName or "out";
  installed = d.meta.outputsToInstall or [ ];
  description = d.meta.description or "";
  priority = d.meta.priority or 5;
  program = d.meta.mainProgram or "";
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A derivation. `outputs` are full store paths by the names of the outputs."""

    outputs: dict[str, str]
    output: str
    installed: tuple[str, ...]
    description: str
    priority: int
    program: str


def evaluate(words: str, system: str, *, program: str = "nix") -> Evaluated:
    """What `FLAKE#attr` is on `system`.

    `UsageError` for a flake that is not pinned and when there is no Nix, `RamekinError` with Nix's own words
    when the evaluation fails.
    """
    flake, _, attribute = words.partition("#")
    if not program:
        raise UsageError(f"{words}: nothing is evaluated here", hint="give a name or a store path")
    if words.startswith("-"):
        raise UsageError(f"{words!r} is not a flake", hint="write FLAKE#attr")
    _check_pinned(flake, words, program)
    options = ["--json", "--no-update-lock-file", "--option", "system", system]
    question = ["--apply", " ".join(_QUESTION.split())]
    answer = _run([program, *_FEATURES, "eval", *options, *question, f"{flake}#{attribute}"], words)
    outputs = answer.get("outputs", {})
    if not isinstance(outputs, dict) or not outputs:
        raise NotFoundError(f"{words} is not a package")
    return Evaluated(
        outputs={str(name): str(path) for name, path in outputs.items()},
        output=str(answer["output"]),
        installed=tuple(str(name) for name in answer["installed"] if name in outputs),
        description=" ".join(str(answer["description"]).split()),
        priority=answer["priority"] if isinstance(answer["priority"], int) else 5,
        program=str(answer["program"]),
    )


def _check_pinned(flake: str, words: str, program: str) -> None:
    answer = _run([program, *_FEATURES, "flake", "metadata", "--json", "--no-update-lock-file", flake], words)
    original = answer.get("original", {})
    if isinstance(original, dict) and not {"rev", "narHash"} & original.keys():
        raise UsageError(
            f"{words}: the flake is not pinned",
            hint=f"its pinned form now is {answer.get('url', '')}#{words.partition('#')[2]}",
        )


def _run(command: list[str], words: str) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UsageError(
            f"{words} needs a Nix to evaluate it, and there is no {command[0]}",
            hint="install Nix, or name the package by a channel's files or by its store path",
        ) from None
    except OSError as error:
        raise UsageError(f"{words}: {command[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise RamekinError(f"{words}: Nix has not evaluated it within {TIMEOUT:.0f} seconds") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise RamekinError(f"{words}: Nix says {(errors or lines or ['nothing'])[-1]}", hint=_hint(lines))
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise RamekinError(f"{words}: Nix gave no answer that is understood")
    return answer


def _hint(lines: list[str]) -> str | None:
    """Nix's own proposal, where it has one."""
    return next((line for line in reversed(lines) if line.startswith("Did you mean")), None)
