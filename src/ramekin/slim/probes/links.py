"""Where a page leads: links, assets, and forms that only ask (GET), with what stands in their fields.

Pages are read in one go from beginning to end, as browsers do it, in time that is in proportion to their
length: the parser of Python's standard library takes that squared for tags that are not closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from urllib.parse import urlencode, urljoin

_CSS = re.compile(
    r"""url\(\s*+(?:"([^"\n]*+)"|'([^'\n]*+)'|([^)\s"']*+))\s*+\)|@import\s++(?:"([^"\n]*+)"|'([^'\n]*+)')"""
)
_REFERENCES: Mapping[str, tuple[str, ...]] = {
    "a": ("href",),
    "area": ("href",),
    "link": ("href",),
    "script": ("src",),
    "img": ("src",),
    "source": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "iframe": ("src",),
    "frame": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
"""Attributes that hold an address, by element."""


_OPENING = re.compile(r"<(?:(!--)|([!?])|(/?)([a-zA-Z][^\s/>]*+))")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>]*+)))?+|[\s/=]++"""
)
_RAW = ("script", "style", "textarea", "title")
"""Elements whose content has no tags in it."""


def links(text: str, base: str, media_type: str) -> tuple[str, ...]:
    """The addresses that a page or style sheet at `base` refers to, absolute, each once, in their order."""
    match media_type:
        case "text/css":
            found = list(_styled(text))
        case "text/html" | "application/xhtml+xml" | "image/svg+xml":
            page = _Page()
            page.read(text)
            found = page.found
            base = urljoin(base, page.base) if page.base else base
        case "application/manifest+json" | "application/json":
            return ()
        case _:
            return ()
    whole = (_absolute(base, one) for one in found)
    return tuple(dict.fromkeys(one for one in whole if one))


def field(text: str, name: str) -> str | None:
    """The value of the first input of a page that has a name."""
    page = _Page()
    page.read(text)
    return page.fields.get(name)


def meta(text: str, name: str) -> str | None:
    """The content of the first `meta` element of a page that has a name."""
    page = _Page()
    page.read(text)
    return page.metas.get(name)


def _absolute(base: str, address: str) -> str:
    try:
        return urljoin(base, address.strip()).partition("#")[0]
    except ValueError:
        return ""


def _styled(text: str) -> Iterator[str]:
    for found in _CSS.finditer(text):
        address = next((part for part in found.groups() if part), "")
        if address and not address.startswith("data:"):
            yield address


class _Page:
    def __init__(self) -> None:
        self.found: list[str] = []
        self.fields: dict[str, str] = {}
        self.metas: dict[str, str] = {}
        self.base = ""
        # the action of the form that is open, None when it is not one that only asks
        self._action: str | None = None
        self._asked: list[tuple[str, str]] = []
        # where in it the first value of each name is
        self._chosen: dict[str, int] = {}
        self._select: str | None = None
        self._area: str | None = None

    def read(self, text: str) -> None:
        place = 0
        while (opening := _OPENING.search(text, place)) is not None:
            comment, declaration, slash, name = opening.groups()
            place = opening.end()
            if comment or declaration:
                end = text.find("-->" if comment else ">", place)
                if end < 0:
                    break
                place = end + (3 if comment else 1)
                continue
            tag, given = name.lower(), dict[str, str]()
            while (found := _ATTRIBUTE.match(text, place)) is not None:
                place = found.end()
                if found[1]:
                    value = next((part for part in found.groups()[1:] if part is not None), "")
                    given.setdefault(found[1].lower(), unescape(value))
            if not text.startswith(">", place):
                # the page ends within a tag
                break
            place += 1
            if slash:
                self._end(tag)
                continue
            self._start(tag, given)
            if tag in _RAW and text[place - 2] != "/":
                closing = re.compile(rf"</{tag}(?=[\s/>])", re.IGNORECASE).search(text, place)
                end = closing.start() if closing else len(text)
                if tag == "style":
                    self.found += _styled(text[place:end])
                place = end
        self._send()

    def _start(self, tag: str, given: Mapping[str, str]) -> None:
        for name in _REFERENCES.get(tag, ()):
            if given.get(name):
                self.found.append(given[name])
        if "srcset" in given:
            self.found += [part.split()[0] for part in given["srcset"].split(",") if part.strip()]
        if "style" in given:
            self.found += _styled(given["style"])
        match tag:
            case "base":
                self.base = self.base or given.get("href", "")
            case "meta":
                self._meta(given)
            case "form":
                self._send()
                if given.get("method", "get").lower() == "get":
                    self._action = given.get("action", "")
            case "input" | "button":
                self._input(tag, given)
            case "select":
                self._select = given.get("name")
            case "option":
                self._option(given)
            case "textarea":
                self._area = given.get("name")
                self._enter(self._area or "", "")

    def _end(self, tag: str) -> None:
        match tag:
            case "form":
                self._send()
            case "select":
                self._select = None
            case "textarea":
                self._area = None

    def _meta(self, given: Mapping[str, str]) -> None:
        name = given.get("name") or given.get("property", "")
        if name:
            self.metas.setdefault(name, given.get("content", ""))
        if given.get("http-equiv", "").lower() == "refresh":
            found = re.search(r"url\s*=\s*['\"]?([^'\"]+)", given.get("content", ""), re.IGNORECASE)
            if found:
                self.found.append(found[1])

    def _input(self, tag: str, given: Mapping[str, str]) -> None:
        kind = given.get("type", "text" if tag == "input" else "submit").lower()
        name = given.get("name", "")
        if name:
            self.fields.setdefault(name, given.get("value", ""))
        if kind in ("submit", "image", "button", "reset", "file") or "disabled" in given:
            return
        if kind in ("checkbox", "radio"):
            if "checked" in given:
                self._enter(name, given.get("value", "on"))
            return
        self._enter(name, given.get("value", ""))

    def _option(self, given: Mapping[str, str]) -> None:
        if self._select is None or self._action is None:
            return
        chosen = (self._select, given.get("value", ""))
        known = self._chosen.get(self._select)
        if known is None:
            self._chosen[self._select] = len(self._asked)
            self._asked.append(chosen)
        elif "selected" in given:
            self._asked[known] = chosen

    def _enter(self, name: str, value: str) -> None:
        if name and self._action is not None:
            self._chosen.setdefault(name, len(self._asked))
            self._asked.append((name, value))

    def _send(self) -> None:
        """The form is over: what a click on its button would ask for."""
        if self._action is not None:
            address = self._action.partition("#")[0].partition("?")[0]
            # an empty action is the page's own address
            self.found.append(f"{address}?{urlencode(self._asked)}")
        self._action, self._asked, self._chosen = None, [], {}
