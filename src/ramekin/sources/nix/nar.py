"""Nix archives (NAR): one file, link or folder as bytes, in exactly one way (Dolstra 2006, figure 5.2).

A string is its length as 8 bytes little-endian, its bytes, and zeros up to a multiple of 8:

    "nix-archive-1" NODE
    NODE   "(" "type" "regular" ["executable" ""] "contents" BYTES ")"
           "(" "type" "symlink" "target" TEXT ")"
           "(" "type" "directory" ("entry" "(" "name" NAME "node" NODE ")")* ")"

Names of a folder stand in the order of their bytes. Anything else than this one way is refused: names that
are empty, `.`, `..` or hold `/` or NUL, that repeat or are out of order, padding that is not zeros, bytes
after the end. Folders may be as deep as a path may be long; nothing here recurses.

Files in trees that come of a NAR have the modes and the time of a Nix store: 0555 for folders and
executables, 0444 for others, one second after 1970, owned by root.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from ramekin.errors import FormatError, RamekinError
from ramekin.image.tar import LIMITS, Limits
from ramekin.image.tar.spool import Spool
from ramekin.image.tree import Content, Entry, Inline, Kind, Span, Tree, to_bytes, to_text
from ramekin.store.digest import Digest

_CHUNK = 1 << 18
_BATCH = 1 << 18
_ROOM = 8192
"""Bytes that must be at hand to read all strings around one content, names and link texts included."""

_BROKEN = "the archive is broken or hostile"
_EMPTY = Inline(b"")
_ZEROS = [bytes(count) for count in range(8)]

MTIME = 1
PATH_LIMIT = 4096
NAME_LIMIT = 255
_LONGEST = 128
"""Bytes that are looked at without asking whether they are there: no text between contents is longer."""
_NO_NAMES = (b".", b"..")
PLAIN, EXECUTABLE = 0o444, 0o555


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + bytes(-len(text) & 7)


_MAGIC = _string(b"nix-archive-1")
_CLOSE = _string(b")")
_NODE = _string(b"(") + _string(b"type")
_REGULAR = _string(b"regular")
_CONTENTS = _string(b"contents")
_MARK = _string(b"executable") + _string(b"")
_PLAIN_FILE = _REGULAR + _CONTENTS
_PROGRAM = _REGULAR + _MARK + _CONTENTS
_SYMLINK = _string(b"symlink") + _string(b"target")
_DIRECTORY = _string(b"directory")
_KINDS = (_PLAIN_FILE, _PROGRAM, _SYMLINK, _DIRECTORY)
_ENTRY = _string(b"entry") + _string(b"(") + _string(b"name")
_INNER = _string(b"node") + _NODE
_CLOSE_BOTH = _CLOSE + _CLOSE


FILE_HEAD = len(_MAGIC + _NODE + _PLAIN_FILE) + 8
"""Bytes that stand before the content of a NAR that is one file and not executable."""


def file_size(head: bytes) -> int | None:
    """The bytes of the one plain file that a NAR holds, by the NAR's first bytes; None when they say less."""
    start = _MAGIC + _NODE + _PLAIN_FILE
    if len(head) < FILE_HEAD or not head.startswith(start):
        return None
    return int.from_bytes(head[len(start) : FILE_HEAD], "little")


PROGRAM_HEAD = len(_CONTENTS) + 8 + 20


def programs() -> re.Pattern[bytes]:
    """What finds the contents of a NAR that are ELF or Mach-O files: group 1 is the first 20 bytes of one."""
    magics = rb"\x7fELF|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe\x00\x00\x00[\x01-\x08]"
    return re.compile(re.escape(_CONTENTS) + rb".{8}((?=" + magics + rb").{20})", re.DOTALL)


def read(
    stream: BinaryIO,
    *,
    where: str,
    file: Path,
    prefix: str = "",
    owner: object = None,
    limits: Limits = LIMITS,
) -> Tree:
    """The tree of a NAR that `stream` yields and that the local file `file` holds, from its first byte on.

    Contents are `Span`s of that file, which `owner` keeps. The root stands at the tree path `prefix`. Memory
    is a chunk of the stream, and the entries. `FormatError` names `where` and the entry at fault; when the
    stream verifies itself, what is damaged is called so even where it is malformed, too.
    """
    source = _Source(stream, where, limits.total)
    try:
        tree = Tree(_entries(source, file, prefix, owner, limits))
        source.finish()
    except FormatError:
        source.drain()
        raise
    return tree


