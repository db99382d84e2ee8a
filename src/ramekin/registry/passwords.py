"""Users from a password file of `htpasswd -B`: a line `NAME:BCRYPT` a user.

A check costs tens of milliseconds by design: what was right is remembered for a short time, under a secret of
this process, and no more than a few are made at once.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import threading
import time
from pathlib import Path

from ramekin.errors import RamekinError, UsageError
from ramekin.registry.faults import AnswerError

REMEMBERED = 120.0
"""Seconds for which a right password is not computed again."""
AT_ONCE = 4
WAITING = 64

_HASH = re.compile(rb"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


class Passwords:
    """The users of a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at, self._seen = 0.0, (0, 0)
        self._users: dict[str, bytes] = {}
        self._right: dict[bytes, float] = {}
        self._nobody = b""
        self._secret = secrets.token_bytes(32)
        self._turns = threading.Semaphore(AT_ONCE)
        self._waiting = 0
        self._guard = threading.Lock()
        self._refresh()

    def check(self, user: str, password: str) -> bool:
        """Whether the password is the user's. Blocks; `TOOMANYREQUESTS` when too many wait already."""
        import bcrypt

        self._refresh()
        known = self._users.get(user)
        proof = hmac.digest(
            self._secret, b"%b\0%b\0%b" % (user.encode(), known or b"", password.encode()), "sha256"
        )
        if self._right.get(proof, 0.0) > time.monotonic():
            return True
        with self._guard:
            if self._waiting >= WAITING:
                raise AnswerError(
                    429, "TOOMANYREQUESTS", "too many passwords to check", None, {"Retry-After": "2"}
                )
            self._waiting += 1
        try:
            with self._turns:
                if known is None and not self._nobody:
                    self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))
                # as long for a user that there is not, so that time tells nothing
                right = bcrypt.checkpw(password.encode()[:72], known or self._nobody)
        except ValueError:
            right = False
        finally:
            with self._guard:
                self._waiting -= 1
        if not right or known is None:
            return False
        if len(self._right) > 10_000:
            self._right.clear()
        self._right[proof] = time.monotonic() + REMEMBERED
        return True

    def known(self, user: str) -> bool:
        """Whether there (still) is such a user."""
        self._refresh()
        return user in self._users

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._read_at < 1.0 and self._read_at:
            return
        self._read_at = now
        try:
            status = os.stat(self._path)  # noqa: PTH116
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                self._users = read(self._path)
                self._seen = seen
        except OSError as error:
            if not self._users:
                raise RamekinError(f"{self._path} cannot be read: {error.strerror}") from None
        except UsageError:
            # half written perhaps: those that were read before hold on
            if not self._users:
                raise


def read(path: Path) -> dict[str, bytes]:
    """The hashes by user; `UsageError` names the line that is not one."""
    users: dict[str, bytes] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        name, _, found = line.partition(b":")
        try:
            user = name.decode()
        except UnicodeDecodeError:
            user = ""
        if not user or user in ("*", "anonymous"):
            raise UsageError(f"{path}:{number}: not a user's name")
        if not _HASH.fullmatch(found):
            raise UsageError(
                f"{path}:{number}: the password of {user} is not a bcrypt hash",
                hint=f"`htpasswd -B {path} {user}` sets it anew",
            )
        users[user] = found
    if not users:
        raise UsageError(f"{path} has no users", hint=f"`htpasswd -B {path} NAME` adds one")
    return users
