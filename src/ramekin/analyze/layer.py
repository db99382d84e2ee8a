"""One layer read: every entry, the digest of every file, and what examiners learn on the way.

Bytes pass by once, in bounded memory. Decompressing runs ahead in a thread of its own. What was learnt is
kept in the store by the blob's digest and the revision of this room, so a base that 300 images share is read
once.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec

from ramekin.analyze import revision, storing
from ramekin.analyze.examine import EXAMINERS, HEAD, Data, Examiner, keeping
from ramekin.analyze.model import File, LayerFiles, Traits
from ramekin.errors import FormatError, NotFoundError, RamekinError
from ramekin.image.compress import decompress
from ramekin.image.image import Blobs
from ramekin.image.layer import OPAQUE, WHITEOUT
from ramekin.image.oci import Descriptor
from ramekin.image.tar.headers import BROKEN, Limits
from ramekin.image.tar.scanning import Member, Passing, scan
from ramekin.image.tree import Kind, sort_key
from ramekin.store.action import Key, key
from ramekin.store.digest import Digest
from ramekin.store.store import Store

LIMITS = Limits(entries=1_000_000, metadata=192 << 20)
_METADATA = ".wh..wh."
_IN_MEMORY = 16 << 20
"""Bytes of a file that is examined without a temporary file."""
_PIECE = 1 << 20
_AHEAD = 4
"""Pieces that may be decompressed before they are looked at."""


def read_layer(
    blob: Descriptor, blobs: Blobs, store: Store, *, check: Callable[[], None] = lambda: None
) -> LayerFiles:
    """What is known of a layer, from the store or by reading it; `check` is called between entries.

    A layer that its place does not hold and that only its vendor distributes is `absent`. `FormatError`
    names the layer and the entry at fault, `DigestMismatchError` a blob that is not what was said.
    """
    name = _key(blob.digest)
    if (known := _known(name, store)) is not None:
        return known
    with store.exclusive(name):
        if (known := _known(name, store)) is not None:
            return known
        try:
            stream = blobs.open(blob)
        except NotFoundError:
            if not blob.urls:
                raise
            return LayerFiles(blob.digest, Digest(""), 0, (), absent="only its vendor distributes it")
        with stream:
            found = learn(stream, blob.digest, scratch=store.scratch(), check=check)
        store.record(name, storing.encode(found))
        return found


def known_layer(blob: Descriptor, store: Store) -> LayerFiles | None:
    """What the store has of a layer."""
    return _known(_key(blob.digest), store)


def _key(digest: Digest) -> Key:
    return key("analyze.layer", digest, revision("examine", "layer.py", "model.py", "storing.py"))


def _known(name: Key, store: Store) -> LayerFiles | None:
    data = store.result(name)
    return None if data is None else storing.decode(data)


def learn(
    stream: BinaryIO, digest: Digest, *, scratch: Path, check: Callable[[], None] = lambda: None
) -> LayerFiles:
    """All of a layer's blob; `scratch` is for files that are too large to examine in memory."""
    where = f"layer {digest}"
    building = _Building(where, scratch)
    with _ahead(stream, where=where) as plain:
        for member, content in scan(plain, where=where, limits=LIMITS):  # type: ignore[arg-type]
            check()
            building.add(member, content)
        return building.done(digest, plain)