def spooled(stream: BinaryIO, *, where: str, spool: Path, prefix: str = "", limits: Limits = LIMITS) -> Tree:
    """`read` of a NAR that no local file holds: a temporary one does while the tree lives."""
    kept = Spool(spool)
    try:
        copied = io.BufferedReader(_Copied(stream, kept), _CHUNK)
        return read(copied, where=where, file=kept.path, prefix=prefix, owner=kept.owner, limits=limits)
    finally:
        kept.close()


class _Copied(io.RawIOBase):
    """A stream whose bytes go into a spool as they pass."""

    def __init__(self, stream: BinaryIO, spool: Spool) -> None:
        self._stream, self._spool = stream, spool

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        self._spool.write(memoryview(data))
        buffer[: len(data)] = data
        return len(data)


def _entries(source: _Source, file: Path, prefix: str, owner: object, limits: Limits) -> Iterator[Entry]:
    longest, most = min(limits.name, PATH_LIMIT), limits.entries
    texts = count = 0
    # what is around the folder that is being read: the folder's path with a slash, the last name within
    around: list[tuple[str, bytes]] = []
    folder, last, path = "", b"", prefix
    source.expect(_MAGIC + _NODE)
    while True:
        # the kind of a node comes next
        if source.end - source.position < _ROOM:
            source.more()
        buffer, position = source.buffer, source.position
        count += 1
        if count > most:
            source.refuse(f"more than {most} entries")
        source.entry = path
        if buffer.startswith(_DIRECTORY, position):
            source.position = position + len(_DIRECTORY)
            yield Entry(path=path, kind=Kind.DIRECTORY, mode=EXECUTABLE, mtime=MTIME)
            around.append((folder, last))
            folder, last = (f"{path}/" if path else ""), b""
        else:
            mode = PLAIN
            if buffer.startswith(_PLAIN_FILE, position):
                start = position + len(_PLAIN_FILE) + 8
            elif buffer.startswith(_PROGRAM, position):
                start, mode = position + len(_PROGRAM) + 8, EXECUTABLE
            elif buffer.startswith(_SYMLINK, position):
                source.position = position + len(_SYMLINK)
                target = source.text(longest, "the target of entry", path)
                texts += len(target)
                text = target.decode("utf-8", "surrogateescape")
                yield Entry(path=path, kind=Kind.SYMLINK, mode=0o777, mtime=MTIME, target=text)
                start = 0
            else:
                source.unexpected(f"where entry {path!r} should say what it is", *_KINDS)
            if start:
                size = int.from_bytes(buffer[start - 8 : start], "little")
                after = start + ((size + 7) & ~7)
                content: Content = _EMPTY
                if size:
                    content = Span(file, source.base + start, size, owner)
                if after <= source.end:
                    if buffer[start + size : after] != _ZEROS[-size & 7]:
                        source.refuse(f"the padding of entry {path!r} is not zeros")
                    source.position = after
                else:
                    source.skip(start, size)
                yield Entry(path=path, kind=Kind.FILE, mode=mode, mtime=MTIME, content=content)
            if not around:
                source.expect(_CLOSE)
                return
            source.expect(_CLOSE_BOTH)
        # the folder goes on with an entry, or ends, and perhaps those around it with it
        while True:
            if source.end - source.position < _ROOM:
                source.more()
            if source.buffer.startswith(_ENTRY, source.position):
                break
            source.expect(_CLOSE, _ENTRY)
            folder, last = around.pop()
            if not around:
                return
            source.expect(_CLOSE)
        source.position += len(_ENTRY)
        name = source.text(NAME_LIMIT, "a name below", folder or "the root")
        if name <= last:
            source.refuse(
                f"entry {folder + to_text(name)!r} is not in order"
                if name != last
                else f"entry {folder + to_text(name)!r} is there twice"
            )
        if name in _NO_NAMES or b"/" in name:
            source.refuse(f"{to_text(name)!r} below {folder or 'the root'!r} is not the name of a file")
        last = name
        path = folder + name.decode("utf-8", "surrogateescape")
        texts += len(path)
        if len(path) > longest or texts > limits.metadata:
            source.refuse(f"entry {path[:80]!r}… has too long a path")
        source.expect(_INNER)


