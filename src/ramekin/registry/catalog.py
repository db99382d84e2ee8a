"""What the repositories of a registry have: manifests, tags, referrers, and rights to blobs.

    registry/names/R                            a repository that has manifests: `pushed` or `made`
    registry/repositories/R/_manifests/HEX      a manifest: a line about it, then its bytes
    registry/repositories/R/_tags/TAG           the digest that the tag stands for
    registry/repositories/R/_referrers/HEX/HEX  by subject: the descriptor of a manifest that refers to it
    registry/links/HE/HEX/R                     the repository may give out the blob, which somebody pushed to
                                                it or mounted; empty
    registry/orphans/RANDOM                     digests of blobs that a record which is gone has named

Blobs themselves are those of the store. Names of repositories have no component that begins with `_`; as one
file name, R has `@` for every slash.

A tag is one record that is replaced at once, so that readers see the one or the other manifest. What is
written for a manifest is written before what names it: the manifest, then its tag. What is removed goes
the other way.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from ramekin.image.oci import Descriptor
from ramekin.registry import faults, manifests
from ramekin.registry.manifests import Document
from ramekin.registry.names import flat, is_digest, unflat
from ramekin.registry.records import Records, of
from ramekin.store.action import key
from ramekin.store.digest import Digest, hex_of
from ramekin.store.store import Store, blob_name

Origin = Literal["pushed", "made"]
"""How a manifest came here: from a client, or on demand."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    """The first line of a manifest's record."""

    media_type: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Kept:
    """A manifest as it was read from its record. `used` is when it was last pushed, untagged or served."""

    digest: Digest
    media_type: str
    data: bytes
    origin: Origin
    used: float


class MissingError(faults.AnswerError):
    """A manifest names what the repository has not."""

    def __init__(self, digests: Sequence[str]) -> None:
        detail = [{"digest": digest} for digest in digests[:50]]
        message = "manifest references what the repository lacks"
        super().__init__(400, "MANIFEST_BLOB_UNKNOWN", message, detail)


def manifest_name(repository: str, digest: Digest) -> str:
    return f"registry/repositories/{repository}/_manifests/{hex_of(digest)}"


def tag_name(repository: str, tag: str) -> str:
    return f"registry/repositories/{repository}/_tags/{tag}"


def repository_name(repository: str) -> str:
    return f"registry/names/{flat(repository)}"


def link_name(repository: str, digest: Digest) -> str:
    return f"{links_name(digest)}/{flat(repository)}"


def links_name(digest: Digest) -> str:
    return f"registry/links/{digest[7:9]}/{digest[7:]}"


def referrers_name(repository: str, subject: Digest) -> str:
    return f"registry/repositories/{repository}/_referrers/{hex_of(subject)}"


