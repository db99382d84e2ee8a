"""What dpkg, pip and npm list in a slim image is what is there: the programs themselves are asked."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from shelf_of_units import Files, contents, package_json, seen
from support.containers import need
from support.elves import elf

from ramekin.image.image import Image
from ramekin.image.oci import Runtime
from ramekin.image.running.files import lay_out
from ramekin.progress import SILENT
from ramekin.slim.rebuild import Layers, rebuild
from ramekin.slim.units import Choice, Level, complete
from ramekin.store.store import Store

FLEET = Path(__file__).resolve().parents[2] / "fleet" / "slim"
X86 = "usr/lib/x86_64-linux-gnu"
SITE = "usr/local/lib/python3.12/site-packages"
SYSTEM = "usr/lib/python3/dist-packages"
MODULES = "app/node_modules"
DPKG = "var/lib/dpkg"
METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n"
LIBUSED = elf(soname="libused.so.1")


@pytest.fixture(scope="module")
def scan() -> Any:
    """The module of fleet/slim that asks the programs."""
    need("dpkg-query")
    sys.path.insert(0, str(FLEET))
    try:
        return importlib.import_module("scan")
    finally:
        sys.path.remove(str(FLEET))


def debian(packages: Mapping[str, Files], same: tuple[str, ...] = ()) -> Files:
    """The files of packages with dpkg's database of them; those in `same` can be installed beside another
    architecture's. Files below etc/ are conffiles.
    """
    status = []
    found: dict[str, bytes | str] = {f"{DPKG}/info/format": "1\n", f"{DPKG}/arch": "amd64\n"}
    for name, files in packages.items():
        sums = {
            path: hashlib.md5(text.encode() if isinstance(text, str) else text).hexdigest()
            for path, text in files.items()
        }
        conffiles = "".join(f" /{path} {digest}\n" for path, digest in sums.items() if path[:4] == "etc/")
        status.append(
            f"Package: {name}\nStatus: install ok installed\nMaintainer: nobody <nobody@localhost>\n"
            f"Architecture: amd64\n{'Multi-Arch: same' if name in same else 'Multi-Arch: foreign'}\n"
            f"Version: 1\n{f'Conffiles:{chr(10)}{conffiles}' if conffiles else ''}Description: {name}\n"
        )
        info = f"{DPKG}/info/{name}:amd64" if name in same else f"{DPKG}/info/{name}"
        folders = {str(parent) for path in files for parent in Path(path).parents if str(parent) != "."}
        found[f"{info}.list"] = "".join(f"/{path}\n" for path in (".", *sorted({*folders, *files})))
        found[f"{info}.md5sums"] = "".join(
            f"{digest}  {path}\n" for path, digest in sums.items() if path[:4] != "etc/"
        )
        found |= files
    return {f"{DPKG}/status": "\n".join(status), **found}


def wheel(name: str, modules: Mapping[str, str], *, requires: str = "") -> Files:
    """A distribution as pip installs it, with sizes and digests in its RECORD."""
    folder = f"{SITE}/{name}-1.0.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {f"{SITE}/{path}": text for path, text in modules.items()}
    files[f"{folder}/METADATA"] = METADATA.format(name) + needs
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        rows.append(f"{path.removeprefix(SITE + '/')},sha256={digest},{len(text.encode())}\n")
    return {**files, f"{folder}/RECORD": "".join([*rows, f"{name}-1.0.dist-info/RECORD,,\n"])}


def modules(**packages: Mapping[str, object]) -> Files:
    """Packages in node_modules with npm's own record of them."""
    found: dict[str, bytes | str] = {}
    locked = {}
    for name, fields in packages.items():
        manifest = {key: value for key, value in fields.items() if key != "dev"}
        locked[f"node_modules/{name}"] = {"version": "1.0.0", **fields}
        found[f"{MODULES}/{name}/package.json"] = package_json(name, **manifest)
        found[f"{MODULES}/{name}/index.js"] = "exports.here = true\n"
        found[f"{MODULES}/{name}/README.md"] = name
    document = {"name": "app", "version": "1.0.0", "lockfileVersion": 3, "packages": locked}
    return {**found, f"{MODULES}/.package-lock.json": json.dumps(document)}


