"""What this machine's Nix is told of caches and keys: nix.conf(5)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_LISTS = ("substituters", "trusted-public-keys")
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings that count here."""

    substituters: tuple[str, ...] = ()
    trusted_keys: tuple[str, ...] = ()
    netrc: Path | None = None


def read(folder: Path | None = None) -> Configuration:
    """The settings of nix.conf in `folder` and no others, or of all places where Nix looks for them.

    What cannot be read counts as empty: a machine need not have Nix.
    """
    values: dict[str, list[str]] = {}
    if folder is not None:
        _file(folder / "nix.conf", values)
    else:
        folder = Path(os.environ.get("NIX_CONF_DIR") or "/etc/nix")
        _file(folder / "nix.conf", values)
        if named := os.environ.get("NIX_USER_CONF_FILES"):
            own = [Path(path) for path in named.split(":") if path]
        else:
            home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
            own = [Path(home).expanduser() / "nix" / "nix.conf"]
        # the first of these counts most
        for path in reversed(own):
            _file(path, values)
        _text(os.environ.get("NIX_CONFIG", ""), folder, values)
    netrc = Path(values.get("netrc-file", [str(folder / "netrc")])[0])
    return Configuration(
        substituters=tuple(dict.fromkeys(values.get("substituters", []))),
        trusted_keys=tuple(dict.fromkeys(values.get("trusted-public-keys", []))),
        netrc=netrc if netrc.is_file() else None,
    )


def _file(path: Path, values: dict[str, list[str]], depth: int = 0) -> None:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    _text(text, path.parent, values, depth)


def _text(text: str, folder: Path, values: dict[str, list[str]], depth: int = 0) -> None:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) >= 2 and words[0] in ("include", "!include") and depth < _DEPTH:
            _file(folder / words[1], values, depth + 1)
        elif len(words) >= 2 and words[1] == "=":
            name = words[0]
            if name.removeprefix("extra-") in _LISTS and name.startswith("extra-"):
                values.setdefault(name.removeprefix("extra-"), []).extend(words[2:])
            elif name in _LISTS or (name == "netrc-file" and words[2:]):
                values[name] = words[2:]
