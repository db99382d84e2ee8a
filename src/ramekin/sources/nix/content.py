"""Whether a NAR has the content address that its store path follows from, told while its bytes pass."""

from __future__ import annotations

import hashlib
from typing import NoReturn, Protocol

from ramekin.errors import DigestMismatchError
from ramekin.sources.nix import nar, paths
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.sources.nix.paths import ContentAddress


class Addressed(Protocol):
    """What takes the bytes of a NAR and then says whether they are the right ones."""

    def update(self, data: bytes) -> None: ...

    def check(self) -> None:
        """Raise `DigestMismatchError` unless the address is that of the bytes."""


def addressed(info: NarInfo) -> Addressed | None:
    """What checks the NAR of `info`; None where its hash says all, or no address is known here."""
    if not info.ca:
        return None
    address = paths.content_address(info.ca, where=f"{info.base}: CA")
    if address is None or (address.modulo and info.base not in info.references):
        return None
    itself = paths.hash_of(info.base).encode() if address.modulo else b""
    if address.method == "nar":
        return _Archive(info, address, itself)
    return _File(info, address)


class _Archive:
    """The hash of the archive, in which the path's own hash counts as zeros, and where it stood after it."""

    def __init__(self, info: NarInfo, address: ContentAddress, itself: bytes) -> None:
        self._info, self._address, self._itself = info, address, itself
        self._state = hashlib.new(address.hash.algorithm, usedforsecurity=False)
        self._places: list[int] = []
        self._done = 0
        self._rest = b""

    def update(self, data: bytes) -> None:
        if not self._itself:
            self._state.update(data)
            return
        data = self._rest + data
        place, found = 0, data.find(self._itself)
        parts: list[bytes] = []
        while found >= 0:
            self._places.append(self._done + found)
            parts += [data[place:found], bytes(len(self._itself))]
            place = found + len(self._itself)
            found = data.find(self._itself, place)
        # the hash may begin in this piece and end in the next
        end = max(place, len(data) - len(self._itself) + 1)
        parts.append(data[place:end])
        self._state.update(b"".join(parts))
        self._done += end
        self._rest = data[end:]

    def check(self) -> None:
        self._state.update(self._rest)
        for place in self._places:
            self._state.update(b"|%d" % place)
        _agree(self._info, self._address, self._state.digest())


class _File:
    """The hash of the one file that the archive holds."""

    def __init__(self, info: NarInfo, address: ContentAddress) -> None:
        self._info, self._address = info, address
        self._state = hashlib.new(address.hash.algorithm, usedforsecurity=False)
        self._head = b""
        self._left = -1

    def update(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            size = nar.file_size(self._head)
            if size is None:
                if len(self._head) > nar.FILE_HEAD:
                    self._refuse()
                return
            data, self._left = self._head[nar.FILE_HEAD :], size
        self._state.update(data[: self._left])
        self._left -= min(self._left, len(data))

    def check(self) -> None:
        if self._left:
            self._refuse()
        _agree(self._info, self._address, self._state.digest())

    def _refuse(self) -> NoReturn:
        raise DigestMismatchError(
            f"{self._info.base} has the content address {self._info.ca} and is not one plain file"
        )


def _agree(info: NarInfo, address: ContentAddress, found: bytes) -> None:
    if found != address.hash.value:
        raise DigestMismatchError(
            f"the NAR of {info.base} does not have its content address {info.ca}",
            hint=f"{info.cache or 'its cache'} is broken or hostile; take another",
        )
