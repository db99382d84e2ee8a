"""The documents of the OCI image specification 1.1 as values, and their canonical JSON bytes.

Field names and their order are the specification's, so that encoding a value gives the same bytes always.
Unknown fields of documents from outside are ignored when a value is read: the bytes that were read keep
their digest, and a value is only encoded again when an image is made.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ramekin.errors import FormatError
from ramekin.store.digest import Digest, of, parse

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFESTS = frozenset({MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({INDEX, DOCKER_LIST})

EMPTY_BLOB = b"{}"


class Platform(msgspec.Struct, frozen=True, omit_defaults=True, rename={"os_version": "os.version"}):
    """image-index.md, `platform`."""

    architecture: str
    os: str
    os_version: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """descriptor.md. `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    data: str = ""
    artifact_type: str = ""
    platform: Platform | None = None

    def __post_init__(self) -> None:
        # digests become file names and addresses, so none from outside gets past here unchecked
        parse(self.digest)
        if self.size < 0:
            raise FormatError(f"{self.digest} has the size {self.size}")


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """manifest.md; schema 2 manifests of Docker read as the same."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """image-index.md; manifest lists of Docker read as the same."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Runtime(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """config.md, `config`: how a container of the image is started."""

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""


class RootFS(msgspec.Struct, frozen=True):
    """config.md, `rootfs`: the diff_ids, lowest layer first."""

    type: str
    diff_ids: tuple[Digest, ...] = ()


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """config.md, `history`."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class Config(msgspec.Struct, frozen=True, omit_defaults=True):
    """config.md."""

    architecture: str
    os: str
    rootfs: RootFS
    created: str = ""
    author: str = ""
    variant: str = ""
    config: Runtime | None = None
    history: tuple[History, ...] = ()


Document = TypeVar("Document", Manifest, Index, Config)


def encode(document: Manifest | Index | Config) -> bytes:
    """Canonical JSON: the specification's field order, mappings sorted, no white space."""
    return msgspec.json.encode(document, order="deterministic")


# learnt here, as two threads that make msgspec learn a type at the same time crash the process
for _kind in (Manifest, Index, Config):
    msgspec.json.Decoder(_kind)


def decode(data: bytes, kind: type[Document], *, where: str) -> Document:
    """Read a document; `FormatError` naming `where` and the field at fault.

    A field that is null is taken for one that is not there, as programs in Go take it, and write it.
    """
    try:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError:
            if b"null" not in data:
                raise
            return msgspec.convert(_without_nulls(msgspec.json.decode(data)), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{where} is not a valid {kind.__name__.lower()}: {error}") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def describe(data: bytes, media_type: str, **fields: object) -> Descriptor:
    """The descriptor of bytes in memory."""
    return Descriptor(media_type=media_type, digest=of(data), size=len(data), **fields)  # type: ignore[arg-type]
