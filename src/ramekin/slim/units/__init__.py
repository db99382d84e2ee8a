"""Which files of an image stay: units around what was observed, closed by knowledge of each ecosystem.

catalog      which unit each file belongs to
evidence     what single files show that they need, by the closure room's scan
completion   from what was observed to what stays; `complete` is all that others call
wanted       what --keep and --drop name
unwanted     parts of units that go though their unit stays
system, python, node, ruby, java, runtimes   what begins with a file of a unit, an ecosystem each
rules.yaml   the one table of rules with their reasons, which the manual prints
"""

from __future__ import annotations

from ramekin.slim.units.completion import complete
from ramekin.slim.units.model import Bytecode, Choice, Level, Reason, Selection, State, Symbols, Unit

__all__ = ["Bytecode", "Choice", "Level", "Reason", "Selection", "State", "Symbols", "Unit", "complete"]
