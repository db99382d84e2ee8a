"""`oci:DIR[:TAG]`: an image layout in a folder (image-spec, image-layout.md).

Blobs come first and `index.json` last and at once, so that what the index names is always there. Writers
hold a lock on the folder itself for as long as they write: two of them at once both land, and one that fails
can take back all that it made. Entries of other tags, and fields that this program does not know, stay.

Referrers stand in `index.json` as entries without a name, or are not listed at all (`contents.UNLISTED`); a
reader finds them by their `subject`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import msgspec

from ramekin import workers
from ramekin.errors import FormatError, NotFoundError, UsageError
from ramekin.image import oci
from ramekin.image.image import DOCUMENT_LIMIT, Blobs, Image
from ramekin.image.oci import Descriptor, Index, Manifest
from ramekin.image.reference import Reference, is_repository, is_tag, split_name
from ramekin.image.transports import target
from ramekin.image.transports.contents import UNLISTED, Contents, Document, contents
from ramekin.progress import SILENT, Progress, Task
from ramekin.store import digest as digests
from ramekin.store.digest import Digest
from ramekin.store.verify import verified

REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
_FICLONE = 0x40049409


@runtime_checkable
class LocalBlobs(Protocol):
    """Blobs that are whole local files, such as a store's: `path` names one that is known to be right."""

    def path(self, digest: Digest) -> Path | None: ...


class Layout:
    """The blobs of the layout in `root`; implements `image.Blobs`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, digest: Digest) -> Path:
        """Where the blob is or would be."""
        return self.root / "blobs" / "sha256" / digests.hex_of(digests.parse(digest))

    def open(self, blob: Descriptor) -> BinaryIO:
        """A verifying stream of the blob; `NotFoundError` when the layout does not hold it."""
        return verified(
            _open_regular(self.file(blob.digest), blob), blob.digest, blob.size, where=str(self.root)
        )

    def small(self, limit: int, mark: bytes) -> Iterable[bytes]:
        """The bytes of all blobs of at most `limit` bytes with `mark` in them; they are not verified."""
        folder = self.root / "blobs" / "sha256"
        try:
            found = folder.stat()
        except FileNotFoundError:
            return ()
        if time.time_ns() - found.st_mtime_ns < _SETTLED:
            return tuple(_small(folder, limit, mark))
        # a layout of hundreds of images is opened once for each
        return _known_small(folder, limit, mark, (found.st_dev, found.st_ino, found.st_mtime_ns))

    def index(self) -> Index:
        """index.json; `NotFoundError` when `root` is no layout, `FormatError` when it is a broken one."""
        return oci.decode(_index_bytes(self.root), Index, where=str(self.root / "index.json"))


_SETTLED = 2_000_000_000
"""Nanoseconds after which another change of a folder has another time on any file system."""


@lru_cache(maxsize=64)
def _known_small(folder: Path, limit: int, mark: bytes, state: tuple[int, int, int]) -> tuple[bytes, ...]:
    """The blobs of a folder that is as `state` (device, inode, mtime) says."""
    return tuple(_small(folder, limit, mark))


def _small(folder: Path, limit: int, mark: bytes) -> Iterator[bytes]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and entry.stat().st_size <= limit:
                data = Path(entry.path).read_bytes()
                if mark in data:
                    yield data


class LayoutBlobs(Blobs, Protocol):
    """The blobs of a layout, in a folder or an archive."""

    def small(self, limit: int, mark: bytes) -> Iterable[bytes]:
        """The bytes of all blobs of at most `limit` bytes with `mark` in them; they are not verified."""


def read(reference: Reference) -> Image:
    """The image that `oci:DIR[:TAG]` names.

    Without a tag it is the only named image, or the one named `latest`. `NotFoundError` says what there is.
    """
    layout = Layout(Path(reference.location))
    return choose(layout.index(), layout, reference, name=layout.root.absolute().name)


def choose(index: Index, blobs: LayoutBlobs, reference: Reference, *, name: str) -> Image:
    """The image of a layout's `index` that `reference` means; `name` is what the layout itself is called."""
    named = [entry for entry in index.manifests if REF_NAME in entry.annotations]
    unnamed = [entry for entry in index.manifests if REF_NAME not in entry.annotations]
    subjects = {entry.digest: _subject(entry, blobs) for entry in unnamed}
    if reference.digest:
        found = [entry for entry in index.manifests if entry.digest == reference.digest]
    elif reference.tag:
        found = [entry for entry in named if entry.annotations[REF_NAME] == reference.tag]
    else:
        found = named or [entry for entry in unnamed if subjects[entry.digest] is None]
        if len(found) > 1:
            found = [e for e in found if e.annotations.get(REF_NAME) == "latest"] or found
    if len({entry.digest for entry in found}) != 1:
        there = ", ".join(sorted(entry.annotations[REF_NAME] for entry in named)) or "no named image"
        what = "more than one image" if found else "no such image"
        raise NotFoundError(f"{reference}: {what} there", hint=f"it has {there}")
    root = found[0]
    tag = root.annotations.get(REF_NAME, "")
    if root.media_type not in oci.MANIFESTS and root.media_type not in oci.INDEXES:
        raise FormatError(f"{reference} is a {root.media_type}, not an image")
    image = Image(_bare(root), blobs, full_name(name, tag))
    own = {root.digest, *(entry.digest for entry in image.manifests())}
    referrers = [_bare(entry) for entry in unnamed if subjects[entry.digest] in own]
    known = {entry.digest for entry in referrers}
    referrers += [entry for entry in _unlisted(blobs, own) if entry.digest not in known]
    return Image(image.root, blobs, image.name, tuple(referrers))