IMAGE: Files = {
    "lib": "-> usr/lib",
    **debian(
        {
            "server": {
                "usr/bin/server": elf(program=True, needed=["libused.so.1"]),
                "etc/server.conf": "port 1\n",
                "etc/init.d/server": "#!/bin/sh\n",
                "usr/share/doc/server/copyright": "c\n",
                "usr/share/doc/server/manual.html": "m\n",
            },
            "libused1": {f"{X86}/libused.so.1": LIBUSED},
            "libidle1": {
                f"{X86}/libidle.so.1": elf(soname="libidle.so.1"),
                "usr/share/doc/libidle1/copyright": "c\n",
            },
            "python3-shared": {
                f"{SYSTEM}/shared/__init__.py": "",
                f"{SYSTEM}/shared/idle.py": "",
                f"{SYSTEM}/shared-1.0.egg-info/PKG-INFO": METADATA.format("shared"),
                f"{SYSTEM}/shared-1.0.egg-info/top_level.txt": "shared\n",
            },
        },
        same=("libused1", "libidle1"),
    ),
    **wheel(
        "used",
        {"used/__init__.py": "import needed\n", "used/tests/__init__.py": "", "used/tests/test_it.py": ""},
        requires="needed",
    ),
    **wheel("needed", {"needed.py": ""}),
    **wheel("idle", {"idle.py": ""}),
    "app/main.py": "import used\n",
    "app/package.json": package_json("app", dependencies={"used": "1"}, devDependencies={"linter": "1"}),
    **modules(
        used={"dependencies": {"needed": "1"}},
        needed={},
        linter={"dev": True, "dependencies": {"rules": "1"}},
        rules={"dev": True},
    ),
}
RUN = Runtime(cmd=("server",), env=("PATH=/usr/bin",), working_dir="/app")
SEEN = seen(
    "usr/bin/server",
    "etc/server.conf",
    f"{X86}/libused.so.1",
    f"{SITE}/used/__init__.py",
    f"{SITE}/needed.py",
    f"{SYSTEM}/shared/__init__.py",
    "app/package.json",
    f"{MODULES}/used/index.js",
    f"{MODULES}/needed/index.js",
    executed=("usr/bin/server",),
)


def slimmed(store: Store, tmp_path: Path, level: Level, layers: Layers = Layers.KEEP) -> tuple[Path, Path]:
    """The files of the image and of the slim one, laid out."""
    found = contents(store, tmp_path, IMAGE, run=RUN)
    choice = Choice(level=level, drop=("/etc/init.d/**",))
    made = rebuild(found, complete(found, SEEN, choice), layers=layers, store=store)
    return _laid_out(found.image, tmp_path / "original"), _laid_out(made.image, tmp_path / "slim")


def _laid_out(image: Image, root: Path) -> Path:
    lay_out(image, root, progress=SILENT)
    return root


@pytest.mark.parametrize("layers", list(Layers))
@pytest.mark.parametrize("level", list(Level))
def test_packages_are_listed_whose_files_are_there_and_records_are_true(
    scan: Any, store: Store, tmp_path: Path, level: Level, layers: Layers
) -> None:
    original, slim = slimmed(store, tmp_path, level, layers)
    found = scan.scan(slim, original, systems=("dpkg", "python"))
    assert found.wrong == ()
    assert (found.before["dpkg"], found.after["dpkg"]) == (4, 3)
    assert (found.before["python"], found.after["python"]) == (4, 3)
    assert not (slim / X86 / "libidle.so.1").exists()
    assert not (slim / "etc/init.d/server").exists()


@pytest.mark.parametrize("level", list(Level))
def test_npm_lists_the_packages_that_are_there_and_finds_nothing_wrong(
    scan: Any, store: Store, tmp_path: Path, level: Level
) -> None:
    need("npm")
    original, slim = slimmed(store, tmp_path, level)
    found = scan.scan(slim, original, systems=("npm",))
    assert found.wrong == ()
    assert (found.before["npm"], found.after["npm"]) == (4, 2)


def _give_back(name: str) -> Callable[[Path, Path], None]:
    def give_back(original: Path, slim: Path) -> None:
        shutil.copyfile(original / name, slim / name)

    return give_back


def _remove(name: str) -> Callable[[Path, Path], None]:
    def remove(original: Path, slim: Path) -> None:
        place = slim / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()

    return remove


