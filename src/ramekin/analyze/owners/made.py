"""Files that no list names but whose maker is known: compiled Python beside its source, documentation folders
called like their package, and what tools of a system's package write when it is installed.
"""

from __future__ import annotations

from collections.abc import Iterator

from ramekin.analyze.owners.model import Package
from ramekin.analyze.stack import Stack
from ramekin.image.tree import Kind

_SYSTEMS = ("dpkg", "apk", "rpm")
_MAKERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("etc/alternatives/", ("dpkg", "chkconfig")),
    ("etc/group", ("base-passwd", "alpine-baselayout-data", "alpine-baselayout", "setup")),
    ("etc/ld.so.cache", ("libc-bin", "glibc")),
    ("etc/passwd", ("base-passwd", "alpine-baselayout-data", "alpine-baselayout", "setup")),
    ("etc/shadow", ("passwd", "base-passwd", "alpine-baselayout-data", "setup")),
    ("etc/ssl/certs/", ("ca-certificates", "ca-certificates-bundle")),
    ("etc/pki/ca-trust/extracted/", ("ca-certificates",)),
    ("lib/apk/db/", ("apk-tools",)),
    ("usr/lib/apk/db/", ("apk-tools",)),
    ("usr/lib/locale/", ("locales", "libc-bin", "glibc-common")),
    ("usr/lib/sysimage/rpm/", ("rpm",)),
    ("usr/share/icons/", ("libgtk-3-bin", "gtk-update-icon-cache", "hicolor-icon-theme")),
    ("usr/share/info/dir", ("install-info", "info")),
    ("usr/share/mime/", ("shared-mime-info",)),
    ("var/cache/apt/", ("apt",)),
    ("var/cache/debconf/", ("debconf",)),
    ("var/cache/fontconfig/", ("fontconfig",)),
    ("var/cache/ldconfig/", ("libc-bin",)),
    ("var/cache/man/", ("man-db",)),
    ("var/lib/apt/", ("apt",)),
    ("var/lib/dpkg/", ("dpkg",)),
    ("var/lib/rpm/", ("rpm",)),
    ("var/lib/systemd/", ("systemd",)),
    ("var/log/alternatives.log", ("dpkg",)),
    ("var/log/apt/", ("apt",)),
    ("var/log/dpkg.log", ("dpkg",)),
)
_STARTS = tuple(start for start, _ in _MAKERS)
_DOCUMENTS = "usr/share/doc/"


def claims(stack: Stack, packages: list[Package], of: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Paths without an owner, with the number of the package that made them."""
    numbers = {
        package.name: number
        for number, package in reversed(list(enumerate(packages)))
        if package.system in _SYSTEMS
    }
    makers = [
        (start, next((numbers[name] for name in names if name in numbers), None)) for start, names in _MAKERS
    ]
    for path, placed in stack.files.items():
        if path in of or placed.file.kind is Kind.DIRECTORY:
            continue
        if path.endswith(".pyc"):
            number = of.get(_source(path))
        elif path.startswith(_DOCUMENTS):
            number = numbers.get(path[len(_DOCUMENTS) :].partition("/")[0])
        elif path.startswith(_STARTS):
            number = next((maker for start, maker in makers if path.startswith(start)), None)
        else:
            continue
        if number is not None:
            yield path, number


def _source(path: str) -> str:
    """The Python source that a compiled file is made from (PEP 3147, or beside it)."""
    folder, _, name = path.rpartition("/")
    if folder.endswith("/__pycache__"):
        return f"{folder[: -len('/__pycache__')]}/{name.partition('.')[0]}.py"
    return path[:-1]
