"""Names that clients send, checked by the patterns of distribution-spec (spec.md, Pulling manifests).

Repositories, tags and digests become file names below the store, so that nothing gets past here unchecked.
"""

from __future__ import annotations

import re

from ramekin.registry import faults
from ramekin.store.digest import Digest

REPOSITORY_LIMIT = 255
"""Characters of a repository name (clients allow that many for host and name together)."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_SESSION = re.compile(r"[0-9a-f]{32}", re.ASCII)


def repository(text: str) -> str:
    """A repository name; `NAME_INVALID` otherwise."""
    if len(text) > REPOSITORY_LIMIT:
        raise faults.name_invalid(text, f"it has more than {REPOSITORY_LIMIT} characters")
    if not _REPOSITORY.fullmatch(text):
        raise faults.name_invalid(
            text, "components are lower-case letters and digits with '.', '_', '__' or '-' between them"
        )
    return text


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def digest(text: str) -> Digest:
    """A digest; `DIGEST_INVALID` otherwise."""
    if not _DIGEST.fullmatch(text):
        raise faults.digest_invalid(text)
    return Digest(text)


def is_session(text: str) -> bool:
    return _SESSION.fullmatch(text) is not None


def flat(repository: str) -> str:
    """A repository name as one file name; `unflat` gives it back."""
    return repository.replace("/", "@")


def unflat(name: str) -> str:
    return name.replace("@", "/")
