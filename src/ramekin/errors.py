"""The one family of expected failures: what was wrong, where, and the way out.

Everything that a user can cause or meet (bad input, no network, a full disk) is raised as a
`RamekinError`; the command line prints it in one or two lines and never shows a traceback for it.
"""

from __future__ import annotations


class RamekinError(Exception):
    """An expected failure.

    `message` names the file, entry or field at fault; `hint` says what to do next. `exit_code` is 1 for
    a failure or finding that the command looks for and 2 for wrong use.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RamekinError):
    """The command, option or file the user wrote is not one that Ramekin understands (exit code 2)."""

    exit_code = 2


class FormatError(RamekinError):
    """Bytes from outside are not what their format promises; the message names the file and entry."""


class DigestMismatchError(RamekinError):
    """Bytes do not have the digest or size that something already believed gives them."""


class NotFoundError(RamekinError):
    """A blob, image, package or file that was named does not exist."""


class NetworkError(RamekinError):
    """A server could not be reached, or answered with an error after all retries."""
