"""The records of package managers, cut down to what stays, so that they list what is there.

| record | what of it stays |
|---|---|
| dpkg: status, info/, status.d/ | packages of which a file stays; lists and sums name files that are there |
| apk: installed | the same |
| rpm: rpmdb.sqlite | packages of which a file stays; files that went are not installed (`rpm`) |
| Python: RECORD | the lines of files that are there; metadata comes back where modules stay without it |
| npm: node_modules/.package-lock.json | the packages whose folders are there |

Nothing is invented: every line that stays was there before, but for the checksums of files that were written
without their symbols.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from posixpath import normpath

from ramekin.image.tree import Content, Inline, to_text
from ramekin.slim import rpm
from ramekin.slim.contents import Contents

_INFO = "var/lib/dpkg/info/"
_LISTED = "var/lib/dpkg/status.d/"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_READ_WITH_STATUS = (_INFO + "format", "var/lib/dpkg/arch", "var/lib/dpkg/diversions")
"""What dpkg reads beside: without `format` it looks for the lists of libraries by other names."""
_CONFFILES = re.compile(rb"^Conffiles:[ \t]*\n((?:[ \t].*\n)*)", re.MULTILINE)
_MANIFEST = re.compile(
    r"(?:(?:.*/)?node_modules|usr/share/nodejs)/(?:@[^/]+/)?[^/@]+/package\.json\Z", re.DOTALL
)
_NODE = (".js", ".cjs", ".mjs", ".node", ".wasm")
_DOCUMENTS = re.compile(r"usr/share/doc/|var/lib/dpkg/")


@dataclass(frozen=True)
class Records:
    """New contents of records by path, and records that go with their package."""

    changed: Mapping[str, bytes]
    gone: frozenset[str]
    packages: frozenset[str]


def records(
    contents: Contents, chosen: Callable[[str], bool], present: frozenset[str], renewed: Mapping[str, Content]
) -> Records:
    """The records of an image of which the paths stay for which `chosen` is true.

    `present` names the units of system packages that stay, as `dpkg:libc6`; `renewed` are files of which
    the content is another than the original's, whose checksums are written anew.
    """
    changed: dict[str, bytes] = {}
    gone: set[str] = set()
    _metadata(contents, chosen, changed)
    brought = frozenset(changed)

    def kept(path: str) -> bool:
        return chosen(path) or path in brought

    for path in contents.paths:
        if path.endswith(".dist-info/RECORD") and kept(path):
            changed[path] = _record(contents, path, kept, _Sums(renewed))
        elif path.endswith("node_modules/.package-lock.json") and kept(path):
            changed[path] = _lock(contents, path, kept)
    # which may be files of packages of the system, with checksums there
    sums = _Sums({**renewed, **{path: Inline(data) for path, data in changed.items()}})
    _dpkg(contents, kept, present, sums, changed, gone)
    _apk(contents, kept, present, sums, changed)
    databases, beside = rpm.records(contents, present, lambda name: _is_there(contents, name, kept))
    changed |= databases
    gone |= beside
    # a record that is as it was stays where the selection has it; where it does not, it comes back
    same = {path for path, data in changed.items() if chosen(path) and contents.read(path) == data}
    return Records(
        {path: changed[path] for path in sorted(changed) if path not in same}, frozenset(gone), present
    )


def is_record(path: str) -> bool:
    """Whether a path is a record that is cut down, and so must not be judged as a file of its package."""
    return (
        path == "var/lib/dpkg/status"
        or path.startswith((_INFO, _LISTED))
        or path in (*_APK, *rpm.DATABASES)
        or path in ("var/lib/dpkg/diversions", "var/lib/dpkg/statoverride", "var/lib/dpkg/arch")
    )


def _dpkg(
    contents: Contents,
    kept: Callable[[str], bool],
    present: frozenset[str],
    sums: _Sums,
    changed: dict[str, bytes],
    gone: set[str],
) -> None:
    status = contents.read("var/lib/dpkg/status")
    if status:
        blocks = [block for block in status.split(b"\n\n") if block.strip()]
        staying = [
            _conffiles(contents, block, kept) for block in blocks if f"dpkg:{_package(block)}" in present
        ]
        changed["var/lib/dpkg/status"] = b"".join(block.strip(b"\n") + b"\n\n" for block in staying)
        for path in _READ_WITH_STATUS:
            if path in contents.files:
                changed[path] = contents.read(path)
    for path in contents.below(_INFO.rstrip("/")):
        name, _, kind = path[len(_INFO) :].rpartition(".")
        if f"dpkg:{name.partition(':')[0]}" not in present:
            if name:
                gone.add(path)
        elif kind in ("list", "conffiles", "md5sums"):
            changed[path] = _lines(contents, path, kind, kept, sums)
        elif name:
            gone.add(path)
    for path in contents.below(_LISTED.rstrip("/")):
        name = path[len(_LISTED) :].removesuffix(".md5sums")
        data = contents.read(path.removesuffix(".md5sums"))
        if f"dpkg:{_package(data) or name}" not in present:
            gone.add(path)
        elif path.endswith(".md5sums"):
            changed[path] = _lines(contents, path, "md5sums", kept, sums)


def _conffiles(contents: Contents, block: bytes, kept: Callable[[str], bool]) -> bytes:
    """A paragraph of status whose Conffiles are those that are there (deb-conffiles(5), dpkg-query(1))."""

    def there(field: re.Match[bytes]) -> bytes:
        lines = [
            line
            for line in field[1].split(b"\n")
            if line and _is_there(contents, to_text(line.split()[0]), kept)
        ]
        return b"".join([b"Conffiles:\n", *(line + b"\n" for line in lines)]) if lines else b""

    return _CONFFILES.sub(there, block.strip(b"\n") + b"\n")


def _is_there(contents: Contents, name: str, kept: Callable[[str], bool]) -> bool:
    """Whether what a database means by a name stays."""
    place = _place(contents, name)
    return place is not None and (place == "" or kept(place))


def _package(block: bytes) -> str:
    found = re.search(rb"^Package:[ \t]*(\S+)", block, re.MULTILINE)
    return found[1].decode("utf-8", "replace") if found else ""


def _lines(contents: Contents, path: str, kind: str, kept: Callable[[str], bool], sums: _Sums) -> bytes:
    """The lines of a list of files that name what is there, folders that hold something among them."""
    out = []
    for line in contents.read(path).split(b"\n"):
        name = to_text(line)
        if kind == "md5sums":
            name = name[34:]
        place = _place(contents, name)
        if line and place is not None and (place == "" or kept(place)):
            if kind == "md5sums" and (made := sums.of(place, "md5")) is not None:
                line = made.hex().encode() + line[32:]
            out.append(line + b"\n")
    return b"".join(out)


def _place(contents: Contents, name: str) -> str | None:
    """The path of the image that a database means, whose folders may be links."""
    name = name.strip("/")
    if name in ("", "."):
        return ""
    if name in contents.files:
        return name
    folder, _, last = name.rpartition("/")
    real = contents.resolve(folder)
    return None if real is None else f"{real}/{last}".lstrip("/")


def _apk(
    contents: Contents,
    kept: Callable[[str], bool],
    present: frozenset[str],
    sums: _Sums,
    changed: dict[str, bytes],
) -> None:
    for path in _APK:
        data = contents.read(path)
        if not data:
            continue
        blocks = []
        for block in data.split(b"\n\n"):
            found = re.search(rb"^P:(.*)$", block, re.MULTILINE)
            if found and f"apk:{to_text(found[1])}" in present:
                blocks.append(_installed(contents, block, kept, sums) + b"\n\n")
        changed[path] = b"".join(blocks)


def _installed(contents: Contents, block: bytes, kept: Callable[[str], bool], sums: _Sums) -> bytes:
    """A package of apk's database with the files that are there (`F:` a folder, `R:` a file, `M:`, `a:`, `Z:`
    of the one before).
    """
    out: list[bytes] = []
    folder: bytes = b""
    waiting: list[bytes] = []
    stays = True
    path: str | None = None
    for line in block.split(b"\n"):
        kind = line[:2]
        if kind == b"F:":
            folder, waiting, stays, path = line[2:], [line], True, None
        elif kind == b"R:":
            path = _place(contents, to_text(folder + b"/" + line[2:]))
            stays = path is not None and kept(path)
            if stays:
                out += [*waiting, line]
                waiting = []
        elif kind == b"M:" and waiting:
            waiting.append(line)
        elif kind in (b"a:", b"Z:"):
            if stays:
                made = sums.of(path, "sha1") if kind == b"Z:" and path is not None else None
                out.append(line if made is None else b"Z:Q1" + base64.b64encode(made))
        else:
            out.append(line)
    return b"\n".join(out)


def _metadata(contents: Contents, kept: Callable[[str], bool], changed: dict[str, bytes]) -> None:
    """The metadata of Python distributions and Node packages of which modules stay, where no rule kept it, as
    at level files.
    """
    for path in contents.paths:
        if kept(path):
            continue
        if path.endswith((".dist-info/METADATA", ".egg-info/PKG-INFO", ".egg-info")):
            folder = path if path.endswith(".egg-info") else path.rpartition("/")[0]
            beside = [f"{folder}/{name}" for name in ("RECORD", "top_level.txt")]
            modules = _modules(contents, folder)
        elif _MANIFEST.match(path):
            folder, beside = path.rpartition("/")[0], []
            inside = (name for name in contents.below(folder) if "/node_modules/" not in name[len(folder) :])
            modules = (name for name in inside if name.endswith(_NODE))
        else:
            continue
        if any(kept(name) for name in modules):
            changed.update((name, contents.read(name)) for name in (path, *beside) if name in contents.files)


def _modules(contents: Contents, folder: str) -> Iterator[str]:
    """What a distribution with this folder of metadata has besides."""
    site = folder.rpartition("/")[0]
    record = contents.read(f"{folder}/RECORD")
    if record:
        names = (_recorded(site, line) for line in record.splitlines())
        return (name for name in names if not name.startswith(folder + "/"))
    tops = to_text(contents.read(f"{folder}/top_level.txt")).split()
    return (f"{site}/{name}{end}" for name in tops for end in (".py", "/__init__.py"))


def _record(contents: Contents, path: str, kept: Callable[[str], bool], sums: _Sums) -> bytes:
    """A RECORD with the files that are there (Recording Installed Projects, The RECORD file)."""
    site = path.rpartition("/")[0].rpartition("/")[0]
    lines = contents.read(path).splitlines(keepends=True)
    named = [(line, _recorded(site, line)) for line in lines]
    return b"".join(_with_sum(line, sums, path) for line, path in named if kept(path))


def _recorded(site: str, line: bytes) -> str:
    """The path of the image that a line of a RECORD in a folder of modules means."""
    text = to_text(line)
    name = text[1:].split('",', 1)[0].replace('""', '"') if text[:1] == '"' else text.split(",", 1)[0]
    return normpath(name if name.startswith("/") else f"/{site}/{name}").strip("/")


def _with_sum(line: bytes, sums: _Sums, target: str) -> bytes:
    """A line of a RECORD with the hash and size of a file that is another now."""
    made = sums.of(target, "sha256")
    name, _, rest = line.rpartition(b",")[0].rpartition(b",")
    if made is None or not rest:
        return line
    text = base64.urlsafe_b64encode(made).rstrip(b"=")
    end = line[len(line.rstrip(b"\r\n")) :]
    return name + b",sha256=" + text + b"," + str(sums.size(target)).encode() + end


class _Sums:
    """Checksums of files that have another content than in the original."""

    def __init__(self, renewed: Mapping[str, Content]) -> None:
        self._renewed = renewed

    def of(self, path: str, algorithm: str) -> bytes | None:
        """A digest of what is at a path now; None where the original's holds."""
        content = self._renewed.get(path)
        if content is None:
            return None
        made = hashlib.new(algorithm, usedforsecurity=False)
        with content.open() as stream:
            while piece := stream.read(1 << 20):
                made.update(piece)
        return made.digest()

    def size(self, path: str) -> int:
        return self._renewed[path].size


def _lock(contents: Contents, path: str, kept: Callable[[str], bool]) -> bytes:
    """npm's own record of a node_modules folder with the packages that are there."""
    data = contents.read(path)
    root = path.removesuffix("node_modules/.package-lock.json")
    try:
        document = json.loads(data)
        packages = document["packages"]
        document["packages"] = {
            name: value for name, value in packages.items() if kept(f"{root}{name}/package.json")
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return data
    if len(document["packages"]) == len(packages):
        return data
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def present(contents: Contents, kept: Mapping[str, object], owned: Mapping[str, str]) -> frozenset[str]:
    """System packages of which more than documentation stays, or that have nothing else."""
    having: set[str] = set()
    staying: set[str] = set()
    for path, unit in owned.items():
        if not _DOCUMENTS.match(path):
            having.add(unit)
            if path in kept:
                staying.add(unit)
        elif path in kept and path.startswith("usr/share/doc/"):
            staying.add(unit + "?")
    empty = {unit for unit in owned.values() if unit not in having and unit + "?" in staying}
    return frozenset(unit for unit in staying if not unit.endswith("?")) | empty
