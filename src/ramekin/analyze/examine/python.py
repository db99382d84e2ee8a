"""Installed Python distributions: the name and version of their metadata (core metadata specification)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "python"


def wants(path: str, size: int, head: bytes) -> bool:
    if not path.endswith(("/METADATA", "/PKG-INFO", ".egg-info")):
        return False
    return ".dist-info/METADATA" in path or ".egg-info" in path


def examine(path: str, data: Data) -> dict[str, str] | None:
    headers = bytes(data[: 1 << 14]).decode("utf-8", "replace").replace("\r\n", "\n").partition("\n\n")[0]
    fields = {
        key.lower(): value.strip()
        for key, colon, value in (line.partition(":") for line in headers.split("\n"))
        if colon and key in ("Name", "Version")
    }
    return {"name": fields["name"], "version": fields.get("version", "")} if fields.get("name") else None
