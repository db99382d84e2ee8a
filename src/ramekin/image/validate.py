"""Whether an image is what the specifications say, down to each file of each layer.

All problems are gathered, for who repairs an image wants to see them together. What makes a document
unreadable hides the problems below it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ramekin import workers
from ramekin.errors import RamekinError
from ramekin.image import compress, layer, oci, tar
from ramekin.image.image import Image
from ramekin.image.oci import Config, Descriptor, Index, Manifest, Platform, Runtime
from ramekin.image.tree import Tree
from ramekin.progress import SILENT, Progress, Task
from ramekin.store.digest import Digest

_CONFIGS = frozenset({oci.CONFIG, oci.DOCKER_CONFIG})
_LAYERS = {
    oci.LAYER: "none",
    oci.LAYER_GZIP: "gzip",
    oci.LAYER_ZSTD: "zstd",
    oci.DOCKER_LAYER_GZIP: "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_PORT = re.compile(r"(\d{1,5})(?:/(?:tcp|udp|sctp))?", re.ASCII)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be: `where` in the image, and `what`."""

    where: str
    what: str


def validate(image: Image, progress: Progress = SILENT, *, jobs: int = 4) -> list[Problem]:
    """All problems of `image` and its referrers, in the order of its documents; empty for a sound image."""
    check = _Check(image, progress, jobs)
    check.document(image.root, "image", 0)
    for number, referrer in enumerate(image.referrers):
        check.referrer(referrer, f"referrer {number}")
    return check.problems