def _unlisted(blobs: LayoutBlobs, subjects: set[Digest]) -> list[Descriptor]:
    """Artifacts of a layout that refer to one of `subjects` and need not be listed, by digest."""
    found = []
    for data in blobs.small(_UNLISTED_LIMIT, UNLISTED.encode()):
        try:
            manifest = oci.decode(data, Manifest, where="a blob")
        except FormatError:
            continue  # a layer or any other blob: nothing says that it is a manifest
        if manifest.subject is not None and manifest.subject.digest in subjects:
            kind = {"artifact_type": manifest.artifact_type, "annotations": manifest.annotations}
            found.append(oci.describe(data, manifest.media_type or oci.MANIFEST, **kind))
    return sorted(found, key=lambda entry: entry.digest)


_UNLISTED_LIMIT = 4096
"""Bytes that the manifest of an artifact with one blob may have."""


def full_name(name: str, tag: str) -> str:
    """The `NAME:TAG` of an image called `tag` in a layout or file called `name`; empty when there is none."""
    if is_repository(split_name(tag)[0]) and is_tag(split_name(tag)[1]):
        return tag
    return f"{name}:{tag or 'latest'}" if is_repository(name) and (not tag or is_tag(tag)) else ""


def tag_for(image: Image, reference: Reference) -> str:
    """The name that `image` gets in a layout: the reference's, its own tag, or `latest`."""
    return reference.tag or split_name(image.name)[1] or "latest"


def write(image: Image, reference: Reference, *, jobs: int = 8, progress: Progress = SILENT) -> Descriptor:
    """Put `image` into the layout in DIR under its tag; DIR is made, or must be a layout already.

    What the tag named before is no longer listed; its blobs stay, for others may share them. Raises what
    reading `image` raises, `UsageError` when DIR is something else, `RamekinError` when it cannot be
    written; DIR is then as it was before.
    """
    if reference.digest:
        raise UsageError(f"{reference}: an image is written under a tag, not a digest")
    parts = contents(image)
    root = Path(reference.location)
    with target.explained(root), _locked(root, progress) as made, _undone(root, made):
        _begin(root, made)
        folder = root / "blobs" / "sha256"
        with progress.task(f"writing {reference}", total=parts.size) as task:
            _place_all(parts, image.blobs, folder, made, jobs, task)
        for document in (*parts.documents, *parts.referrers):
            _place_document(document, folder, made)
        target.settle_folder(folder)
        _replace_index(root, _listed(_raw_index(root), parts, tag_for(image, reference), Layout(root)))
    return image.root


def index_entries(parts: Contents, tag: str) -> tuple[Descriptor, ...]:
    """What index.json lists for an image: its root under `tag`, then its referrers that are to be listed."""
    root = parts.root.descriptor
    entry = msgspec.structs.replace(root, annotations={**root.annotations, REF_NAME: tag})
    listed = (document.as_referrer() for document in parts.referrers if document.is_listed)
    return (entry, *listed)


def _listed(index: dict[str, Any], parts: Contents, tag: str, layout: Layout) -> dict[str, Any]:
    """`index` with the entry for `tag` replaced, and without referrers of what is no longer listed."""
    added = index_entries(parts, tag)
    listed: list[dict[str, Any]] = list(index.get("manifests", []))
    replaced = {entry["digest"] for entry in listed if _name_of(entry) == tag}
    kept = [entry for entry in listed if _name_of(entry) != tag]
    gone = replaced - {parts.root.descriptor.digest} - {entry["digest"] for entry in kept}
    ours = {entry.digest for entry in added[1:]}
    kept = [
        entry
        for entry in kept
        if _name_of(entry) is not None
        or (entry["digest"] not in ours and _raw_subject(entry, layout) not in gone)
    ]
    return {**index, "manifests": kept + [msgspec.to_builtins(entry) for entry in added]}


