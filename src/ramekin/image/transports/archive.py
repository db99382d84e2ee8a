"""`oci-archive:FILE[:TAG]`: an image layout in one tar file.

The tar is canonical (one image has one archive), written in one pass into a file beside the target, which
then takes its place. A compressed archive is read, too; none is written, for its layers are compressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import msgspec

from ramekin.errors import FormatError, NotFoundError, RamekinError, UsageError
from ramekin.image import oci, tar, tree
from ramekin.image.image import DOCUMENT_LIMIT, Blobs, Image
from ramekin.image.oci import Descriptor, Index
from ramekin.image.reference import Reference
from ramekin.image.transports import layout, target
from ramekin.image.transports.contents import Contents, contents
from ramekin.image.transports.fetching import fetched
from ramekin.image.tree import Content, Entry, Kind, Tree
from ramekin.progress import SILENT, Progress, Task
from ramekin.store import digest as digests
from ramekin.store.verify import verified

_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.zst")


@dataclass(frozen=True, slots=True)
class BlobContent:
    """A blob as the content of a file."""

    blobs: Blobs
    blob: Descriptor

    @property
    def size(self) -> int:
        return self.blob.size

    def open(self) -> BinaryIO:
        return self.blobs.open(self.blob)


@dataclass(frozen=True, slots=True)
class ArchivedBlobs:
    """The blobs of a layout in an archive whose files are `files`; implements `image.Blobs`."""

    files: Tree
    where: str

    def open(self, blob: Descriptor) -> BinaryIO:
        """A verifying stream of the blob; `NotFoundError` when the archive does not hold it."""
        content = member(self.files, f"blobs/sha256/{digests.hex_of(blob.digest)}")
        if content is None:
            raise NotFoundError(f"{self.where} does not hold {blob.digest} ({blob.media_type})")
        return verified(content.open(), blob.digest, blob.size, where=self.where)

    def small(self, limit: int, mark: bytes) -> Iterator[bytes]:
        """The bytes of all blobs of at most `limit` bytes with `mark` in them; they are not verified."""
        for path, entry in self.files.items():
            if path.startswith("blobs/sha256/") and entry.kind is Kind.FILE and entry.size <= limit:
                data = entry.read()
                if mark in data:
                    yield data


def read(reference: Reference, *, spool: Path) -> Image:
    """The image that the archive holds, or the one of several that the tag names.

    The archive is taken apart once, into a temporary file in `spool`.
    """
    files = unpacked(Path(reference.location), spool)
    if "manifest.json" in files and "oci-layout" not in files:
        raise FormatError(
            f"{reference.location} is no oci-archive", hint=f"write docker-archive:{reference.location}"
        )
    _check_marker(files, reference.location)
    data = small_file(files, "index.json", where=reference.location)
    index = oci.decode(data, Index, where=f"{reference.location}: index.json")
    blobs = ArchivedBlobs(files, reference.location)
    return layout.choose(index, blobs, reference, name=stem(reference.location))


def write(image: Image, reference: Reference, *, jobs: int = 8, progress: Progress = SILENT) -> Descriptor:
    """Write `image` with its referrers as a layout in FILE, which is replaced if it was there."""
    if reference.digest:
        raise UsageError(f"{reference}: an image is written under a tag, not a digest")
    parts = contents(image)
    tag = layout.tag_for(image, reference)
    index = Index(schema_version=2, media_type=oci.INDEX, manifests=layout.index_entries(parts, tag))
    path = Path(reference.location)
    with (
        target.explained(path),
        fetched(image, parts.blobs, path.resolve().parent, jobs=jobs, progress=progress) as local,
        progress.task(f"writing {reference}", total=parts.size) as task,
        target.new_file(path) as stream,
    ):
        tar.write(_files(parts, index, local.blobs), counted(stream, task))
    return image.root


def _files(parts: Contents, index: Index, blobs: Blobs) -> Tree:
    """The files of a layout."""
    entries = [
        tree.file("oci-layout", layout.LAYOUT_FILE),
        tree.file("index.json", oci.encode(index)),
        tree.directory("blobs"),
        tree.directory("blobs/sha256"),
    ]
    for document in (*parts.documents, *parts.referrers):
        entries.append(tree.file(_blob_path(document.descriptor), document.data))
    for blob in parts.blobs:
        content = BlobContent(blobs, blob)
        entries.append(Entry(path=_blob_path(blob), kind=Kind.FILE, content=content))
    return Tree(entries)


def counted(stream: BinaryIO, task: Task) -> Callable[[bytes], None]:
    """What writes to `stream` and tells `task` of it."""

    def write(data: bytes) -> None:
        stream.write(data)
        task.advance(len(data))

    return write


def _blob_path(blob: Descriptor) -> str:
    return f"blobs/sha256/{digests.hex_of(blob.digest)}"


def unpacked(path: Path, spool: Path) -> Tree:
    """The files of an archive, compressed or not; `NotFoundError` when it is not there."""
    from ramekin.image import compress

    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise NotFoundError(f"{path} is a folder", hint=f"for a layout write oci:{path}") from None
    except OSError as error:
        raise RamekinError(f"{path} cannot be read: {(error.strerror or '').lower()}") from None
    with stream, closing(compress.decompress(stream, where=str(path))) as plain:
        return tar.read_tree(plain, where=str(path), spool=spool)


def member(files: Tree, path: str) -> Content | None:
    """The content of a file of an archive, through the links that docker-archives have; None without it."""
    for _ in range(8):
        entry = files.get(path)
        if entry is None:
            return None
        if entry.kind is Kind.FILE:
            return entry.content
        if entry.kind is Kind.HARDLINK:
            path = entry.target
        elif entry.kind is Kind.SYMLINK:
            path = _joined(path, entry.target)
        else:
            return None
    return None


def _joined(path: str, link: str) -> str:
    """Where a symbolic link at `path` leads; the archive's root is the root."""
    parts: list[str] = [] if link.startswith("/") else list(PurePosixPath(path).parent.parts)
    for part in PurePosixPath(link).parts:
        if part == "..":
            parts = parts[:-1]
        elif part not in ("/", "."):
            parts.append(part)
    return "/".join(parts)


def small_file(files: Tree, path: str, *, where: str) -> bytes:
    """The bytes of a document in an archive; `FormatError` when it is missing or too large for one."""
    content = member(files, path)
    if content is None:
        raise FormatError(f"{where} has no {path}", hint="is it an image archive of this kind?")
    if content.size > DOCUMENT_LIMIT:
        raise FormatError(f"{where}: {path} has {content.size} bytes, too many for what it is")
    with content.open() as stream:
        return stream.read()


def stem(location: str) -> str:
    """What a file is called without the suffixes of archives."""
    name = Path(location).name
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return name


def _check_marker(files: Tree, where: str) -> None:
    data = small_file(files, "oci-layout", where=where)
    try:
        version = msgspec.json.decode(data, type=dict[str, str]).get("imageLayoutVersion")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{where}: oci-layout is not valid: {error}") from None
    if version != "1.0.0":
        raise FormatError(f"{where}: version {version!r} of image layouts is not known")