class Catalog:
    """The repositories in a store. All methods block, may come from any thread, and raise `StoreError`."""

    def __init__(self, store: Store, records: Records | None = None) -> None:
        self.store = store
        self.records = records if records is not None else of(store)

    # ---- looking

    def manifest(self, repository: str, digest: Digest) -> Kept | None:
        """A manifest by digest. One whose bytes are not the digest's is as good as none."""
        found = self.records.read(manifest_name(repository, digest))
        return parse_manifest(digest, found.data, found.written) if found is not None else None

    def has_manifest(self, repository: str, digest: Digest) -> bool:
        return self.records.version(manifest_name(repository, digest)) is not None

    def tag(self, repository: str, tag: str) -> Digest | None:
        found = self.records.read(tag_name(repository, tag))
        return parse_tag(found.data) if found is not None else None

    def tags(self, repository: str) -> list[str]:
        """All tags in the order of their bytes."""
        return self.records.names(f"registry/repositories/{repository}/_tags")

    def manifests(self, repository: str) -> list[Digest]:
        """The digests of all manifests."""
        names = self.records.names(f"registry/repositories/{repository}/_manifests")
        return [Digest("sha256:" + name) for name in names]

    def repositories(self) -> list[str]:
        """The names of all repositories that have manifests, in the order of their bytes."""
        return sorted(unflat(name) for name in self.records.names("registry/names"))

    def origin(self, repository: str) -> Origin | None:
        """Whether somebody pushed to a repository, or all in it was made on demand; None for neither."""
        found = self.records.read(repository_name(repository))
        if found is None:
            return None
        return "pushed" if found.data == b"pushed" else "made"

    def referrers(self, repository: str, subject: Digest) -> list[Descriptor]:
        """Descriptors of the manifests whose subject is `subject`, by digest."""
        folder = referrers_name(repository, subject)
        names = self.records.names(folder)

        def read(name: str) -> Descriptor | None:
            found = self.records.read(f"{folder}/{name}")
            there = found is not None and self.has_manifest(repository, Digest("sha256:" + name))
            return msgspec.json.decode(found.data, type=Descriptor) if found is not None and there else None

        return [found for found in self._each(names, read) if found is not None]

    def linked(self, repository: str, digest: Digest) -> bool:
        """Whether a blob was pushed to the repository or mounted there."""
        return self.records.version(link_name(repository, digest)) is not None

    def reach(self, repository: str) -> frozenset[Digest]:
        """The blobs that manifests which were made on demand name: the repository may give those out too."""
        found = set[Digest]()
        for kept in self._each(self.manifests(repository), lambda one: self.manifest(repository, one)):
            if kept is not None and kept.origin == "made":
                found.update(blob.digest for blob in manifests.read(kept.data, kept.media_type).blobs)
        return frozenset(found)

    def reach_version(self, repository: str) -> object:
        """Changes whenever `reach` may give something else."""
        return self.records.listing(f"registry/repositories/{repository}/_manifests")

    def holders(self, digest: Digest) -> list[str]:
        """The repositories that a blob is linked from."""
        return [unflat(name) for name in self.records.names(links_name(digest))]

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob of the store, of whatever repository."""
        return self.records.blob_size(blob_name(digest))

    # ---- writing

    def link(self, repository: str, digest: Digest) -> bool:
        """Let the repository have a blob that is in the store; False when it is not (any more)."""
        with self.records.steady():
            if self.size(digest) is None:
                return False
            name = link_name(repository, digest)
            self.records.begin(name, b"")
            self.records.touch(name)
            self.records.settle(name)
            return True

    def refresh(self, repository: str, digest: Digest, age: float, now: float) -> bool:
        """Whether a blob is there for `repository`; its link counts as made now if it is older than `age`.

        For clients that ask before they push a manifest, so that what they found stays until then.
        """
        name = link_name(repository, digest)
        written = self.records.written(name)
        if written is None:
            return False
        if now - written > age:
            with self.records.steady():
                if self.records.version(name) is None:
                    return False
                self.records.touch(name)
        return self.size(digest) is not None

    def unlink(self, repository: str, digest: Digest) -> bool:
        """Take a blob from a repository; whether it had it."""
        name = link_name(repository, digest)
        if self.records.version(name) is None:
            return False
        self.orphan([digest])
        self.records.delete(name)
        return True

    def orphan(self, digests: Iterable[Digest]) -> None:
        """Have the next sweep look whether anything still names these blobs."""
        text = "\n".join(sorted(set(digests)))
        if text:
            self.records.write(f"registry/orphans/{secrets.token_hex(12)}", text.encode())

    def push(self, repository: str, document: Document, tag: str | None) -> None:
        """Keep a manifest, and let a tag stand for it; `MissingError` when the repository lacks a part."""
        with self._alone(repository):
            self._check(repository, document)
            self._keep(repository, document, "pushed")
            if tag is not None:
                self._tag(repository, tag, document.digest)

    def adopt(self, repository: str, documents: Sequence[Document]) -> None:
        """Keep manifests that were made on demand, each after those that it names.

        `MissingError` when one of their blobs is not in the store any more.
        """
        with self._alone(repository):
            blobs = {blob.digest for document in documents for blob in document.blobs}
            sizes = self._each(sorted(blobs), self.size)
            missing = [digest for digest, size in zip(sorted(blobs), sizes, strict=True) if size is None]
            if missing:
                raise MissingError(missing)
            for document in documents:
                self._keep(repository, document, "made")

    def untag(self, repository: str, tag: str) -> bool:
        """Remove a tag, whose manifest stays; whether there was one."""
        with self._alone(repository):
            digest = self.tag(repository, tag)
            if digest is None:
                return False
            self.records.touch(manifest_name(repository, digest))
            self.records.delete(tag_name(repository, tag))
            return True

    def remove(self, repository: str, digest: Digest) -> bool:
        """Remove a manifest and the tags that stand for it; whether it was there."""
        with self._alone(repository):
            kept = self.manifest(repository, digest)
            if kept is None:
                return False
            tags = self.tags(repository)
            targets = self._each(tags, lambda one: self.tag(repository, one))
            for tag, target in zip(tags, targets, strict=True):
                if target == digest:
                    self.records.delete(tag_name(repository, tag))
            self.forget(repository, kept)
            return True

    def forget(self, repository: str, kept: Kept) -> None:
        """Remove the records of a manifest that no tag stands for. The caller is alone with it."""
        document = manifests.read(kept.data, kept.media_type)
        if kept.origin == "made":
            self.orphan(blob.digest for blob in document.blobs)
        if document.subject is not None:
            self.records.delete(f"{referrers_name(repository, document.subject)}/{hex_of(kept.digest)}")
        self.records.delete(manifest_name(repository, kept.digest))
        if not self.manifests(repository):
            self.records.delete(repository_name(repository))

    def _check(self, repository: str, document: Document) -> None:
        reach: frozenset[Digest] | None = None
        missing: list[str] = []
        sizes = {blob.digest: blob.size for blob in document.blobs}
        there = self._each(list(sizes), lambda one: (self.linked(repository, one), self.size(one)))
        for (digest, expected), (linked, size) in zip(sizes.items(), there, strict=True):
            if not linked and size is not None:
                reach = self.reach(repository) if reach is None else reach
                linked = digest in reach
            if size is None or not linked:
                missing.append(digest)
            elif size != expected:
                raise faults.manifest_invalid(f"{digest} has {size} bytes, not {expected}")
        children = [child.digest for child in document.children]
        found = self._each(children, lambda one: self.has_manifest(repository, one))
        missing += [digest for digest, is_there in zip(children, found, strict=True) if not is_there]
        if missing:
            raise MissingError(missing)

    def _keep(self, repository: str, document: Document, origin: Origin) -> None:
        """Write the records of a manifest, the one that makes it visible last."""
        records = self.records
        marker = repository_name(repository)
        known = records.read(marker)
        if known is None or (origin == "pushed" and known.data != b"pushed"):
            records.write(marker, origin.encode())
        name = manifest_name(repository, document.digest)
        there = self.manifest(repository, document.digest)
        if document.subject is not None:
            path = f"{referrers_name(repository, document.subject)}/{hex_of(document.digest)}"
            if there is None or records.version(path) is None:
                records.write(path, msgspec.json.encode(document.descriptor))
        if there is None or (there.origin != origin and origin == "pushed"):
            head = msgspec.json.encode(_Head(document.media_type, origin))
            records.write(name, head + b"\n" + document.data)
        else:
            records.touch(name)

    def _tag(self, repository: str, tag: str, digest: Digest) -> None:
        before = self.tag(repository, tag)
        if before is not None and before != digest:
            self.records.touch(manifest_name(repository, before))
        if before != digest:
            self.records.write(tag_name(repository, tag), digest.encode())

    @contextmanager
    def _alone(self, repository: str) -> Iterator[None]:
        """Be the only one who changes manifests and tags of a repository, while nothing is swept."""
        with self.store.exclusive(key("registry repository", repository)), self.records.steady():
            yield

    def _each(self, items: Sequence[Item], act: Callable[[Item], Answer]) -> list[Answer]:
        """Do the same for all items, at once where each is a round trip."""
        if not self.records.remote or len(items) < 2:
            return [act(item) for item in items]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(16, len(items))) as pool:
            return list(pool.map(act, items))


def parse_tag(data: bytes) -> Digest | None:
    """The digest in a tag's record; None when it is damaged."""
    text = data.decode("ascii", "replace")
    return Digest(text) if is_digest(text) else None


def parse_manifest(digest: Digest, data: bytes, written: float) -> Kept | None:
    """A manifest from the bytes of its record; None when they are damaged."""
    head, mark, body = data.partition(b"\n")
    try:
        line = msgspec.json.decode(head, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not mark or "sha256:" + hashlib.sha256(body).hexdigest() != digest:
        return None
    return Kept(digest, line.media_type, body, line.origin, written)
