"""Imports of Python source, by its own grammar.

`ast` costs far more than unpacking does. Scripts are parsed; in modules a search finds the lines that are
import statements, and a file is parsed where such a line may stand in a string and names something new.
"""

from __future__ import annotations

import ast
import re
import warnings

# literals first, so that the search for them runs in C over the whole
_IMPORT = re.compile(rb"import[ \t]")
_LINE = re.compile(rb"[ \t]*(?:from[ \t]+([A-Za-z_][\w.]*)[ \t]+import\b|import[ \t]+([A-Za-z_][\w., \t]*))")
_CALL = re.compile(rb"(?:import_module|__import__)\(\s*['\"]([A-Za-z_][\w.]*)['\"]")


def candidates(data: bytes) -> tuple[set[str], set[str]]:
    """Modules in lines that look like imports: those in code, and those that may stand in a string."""
    sure: set[str] = set()
    doubtful: set[str] = set()
    counted, quotes = 0, [0, 0]
    for word in _IMPORT.finditer(data):
        start = data.rfind(b"\n", 0, word.start()) + 1
        match = _LINE.match(data, start, word.end() + 400)
        if match is None:
            continue
        for place, quote in enumerate((b'"""', b"'''")):
            quotes[place] += data.count(quote, counted, start)
        counted = start
        found = doubtful if quotes[0] % 2 or quotes[1] % 2 else sure
        source, listed = match.groups()
        if source:
            found.add(source.decode("ascii", "replace"))
        else:
            for part in listed.split(b","):
                words = part.split()
                if words and (len(words) == 1 or words[1] == b"as"):
                    found.add(words[0].decode("ascii", "replace"))
    if b"import_" in data or b"__import" in data:
        sure.update(name.decode("ascii", "replace") for name in _CALL.findall(data))
    return sure, doubtful - sure


def imports(data: bytes) -> dict[str, bool]:
    """Absolute modules that `data` imports, and whether each import stands under a `try`.

    `SyntaxError` or `ValueError` where it is not source that this Python reads.
    """
    found: dict[str, bool] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
    except (RecursionError, MemoryError) as error:
        raise SyntaxError("too deeply nested") from error

    def note(name: str, optional: bool) -> None:
        found[name] = found.get(name, True) and optional

    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, optional = waiting.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                note(alias.name, optional)
        elif isinstance(node, ast.ImportFrom):
            if not node.level and node.module:
                note(node.module, optional)
        elif isinstance(node, ast.Try):
            waiting += [(child, True) for child in node.body]
            waiting += [(child, optional) for part in (node.orelse, node.finalbody) for child in part]
            waiting += [(child, True) for handler in node.handlers for child in handler.body]
        elif isinstance(node, ast.stmt | ast.Module):
            waiting += [
                (c, optional)
                for c in ast.iter_child_nodes(node)
                if isinstance(c, ast.stmt | ast.ExceptHandler)
            ]
            match_cases = getattr(node, "cases", ())
            waiting += [(child, optional) for case in match_cases for child in case.body]
    for name in _CALL.findall(data):
        found.setdefault(name.decode("ascii", "replace"), True)
    return found


def module_name(path: str) -> str | None:
    """The dotted name under which the file at a tree path is imported, or None."""
    match = _PLACE.match(path)
    if match is None:
        return None
    rest = match[1]
    for suffix in (".py", ".so"):
        if rest.endswith(suffix):
            rest = rest[: -len(suffix)]
            break
    else:
        return None
    folder, _, last = rest.rpartition("/")
    last = last.partition(".")[0]
    if last == "__init__":
        return folder.replace("/", ".") or None
    return f"{folder}/{last}".strip("/").replace("/", ".")


COMPILED_IN = frozenset(
    [
        "__future__",
        "__main__",
        "_abc",
        "_ast",
        "_bisect",
        "_blake2",
        "_codecs",
        "_collections",
        "_csv",
        "_datetime",
        "_elementtree",
        "_functools",
        "_heapq",
        "_imp",
        "_io",
        "_locale",
        "_md5",
        "_opcode",
        "_operator",
        "_pickle",
        "_posixsubprocess",
        "_random",
        "_sha1",
        "_sha256",
        "_sha3",
        "_sha512",
        "_signal",
        "_socket",
        "_sre",
        "_stat",
        "_statistics",
        "_string",
        "_struct",
        "_symtable",
        "_thread",
        "_tokenize",
        "_tracemalloc",
        "_warnings",
        "_weakref",
        "array",
        "atexit",
        "binascii",
        "builtins",
        "cmath",
        "errno",
        "faulthandler",
        "fcntl",
        "gc",
        "grp",
        "itertools",
        "marshal",
        "math",
        "os.path",
        "posix",
        "pwd",
        "pyexpat",
        "select",
        "spwd",
        "sys",
        "syslog",
        "time",
        "unicodedata",
        "xxsubtype",
        "zlib",
    ]
)
"""Modules inside the interpreter itself, as Debian builds it (sys.builtin_module_names)."""

_PLACE = re.compile(
    r"usr/(?:local/)?lib/(?:python3/dist-packages|python3(?:\.\d+)?/(?:dist-packages|site-packages|lib-dynload)|python3\.\d+)/(.+)\Z"
)