class _Source:
    """The stream, a chunk at a time: `buffer[position:end]` is still to be read.

    `base` is where in the stream the buffer begins.
    """

    def __init__(self, stream: BinaryIO, where: str, total: int) -> None:
        self._stream, self._where, self._total = stream, where, total
        self.buffer = bytearray(_ROOM + _CHUNK)
        self._view = memoryview(self.buffer)
        self.base = self.position = self.end = 0
        self._taken = 0
        self.entry = ""
        self._over = False

    def more(self) -> None:
        """Have at least `_ROOM` bytes at hand, if there are as many; what is at hand moves to the front."""
        left = self.end - self.position
        if self._over or left >= _ROOM:
            return
        view = self._view
        view[:left] = view[self.position : self.end]
        self.base += self.position
        self.position = 0
        while left < _ROOM and not self._over:
            left += self._read(view[left:])
        self.end = left
        # what was there before must not be taken for what comes
        self.buffer[left : left + _LONGEST] = bytes(min(_LONGEST, len(self.buffer) - left))

    def _read(self, place: memoryview) -> int:
        """Read into `place`; `base` and `position` are those of what stands before it."""
        count: int = self._stream.readinto(place)  # type: ignore[attr-defined]
        self._over = not count
        self._taken += count
        if self._taken > self._total:
            self.refuse(f"more than {self._total} bytes")
        return count

    def expect(self, text: bytes, *others: bytes) -> None:
        """Go past `text`, or refuse what stands there instead; `others` would have done as well."""
        if self.end - self.position < len(text):
            self.more()
        if self.end - self.position < len(text) or not self.buffer.startswith(text, self.position):
            self.unexpected(
                f"after entry {self.entry!r}" if self.position or self.base else "at the start", text, *others
            )
        self.position += len(text)

    def text(self, limit: int, what: str, of: str) -> bytes:
        """The string that comes next, without NUL and not empty, of at most `limit` bytes."""
        if self.end - self.position < _ROOM:
            self.more()
        start = self.position + 8
        length = int.from_bytes(self.buffer[self.position : start], "little")
        if start > self.end:
            self.refuse(f"truncated within {what} {of!r}")
        if length > limit:
            self.refuse(f"{what} {of!r} has {length} bytes, more than {limit}")
        after = start + ((length + 7) & ~7)
        if after > self.end:
            self.refuse(f"truncated within {what} {of!r}")
        text = bytes(self.buffer[start : start + length])
        if not text or b"\0" in text:
            self.refuse(f"{what} {of!r} is {'empty' if not text else 'not text'}")
        if self.buffer[start + length : after] != _ZEROS[-length & 7]:
            self.refuse(f"the padding of {what} {of!r} is not zeros")
        self.position = after
        return text

    def skip(self, start: int, size: int) -> None:
        """Go past a content of `size` bytes, with its padding, that begins at `start` and is not all here."""
        left = start + size - self.end
        if left > 0:
            self.base += self.end
            self.position = self.end = 0
            while left > 0 and (count := self._read(self._view[_ROOM:])):
                left -= count
                self.base += count
            if left > 0:
                self.refuse(f"truncated within entry {self.entry!r}")
            # the last bytes that were read are beyond the content
            self.base += left
            self.position, self.end = _ROOM + count + left, _ROOM + count
            self.base -= self.position
        else:
            self.position = start + size
        padding = -size & 7
        self.more()
        if self.end - self.position < padding:
            self.refuse(f"truncated within entry {self.entry!r}")
        if self.buffer[self.position : self.position + padding] != _ZEROS[padding]:
            self.refuse(f"the padding of entry {self.entry!r} is not zeros")
        self.position += padding

    def finish(self) -> None:
        """Whoever verifies the stream does so at its end, and that must be here."""
        if self.position != self.end or self._stream.read(1):
            self.refuse("bytes after the end")

    def drain(self) -> None:
        while self._stream.read(_CHUNK):
            pass

    def unexpected(self, where: str, *wanted: bytes) -> NoReturn:
        """Refuse what is at hand, as truncated where it begins what is `wanted` and ends within."""
        found = bytes(self.buffer[self.position : min(self.position + _LONGEST, self.end)])
        if self._over and (len(found) < 8 or any(text.startswith(found) for text in wanted)):
            self.refuse(f"truncated {where}")
        self.refuse(f"{found[:24]!r} {where}")

    def refuse(self, what: str) -> NoReturn:
        raise FormatError(f"{self._where}: {what}", hint=_BROKEN)