def _name_of(entry: dict[str, Any]) -> str | None:
    name = (entry.get("annotations") or {}).get(REF_NAME)
    return name if isinstance(name, str) else None


def _raw_subject(entry: dict[str, Any], layout: Layout) -> Digest | None:
    try:
        return _subject(msgspec.convert(entry, Descriptor), layout)
    except msgspec.ValidationError:
        return None


def _subject(entry: Descriptor, blobs: Blobs) -> Digest | None:
    """The digest of the manifest that `entry` refers to; None for none, or when it cannot be told."""
    if entry.media_type not in oci.MANIFESTS and entry.media_type not in oci.INDEXES:
        return None
    try:
        data = Image(entry, blobs).document(entry)
    except NotFoundError:
        return None
    document: Index | Manifest
    if entry.media_type in oci.INDEXES:
        document = oci.decode(data, Index, where=f"index {entry.digest}")
    else:
        document = oci.decode(data, Manifest, where=f"manifest {entry.digest}")
    return document.subject.digest if document.subject else None


def _bare(entry: Descriptor) -> Descriptor:
    """`entry` without the name that only its layout gives it."""
    notes = {name: value for name, value in entry.annotations.items() if name != REF_NAME}
    return msgspec.structs.replace(entry, annotations=notes)


@contextmanager
def _locked(root: Path, progress: Progress) -> Iterator[list[Path]]:
    """Make `root` if need be and hold its lock; yields the list of what was made, outermost first.

    The lock is on the folder itself, for a lock file would be one more file in a layout that others read.
    """
    made: list[Path] = []
    while True:
        _make_folder(root, made)
        if not root.is_dir():
            raise UsageError(f"{root} is not a folder", hint="choose another name")
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _wait_for(descriptor, root, progress)
            # a writer that failed may have taken the folder away while this one waited
            if _same_folder(descriptor, root):
                yield made
                return
        finally:
            os.close(descriptor)


def _wait_for(descriptor: int, root: Path, progress: Progress) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.note(f"waiting for another writer of {root}")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        # some network file systems lock no folders: then only the atomic renames protect
        if error.errno not in (errno.EBADF, errno.ENOTSUP, errno.EINVAL, errno.ENOLCK):
            raise


def _same_folder(descriptor: int, root: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), root.stat())
    return False


@contextmanager
def _undone(root: Path, made: list[Path]) -> Iterator[None]:
    """Take away all that was made when the block fails."""
    try:
        yield
    except BaseException:
        # a worker that was left behind cannot do it itself
        _sweep(root)
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        raise


def _make_folder(folder: Path, made: list[Path]) -> None:
    missing = [folder, *folder.parents]
    for path in reversed([path for path in missing if not path.exists() and not path.is_symlink()]):
        with suppress(FileExistsError):
            path.mkdir()
            made.append(path)


def _begin(root: Path, made: list[Path]) -> None:
    """Check that `root` is a layout, or make an empty one of an empty folder.

    `oci-layout` comes first, so that what a kill leaves is taken for an unfinished layout the next time.
    """
    marker = root / "oci-layout"
    if marker.exists():
        _check_version(root)
    elif any(entry.name[: len(target.TEMPORARY)] != target.TEMPORARY for entry in root.iterdir()):
        raise UsageError(
            f"{root} is not empty and no image layout", hint="choose another folder, or remove this one first"
        )
    else:
        _put(marker, LAYOUT_FILE, made)
    _make_folder(root / "blobs" / "sha256", made)
    _sweep(root)


def _sweep(root: Path) -> None:
    """Remove unfinished files; whoever holds the layout's lock is the only one who has some."""
    for folder in (root, root / "blobs" / "sha256"):
        for left in folder.glob(f"{target.TEMPORARY}*"):
            with suppress(OSError):
                left.unlink()