class _Building:
    """A layer's entries as far as they were read."""

    def __init__(self, where: str, scratch: Path) -> None:
        self._where, self._scratch = where, scratch
        self._files: dict[str, File] = {}
        self._links: dict[str, list[str]] = {}
        self._whiteouts: dict[str, None] = {}
        self._opaques: dict[str, None] = {}
        self._traits: dict[str, Traits] = {}
        self._kept: dict[str, bytes] = {}
        self._spent = self._repeated = 0

    def add(self, member: Member, content: Passing) -> None:
        path = member.path
        if WHITEOUT in path and self._is_mark(path):
            return
        before = self._files.get(path)
        if before is not None:
            self._replace(before, member)
        digest, target = b"", member.target
        if member.kind is Kind.FILE:
            digest = self._content(member, content)
        elif member.kind is Kind.HARDLINK:
            found = self._files.get(target)
            if found is not None and found.kind is Kind.HARDLINK:
                target = found.target
                found = self._files.get(target)
            if target == path:
                if before is None:
                    self._refuse(f"entry {path!r} is a hard link to itself")
                self._files[path] = before
                return
            if found is not None and found.kind is Kind.DIRECTORY:
                self._refuse(f"entry {path!r} is a hard link to {target!r}, which is a folder")
            if found is not None and found.kind is not Kind.FILE:
                self._files[path] = msgspec.structs.replace(found, path=path)
                return
            self._links.setdefault(target, []).append(path)
        self._files[path] = File(
            path,
            member.kind,
            member.mode,
            member.uid,
            member.gid,
            member.size,
            member.mtime,
            digest,
            target,
            member.xattrs,
            member.device,
        )

    def _is_mark(self, path: str) -> bool:
        """Whether an entry stands for something that is gone (image-spec, layer.md, Whiteouts)."""
        folder, _, name = path.rpartition("/")
        if not name.startswith(WHITEOUT):
            return False
        if name == OPAQUE:
            self._opaques[folder] = None
        elif not name.startswith(_METADATA):
            victim = name[len(WHITEOUT) :]
            if victim in ("", ".", ".."):
                self._refuse(f"entry {path!r} is a whiteout of nothing")
            self._whiteouts[f"{folder}/{victim}" if folder else victim] = None
        return True

    def _replace(self, before: File, member: Member) -> None:
        """Forget an entry that a later one of the same path replaces; its other names go on."""
        path = before.path
        if before.kind is Kind.HARDLINK:
            if before.target != path:
                self._links[before.target].remove(path)
        elif before.kind is Kind.FILE and member.target != path:
            traits, kept = self._traits.pop(path, None), self._kept.pop(path, None)
            heirs = self._links.pop(path, None)
            if not heirs:
                self._repeated += before.size
                return
            heir, *others = heirs
            self._files[heir] = msgspec.structs.replace(before, path=heir)
            if traits is not None:
                self._traits[heir] = traits
            if kept is not None:
                self._kept[heir] = kept
            for other in others:
                self._files[other] = msgspec.structs.replace(self._files[other], target=heir)
            if others:
                self._links[heir] = others

    def _content(self, member: Member, content: Passing) -> bytes:
        """Digest and examine the content that passes by."""
        path, size = member.path, member.size
        head = content.head(HEAD)
        curious = [examiner for examiner in EXAMINERS if examiner.wants(path, size, head)]
        keep = keeping.wants(path, size) and self._spent + size <= keeping.TOTAL
        if not curious and not keep:
            state = hashlib.sha256()
            content.take(state.update)
            return state.digest()
        if size <= _IN_MEMORY:
            data = bytearray()
            content.take(data.extend)
            self._examine(path, data, curious, keep)
            return hashlib.sha256(data).digest()
        state = hashlib.sha256()
        with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as file:

            def take(piece: memoryview) -> None:
                state.update(piece)
                while piece:
                    piece = piece[file.write(piece) :]

            try:
                content.take(take)
            except OSError as error:
                raise _full(error, self._scratch) from None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                self._examine(path, mapped, curious, keep)
        return state.digest()

    def _examine(self, path: str, data: Data, curious: list[Examiner], keep: bool) -> None:
        learnt: dict[str, Any] = {}
        for examiner in curious:
            if (value := examiner.examine(path, data)) is not None:
                learnt[examiner.NAME] = value
        if learnt:
            self._traits[path] = learnt
        if keep:
            self._kept[path] = bytes(data)
            self._spent += len(data)

    def done(self, digest: Digest, plain: _Ahead) -> LayerFiles:
        """The layer, once its stream is at its end."""
        paths = sorted(self._files, key=sort_key)
        good: set[str] = {""}
        for path in paths:
            parent = path.rpartition("/")[0]
            while parent not in good:
                above = self._files.get(parent)
                if above is not None and above.kind is not Kind.DIRECTORY:
                    self._refuse(f"entry {path!r} lies below {parent!r}, which is a {above.kind}")
                good.add(parent)
                parent = parent.rpartition("/")[0]
        return LayerFiles(
            digest=digest,
            diff_id=Digest("sha256:" + plain.digest()),
            size=plain.size,
            files=tuple([self._files[path] for path in paths]),
            whiteouts=tuple(sorted(self._whiteouts, key=sort_key)),
            opaques=tuple(sorted(self._opaques, key=sort_key)),
            repeated=self._repeated,
            traits=self._traits,
            kept=self._kept,
        )

    def _refuse(self, what: str) -> NoReturn:
        raise FormatError(f"{self._where}: {what}", hint=BROKEN)


class _Ahead:
    """The plain bytes of a layer, decompressed and hashed by a thread that is a few pieces ahead."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._state = hashlib.sha256()
        self._rest = b""
        self._over = False
        self.size = 0
        self._thread = threading.Thread(
            target=self._work, args=(stream, where), name="decompress", daemon=True
        )
        self._thread.start()

    def _work(self, stream: BinaryIO, where: str) -> None:
        try:
            plain = decompress(stream, where=where)
            while piece := _whole(plain, _PIECE):
                self._state.update(piece)
                self.size += len(piece)
                self._put(piece)
            while stream.read(_PIECE):
                # the blob is verified at its end only
                pass
            self._put(b"")
        except _GivenUp:
            pass
        except BaseException as error:
            try:
                self._put(error)
            except _GivenUp:
                pass

    def _put(self, piece: bytes | BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(piece, timeout=0.2)
                return
            except queue.Full:
                continue
        raise _GivenUp

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end only."""
        if not self._rest and not self._over:
            found = self._queue.get()
            if isinstance(found, BaseException):
                self._over = True
                raise found
            self._rest, self._over = found, not found
        data = self._rest
        if len(data) <= size:
            self._rest = b""
            return data
        self._rest = data[size:]
        return data[:size]

    def digest(self) -> str:
        """Hex digits of the SHA-256 of all bytes, once they are read."""
        self._thread.join()
        return self._state.hexdigest()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


class _GivenUp(Exception):  # noqa: N818 - never leaves this module
    """No one reads on."""


def _whole(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, fewer at the end only."""
    parts, count = [], 0
    while count < size and (more := stream.read(size - count)):
        parts.append(more)
        count += len(more)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def _ahead(stream: BinaryIO, *, where: str) -> Iterator[_Ahead]:
    ahead = _Ahead(stream, where)
    try:
        yield ahead
    finally:
        ahead.close()


def _full(error: OSError, folder: Path) -> RamekinError:
    return RamekinError(
        f"cannot write temporary files in {folder}: {os.strerror(error.errno or 0)}",
        hint="free some space there, or choose another store with --store or RAMEKIN_HOME",
    )
