"""Why a program may not run as it should, as people are told, with the way out."""

from __future__ import annotations

import os
import re

from ramekin.slim.sandbox.plan import Readiness, State


def no_rights() -> str:
    """What a sandbox needs that could not be made."""
    if os.geteuid() == 0:
        return "a sandbox needs all rights of root, as in a container that is privileged"
    return (
        "without root, the kernel has to let users make namespaces (sysctl user.max_user_namespaces, "
        "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
    )


def not_ready(readiness: Readiness, state: State) -> str:
    """What may be wrong when a program that runs does not get ready."""
    there = ", ".join(state.listening)
    if not there:
        return "it listens on nothing; say by what it is ready with a command, or give it more time"
    if readiness.command:
        return f"it listens on {there}; the command that tells whether it is ready does not end with 0"
    return f"it listens on {there}; name that, or say by what it is ready with a command"


def ended(code: int, log: bytes) -> str | None:
    """What may be the matter with a program that ended with `code` and was to go on."""
    if re.search(rb"(?i)\b(tty|terminal)\b", log[-4096:]):
        return "there is no terminal here, as in containers that serve; give it arguments that need none"
    if code == 0:
        return (
            "a program that goes to the background has to stay in the foreground, as in every container, and "
            "one that needs a terminal or input has none: give it other arguments, or run a command instead"
        )
    return None
