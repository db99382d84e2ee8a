"""Small files that later questions need whole: package databases and what systems read when they start."""

from __future__ import annotations

MOST = 16 << 20
"""Bytes of one file that are kept."""
TOTAL = 64 << 20
"""Bytes of one layer that are kept."""

_PATHS = frozenset(
    {
        "etc/debian_version",
        "etc/group",
        "etc/ld.so.conf",
        "etc/nsswitch.conf",
        "etc/os-release",
        "etc/passwd",
        "lib/apk/db/installed",
        "usr/lib/apk/db/installed",
        "usr/lib/os-release",
        "var/lib/dpkg/diversions",
        "var/lib/dpkg/status",
    }
)
_FOLDERS = ("var/lib/dpkg/status.d/", "etc/ld.so.conf.d/")
_COMPOSER = "/vendor/composer/installed.json"
_NAMES = ("/RECORD", "/installed-files.txt", "/SOURCES.txt")


def wants(path: str, size: int) -> bool:
    """Whether the content of a file is kept with its layer."""
    if size > MOST:
        return False
    if path in _PATHS or path.startswith(_FOLDERS):
        return True
    if path.startswith("var/lib/dpkg/info/"):
        return path.endswith(".list")
    if path.endswith(_COMPOSER):
        return True
    return path.endswith(_NAMES) and path.rpartition("/")[0].endswith((".dist-info", ".egg-info"))
