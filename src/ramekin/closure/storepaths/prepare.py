"""A store path made ready to be a layer: checked to lie where it may, and listed."""

from __future__ import annotations

import posixpath
import re

from ramekin.closure.model import PackageFacts, Prepared
from ramekin.closure.storepaths import MTIME, STORE
from ramekin.errors import FormatError
from ramekin.image.tree import Entry, Kind
from ramekin.sources.protocol import PackageContent


def prepare(content: PackageContent, *, architecture: str) -> Prepared:
    """The layer tree of a store path and its facts; `FormatError` for what lies outside of it."""
    package = content.package
    root = STORE + package.name
    lines = []
    for entry in content.tree.entries():
        if entry.path != root and not entry.path.startswith(root + "/"):
            if entry.kind is Kind.DIRECTORY and root.startswith(entry.path + "/"):
                continue
            raise FormatError(
                f"{package.name}: /{entry.path} lies outside of the store path", hint="its cache is broken"
            )
        if entry.kind is not Kind.DIRECTORY:
            lines.append(f"{_identity(entry)} {line(entry.path)}")
    return Prepared(
        content.tree.with_parents(mtime=MTIME),
        PackageFacts(
            name=package.name,
            version=package.version,
            architecture=architecture,
            newest=MTIME,
            claims="\n".join(lines),
        ),
    )


def line(path: str) -> str:
    """A path as one line of text, with what could end a line as `\\uXXXX`; `unline` gives it back.

    Bytes that are no UTF-8 do not come back.
    """
    text = _BREAKING.sub(lambda found: f"\\u{ord(found[0]):04x}", path)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def unline(text: str) -> str | None:
    """The path that `line` made a line of, or None where that cannot be known."""
    if "\\" not in text and "\ufffd" not in text:
        return text
    return None if "\ufffd" in text else _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


_BREAKING = re.compile("[\\\\\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")


def leads(entry: Entry) -> str:
    """Where a symbolic link leads, as an absolute path."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(entry.path), entry.target))


def _identity(entry: Entry) -> str:
    """`MODE:SIZE` of a file, and where a link leads (without spaces, so that it stays one word)."""
    if entry.kind is Kind.SYMLINK:
        return "symlink:" + line(leads(entry)).replace(" ", "\\u0020")
    return f"{entry.mode:o}:{entry.size}"
