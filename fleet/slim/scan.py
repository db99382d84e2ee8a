"""What scanners list in a slim image, and whether the files of it are there.

    python fleet/slim/scan.py ORIGINAL SLIM             two folders with the files of an image laid out
    python fleet/slim/scan.py ORIGINAL SLIM oci:SLIM    and the image that the second is of

The real programs of packaging systems are asked, in the original and in the slim image:

| system | asked |
|---|---|
| dpkg | `dpkg-query -W` and `-L` of the root's database, `dpkg --audit`, `dpkg --verify` |
| python | `pip list --path` and `importlib.metadata` of this machine, for each folder with distributions |
| npm | `npm ls --all` for each folder with packages, `npm ls --omit=dev` for what is wrong with them |
| ruby | RubyGems of the image, in a chroot (root only): what `gem list` prints |
| composer, apk | their databases, as neither program looks into a root of another system |
| all of these | `ramekin inspect`, where an image is given by its reference too |

**A package's files are there** when at least one of its *program files* is: a path that the package's own
record in the original lists, that is no folder there, and that is neither documentation (manuals, copyright
and other notices, type declarations) nor a record of the packaging system itself. A package that has no
program file in the original, such as one that only depends on others, is there when anything else of it but
its record is, and may be listed in any case.

What has to hold, and is said in words where it does not:

- a package is listed when, and only when, its files are there, and by the version that it had;
- each path that its record lists is there, with the size and the digest that the record has of it;
- each path of its record in the original that is there is still listed;
- the programs complain of nothing that they do not complain of in the original.
  `npm ls` is asked as after `npm prune --omit=dev`, and may call extraneous what stays of the packages that
  the original has for development only: one may be used where it is found (supports-color, by debug).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

DOCUMENTS = re.compile(
    r"usr/(?:local/)?share/(?:doc|doc-base|man|info|lintian|bug|gtk-doc|reportbug|menu)/"
    r"|(?:.*/)?(?:readme|licen[sc]e|copying|copyright|notice|authors|changelog|changes|history|security|contributing)"
    r"(?:-[a-z0-9]+)?(?:\.(?:txt|html?|apache2?|mit|bsd|gz))?\Z"
    r"|(?:.*/)?[^/]+\.(?:md|markdown|rdoc|rst|d\.[cm]?ts|map)\Z",
    re.IGNORECASE,
)
"""Documentation, and type declarations and source maps, which nothing runs with."""
RECORDS = re.compile(
    r"var/lib/dpkg/|lib/apk/db/"
    r"|.*\.(?:dist|egg)-info(?:/|\Z)"
    r"|.*/specifications/(?:default/)?[^/]+\.gemspec\Z"
    r"|(?:.*/)?node_modules/(?:@[^/]+/)?[^/]+/package\.json\Z"
)
"""Records of packaging systems, which list a package whether or not anything of it is there."""

_RUBY = r"""
Gem::Specification.each do |spec|
  paths = spec.require_paths.flat_map { |path| [path, path.delete_prefix("/")] }
  files = Dir.glob("**/*", base: spec.full_gem_path).map { |name| File.join(spec.full_gem_path, name) }
  named = spec.files.flat_map do |name|
    short = name.sub(%r{\A(?:lib|ext/[^/]+/lib)/}, "")
    $LOAD_PATH.map { |folder| File.join(folder.to_s, short) }.select { |path| File.file?(path) }
  end
  ours = (files.select { |path| File.file?(path) } + named).uniq
  puts [spec.name, spec.version, spec.loaded_from, *ours].join("\t")
