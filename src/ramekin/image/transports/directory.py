"""`dir:DIR`: a manifest and its blobs in one flat folder, as containers-transports(5) has it.

`version` says which form it is, `manifest.json` is the manifest or index, `HEX` a blob and
`HEX.manifest.json` a manifest below an index. Such a folder has no tags and no referrers.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ramekin import workers
from ramekin.errors import FormatError, NotFoundError
from ramekin.image import oci
from ramekin.image.image import DOCUMENT_LIMIT, Image
from ramekin.image.oci import Descriptor
from ramekin.image.reference import Reference
from ramekin.image.transports import target
from ramekin.image.transports.contents import contents
from ramekin.image.transports.registry import media_type_of
from ramekin.progress import SILENT, Progress
from ramekin.store import digest as digests
from ramekin.store.verify import verified

VERSION = b"Directory Transport Version: 1.1\n"


class Directory:
    """The blobs in `root`; implements `image.Blobs`."""

    def __init__(self, root: Path, top: Descriptor) -> None:
        self._root = root
        self._top = top

    def open(self, blob: Descriptor) -> BinaryIO:
        """A verifying stream of a blob; `NotFoundError` when it is not there."""
        name = _name(blob, self._top)
        try:
            stream = (self._root / name).open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"{self._root} does not hold {name} ({blob.media_type})") from None
        return verified(stream, blob.digest, blob.size, where=str(self._root))


def read(reference: Reference) -> Image:
    """The image in DIR."""
    root = Path(reference.location)
    with target.explained(root):
        try:
            version = (root / "version").read_bytes()
            with (root / "manifest.json").open("rb") as stream:
                data = stream.read(DOCUMENT_LIMIT + 1)
        except (FileNotFoundError, NotADirectoryError):
            hint = "a layout is read as oci:DIR, plain files as rootfs:DIR"
            raise NotFoundError(f"{root} holds no image in dir: form", hint=hint) from None
    if not version.startswith(b"Directory Transport Version: 1."):
        raise FormatError(f"{root / 'version'} is not known: {version[:60]!r}")
    if len(data) > DOCUMENT_LIMIT:
        raise FormatError(f"{root / 'manifest.json'} has more than {DOCUMENT_LIMIT} bytes")
    top = oci.describe(data, media_type_of(data, "", where=str(root / "manifest.json")))
    return Image(top, Directory(root, top))


def write(image: Image, reference: Reference, *, jobs: int = 8, progress: Progress = SILENT) -> Descriptor:
    """Write `image`, without its referrers, into DIR, which must be absent or empty."""
    parts = contents(Image(image.root, image.blobs, image.name))
    top = parts.root.descriptor
    with target.new_folder(Path(reference.location)) as folder:
        (folder / "version").write_bytes(VERSION)
        for document in parts.documents:
            (folder / _name(document.descriptor, top)).write_bytes(document.data)
        with progress.task(f"writing {reference}", total=parts.size) as task:

            def place(blob: Descriptor, check: workers.Check) -> None:
                with image.blobs.open(blob) as data, target.create(folder / _name(blob, top)) as stream:
                    while chunk := data.read(1 << 18):
                        check()
                        stream.write(chunk)
                        task.advance(len(chunk))
                    target.settle(stream)

            workers.each(place, sorted(parts.blobs, key=lambda blob: -blob.size), jobs=jobs)
    return image.root


def _name(blob: Descriptor, top: Descriptor) -> str:
    if blob.digest == top.digest:
        return "manifest.json"
    is_document = blob.media_type in oci.MANIFESTS or blob.media_type in oci.INDEXES
    return digests.hex_of(blob.digest) + (".manifest.json" if is_document else "")
