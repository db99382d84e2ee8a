"""`rootfs:DIR`: an image's files themselves.

Writing lays all layers out in a folder beside DIR, which then becomes DIR. Owners and devices need root;
without it the files belong to who writes them. Reading makes an image of one layer of what is in DIR.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ramekin.errors import FormatError, NotFoundError, UsageError
from ramekin.image import compress, layer, oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, Manifest, Platform, RootFS, Runtime
from ramekin.image.reference import Reference
from ramekin.image.transports import platforms, target
from ramekin.image.transports.fetching import fetched
from ramekin.image.tree import Entry, Kind, Span, Tree, directory
from ramekin.progress import SILENT, Progress
from ramekin.store.store import Store

_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_KEPT_ATTRIBUTES = ("user.", "security.capability")
"""Extended attributes that belong to a file; all others belong to the machine."""

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}


def files(image: Image, *, spool: Path) -> Tree:
    """All files of a single image, its layers applied; contents are kept in `spool`.

    `FormatError` when it is an artifact that has no files.
    """
    trees = []
    for blob in image.manifest().layers:
        if "tar" not in blob.media_type:
            raise FormatError(f"{image.root.digest} has a {blob.media_type}: it is no image of files")
        trees.append(layer.read(blob, image.blobs, spool=spool))
    return layer.apply(trees)


def write(
    image: Image,
    reference: Reference,
    *,
    jobs: int = 8,
    progress: Progress = SILENT,
    platform: Platform | None = None,
) -> Descriptor:
    """Lay the image for one platform out in DIR, which must be absent or empty."""
    image = platforms.single(image, platform)
    owners = os.geteuid() == 0
    folder = Path(reference.location)
    with target.explained(folder):
        target.require_free(folder)
    above = folder.absolute().parent
    layers = image.manifest().layers
    # the layers' contents go where the files will be, for there is room for them or nothing will do
    with (
        target.explained(folder),
        target.scratch(above) as spool,
        fetched(image, layers, above, jobs=jobs, progress=progress) as local,
    ):
        with progress.task(f"reading the layers for {reference}", unit=""):
            tree = files(local, spool=spool)
        if "" not in tree:
            tree = tree.plus([directory("")])
        with target.new_folder(folder) as unfinished, progress.task(f"writing {reference}", unit=""):
            left_out = layer.unpack(tree, unfinished, owners=owners)
    if not owners:
        progress.note(f"{folder}: all files belong to you, for only root can give them their owners")
    if left_out:
        progress.note(f"{folder}: {len(left_out)} devices were left out, for only root can make them")
    return image.root


def read(reference: Reference, *, spool: Path, progress: Progress = SILENT) -> Image:
    """The files in DIR as an image of one layer for this machine's platform, made in `spool`.

    Its `created` is SOURCE_DATE_EPOCH or the newest file's time; times after SOURCE_DATE_EPOCH become it.
    """
    root = Path(reference.location)
    if not root.is_dir():
        raise NotFoundError(f"{root} is not a folder")
    with target.explained(root):
        tree = scan(root, progress=progress)
    epoch = _source_date_epoch()
    if epoch is not None:
        newest = epoch
        tree = tree.map(lambda entry: entry if entry.mtime <= newest else _at_time(entry, newest))
    store = Store.at(spool / "store")
    made = layer.write(tree, store, compress.parse("gzip"))
    created = epoch if epoch is not None else tree.newest
    data = oci.encode(_config(made, created))
    config = oci.describe(data, oci.CONFIG)
    store.put(data)
    manifest = oci.encode(
        Manifest(schema_version=2, media_type=oci.MANIFEST, config=config, layers=(made.descriptor,))
    )
    store.put(manifest)
    return Image(oci.describe(manifest, oci.MANIFEST, platform=platforms.this_machine()), store)


def _config(made: layer.Layer, created: int) -> Config:
    platform = platforms.this_machine()
    time = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Config(
        architecture=platform.architecture,
        variant=platform.variant,
        os=platform.os,
        created=time,
        config=Runtime(env=(_DEFAULT_PATH,)),
        rootfs=RootFS(type="layers", diff_ids=(made.diff_id,)),
        history=(oci.History(created=time, created_by="ramekin: files of a folder"),),
    )


def _source_date_epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}", hint="it is a number of seconds since 1970")
    return int(text)


def _at_time(entry: Entry, mtime: int) -> Entry:
    return replace(entry, mtime=mtime)


def scan(root: Path, *, progress: Progress = SILENT) -> Tree:
    """What is below the folder `root`, itself included, as a tree whose contents stay in their files.

    Links are never followed. Sockets are left out, with a note, for no layer can hold one.
    """
    entries: list[Entry] = []
    names: dict[tuple[int, int], str] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        if not folder:
            entries.append(_entry("", root, root.stat(), names))
        with os.scandir(root / folder) as found:
            for item in sorted(found, key=lambda item: os.fsencode(item.name)):
                path = f"{folder}/{item.name}" if folder else item.name
                info = item.stat(follow_symlinks=False)
                if stat.S_ISSOCK(info.st_mode):
                    progress.note(f"{item.path} is a socket and left out")
                    continue
                entries.append(_entry(path, Path(item.path), info, names))
                if stat.S_ISDIR(info.st_mode):
                    pending.append(path)
    return Tree(entries)


def _entry(path: str, source: Path, info: os.stat_result, names: dict[tuple[int, int], str]) -> Entry:
    kind = _KINDS[stat.S_IFMT(info.st_mode)]
    first = names.setdefault((info.st_dev, info.st_ino), path) if info.st_nlink > 1 else path
    if kind is not Kind.DIRECTORY and first != path:
        # a tree has hard links to files only; other kinds stand once a name
        if kind is Kind.FILE:
            kind = Kind.HARDLINK
        first = first if kind is Kind.HARDLINK else path
    device = (0, 0)
    if kind in (Kind.CHARACTER, Kind.BLOCK):
        device = (os.major(info.st_rdev), os.minor(info.st_rdev))
    return Entry(
        path=path,
        kind=kind,
        mode=0o777 if kind is Kind.SYMLINK else stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        mtime=int(info.st_mtime // 1),
        content=Span(source.absolute(), 0, info.st_size) if kind is Kind.FILE else None,
        target=first if kind is Kind.HARDLINK else str(source.readlink()) if kind is Kind.SYMLINK else "",
        device=device,
        xattrs=() if kind in (Kind.SYMLINK, Kind.HARDLINK) else _attributes(source),
    )


def _attributes(source: Path) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(source, follow_symlinks=False)
        return tuple(
            (name, os.getxattr(source, name, follow_symlinks=False))
            for name in sorted(names)
            if name.startswith(_KEPT_ATTRIBUTES)
        )
    except OSError:
        # the file system has none
        return ()
