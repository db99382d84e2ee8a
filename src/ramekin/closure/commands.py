"""What single commands of maintainer scripts mean for an image: no effect, performed, needless or unknown.

Each handler takes the walk, the command and its expanded words, and gives the command's status. `queries`
have no effect, `effects`, `account_commands` and `debian_commands` are performed, and `data/needless.yaml`
lists the rest.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ramekin.closure import account_commands, debian_commands, effects, queries
from ramekin.closure.effects import Handler
from ramekin.closure.queries import Words, elsewhere
from ramekin.closure.shell import Redirect, Simple, parse

if TYPE_CHECKING:
    from ramekin.closure.scripts import Walk


def run(walk: Walk, node: Simple, words: Words, *, piped: bool = False) -> bool | None:
    """Walk one command whose words are expanded."""
    from ramekin.closure.scripts import Leave, needless

    name = words[0]
    if name is None:
        walk.report(node.line, node.text)
        return None
    short = posixpath.basename(name)
    status: bool | None = None
    text: bytes | None = None
    if short in ("exit", "return", "break", "continue"):
        code = words[1] if len(words) > 1 else "0"
        raise Leave(short, None if code is None else code == "0")
    handler = _HANDLERS.get(short)
    if handler is not None:
        status = handler(walk, node, words)
    elif short.startswith("db_"):
        status = queries.debconf(walk, words)
    elif short in queries.QUIET:
        status, text = queries.quiet(walk, node, words)
    elif short in queries.QUERIES:
        status, text = queries.query(walk, node, words)
    elif short in needless().commands:
        walk.outcome.say(f"{walk.script}: {short}: {needless().commands[short]}")
    else:
        walk.report(node.line, node.text)
    if short in needless().commands:
        return status
    for redirect in node.redirects:
        if redirect.operator in (">", ">>", ">|"):
            written(walk, node, redirect, None if piped else text)
    return status


def written(walk: Walk, node: Simple, redirect: Redirect, text: bytes | None) -> bool | None:
    """Output that goes to a file: performed when both are known, and reported otherwise."""
    path = walk.text(redirect.target)
    if path is not None and (path.startswith("/dev/") or not path):
        return True
    if path is None or text is None or not path.startswith("/") or (walk.doubt and text):
        walk.report(node.line, node.text, f"> {path or redirect.target.source}")
        return None
    if redirect.operator == ">>":
        before = walk.files.resolve(path)
        text = (before.read() if before is not None and before.size < 1 << 20 else b"") + text
    walk.files.write(path, text)
    walk.outcome.say(f"{walk.script}: wrote {path}")
    return True


def _source(walk: Walk, node: Simple, words: Words) -> bool | None:
    """`. FILE`: a file of the package itself is walked too; functions of known others are commands here."""
    from ramekin.closure.scripts import needless

    path = words[1] if len(words) > 1 else None
    if path is not None and path in needless().present:
        return True
    entry = walk.files.resolve(path) if path is not None else None
    if path is None or entry is None or entry.size > 1 << 20:
        if path is not None and entry is None and elsewhere(walk, path) is False:
            return False
        walk.report(node.line, node.text)
        return None
    outer = walk.script
    walk.script = f"{outer} ({path})"
    walk.depth += 1
    try:
        if walk.depth > 20:
            return None
        return walk.run(parse(entry.read().decode("utf-8", "surrogateescape"), where=path))
    finally:
        walk.script = outer
        walk.depth -= 1


def _eval(walk: Walk, node: Simple, words: Words) -> bool | None:
    if None in words:
        walk.report(node.line, node.text)
        return None
    walk.depth += 1
    try:
        if walk.depth > 20:
            return None
        return walk.run(parse(" ".join(str(word) for word in words[1:]), where="eval"))
    finally:
        walk.depth -= 1


def _exec(walk: Walk, node: Simple, words: Words) -> bool | None:
    if len(words) > 1:
        walk.report(node.line, node.text)
    return True


_HANDLERS: dict[str, Handler] = {
    **effects.HANDLERS,
    **account_commands.HANDLERS,
    **debian_commands.HANDLERS,
    ".": _source,
    "source": _source,
    "eval": _eval,
    "exec": _exec,
}