def _write(name: str, text: str) -> Callable[[Path, Path], None]:
    def write(original: Path, slim: Path) -> None:
        (slim / name).parent.mkdir(parents=True, exist_ok=True)
        (slim / name).write_text(text)

    return write


def _foreign_lists(original: Path, slim: Path) -> None:
    """Without the format of the database, dpkg looks for lists by other names."""
    (slim / DPKG / "info/format").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_remove("usr/bin/server"), "dpkg: server lists /usr/bin/server, which is not there"),
        (_remove("usr/bin/server"), "dpkg: dpkg --verify: missing"),
        (_remove(f"{X86}/libused.so.1"), "dpkg: libused1:amd64 is listed, of which no program file is there"),
        (_write(f"{X86}/libidle.so.1", "x"), "dpkg: libidle1:amd64 is not listed, of which"),
        (_give_back(f"{DPKG}/status"), "dpkg: libidle1:amd64 is listed, of which no program file is there"),
        (_give_back(f"{DPKG}/status"), "dpkg: server: its conffile /etc/init.d/server is not there"),
        (_write(f"{DPKG}/info/server.list", "/.\n"), "dpkg: server does not list /etc/server.conf"),
        (_remove(f"{DPKG}/info/server.md5sums"), "dpkg: dpkg --audit: server: "),
        (_foreign_lists, "dpkg: dpkg --audit: libused1:amd64: "),
        (_write(f"{SITE}/needed.py", "more\n"), f"python: needed in /{SITE}: RECORD says 0 bytes"),
        (
            _write(f"{SITE}/used/__init__.py", "import needfu\n"),
            f"python: used in /{SITE}: RECORD has another digest",
        ),
        (_remove(f"{SITE}/needed.py"), f"python: needed in /{SITE} lists /{SITE}/needed.py"),
        (_remove(f"{SITE}/used-1.0.dist-info"), f"python: used in /{SITE} is not listed, of which"),
        (_write(f"{SITE}/idle.py", ""), f"python: idle in /{SITE} is not listed, of which"),
    ],
)
def test_what_is_not_so_is_found(
    scan: Any, store: Store, tmp_path: Path, spoil: Callable[[Path, Path], None], said: str
) -> None:
    original, slim = slimmed(store, tmp_path, Level.UNITS)
    spoil(original, slim)
    found = scan.scan(slim, original, systems=(said.partition(":")[0],))
    assert any(text.startswith(said) for text in found.wrong)


def test_empty_folders_and_packages_that_are_missing_are_found_by_npm(
    scan: Any, store: Store, tmp_path: Path
) -> None:
    need("npm")
    original, slim = slimmed(store, tmp_path, Level.UNITS)
    shutil.rmtree(slim / MODULES / "needed")
    (slim / MODULES / "linter").mkdir()
    wrong = scan.scan(slim, original, systems=("npm",)).wrong
    assert any(text.startswith("npm: missing: needed@1") for text in wrong)
    assert any(".package-lock.json lists node_modules/needed, which is not there" in text for text in wrong)
    assert f"npm: linter in /{MODULES} is listed, of which no program file is there" in wrong


def test_documentation_alone_is_no_package(scan: Any) -> None:
    documents = ("usr/share/doc/x/copyright", "usr/share/man/man1/x.1.gz", "a/LICENSE", "a/LICENCE.txt")
    assert all(scan.DOCUMENTS.match(path) for path in (*documents, "a/README.md", "a/index.d.ts"))
    programs = ("usr/bin/x", "a/history.js", "a/notice.py", "a/license/index.js", "etc/x.conf")
    assert not any(scan.DOCUMENTS.match(path) for path in programs)


def test_links_on_the_way_are_followed_inside_the_image_and_no_further(scan: Any, tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/x").write_text("x")
    for name, target in (("lib", "usr/lib"), ("abs", "/usr/lib"), ("round", "round/it"), ("up", "../../etc")):
        (tmp_path / name).symlink_to(target)
    root = scan.Root(tmp_path)
    assert all(root.has(path) for path in ("lib/x", "abs/x", "/usr/lib/../lib/x", "round"))
    assert not any(root.has(path) for path in ("round/x", "up/passwd", "none/x"))
