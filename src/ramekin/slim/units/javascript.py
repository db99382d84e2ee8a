"""What the text of a JavaScript file leads to: modules by name, files beside it, folders it looks in.

Text is searched, not parsed: comments and strings count as code. That errs towards keeping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LITERAL = rb"(?:/\*.{0,200}?\*/\s*)?['\"`]([^'\"`\n$]{1,300})['\"`]"
_RELATIVE = re.compile(
    rb"(?:\brequire(?:\.resolve)?\s*\(|\bimport\s*\(|\bfrom|\bimport|\bimport\.meta\.resolve\s*\()\s*"
    rb"(?:/\*.{0,200}?\*/\s*)?['\"`](\.{1,2}(?:/[^'\"`\n$]{0,300})?|#[^'\"`\n$]{1,300})['\"`]"
)
_COMPUTED = re.compile(
    rb"require(?:\.resolve)?\s*\(\s*(?!" + _LITERAL + rb"\s*[,)])[^\s)]"
    rb"|import\s*\(\s*(?!" + _LITERAL + rb"\s*[,)])[^\s)]"
    rb"|module\.require\b|require\[|createRequire\s*\(|new\s+Worker\s*\(|\bfork\s*\("
    rb"|\bregister\s*\(\s*['\"`][@\w.-]+/"
)
"""Modules loaded by a name that the code makes up, or handed to another loader (Node, module.register)."""
_HANDED = re.compile(rb"require\s*(?=[;,):|?&\n}\]])")
_TAKEN = re.compile(rb"(?:[=(,?:|&\[]|\breturn)\s*\Z")
"""`require` as a value, which somebody may call with any name."""
_BEGINNING = re.compile(rb"['\"`](\.{1,2}/[^'\"`\n$]{0,300})(?=['\"`$])")
_NAMED = re.compile(rb"['\"`]((?:@[\w.-]{1,100}/)?[a-zA-Z0-9][\w.-]{0,100}/[^'\"`\n$]{0,300})(?=['\"`$])")
_OWN = re.compile(
    rb"__dirname|__filename|import\.meta\.(?:url|dirname|filename)"
    rb"|require\s*\(\s*['\"][^'\"\n]{1,100}['\"]\s*\)\s*\(\s*module\b|\bmodule\.(?:filename|path)\b"
)
"""The place of the file itself, from which it may look for others."""
_LOCATED = re.compile(
    rb"\b(?:\w*[rR]equire\w*\.resolve|import\.meta\.resolve|resolve\.sync)\s*\(\s*"
    rb"['\"`]((?:@[\w.-]{1,100}/)?[a-zA-Z0-9][\w./-]{0,300})['\"`]"
)
"""Modules of packages of which the place is asked for, to look for files from there or to hand it on."""
_WORD = re.compile(rb"(?<![\w./@-])((?:@[\w.-]{1,100}/)?[a-zA-Z0-9][\w.-]{0,100}/[\w.@/-]{1,300})")
_PLACE = rb"(?:__dirname|import\.meta\.dirname)"
_QUOTED = rb"['\"`][^'\"`\n$]{0,300}['\"`]"
_JOINED = (
    re.compile(_PLACE + rb"((?:\s*,\s*" + _QUOTED + rb")+)\s*(?=[,)])"),
    re.compile(_PLACE + rb"(\s*\+\s*" + _QUOTED + rb")"),
    re.compile(rb"\$\{\s*" + _PLACE + rb"\s*\}([^`$\"'\n]{1,300})"),
)
_URL = re.compile(rb"\bURL\s*\(\s*(" + _QUOTED + rb")\s*,\s*import\.meta\.url")
_HARMLESS = re.compile(
    rb"createRequire\s*\(\s*(?:import\.meta\.url|__filename)\s*\)|[!=]==?\s*(?:__filename|import\.meta\.url)"
    rb"|(?:__filename|import\.meta\.url)\s*[!=]=="
)
_NEXT = rb"['\"`]\s*[,+]\s*['\"`]/?"
"""From one text to the one that it is joined with."""
_FOLDER = re.compile(rb"node_modules(?!/\.bin\b)")
"""Commands aside, which stay anyway."""
_WITHIN = re.compile(
    rb"node_modules(?:/|" + _NEXT + rb")((?:@[\w.-]{1,100}(?:/|" + _NEXT + rb"))?[a-zA-Z0-9][\w.-]{0,100})"
)


@dataclass(frozen=True, slots=True)
class Leads:
    """What a file leads to.

    `relative` are specifiers that begin with a dot or `#`, as they stand. `beginnings` are texts with which
    a made-up specifier may begin, relative ones and such as `moment/locale/`; `beside` are paths that it puts
    together from its own folder and text; `located` are modules of packages of which it asks for the place.
    With `around`, it looks for files from its own place in a way that cannot be followed.
    """

    relative: frozenset[str] = frozenset()
    beginnings: frozenset[str] = frozenset()
    beside: frozenset[str] = frozenset()
    located: frozenset[str] = frozenset()
    around: bool = False


def leads(data: bytes) -> Leads:
    """What a JavaScript file with this text leads to."""
    relative = _texts(_RELATIVE.findall(data))
    beginnings: frozenset[str] = frozenset()
    if _COMPUTED.search(data) or _hands_on(data):
        beginnings = _texts(_BEGINNING.findall(data)) | _texts(_NAMED.findall(data))
    located = _texts(_LOCATED.findall(data))
    beside: set[str] = set()
    followed = 0
    if _OWN.search(data) is None:
        return Leads(relative, beginnings, located=located)
    for pattern in (*_JOINED, _URL):
        for match in pattern.finditer(data):
            followed += 1
            beside.add(_path(match[1]))
    around = len(_OWN.findall(data)) > followed + len(_HARMLESS.findall(data))
    return Leads(relative, beginnings, frozenset(beside), located, around)


def _hands_on(data: bytes) -> bool:
    return any(
        _TAKEN.search(data, max(0, match.start() - 40), match.start()) for match in _HANDED.finditer(data)
    )


def packages_by_path(data: bytes) -> tuple[frozenset[str], bool]:
    """Packages that a text names by a path below node_modules, and whether it names that folder otherwise."""
    found = _WITHIN.findall(data)
    names = {re.sub(rb"['\"`\s,+/]+", b"/", one).decode("ascii") for one in found}
    return frozenset(names), len(_FOLDER.findall(data)) > len(found)


def modules_by_name(data: bytes) -> frozenset[str]:
    """Words of any text that may name a module inside a package, as settings do (`moment/locale/fr`)."""
    return _texts(_WORD.findall(data))


def _path(text: bytes) -> str:
    """`, '..', 'lib'`, `+ '/lib'` or `/lib` as a path from the folder."""
    parts = re.findall(rb"['\"`]([^'\"`]*)['\"`]", text) or [text]
    return "/".join(part.decode("utf-8", "replace").strip("/") for part in parts)


def _texts(found: list[bytes]) -> frozenset[str]:
    return frozenset(one.decode("utf-8", "replace") for one in found)
