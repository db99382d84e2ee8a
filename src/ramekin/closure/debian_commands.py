"""Debian's own tools in maintainer scripts: alternatives, diversions, ucf, links of PHP and Apache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ramekin.closure.effects import Handler, copied, gid_of, mode_of, parsed_words, uid_of
from ramekin.closure.model import Alternative, DeferredLink, Diversion, Slave
from ramekin.closure.queries import Words
from ramekin.closure.shell import Simple

if TYPE_CHECKING:
    from ramekin.closure.scripts import Walk


def _alternatives(walk: Walk, node: Simple, words: Words) -> bool | None:
    """update-alternatives(1); only --install adds something to a fresh image."""
    if "--install" not in words:
        if any(word in ("--set", "--config", "--set-selections") for word in words):
            walk.report(node.line, node.text)
        return None
    rest = list(words[words.index("--install") + 1 :])
    slaves: list[Slave] = []
    known = [word for word in rest if word is not None]
    if walk.doubt and len(known) > 2 and None not in rest[:3] and walk.files.resolve(known[2]) is None:
        return None  # a candidate that is not there is refused
    if len(known) != len(rest) or len(known) < 4 or walk.doubt or not re.fullmatch(r"-?\d{1,9}", known[3]):
        walk.report(node.line, node.text)
        return None
    position = 4
    while position < len(known):
        if known[position] != "--slave" or position + 3 >= len(known):
            break
        link, name, path = known[position + 1 : position + 4]
        slaves.append(Slave(name, link, path))
        position += 4
    link, name, path = known[:3]
    candidate = Alternative(name, link, path, int(known[3]), tuple(slaves))
    if candidate not in walk.outcome.alternatives:
        walk.outcome.alternatives.append(candidate)
    return True


def _divert(walk: Walk, node: Simple, words: Words) -> bool | None:
    """dpkg-divert(1)."""
    if any(word in ("--list", "--listpackage", "--truename") for word in words):
        return False
    if "--remove" in words:
        return None
    parsed = parsed_words(walk, node, words, "--divert --package --add")
    if parsed is None:
        return None
    options, operands = parsed
    path = options.get("--add") or (operands[-1] if operands else "")
    if not path:
        walk.report(node.line, node.text)
        return None
    to = options.get("--divert") or path + ".distrib"
    walk.outcome.diversions.append(Diversion(walk.files.place(path), walk.files.place(to)))
    return True


def _override(walk: Walk, node: Simple, words: Words) -> bool | None:
    """dpkg-statoverride(1); a fresh image has none."""
    if "--list" in words:
        return False
    if "--add" not in words:
        return None
    parsed = parsed_words(walk, node, words)
    if parsed is None:
        return None
    operands = parsed[1]
    if len(operands) == 4:
        uid, gid, mode = uid_of(walk, operands[0]), gid_of(walk, operands[1]), mode_of(operands[2], 0)
        if uid is not None and gid is not None and mode is not None:
            if "--update" not in parsed[0]:
                return True
            if walk.files.change(operands[3], uid=uid, gid=gid, mode=mode):
                return True
    walk.report(node.line, node.text)
    return None


def _ucf(walk: Walk, node: Simple, words: Words) -> bool | None:
    """ucf(1): a configuration file that is copied once."""
    if "--purge" in words or "-p" in words:
        return True
    valued = "--debconf-template --src-dir --state-dir --sum-file -D -S"
    parsed = parsed_words(walk, node, words, valued, harmless=True)
    if parsed is None:
        return None
    operands = parsed[1]
    if len(operands) != 2 or not copied(walk, node, operands[0], operands[1], None):
        if len(operands) != 2:
            walk.report(node.line, node.text)
        return None
    return True


def _php_invoke(walk: Walk, node: Simple, words: Words) -> bool | None:
    """php-common's `php_invoke enmod VERSION SAPI MODULE`: a link for each way to run PHP in the image."""
    if list(words[1:2]) != ["enmod"] or len(words) != 5:
        walk.report(node.line, node.text)
        return None
    version, module = words[2], words[4]
    if module is None:
        walk.outcome.say(f"{walk.script}: modules link themselves")
        return None
    ini = walk.files.resolve(f"/etc/php/{version}/mods-available/{module}.ini")
    if version is None or ini is None:
        walk.report(node.line, node.text)
        return None
    priority = re.search(rb"^;\s*priority=(\d+)", ini.read(), re.MULTILINE)
    number = int(priority.group(1)) if priority else 20
    for way, package in _PHP_WAYS.items():
        place = f"etc/php/{version}/{way}/conf.d/{number:02}-{module}.ini"
        target = f"/etc/php/{version}/mods-available/{module}.ini"
        walk.outcome.deferred.append(DeferredLink(place, target, package.format(version)))
    return True


def _apache_invoke(walk: Walk, node: Simple, words: Words) -> bool | None:
    """Apache's `apache2_invoke enmod|enconf|ensite NAME`, `a2enmod` and the like: links into KIND-enabled."""
    known = [word for word in words if word is not None and not word.startswith("-")]
    if known and known[0] == "apache2_invoke":
        known = ["a2" + known[1], *known[2:]] if len(known) > 1 else known
    folder = {"a2enmod": "mods", "a2enconf": "conf", "a2ensite": "sites"}.get(known[0] if known else "")
    if folder is None or None in words or walk.doubt or len(known) < 2:
        if known and not known[0].startswith(("a2dis", "dis")):
            walk.report(node.line, node.text)
        return None
    for name in known[1:]:
        _apache_link(walk, folder, name, set())
    return True


def _apache_link(walk: Walk, folder: str, name: str, seen: set[str]) -> None:
    """Links for one module or setting, and for the modules that its file says it depends on."""
    if name in seen:
        return
    seen.add(name)
    for ending in (".load", ".conf") if folder == "mods" else (".conf",):
        entry = walk.files.get(f"/etc/apache2/{folder}-available/{name}{ending}")
        if entry is None:
            continue
        path, target = f"etc/apache2/{folder}-enabled/{name}{ending}", f"../{folder}-available/{name}{ending}"
        walk.outcome.deferred.append(DeferredLink(path, target, "apache2"))
        depends = re.search(rb"^# Depends:(.*)$", entry.read(), re.MULTILINE)
        for other in depends.group(1).decode("utf-8", "replace").replace(",", " ").split() if depends else ():
            _apache_link(walk, folder, other, seen)


_PHP_WAYS = {
    "apache2": "libapache2-mod-php{}",
    "cgi": "php{}-cgi",
    "cli": "php{}-cli",
    "embed": "libphp{}-embed",
    "fpm": "php{}-fpm",
    "phpdbg": "php{}-phpdbg",
}


HANDLERS: dict[str, Handler] = {
    "php_invoke": _php_invoke,
    "apache2_invoke": _apache_invoke,
    "a2enmod": _apache_invoke,
    "a2enconf": _apache_invoke,
    "a2ensite": _apache_invoke,
    "update-alternatives": _alternatives,
    "dpkg-divert": _divert,
    "dpkg-statoverride": _override,
    "ucf": _ucf,
}