# --- writing ---------------------------------------------------------------------------------------------


def write(tree: Tree, out: Callable[[bytes], object], *, root: str = "") -> None:
    """Give `out` the NAR of what stands at `root` in `tree`, a few hundred KiB at a time.

    A file is executable when its owner may run it; all else of modes, owners, times and attributes is lost,
    and each name of a hard-linked file has its bytes. Folders that have no entry are there all the same.
    `FormatError` for devices, FIFOs and links to nothing; `RamekinError` when a content does not have the
    size that it said.
    """
    if root and root not in tree:
        raise FormatError(f"there is no {root!r} in the tree")
    below = _children(tree, root)
    pieces = _Pieces(out)
    pieces.add(_MAGIC + _NODE)
    # what is left of each folder around, last first; None is the folder's end
    left: list[Iterator[tuple[bytes, str]]] = []
    path = root
    while True:
        entry = tree.get(path)
        if entry is None or entry.kind is Kind.DIRECTORY:
            pieces.add(_DIRECTORY)
            left.append(iter(sorted(below.get(path, {}).items())))
        else:
            _leaf(tree, entry, pieces)
            pieces.add(_CLOSE_BOTH if left else _CLOSE)
        while left:
            following = next(left[-1], None)
            if following is not None:
                name, path = following
                pieces.add(_ENTRY + _string(name) + _INNER)
                break
            left.pop()
            pieces.add(_CLOSE_BOTH if left else _CLOSE)
        else:
            pieces.flush()
            return


def digest_of(tree: Tree, *, root: str = "") -> tuple[Digest, int]:
    """The SHA-256 and the bytes of the NAR that `write` makes."""
    state, size = hashlib.sha256(), 0

    def take(data: bytes) -> None:
        nonlocal size
        state.update(data)
        size += len(data)

    write(tree, take, root=root)
    return Digest("sha256:" + state.hexdigest()), size


def _children(tree: Tree, root: str) -> dict[str, dict[bytes, str]]:
    """The paths directly below each folder by their names, for all that is below `root`."""
    below: dict[str, dict[bytes, str]] = {}
    start = f"{root}/" if root else ""
    for path in tree:
        if not path.startswith(start) or path == root:
            continue
        while path != root:
            parent, _, name = path.rpartition("/")
            siblings = below.get(parent)
            if siblings is None:
                above = tree.get(parent)
                if above is not None and above.kind is not Kind.DIRECTORY:
                    raise FormatError(f"entry {path!r} lies below {parent!r}, which is a {above.kind}")
                below[parent] = {to_bytes(name): path}
            else:
                siblings[to_bytes(name)] = path
                break
            path = parent
    return below


def _leaf(tree: Tree, entry: Entry, pieces: _Pieces) -> None:
    if entry.kind is Kind.SYMLINK:
        pieces.add(_SYMLINK + _string(to_bytes(entry.target)))
        return
    file, steps = entry, 0
    while file.kind is Kind.HARDLINK:
        found = tree.get(file.target)
        steps += 1
        if found is None or steps > len(tree):
            raise FormatError(f"entry {entry.path!r} is a hard link to {entry.target!r}, which is no file")
        file = found
    if file.kind is not Kind.FILE:
        raise FormatError(f"entry {entry.path!r} is a {file.kind}, which no NAR can hold")
    size = file.size
    pieces.add((_PROGRAM if file.mode & 0o100 else _PLAIN_FILE) + size.to_bytes(8, "little"))
    if isinstance(file.content, Inline):
        pieces.add(file.content.data)
    elif file.content is not None:
        done = 0
        with file.content.open() as stream:
            while data := stream.read(_CHUNK):
                done += len(data)
                pieces.add(data)
        if done != size:
            raise RamekinError(
                f"the content of {entry.path!r} has {done} bytes where {size} were expected",
                hint="its file was changed while it was read",
            )
    pieces.add(_ZEROS[-size & 7])


class _Pieces:
    """Gathers small pieces into large ones."""

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out, self._parts, self._size = out, list[bytes](), 0

    def add(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            self.flush()

    def flush(self) -> None:
        if self._size:
            self._out(b"".join(self._parts))
        self._parts, self._size = [], 0