def _check_version(root: Path) -> None:
    try:
        document = msgspec.json.decode((root / "oci-layout").read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        hint = "an image layout has the files oci-layout and index.json"
        raise NotFoundError(f"{root} is no image layout", hint=hint) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{root / 'oci-layout'} is not valid: {error}") from None
    version = document.get("imageLayoutVersion")
    if version != "1.0.0":
        raise FormatError(f"{root / 'oci-layout'}: version {version!r} of image layouts is not known")


def _index_bytes(root: Path) -> bytes:
    if not root.exists():
        raise NotFoundError(f"{root} does not exist")
    with target.explained(root):
        if not root.is_dir():
            hint = f"for a file write oci-archive:{root} or docker-archive:{root}"
            raise NotFoundError(f"{root} is not a folder", hint=hint)
        _check_version(root)
        path = root / "index.json"
        try:
            with path.open("rb") as stream:
                data = stream.read(DOCUMENT_LIMIT + 1)
        except FileNotFoundError:
            raise NotFoundError(f"{path} is missing", hint="the layout was never finished") from None
    if len(data) > DOCUMENT_LIMIT:
        raise FormatError(f"{path} has more than {DOCUMENT_LIMIT} bytes")
    return data


def _raw_index(root: Path) -> dict[str, Any]:
    """index.json with all its fields, checked; that of a new layout is empty."""
    if not (root / "index.json").exists():
        return {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []}
    data = _index_bytes(root)
    oci.decode(data, Index, where=str(root / "index.json"))
    return msgspec.json.decode(data, type=dict[str, Any])


def _replace_index(root: Path, index: dict[str, Any]) -> None:
    with target.new_file(root / "index.json") as stream:
        stream.write(msgspec.json.encode(index))


def _place_all(parts: Contents, source: Blobs, folder: Path, made: list[Path], jobs: int, task: Task) -> None:
    streamed: list[Descriptor] = []
    for blob in parts.blobs:
        if _has(source, blob, folder) or _place_file(source, blob, folder, made):
            task.advance(blob.size)
        else:
            streamed.append(blob)

    def stream(blob: Descriptor, check: workers.Check) -> None:
        with source.open(blob) as data:
            _put(folder / digests.hex_of(blob.digest), _advancing(data, task, check), made)

    workers.each(stream, sorted(streamed, key=lambda blob: -blob.size), jobs=jobs)


def _advancing(data: BinaryIO, task: Task, check: workers.Check) -> Iterator[bytes]:
    while chunk := data.read(1 << 18):
        check()
        yield chunk
        task.advance(len(chunk))


def _has(source: Blobs, blob: Descriptor, folder: Path) -> bool:
    """Whether the blob is there and whole; one that the store holds under both names is not read for that."""
    path = folder / digests.hex_of(blob.digest)
    with suppress(FileNotFoundError):
        info = path.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_size != blob.size:
            return False
        local = source.path(blob.digest) if isinstance(source, LocalBlobs) else None
        if local is not None and os.path.samestat(info, local.stat()):
            return True
        with path.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}" == blob.digest
    return False


def _place_file(source: Blobs, blob: Descriptor, folder: Path, made: list[Path]) -> bool:
    """Give the layout a blob of a local store without reading it; false when that cannot be done.

    A reflink is best: no bytes are copied and neither side can harm the other. Else a hard link, which is as
    fast on every file system; a layout's user who writes into such a blob would write into the store too,
    so blobs are read-only files in both. Only across file systems are the bytes copied.
    """
    local = source.path(blob.digest) if isinstance(source, LocalBlobs) else None
    if local is None or local.stat().st_size != blob.size:
        return False
    final = folder / digests.hex_of(blob.digest)
    final.unlink(missing_ok=True)
    if not _reflink(local, final):
        try:
            os.link(local, final)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
                return False
            raise
    made.append(final)
    if stat.S_IMODE(final.stat().st_mode) & 0o222:
        with suppress(PermissionError):
            final.chmod(0o444)
    return True


def _reflink(local: Path, final: Path) -> bool:
    """Make `final` share the disk blocks of `local`; false where the file system cannot."""
    if local.stat().st_dev in _no_reflinks:
        return False
    unfinished = target.temporary(final.parent)
    try:
        with local.open("rb") as source, target.create(unfinished, mode=0o444) as stream:
            fcntl.ioctl(stream.fileno(), _FICLONE, source.fileno())
            target.settle(stream)
        unfinished.rename(final)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        if error.errno in (errno.ENOTSUP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM):
            _no_reflinks.add(local.stat().st_dev)
            return False
        if error.errno == errno.EXDEV:
            return False
        raise
    return True


_no_reflinks: set[int] = set()
"""Devices of file systems that were found to have no reflinks."""


def _place_document(document: Document, folder: Path, made: list[Path]) -> None:
    path = folder / digests.hex_of(document.descriptor.digest)
    with suppress(FileNotFoundError):
        if path.stat().st_size == len(document.data) and path.read_bytes() == document.data:
            return
    _put(path, document.data, made)


def _put(path: Path, data: bytes | Iterable[bytes], made: list[Path]) -> None:
    """Write a read-only file that appears whole."""
    unfinished = target.temporary(path.parent)
    try:
        with target.create(unfinished, mode=0o444) as stream:
            for chunk in (data,) if isinstance(data, bytes) else data:
                stream.write(chunk)
            target.settle(stream)
        unfinished.rename(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    made.append(path)


def _open_regular(path: Path, blob: Descriptor) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: the layout does not hold this blob ({blob.media_type})") from None
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {(error.strerror or '').lower()}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError(f"{path} is not a file")
    return os.fdopen(descriptor, "rb", 0)
