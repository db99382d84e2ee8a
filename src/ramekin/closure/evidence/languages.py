"""Imports of Perl, Ruby, PHP and JavaScript: no parser of theirs is at hand, so statements are searched
for.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection

# literals first, so that the search for them runs in C over the whole
_PERL_USES = (re.compile(rb"use[ \t]+([A-Za-z][\w:]*)"), re.compile(rb"require[ \t]+([A-Za-z][\w:]*)"))
_PERL_BEFORE = re.compile(rb"(?:.*[;{(&|]|)[ \t]*(?:eval|and|or|do|if|unless|return)?[ \t{(]*\Z")
_PERL_PARENT = re.compile(rb"use[ \t]+(?:base|parent)\b([^;]*);")
_PERL_QUOTED = re.compile(rb"['\"]([A-Z]\w*(?:::\w+)+)['\"]")
_PERL_NAME = re.compile(rb"[A-Za-z_]\w*(?:::\w+)+|\b[A-Z]\w+")
_RUBY = (
    re.compile(rb"require[ \t(]*['\"]([A-Za-z0-9_./+-]+)['\"]"),
    re.compile(rb"autoload[ (]+:\w+,[ \t]*['\"]([A-Za-z0-9_./+-]+)['\"]"),
)
_PHP = tuple(
    re.compile(word + rb"(?:_once)?[ \t(]+['\"]([A-Za-z0-9_./+-]+)['\"]") for word in (b"require", b"include")
)
_PHP_HERE = re.compile(
    rb"(?:require|include)(?:_once)?[ \t(]+(?:__DIR__|dirname[ \t]*\([ \t]*__FILE__[ \t]*\))"
    rb"[ \t]*\.[ \t]*['\"](/[A-Za-z0-9_./+-]+)['\"]"
)
_NODE = (
    re.compile(rb"require[ \t]*\([ \t]*['\"]([@A-Za-z0-9_./:-]+)['\"]"),
    re.compile(rb"import[ \t]*\(?[ \t]*['\"]([@A-Za-z0-9_./:-]+)['\"]"),
    re.compile(rb"from[ \t]*['\"]([@A-Za-z0-9_./:-]+)['\"]"),
)
_PERL_PARENTS = frozenset(("base", "parent"))


def perl(data: bytes, known: Collection[str] = ()) -> set[str]:
    """Modules (`A::B`) that Perl source uses or requires, those that are known already aside.

    Documentation (perlpod) and what stands after `__END__` are left out.
    """
    found: set[str] = set()
    code: list[tuple[int, int]] | None = None
    end = _perl_end(data)
    for pattern in _PERL_USES:
        for match in pattern.finditer(data, 0, end):
            name = match[1].decode("ascii", "replace").rstrip(":")
            if name in known or name in found or (name[0] == "v" and name[1:2].isdigit()):
                continue
            place = match.start()
            if not _PERL_BEFORE.match(data, data.rfind(b"\n", 0, place) + 1, place):
                continue
            if code is None:
                code = _perl_code(data)
            if any(start <= place < end for start, end in code):
                found.add(name)
    if found & _PERL_PARENTS or b"use base" in data or b"use parent" in data:
        for listed in _PERL_PARENT.findall(data):
            found.update(name.decode("ascii", "replace") for name in _PERL_NAME.findall(listed))
    return found - _PERL_PARENTS


def perl_named(data: bytes) -> set[str]:
    """Modules that Perl source names in quotes, to load or to look for them later."""
    end = _perl_end(data)
    return {name.decode("ascii", "replace") for name in _PERL_QUOTED.findall(data, 0, end)}


def _perl_end(data: bytes) -> int:
    ends = [place for mark in (b"\n__END__", b"\n__DATA__") if (place := data.find(mark)) >= 0]
    return min(ends, default=len(data))


def _perl_code(data: bytes) -> list[tuple[int, int]]:
    """The runs of `data` that are neither documentation nor behind `__END__`."""
    end = _perl_end(data)
    place, runs = 0, []
    start = 0 if data[:1] == b"=" else data.find(b"\n=", 0, end)
    while start >= 0:
        first = start if data[start : start + 1] == b"=" else start + 1
        if not data[first + 1 : first + 2].isalpha():
            start = data.find(b"\n=", first, end)
            continue
        runs.append((place, start))
        stop = data.find(b"\n=cut", start, end)
        if stop < 0:
            return runs
        place = stop + 5
        start = data.find(b"\n=", place, end)
    runs.append((place, end))
    return runs


def ruby(data: bytes) -> set[str]:
    """Features that Ruby source requires (`openssl`, `net/http`)."""
    found = set()
    for pattern in _RUBY:
        for match in pattern.finditer(data):
            if b"#" not in data[data.rfind(b"\n", 0, match.start()) + 1 : match.start()]:
                found.add(match[1].decode("ascii").removesuffix(".rb"))
    return found


def php(data: bytes) -> set[str]:
    """Files that PHP source includes by a constant name."""
    return {name.decode("ascii") for pattern in _PHP for name in pattern.findall(data)}


def php_beside(data: bytes, path: str) -> set[str]:
    """Files (absolute) that the PHP source at a tree path includes by a name that begins with its folder."""
    folder = "/" + path.rpartition("/")[0]
    return {posixpath.normpath(folder + name.decode("ascii")) for name in _PHP_HERE.findall(data)}


def node(data: bytes) -> set[str]:
    """Modules that JavaScript requires or imports, relative ones aside."""
    found = {name.decode("ascii") for pattern in _NODE for name in pattern.findall(data)}
    return {name.removeprefix("node:") for name in found if not name.startswith((".", "/", "node:"))}


_PERL_PLACE = re.compile(
    r"usr/(?:local/)?(?:share/perl5|share/perl/5[.\d]*|lib/[^/]+/perl5/5[.\d]*|lib/[^/]+/perl/5[.\d]*|lib/[^/]+/perl-base|lib/perl5)/(.+)\.p[ml]\Z"
)
_RUBY_PLACE = re.compile(
    r"usr/(?:lib/(?:[^/]+/)?ruby/(?:vendor_ruby|site_ruby|\d[.\d]*)/(?:\d[.\d]*/)?(?:[a-z0-9_]+-linux[^/]*/)?"
    r"|share/rubygems-integration/[^/]+/gems/[^/]+/lib/|lib/[^/]+/rubygems-integration/[^/]+/gems/[^/]+/lib/)(.+)\.(?:rb|so)\Z"
)
_NODE_PLACE = re.compile(
    r"usr/(?:share|lib(?:/[^/]+)?)/(?:nodejs|node_modules)/((?:@[^/]+/)?[^/]+)/(?:package\.json|index\.js)\Z"
)
_NODE_FILE = re.compile(r"usr/(?:share|lib(?:/[^/]+)?)/(?:nodejs|node_modules)/([^/]+)\.js\Z")


def perl_module(path: str) -> str | None:
    """The name under which Perl finds the file at a tree path, or None."""
    match = _PERL_PLACE.match(path)
    return match[1].replace("/", "::") if match else None


def ruby_feature(path: str) -> str | None:
    """The feature name under which Ruby finds the file at a tree path, or None."""
    match = _RUBY_PLACE.match(path)
    return match[1] if match else None


def node_module(path: str) -> str | None:
    """The module name under which Node finds the package at a tree path, or None."""
    match = _NODE_PLACE.match(path) or _NODE_FILE.match(path)
    return match[1] if match else None


_PHP_PLACE = re.compile(r"usr/lib/php/\d{8}/([^/]+)\.so\Z")


def php_extension(path: str) -> str | None:
    """The name of the extension that the file at a tree path is, or None."""
    match = _PHP_PLACE.match(path)
    return match[1] if match else None


_ERLANG = re.compile(rb"\{\s*(?:applications|included_applications)\s*,\s*\[([^\]]*)\]")
_ERLANG_PLACE = re.compile(r"usr/lib/erlang/lib/([a-z][a-z0-9_]*)-[^/]+/ebin/\1\.app\Z")


def erlang(data: bytes) -> set[str]:
    """Applications that an Erlang application resource file names (app(4))."""
    return {
        word.decode() for listed in _ERLANG.findall(data) for word in re.findall(rb"[a-z][a-z0-9_]*", listed)
    }


def erlang_application(path: str) -> str | None:
    """The Erlang application that the file at a tree path describes, or None."""
    match = _ERLANG_PLACE.match(path)
    return match[1] if match else None