end
"""


@dataclass(frozen=True)
class Package:
    """What a packaging system lists. `files` are paths of the image, without the leading slash, by the
    package's own record; `wrong` says in words what of the record is not true.
    """

    system: str
    name: str
    version: str
    files: frozenset[str]
    wrong: tuple[str, ...] = ()

    @property
    def programs(self) -> frozenset[str]:
        """Its program files, as defined above."""
        return frozenset(p for p in self.files if not DOCUMENTS.match(p) and not RECORDS.match(p))

    @property
    def tokens(self) -> frozenset[str]:
        """The files by which it is there: its program files, or what a package without any has."""
        return self.programs or frozenset(path for path in self.files if not RECORDS.match(path))


@dataclass(frozen=True)
class Listing:
    """All that one packaging system lists in a root. `complaints` are its programs' own. `complete` says
    whether each file that a package has is in its record.
    """

    packages: Mapping[str, Package]
    complaints: frozenset[str] = frozenset()
    complete: bool = True


@dataclass(frozen=True)
class Scan:
    """Packages before and after by system, and all that is wrong, in words."""

    before: Mapping[str, int]
    after: Mapping[str, int]
    wrong: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{name} {self.before[name]} → {self.after.get(name, 0)}" for name in self.before)


@dataclass
class Root:
    """The files of an image, laid out below `path`."""

    path: Path
    _folders: dict[str, str | None] = field(default_factory=dict)

    def place(self, name: str) -> Path | None:
        """Where a path of the image is, links of the folders on its way followed inside of the image; nothing
        when there is no such folder. The last part may be missing.
        """
        folder, _, last = name.strip("/").rpartition("/")
        real = self.folder(folder)
        return None if real is None else self.path / real / last

    def folder(self, name: str) -> str | None:
        """The real path of a folder of the image."""
        if not name:
            return ""
        if name not in self._folders:
            self._folders[name] = None  # links that lead to themselves lead nowhere
            self._folders[name] = self._resolve(name)
        return self._folders[name]

    def _resolve(self, name: str, most: int = 40) -> str | None:
        above, _, last = name.rpartition("/")
        base = self.folder(above)
        if base is None or not most:
            return None
        if last in ("", "."):
            return base
        if last == "..":
            return base.rpartition("/")[0]
        here = f"{base}/{last}".lstrip("/")
        path = self.path / here
        if path.is_symlink():
            target = str(path.readlink())
            joined = target.strip("/") if target.startswith("/") else f"{base}/{target}"
            return self._resolve(os.path.normpath("/" + joined).strip("/"), most - 1) if joined else ""
        return here if path.is_dir() else None

    def has(self, name: str) -> bool:
        """Whether anything is at a path, a link to nothing too."""
        place = self.place(name)
        return place is not None and os.path.lexists(place)

    def is_folder(self, name: str) -> bool:
        """Whether a path is a folder, or a link to one: /bin of a merged /usr is nobody's program."""
        return self.folder(name.strip("/")) is not None

    def name(self, path: str | Path) -> str:
        """The path of the image that a path of this machine is."""
        return os.path.relpath(path, self.path)

    def folders(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Every folder with the names of its folders and of its files, in order."""
        for folder, folders, names in os.walk(self.path):
            folders.sort()
            yield self.name(folder).removeprefix("."), folders, sorted(names)


def scan(slim: Path, original: Path, reference: str = "", *, systems: Sequence[str] = ()) -> Scan:
    """What the programs list before and after, and what of it is not so; with the slim image's `reference`
    what `ramekin inspect` lists as well. `systems` are those to ask, all when there are none.
    """
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    wrong: list[str] = []
    notes: list[str] = []
    listed: list[Package] = []
    there, here = Root(original.resolve()), Root(slim.resolve())
    for name, listing in LISTINGS.items():
        old = listing(there) if name in (systems or LISTINGS) else None
        if old is None:
            continue
        new = listing(here) or Listing({})
        before[name], after[name] = len(old.packages), len(new.packages)
        wrong += differences(new, old, here, there)
        listed += new.packages.values()
        told = new.complaints - old.complaints
        excused = {one for one in told if _is_for_development(one, there)}
        wrong += sorted(f"{name}: {one}" for one in told - excused)
        notes += sorted(f"{name}: {one}" for one in excused)
    if reference:
        wrong += inspected(reference, listed)
    return Scan(before, after, tuple(wrong), tuple(notes))


def differences(new: Listing, old: Listing, here: Root, there: Root) -> Iterator[str]:
    """What of a listing of the slim image is not so, in words."""
    for key, package in new.packages.items():
        known = old.packages.get(key)
        what = f"{package.system}: {key}"
        if known is None:
            yield f"{what} is listed, which the original does not have"
            continue
        if known.version != package.version:
            yield f"{what} is listed by version {package.version}, not {known.version}"
        yield from (f"{what}: {text}" for text in package.wrong if text not in known.wrong)
        yield from (
            f"{what} lists /{p}, which is not there" for p in sorted(package.files) if not here.has(p)
        )
    for key, package in old.packages.items():
        what = f"{package.system}: {key}"
        staying = {p for p in package.tokens if here.has(p) and not there.is_folder(p)}
        listed = new.packages.get(key)
        if listed is None:
            if staying:
                yield f"{what} is not listed, of which {_some(staying)} is there"
            continue
        if not staying and any(there.has(p) and not there.is_folder(p) for p in package.programs):
            yield f"{what} is listed, of which no program file is there"
        if new.complete:
            real = {p for p in package.files if here.has(p) and not there.is_folder(p)}
            if missing := real - listed.files:
                yield f"{what} does not list {_some(missing)}, which is there"


def inspected(reference: str, listed: Iterable[Package]) -> Iterator[str]:
    """What `ramekin inspect` and the programs do not both list.

    Inspect gives a file that two packages have to the system's: one whose files dpkg has need not be there.
    """
    command = [sys.executable, "-m", "ramekin", "inspect", reference, "--json", "--top", "1000000"]
    names = {"node": "npm"}
    told = {
        (names.get(one["system"], one["system"]), _plain(one["name"]), one["version"])
        for one in json.loads(_output(*command))["packages"]
    }
    packages = [*listed]
    known = {(one.system, _plain(one.name.partition(":")[0]), one.version) for one in packages}
    systems = {one.system for one in packages}
    for system, name, version in sorted(told - known):
        if system in systems:
            yield f"{system}: {name} {version} is in ramekin inspect, and the programs do not list it"
    owned = {path for one in packages if one.system == "dpkg" for path in one.files}
    for one in packages:
        key = (one.system, _plain(one.name.partition(":")[0]), one.version)
        if key not in told and one.programs - (owned if one.system != "dpkg" else set()):
            yield f"{one.system}: {one.name} {one.version} is listed, and not in ramekin inspect"


def _some(paths: set[str]) -> str:
    first, *more = sorted(paths)
    return f"/{first}" + (f" and {len(more)} more" if more else "")


# --- dpkg


def dpkg(root: Root) -> Listing | None:
    """Packages that dpkg-query lists, each with the files that it lists."""
    database = root.path / "var/lib/dpkg"
    if not (database / "status").exists() or shutil.which("dpkg-query") is None:
        return None
    query = ["dpkg-query", f"--admindir={database}"]
    form = "${binary:Package}\t${Version}\t${db:Status-Status}\t${Conffiles}\x01"
    packages: dict[str, Package] = {}
    rows = [row.strip("\n").split("\t", 3) for row in _output(*query, "-W", "-f", form).split("\x01")]
    rows = [row for row in rows if len(row) == 4 and row[2] == "installed"]
    paths = _owned(_output(*query, "-L", *(row[0] for row in rows))) if rows else []
    for (name, version, _, conffiles), files in zip(rows, paths, strict=True):
        told = [line.split()[0] for line in conffiles.splitlines() if line.strip()]
        wrong = [f"its conffile {path} is not there" for path in told if not root.has(path)]
        packages[name] = Package("dpkg", name, version, frozenset(files), tuple(wrong))
    return Listing(packages, frozenset({*_audited(root), *_verified(root)}))


def _owned(text: str) -> list[list[str]]:
    """The paths of each package by `dpkg-query -L`, those of diverted files where they are diverted to."""
    found: list[list[str]] = [[]]
    for line in text.split("\n"):
        if not line:
            found.append([])
        elif line.startswith("/"):
            found[-1].append(line.strip("/").removeprefix("."))
        elif line.startswith(("diverted by", "locally diverted")) and found[-1]:
            found[-1][-1] = line.partition(": ")[2].strip("/")
    return [[path for path in paths if path] for paths in found[:-1]]


def _audited(root: Root) -> Iterator[str]:
    """What `dpkg --audit` says, package by package: a text of some lines, then an indented line for each."""
    for text in re.split(r"\n{2,}", _output("dpkg", f"--root={root.path}", "--audit", failing=True)):
        lines = text.split("\n")
        said = " ".join(line.strip() for line in lines if line and not line.startswith(" "))
        for line in lines:
            if line.startswith(" "):
                yield f"dpkg --audit: {line.split()[0]}: {said}"


def _verified(root: Root) -> Iterator[str]:
    for line in _output("dpkg", f"--root={root.path}", "--verify", failing=True).splitlines():
        yield f"dpkg --verify: {' '.join(line.split())}"


# --- Python


def python(root: Root) -> Listing | None:
    """Distributions that pip lists, with the files of their RECORD and whether these are as it says."""
    packages: dict[str, Package] = {}
    complaints: set[str] = set()
    sites = [
        folder
        for folder, folders, names in root.folders()
        if folder.rpartition("/")[2] in ("site-packages", "dist-packages")
        and any(name.endswith((".dist-info", ".egg-info")) for name in (*folders, *names))
    ]
    for site in sites:
        place = str(root.path / site)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
        told = {(_plain(one["name"]), one["version"]) for one in json.loads(_output(*pip, "--path", place))}
        found = set()
        for distribution in metadata.distributions(path=[place]):
            name = _plain(distribution.metadata["Name"] or "")
            found.add((name, distribution.version))
            files, wrong = _recorded(distribution, root)
            packages[f"{name} in /{site}"] = Package(
                "python", name, distribution.version, frozenset(files), tuple(wrong)
            )
        if told != found:
            complaints.add(f"pip and importlib.metadata do not agree on {sorted(told ^ found)} in /{site}")
    return Listing(packages, frozenset(complaints)) if sites else None


def _recorded(distribution: metadata.Distribution, root: Root) -> tuple[list[str], list[str]]:
    """The paths of a distribution's record, and what it says of them that is not so."""
    files: list[str] = []
    wrong: list[str] = []
    record = distribution.read_text("RECORD")
    for listed in distribution.files or () if record is not None else ():
        path = root.name(os.path.normpath(str(listed.locate()))) if not str(listed).startswith("/") else None
        path = path if path is not None else str(listed).strip("/")
        files.append(path)
        place = root.place(path)
        if place is None or not place.is_file():
            continue
        data = place.read_bytes()
        if listed.size is not None and listed.size != len(data):
            wrong.append(f"RECORD says {listed.size} bytes of /{path}, which has {len(data)}")
        if listed.hash is not None:
            digest = (
                base64.urlsafe_b64encode(hashlib.new(listed.hash.mode, data).digest()).decode().rstrip("=")
            )
            if digest != listed.hash.value:
                wrong.append(f"RECORD has another digest of /{path}")
    if record is None:  # of setuptools, or of a distributor that removes it: what is imported by its names
        info = getattr(distribution, "_path", None)
        folder = root.name(Path(str(info)).parent)
        for name in (distribution.read_text("top_level.txt") or distribution.metadata["Name"] or "").split():
            for path in (f"{folder}/{name}.py", f"{folder}/{name}/__init__.py"):
                if root.has(path):
                    files.append(path)
    return files, wrong


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- Node


def node(root: Root) -> Listing | None:
    """Packages that `npm ls` lists, each with all files of its folder, and what npm finds wrong."""
    places = []
    for folder, folders, _ in root.folders():
        if "node_modules" in folders and any((root.path / folder / "node_modules").iterdir()):
            places.append(folder)
        folders[:] = [name for name in folders if name != "node_modules"]
    if not places or shutil.which("npm") is None:
        return None
    packages: dict[str, Package] = {}
    complaints: set[str] = set()
    for folder in places:
        place = root.path / folder
        shared = place.name == "lib"
        where = ["--global", "--prefix", str(place.parent)] if shared else ["--prefix", str(place)]
        ls = ["npm", "ls", "--all", "--offline", *where]
        for line in _output(*ls, "--parseable", "--long", failing=True).splitlines():
            path, _, rest = line.partition(":")
            inside = root.name(path)
            name, _, version = rest.partition(":")[0].rpartition("@")
            if "node_modules/" not in f"{inside}/" or inside.endswith("/node_modules") or not name:
                continue
            files = _files_of_module(root, root.folder(inside) or inside)
            packages[f"{name} in /{inside.removesuffix('/' + name)}"] = Package("npm", name, version, files)
        said = json.loads(_output(*ls, "--omit=dev", "--json", failing=True) or "{}")
        complaints |= {str(one).replace(str(root.path), "") for one in said.get("problems", ())}
        complaints |= set(_locked(root, folder))
    return Listing(packages, frozenset(complaints), complete=False)


def _files_of_module(root: Root, folder: str) -> frozenset[str]:
    found = set()
    for here, folders, names in os.walk(root.path / folder):
        folders[:] = [name for name in folders if name != "node_modules"]
        found |= {root.name(Path(here) / name) for name in names}
    return frozenset(found)


def _locked(root: Root, folder: str) -> Iterator[str]:
    """Packages that npm's own record of a folder lists and that are not there."""
    lock = root.path / folder / "node_modules/.package-lock.json"
    if not lock.exists():
        return
    for name, told in json.loads(lock.read_text())["packages"].items():
        if not root.has(f"{folder}/{name}/package.json") and not told.get("link"):
            yield f"/{root.name(lock)} lists {name}, which is not there"


def _is_for_development(complaint: str, original: Root) -> bool:
    """Whether npm calls extraneous what the original has for development only."""
    found = re.fullmatch(r"extraneous: \S+@\S+ /(.*?)/(node_modules/.*)", complaint)
    if found is None:
        return False
    lock = original.path / found[1] / "node_modules/.package-lock.json"
    known = json.loads(lock.read_text())["packages"] if lock.exists() else {}
    return bool(known.get(found[2], {}).get("dev"))


# --- Ruby, PHP, Alpine


def ruby(root: Root) -> Listing | None:
    """Gems that the image's own RubyGems lists, each with the files that it finds of it."""
    programs = [name for name in ("usr/bin/ruby", "usr/local/bin/ruby") if root.has(name)]
    if not programs or os.geteuid() != 0:
        return None
    said = _output("chroot", str(root.path), f"/{programs[0]}", "-rrubygems", "-e", _RUBY)
    packages = {}
    for line in said.splitlines():
        name, version, record, *files = line.split("\t")
        key = f"{name} in {record.rpartition('/specifications/')[0]}"
        packages[key] = Package("ruby", name, version, frozenset(path.strip("/") for path in files))
    return Listing(packages, complete=False)


def composer(root: Root) -> Listing | None:
    """Packages of Composer's record of what it installed."""
    packages = {}
    found = False
    for folder, folders, names in root.folders():
        folders[:] = [name for name in folders if name != "node_modules"]
        if not (folder.endswith("/composer") and "installed.json" in names):
            continue
        found = True
        document = json.loads((root.path / folder / "installed.json").read_text())
        for told in document.get("packages", ()) if isinstance(document, dict) else document:
            place = os.path.normpath(f"{folder}/{told.get('install-path', '../' + told['name'])}")
            files = frozenset(root.name(path) for path in (root.path / place).rglob("*") if path.is_file())
            packages[f"{told['name']} in /{folder}"] = Package(
                "composer", told["name"], told["version"], files
            )
    return Listing(packages, complete=False) if found else None


def apk(root: Root) -> Listing | None:
    """Packages of apk's database."""
    for name in ("lib/apk/db/installed", "usr/lib/apk/db/installed"):
        if root.has(name) and (place := root.place(name)) is not None:
            break
    else:
        return None
    packages = {}
    for block in place.read_text().split("\n\n"):
        rows = [line.partition(":")[::2] for line in block.split("\n") if line]
        fields = dict(rows)
        folder, files = "", []
        for key, value in rows:
            if key == "F":
                folder = value
            elif key == "R":
                files.append(f"{folder}/{value}".lstrip("/"))
        if "P" in fields:
            packages[fields["P"]] = Package("apk", fields["P"], fields["V"], frozenset(files))
    return Listing(packages)


LISTINGS: Mapping[str, Callable[[Root], Listing | None]] = {
    "dpkg": dpkg,
    "apk": apk,
    "python": python,
    "npm": node,
    "ruby": ruby,
    "composer": composer,
}
"""How each packaging system is asked; nothing where an image or this machine does not have it."""


def _output(*command: str, failing: bool = False) -> str:
    """What a program prints; it must end with 0 unless it may be `failing`."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env={**os.environ, "LC_ALL": "C.UTF-8", "NO_UPDATE_NOTIFIER": "1", "NODE_ENV": ""},
        timeout=300,
    )
    if result.returncode and not failing:
        raise RuntimeError(f"{' '.join(command)[:300]}\n{result.stderr[-2000:]}")
    return result.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("original", type=Path)
    parser.add_argument("slim", type=Path)
    parser.add_argument("reference", nargs="?", default="")
    options = parser.parse_args(arguments)
    found = scan(options.slim, options.original, options.reference)
    print(found)
    for text in (*found.wrong, *(f"note: {note}" for note in found.notes)):
        print(f"    {text}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
