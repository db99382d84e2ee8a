"""Private keys, tokens and passwords in files, by the forms that they are known to have and by entropy.

Only what was found and on which line is kept, never the text itself, so no report can show it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "secret"
_MOST = 1 << 20
_SHOWN = 20
KEY, TOKEN, PASSWORD, GUESS = "private key", "token", "password", "likely secret"
"""What was found: certain forms first, and what only its entropy and its name tell."""

_KEYS = re.compile(
    r"-----BEGIN ((?:RSA |EC |DSA |OPENSSH |ENCRYPTED |PGP )?PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:\\n|\s)+((?:[A-Za-z0-9+/=:, -]+(?:\\n|\s)+){2,})"
)
_TOKENS = tuple(
    (form, anchors.split(), re.compile(pattern, re.ASCII))
    for form, anchors, pattern in (
        ("AWS access key", "AKIA ASIA", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
        ("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"\bgh[pousr]_[A-Za-z0-9]{36,251}\b"),
        ("GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{60,}\b"),
        (
            "GitLab token",
            "glpat- gldt- glrt- glcbt- glptt- glft- glsoat-",
            r"\bgl[a-z]{2,4}-[A-Za-z0-9_.-]{20,}",
        ),
        ("Slack token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}"),
        ("Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/[A-Za-z0-9]{20,}"),
        ("Stripe key", "k_live_", r"\b[rs]k_live_[A-Za-z0-9]{20,}\b"),
        ("Google API key", "AIza", r"\bAIza[A-Za-z0-9_-]{35}\b"),
        ("npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("npm token", "_authToken", r":_authToken\s*=\s*[A-Za-z0-9_./+=-]{20,}"),
        ("PyPI token", "pypi-AgEI", r"\bpypi-AgEI[A-Za-z0-9_-]{50,}"),
        ("SendGrid key", "SG.", r"\bSG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{40,50}"),
        ("Hugging Face token", "hf_", r"\bhf_[A-Za-z0-9]{34,}\b"),
        ("OpenAI key", "sk-", r"\bsk-(?:proj-)?[A-Za-z0-9_-]{40,}\b"),
        ("Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{80,}={0,2}"),
        ("JSON web token", "eyJ", r"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,}"),
    )
)
"""Forms, texts one of which each has (quick to look for), and the whole pattern."""
_PASSWORDS = tuple(
    (form, anchor, re.compile(pattern))
    for form, anchor, pattern in (
        (
            "address with a password",
            "://",
            r"://[^\s/:@'\"<>${}]{1,64}:([^\s/:@'\"<>${}]{3,128})@[A-Za-z0-9.-]+",
        ),
        ("registry login", '"auth"', r'"auth"\s*:\s*"([A-Za-z0-9+/]{8,}={0,2})"'),
        ("login", "machine", r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(\S+)"),
    )
)
_WORDS = (
    *("password", "passwd", "secret", "token", "credential"),
    *("apikey", "api_key", "api-key", "private_key", "private-key", "access_key", "access-key", "accesskey"),
)
_VALUE = re.compile(r"[\w.-]{0,20}[\"']?\s*(?:=>?|:)\s*[\"']?([A-Za-z0-9+/_=.~!@#$%^&*-]{8,200})", re.ASCII)
_NAMED = re.compile(
    r"(?i)(?:passw(?:or)?d|passphrase|secret|token|credentials?"
    r"|(?:api|private|access|secret|auth|encryption|signing|account|license)_?key)\Z"
)
_PLAIN = re.compile(
    r"(?i)\A(?:\$.*|.*[<>{}].*|.*(?:example|placeholder|changeme|your[_-]|xxxx|dummy|redacted|\*\*\*|null|none|true|false"
    r"|secret|password|token|default|test).*|/[\w./-]*|[a-z_.-]*|[\d.]*|https?:.*)\Z"
)
_BLANK = re.compile(r"(?i)<.*>|\{.*\}|x+|\*+")
_NEW_LINE = re.compile(r"\n")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a]")
_TELLING = re.compile(
    r"(?i)(?:\A|/)(?:id_(?:rsa|dsa|ecdsa|ed25519)|\.netrc|\.git-credentials|\.npmrc|\.pypirc|\.env(?:\.[^/]*)?|\.pgpass"
    r"|\.htpasswd|credentials|\.dockercfg|kubeconfig|[^/]*\.(?:pem|key|ppk|env|tfvars))\Z"
)
"""Names of files that exist to hold secrets."""
_TEXTS = re.compile(
    r"(?i)\.(?:cfg|conf|config|ini|ya?ml|json|toml|properties|xml|sh|bash|py|rb|js|ts|php|tf|txt|service)\Z"
)
_OTHERS = re.compile(
    r"\A(?:usr/(?!local/|src/)|lib/|var/lib/dpkg/)"
    r"|/(?:node_modules|site-packages|dist-packages|gems|vendor|\.cargo/registry|pkg/mod|lib/python[0-9.]+)/"
)
"""Where packages put their files."""


def wants(path: str, size: int, head: bytes) -> bool:
    if not 8 <= size <= _MOST or _BINARY.search(head) is not None:
        return False
    if b"-----BEGIN" in head or _TELLING.search(path) is not None:
        return True
    # code that others wrote is most of an image's text, and has none of its owner's secrets
    return _OTHERS.search(path) is None and (
        "." not in path.rpartition("/")[2] or _TEXTS.search(path) is not None
    )


def examine(path: str, data: Data) -> list[list[Any]] | None:
    """Rows of [kind, form, line]."""
    return [list(row) for row in islice(find(bytes(data)), _SHOWN)] or None


def find(data: bytes) -> Iterator[tuple[str, str, int]]:
    """What there is in a text: kind, form and line (from 1), each line once."""
    # every form is ASCII, and one byte a character keeps places the same in both
    text, low = data.decode("latin-1"), data.lower().decode("latin-1")
    starts: list[int] = []
    seen: set[int] = set()

    def once(kind: str, form: str, place: int) -> Iterator[tuple[str, str, int]]:
        if not starts:
            starts.extend([0, *(match.end() for match in _NEW_LINE.finditer(text))])
        line = bisect(starts, place)
        if line not in seen:
            seen.add(line)
            yield kind, form, line

    if "PRIVATE KEY" in text:
        for match in _KEYS.finditer(text):
            if sum(map(len, match[2].split())) >= 48 and _entropy(match[2]) > 3.5:
                yield from once(KEY, match[1].strip().lower(), match.start())
    for form, anchors, pattern in _TOKENS:
        if any(anchor in text for anchor in anchors):
            for match in pattern.finditer(text):
                if "example" not in match[0].lower() and _entropy(match[0]) > 3:
                    yield from once(TOKEN, form, match.start())
    for form, anchor, pattern in _PASSWORDS:
        if anchor in text:
            for match in pattern.finditer(text):
                if not _PLAIN.match(match[1]):
                    yield from once(PASSWORD, form, match.start(1))
    for word in _WORDS:
        place = -1
        while (place := low.find(word, place + 1)) >= 0:
            value = _VALUE.match(text, place + len(word))
            if value is not None and is_random(value[1]):
                yield from once(GUESS, "value of high entropy", value.start(1))


def in_variable(name: str, value: str) -> tuple[str, str] | None:
    """The kind and form of the secret in a variable, if it is one: any known form, or a value under a name
    such as `DB_PASSWORD`."""
    for kind, form, _ in find(value.encode()):
        return kind, form
    if (
        _NAMED.search(name)
        and len(value) >= 6
        and not value.startswith(("$", "/"))
        and not _BLANK.fullmatch(value)
    ):
        return PASSWORD, "value of a variable with such a name"
    return None


def is_random(value: str) -> bool:
    """Whether a value looks drawn at random: long, mixed, of high entropy and no placeholder."""
    if len(value) < 16 or _PLAIN.match(value):
        return False
    kinds = sum(any(test(c) for c in value) for test in (str.islower, str.isupper, str.isdigit))
    return kinds >= 2 and any(map(str.isdigit, value)) and _entropy(value) >= 3.6


def _entropy(text: str) -> float:
    """Bits a character (Shannon)."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
