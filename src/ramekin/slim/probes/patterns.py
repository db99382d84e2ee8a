"""Regular expressions of people's, in bounded time: some take longer than anybody lives.

Nothing stops a search in this process, so it is done in another one.
"""

from __future__ import annotations

import json
import subprocess
import sys

SECONDS = 10.0
"""The time that a search may take."""

_SEARCH = """
import json, re, sys
pattern, text = json.load(sys.stdin.buffer)
found = re.search(pattern, text)
print(json.dumps(found[1] if found else None))
"""


class TooSlowError(Exception):
    """A search did not come to its end; the text says which."""


def first_group(pattern: str, text: str) -> str | None:
    """The first group of the first place in a text where a pattern matches, or None; `TooSlowError`."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([pattern, text]).encode(),
            stdout=subprocess.PIPE,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise TooSlowError(f"the pattern {pattern!r} takes longer than {SECONDS:g} s on the answer") from None
    found = json.loads(done.stdout)
    return found if isinstance(found, str) else None
