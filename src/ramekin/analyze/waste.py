"""What most images can do without, told by where it lies."""

from __future__ import annotations

import re
from functools import lru_cache

DOCS, LOCALES, CACHES, DEBUG, BYTECODE, TESTS, DEVELOPMENT, HISTORY = (
    "docs",
    "locales",
    "caches",
    "debug",
    "byte code",
    "tests",
    "development",
    "version control",
)
CATEGORIES = {
    DOCS: "manuals and documentation, licences and copyrights apart",
    LOCALES: "translations and locale tables",
    CACHES: "caches, package lists, logs and temporary files",
    DEBUG: "debugging information in files of its own, source maps",
    BYTECODE: "compiled Python that the interpreter can make again",
    TESTS: "test suites of libraries",
    DEVELOPMENT: "headers, static libraries and what else only building needs",
    HISTORY: "repositories of version control",
}

_FOLDERS = (
    (HISTORY, r"(?:.*/)?\.(?:git|hg|svn)(?:/|\Z)"),
    (DEBUG, r"usr/lib/debug(?:/|\Z)|.*\.dSYM(?:/|\Z)"),
    (
        DOCS,
        r"usr/(?:local/)?share/(?:doc|man|info|gtk-doc|help|doc-base|lintian|bug)(?:/|\Z)|usr/(?:local/)?man/",
    ),
    (
        LOCALES,
        r"usr/(?:local/)?share/(?:locale|i18n|locale-langpack)(?:/|\Z)|usr/lib/locale(?:/|\Z)|.*/LC_MESSAGES\Z",
    ),
    (
        CACHES,
        r"var/(?:cache|log|tmp)(?:/|\Z)|tmp(?:/|\Z)|var/lib/(?:apt/lists|dnf|yum)(?:/|\Z)|etc/apk/cache(?:/|\Z)"
        r"|(?:root|home/[^/]+)/\.(?:cache|npm|yarn|gradle/caches|cargo/registry|composer/cache|nuget)(?:/|\Z)"
        r"|(?:root/)?go/pkg/mod/cache(?:/|\Z)|usr/local/share/\.cache(?:/|\Z)|usr/local/cargo/registry(?:/|\Z)"
        r"|.*/node_modules/\.cache(?:/|\Z)",
    ),
    (
        TESTS,
        r"(?:.*/)?(?:site-packages|dist-packages|node_modules|lib/python[0-9.]+)/(?:.*/)?(?:tests?|__tests__)(?:/|\Z)",
    ),
    (DEVELOPMENT, r"usr/(?:local/)?include(?:/|\Z)|.*/(?:pkgconfig|cmake)(?:/|\Z)|usr/share/aclocal(?:/|\Z)"),
)
_PATTERN = re.compile("|".join(f"(?P<c{n}>{pattern})" for n, (_, pattern) in enumerate(_FOLDERS)))
_SUFFIXES = {
    ".pyc": BYTECODE,
    ".pyo": BYTECODE,
    ".debug": DEBUG,
    ".dwo": DEBUG,
    ".pdb": DEBUG,
    ".map": DEBUG,
    ".a": DEVELOPMENT,
    ".la": DEVELOPMENT,
    ".h": DEVELOPMENT,
}
_LEGAL = re.compile(r"(?:copyright|licen[cs]es?|copying|notice)(?:\..*|\Z)", re.IGNORECASE)


def category(path: str) -> str:
    """The category of a file, or an empty text for what an image is for."""
    folder, _, name = path.rpartition("/")
    found = _folder(folder)
    if found == DOCS and _LEGAL.match(name):
        return ""
    if found:
        return found
    dot = name.rfind(".")
    return _SUFFIXES.get(name[dot:], "") if dot > 0 else ""


@lru_cache(maxsize=1 << 16)
def _folder(folder: str) -> str:
    found = _PATTERN.match(folder)
    return _FOLDERS[int(found.lastgroup[1:])][0] if found and found.lastgroup else ""