class _Check:
    def __init__(self, image: Image, progress: Progress, jobs: int) -> None:
        self._image = image
        self._progress = progress
        self._jobs = jobs
        self._seen: set[Digest] = set()
        self.problems: list[Problem] = []

    def add(self, where: str, what: str) -> None:
        problem = Problem(where, what)
        if problem not in self.problems:
            self.problems.append(problem)

    def document(self, blob: Descriptor, where: str, depth: int) -> Manifest | Index | None:
        """Check a manifest or index and all below it; None when it cannot be read."""
        where = f"{where} {_short(blob)}"
        self.descriptor(blob, where)
        if blob.digest in self._seen:
            return None
        self._seen.add(blob.digest)
        if depth > _MAX_DEPTH:
            self.add(where, f"indexes are nested more than {_MAX_DEPTH} deep")
            return None
        try:
            data = self._image.document(blob)
            if blob.media_type in oci.INDEXES:
                index = oci.decode(data, Index, where="it")
                self.index(index, blob, where, depth)
                return index
            if blob.media_type in oci.MANIFESTS:
                manifest = oci.decode(data, Manifest, where="it")
                self.manifest(manifest, blob, where)
                return manifest
        except RamekinError as error:
            self.add(where, error.message)
            return None
        self.add(where, f"{blob.media_type} is neither a manifest nor an index")
        return None

    def index(self, index: Index, blob: Descriptor, where: str, depth: int) -> None:
        """image-index.md."""
        self.header(index, blob, where)
        platforms: dict[str, int] = {}
        for number, entry in enumerate(index.manifests):
            place = f"{where}: manifests[{number}]"
            if entry.platform is not None:
                name = f"{entry.platform} {entry.platform.os_version}".strip()
                if entry.platform.architecture != "unknown" and name in platforms:
                    self.add(place, f"has the same platform, {name}, as manifests[{platforms[name]}]")
                platforms.setdefault(name, number)
            if entry.media_type in oci.MANIFESTS or entry.media_type in oci.INDEXES:
                found = self.document(entry, place, depth + 1)
                if isinstance(found, Manifest) and entry.platform is not None:
                    self.platform(entry.platform, found, place)
            else:
                self.add(place, f"{entry.media_type} is neither a manifest nor an index")

    def platform(self, platform: Platform, manifest: Manifest, where: str) -> None:
        """That the platform an index gives an image is the one that the image gives itself."""
        if manifest.config is None or manifest.config.media_type not in _CONFIGS:
            return
        try:
            config = self._image.config(manifest)
        except RamekinError:
            # told where the manifest itself is checked
            return
        if (config.os, config.architecture) != (platform.os, platform.architecture):
            self.add(
                where, f"is listed for {platform}, but its config says {config.os}/{config.architecture}"
            )

    def header(self, document: Manifest | Index, blob: Descriptor, where: str) -> None:
        """What manifests and indexes have in common."""
        if document.schema_version != 2:
            self.add(where, f"schemaVersion is {document.schema_version} instead of 2")
        if document.media_type and document.media_type != blob.media_type:
            self.add(where, f"mediaType is {document.media_type}, its descriptor says {blob.media_type}")
        if document.artifact_type and not _MEDIA_TYPE.fullmatch(document.artifact_type):
            self.add(where, f"artifactType {document.artifact_type!r} is no media type (RFC 6838)")
        self.annotations(document.annotations, where)
        if document.subject is not None:
            self.descriptor(document.subject, f"{where}: subject")

    def manifest(self, manifest: Manifest, blob: Descriptor, where: str) -> None:
        """manifest.md."""
        self.header(manifest, blob, where)
        if manifest.config is None:
            self.add(where, "there is no config")
            return
        config_place = f"{where}: config {_short(manifest.config)}"
        self.descriptor(manifest.config, config_place)
        for number, entry in enumerate(manifest.layers):
            self.descriptor(entry, f"{where}: layers[{number}] {_short(entry)}")
        if manifest.config.media_type in _CONFIGS:
            self.image(manifest, where, config_place)
        else:
            if manifest.config.media_type == oci.EMPTY and not manifest.artifact_type:
                self.add(where, "artifactType must be set when the config is empty")
            self.artifact(manifest, where, config_place)

    def image(self, manifest: Manifest, where: str, config_place: str) -> None:
        """An image of files: its config, and its layers against it."""
        diff_ids: tuple[Digest, ...] | None = None
        try:
            config = self._image.config(manifest)
        except RamekinError as error:
            self.add(config_place, error.message)
        else:
            self.config(config, len(manifest.layers), config_place)
            if len(config.rootfs.diff_ids) == len(manifest.layers):
                diff_ids = config.rootfs.diff_ids
        found: dict[int, tuple[list[str], Tree | None]] = {}
        with (
            tempfile.TemporaryDirectory(prefix="ramekin-") as spool,
            self._progress.task(
                "checking layers", total=sum(entry.size for entry in manifest.layers)
            ) as task,
        ):

            def one(number: int, check: workers.Check) -> None:
                expected = diff_ids[number] if diff_ids is not None else None
                found[number] = self.layer(manifest.layers[number], expected, Path(spool), task, check)

            workers.each(one, range(len(manifest.layers)), jobs=self._jobs)
        for number, entry in enumerate(manifest.layers):
            for what in found[number][0]:
                self.add(f"{where}: layers[{number}] {_short(entry)}", what)
        trees = [tree for _, tree in (found[number] for number in range(len(found))) if tree is not None]
        if len(trees) == len(manifest.layers):
            try:
                layer.apply(trees)
            except RamekinError as error:
                self.add(where, f"the layers cannot be applied: {error.message}")

    def layer(
        self, blob: Descriptor, diff_id: Digest | None, spool: Path, task: Task, check: workers.Check
    ) -> tuple[list[str], Tree | None]:
        """The problems of a layer's blob and, unless it is broken, its entries without their contents."""
        said = _LAYERS.get(blob.media_type)
        if said is None:
            return [f"{blob.media_type} is not a layer of files"], None
        if blob.urls and ("nondistributable" in blob.media_type or "foreign" in blob.media_type):
            return [], None
        problems: list[str] = []
        try:
            with self._image.blobs.open(blob) as raw:
                head = raw.read(6)
            if (sniffed := compress.sniff(head)) != said:
                problems.append(f"is compressed with {sniffed}, its media type says {said}")
            with self._image.blobs.open(blob) as raw:
                watched = _Watched(raw, task, check)
                with closing(compress.decompress(watched, where="it")) as plain:  # type: ignore[arg-type]
                    hashed = _Hashed(plain)
                    tree = tar.read_tree(
                        hashed,  # type: ignore[arg-type]
                        where="it",
                        spool=spool,
                        keep=lambda path: False,
                        closed=False,
                    )
                    # what follows the tar's end belongs to the diff_id as well, and to the blob
                    while hashed.read(1 << 18):
                        pass
                    while watched.read(1 << 18):
                        pass
        except RamekinError as error:
            return [*problems, error.message], None
        found = f"sha256:{hashed.state.hexdigest()}"
        if diff_id is not None and found != diff_id:
            problems.append(f"unpacks to {found}, its diff_id is {diff_id}")
        return problems, tree

    def config(self, config: Config, layers: int, where: str) -> None:
        """config.md."""
        for name, value in (("architecture", config.architecture), ("os", config.os)):
            if not value:
                self.add(where, f"{name} is empty")
        if config.rootfs.type != "layers":
            self.add(where, f"rootfs.type is {config.rootfs.type!r} instead of 'layers'")
        if len(config.rootfs.diff_ids) != layers:
            self.add(where, f"rootfs has {len(config.rootfs.diff_ids)} diff_ids for {layers} layers")
        for number, diff_id in enumerate(config.rootfs.diff_ids):
            if not re.fullmatch(r"sha256:[0-9a-f]{64}", diff_id):
                self.add(where, f"rootfs.diff_ids[{number}] is {diff_id!r}, which is no digest")
        full = sum(not entry.empty_layer for entry in config.history)
        if config.history and full != layers:
            self.add(where, f"history has {full} entries that are not empty for {layers} layers")
        self.time(config.created, f"{where}: created")
        for number, entry in enumerate(config.history):
            self.time(entry.created, f"{where}: history[{number}].created")
        if config.config is not None:
            self.runtime(config.config, where)

    def runtime(self, runtime: Runtime, where: str) -> None:
        """config.md, `config`."""
        for number, variable in enumerate(runtime.env or ()):
            name, equals, value = variable.partition("=")
            if not equals or not name or "\0" in value:
                self.add(where, f"config.Env[{number}] is {variable!r} instead of NAME=VALUE")
        for port in runtime.exposed_ports or ():
            found = _PORT.fullmatch(port)
            if found is None or not 0 < int(found[1]) < 65536:
                self.add(where, f"config.ExposedPorts has {port!r} instead of PORT, PORT/tcp or PORT/udp")
        if runtime.working_dir and not runtime.working_dir.startswith("/"):
            self.add(where, f"config.WorkingDir {runtime.working_dir!r} is not an absolute path")
        for volume in runtime.volumes or ():
            if not volume.startswith("/"):
                self.add(where, f"config.Volumes has {volume!r}, which is not an absolute path")
        if "" in (runtime.labels or {}):
            self.add(where, "config.Labels has an empty name")
        if runtime.stop_signal and not re.fullmatch(r"\d+|SIG[A-Z0-9+-]+", runtime.stop_signal):
            self.add(where, f"config.StopSignal {runtime.stop_signal!r} is neither a number nor SIGNAME")

    def artifact(self, manifest: Manifest, where: str, config_place: str) -> None:
        """A manifest of something else than files: that its blobs are whole."""
        places = [(manifest.config, config_place)]
        places += [(e, f"{where}: layers[{n}] {_short(e)}") for n, e in enumerate(manifest.layers)]
        for blob, place in places:
            assert blob is not None
            try:
                with self._image.blobs.open(blob) as stream:
                    first = stream.read(16)
                    while stream.read(1 << 18):
                        pass
            except RamekinError as error:
                self.add(place, error.message)
            else:
                if blob.media_type == oci.EMPTY and (blob.size != 2 or first != oci.EMPTY_BLOB):
                    self.add(place, f"is said to be empty ({oci.EMPTY}), which is the two bytes {{}}")

    def referrer(self, blob: Descriptor, where: str) -> None:
        """That a referrer is sound and refers to this image."""
        known = set(self._seen)
        found = self.document(blob, where, 0)
        if found is None:
            return
        where = f"{where} {_short(blob)}"
        if found.subject is None:
            self.add(where, "has no subject")
        elif found.subject.digest not in known:
            self.add(where, f"its subject {_short(found.subject)} is not a manifest of this image")

    def descriptor(self, blob: Descriptor, where: str) -> None:
        """descriptor.md; that the digest is well formed was seen when it was read."""
        if not _MEDIA_TYPE.fullmatch(blob.media_type):
            self.add(where, f"{blob.media_type!r} is no media type (RFC 6838)")
        self.annotations(blob.annotations, where)
        if blob.data:
            try:
                data = base64.b64decode(blob.data, validate=True)
            except binascii.Error:
                self.add(where, "data is not valid base64")
                return
            if len(data) != blob.size or f"sha256:{hashlib.sha256(data).hexdigest()}" != blob.digest:
                self.add(where, "data is not what digest and size say")

    def annotations(self, annotations: Mapping[str, str], where: str) -> None:
        """annotations.md, Rules."""
        if "" in annotations:
            self.add(where, "an annotation has an empty name")
        self.time(annotations.get("org.opencontainers.image.created", ""), f"{where}: annotation created")

    def time(self, text: str, where: str) -> None:
        """RFC 3339, section 5.6."""
        if not text:
            return
        good = bool(_RFC_3339.fullmatch(text))
        if good:
            try:
                # more digits than Python's microseconds are allowed
                datetime.fromisoformat(re.sub(r"\.\d+", "", text).upper().replace("Z", "+00:00"))
            except ValueError:
                good = False
        if not good:
            self.add(where, f"{text!r} is no date and time (RFC 3339)")


class _Watched:
    """A blob's stream that reports what is read and can be stopped."""

    def __init__(self, source: object, task: Task, check: workers.Check) -> None:
        self._source, self._task, self._check = source, task, check

    def read(self, size: int = -1) -> bytes:
        self._check()
        data: bytes = self._source.read(size)  # type: ignore[attr-defined]
        self._task.advance(len(data))
        return data

    def close(self) -> None: ...


class _Hashed:
    """A stream that is hashed while it is read."""

    def __init__(self, source: object) -> None:
        self._source = source
        self.state = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._source.read(size)  # type: ignore[attr-defined]
        self.state.update(data)
        return data


def _short(blob: Descriptor) -> str:
    return blob.digest[: len("sha256:") + 12]
