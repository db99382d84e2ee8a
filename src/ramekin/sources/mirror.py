"""Where a source's packages are, when someone says so; imports nothing, for every request holds some."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMES = ("http", "https", "file", "copy", "mirror+file")
"""The kinds of URIs that mirrors have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A mirror in place of the machine's own configuration.

    `suites` empty means the source's own suite, `components` empty those that the suite has. `signed_by` is
    the path of a keyring, an armored key, or empty for the machine's trusted keyrings.
    """

    uri: str
    suites: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    signed_by: str = ""
