"""Taking away a folder that an image was laid out in, whatever the image has made of it.

Such a tree may be deeper than Python recurses and than a path can be long, and closed to its owner. So
folders are not descended into: what a folder holds is removed, and the folders in it are moved up to the top,
until nothing is left there. That needs two open descriptors at any depth.
"""
# ruff: noqa: PTH208

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(folder: Path) -> None:
    """Remove a folder of our own with all below it; what the system does not give up stays, with no error."""
    with suppress(OSError):
        folder.chmod(0o700)
        top = os.open(folder, _FOLDER)
        try:
            _empty(top)
        finally:
            os.close(top)
        folder.rmdir()


def _empty(top: int) -> None:
    mark, number = f".{secrets.token_hex(8)}-", 0
    left: set[str] = set()
    while names := set(os.listdir(top)) - left:
        for name in names:
            if _gone(name, top):
                continue
            for child in _listed(name, top):
                with suppress(OSError):
                    number += 1
                    os.rename(f"{name}/{child}", f"{mark}{number}", src_dir_fd=top, dst_dir_fd=top)
            try:
                os.rmdir(name, dir_fd=top)
            except OSError:
                left.add(name)


def _gone(name: str, folder: int) -> bool:
    """Remove what is no folder, and say whether that was it."""
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):
        # the second is what POSIX has for a folder
        return False
    except FileNotFoundError:
        pass
    return True


def _listed(name: str, top: int) -> list[str]:
    """The folders in a folder, opened up so that they can be moved; everything else in it is removed."""
    with suppress(OSError):
        os.chmod(name, 0o700, dir_fd=top)
        inner = os.open(name, _FOLDER, dir_fd=top)
        try:
            found = [child for child in os.listdir(inner) if not _gone(child, inner)]
            for child in found:
                with suppress(OSError):
                    os.chmod(child, 0o700, dir_fd=inner)
            return found
        finally:
            os.close(inner)
    return []
